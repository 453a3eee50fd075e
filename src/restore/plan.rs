//! What a restore will do, and what stands in its way: known before anything is done.

use std::sync::Arc;
use std::time::Duration;

use super::choices::Objects;
use super::count;
use super::part::Part;
use super::place::{Connection, Director, Place};
use super::space::Space;
use super::steps::Step;
use super::target::{self, Checked};
use super::{How, RestoreError, RestoreOptions, settings};
use crate::create::{interruptible, runtime};
use crate::format::keywords;
use crate::format::manifest::Manifest;
use crate::format::reader::{Archive, Section};
use crate::pg::Session;
use crate::progress::Progress;

/// What a restore will do.
#[derive(Debug)]
pub struct Plan {
    /// The database that the archive's contents will be in.
    pub database: String,
    /// Where that is: the server, as the connection has it.
    pub server: String,
    /// What will be done, in order.
    pub steps: Vec<Step>,
    /// What it needs of the server's disk, and what is free there.
    pub space: Space,
    /// What is good to know.
    pub notes: Vec<String>,
    /// Who is connected to the database that is to be replaced.
    pub connections: Vec<Connection>,
    /// Databases that earlier runs have left, to be dropped.
    pub leftovers: Vec<String>,
    /// Why it cannot be done as things are.
    pub problems: Vec<RestoreError>,
}

/// Finds out what a restore would do, and changes nothing. The archive is not verified: that is
/// the first step of a restore. Blocks; must not be called from within a runtime.
///
/// # Errors
/// [`RestoreError`] where that much cannot be found out; what stands in the way is in the plan.
pub fn plan(
    options: &RestoreOptions,
    how: &How,
    progress: &Arc<dyn Progress>,
) -> Result<Plan, RestoreError> {
    let open = |source| RestoreError::Open { path: options.file.clone(), source };
    let archive = Arc::new(Archive::open_on(&options.file, &options.bases).map_err(open)?);
    let runtime = runtime().map_err(|error| RestoreError::Internal(error.to_string()))?;
    let found = runtime.block_on(interruptible(progress.as_ref(), find(options, how, &archive)));
    runtime.shutdown_background();
    found.unwrap_or(Err(RestoreError::Interrupted))
}

async fn find(
    options: &RestoreOptions,
    how: &How,
    archive: &Arc<Archive>,
) -> Result<Plan, RestoreError> {
    let part = Part::of(archive, &how.choices)?;
    let manifest = &part.manifest;
    let choices = &how.choices;
    let (mut steps, mut leftovers, mut connections) = (Vec::new(), Vec::new(), Vec::new());
    steps.push(Step::Verify(options.file.clone()));
    let (database, server, checked, old);
    if how.place == Place::Existing {
        let lead = Session::open(&options.target).await?;
        checked = check(&lead, archive, manifest, how).await?;
        database = options.target.database().to_owned();
        server = lead.params().describe();
        old = None;
        lead.close().await;
    } else {
        database = name(options, how)?;
        let director = Director::open(&options.target, &database).await?;
        checked = check_beside(&director, archive, manifest, how).await?;
        server = director.session.params().with_database(&database).describe();
        leftovers = director.leftovers(director.session.params()).await?;
        let swap = matches!(how.place, Place::Swap { .. });
        if swap && director.exists(&database).await? {
            connections = director.connections().await?;
            old = Some(settings::Old::read(&director.session, &database).await?);
        } else {
            old = None;
        }
        steps.extend(leftovers.iter().cloned().map(Step::DropLeftover));
        steps.push(Step::Make {
            encoding: manifest.source.encoding.clone(),
            collation: manifest.source.collate.clone(),
        });
        director.session.close().await;
    }
    let data = manifest.tables.iter().filter_map(|table| table.data).chain(manifest.large_objects);
    let (rows, bytes) = data.fold((0_u64, 0_u64), |(rows, bytes), data| {
        (rows.saturating_add(data.rows), bytes.saturating_add(data.bytes + data.blob_bytes))
    });
    let objects = manifest.schema.pre_data.len() + manifest.schema.post_data.len();
    steps.push(if choices.data_only {
        Step::Fill { rows, bytes, sequences: count(manifest.sequences.len()) }
    } else if choices.schema_only {
        Step::Schema(count(objects))
    } else {
        Step::Restore { tables: count(manifest.tables.len()), rows, bytes }
    });
    if !choices.no_compare && !choices.schema_only {
        steps.push(Step::Compare);
    }
    match how.place {
        Place::Existing if choices.database_settings => steps.push(Step::Give(database.clone())),
        Place::Existing => {}
        Place::Create(_) => {
            let given = settings::Given::of(manifest, how, None).is_some();
            steps.push(Step::Name { database: database.clone(), given });
        }
        Place::Swap { disconnect } => {
            if disconnect {
                steps.push(Step::Disconnect(database.clone()));
            }
            let bytes = old.as_ref().and_then(|old| old.bytes);
            let settings = old.as_ref().map_or(0, |old| count(old.properties.settings.len()));
            steps.push(Step::Swap {
                database: database.clone(),
                bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
                settings: (!choices.database_settings).then_some(settings),
            });
        }
    }
    let Checked { problems, mut notes, space } = checked;
    let space = space.unwrap_or(Space { needed: bytes, free: None });
    notes.extend(part.notes);
    if matches!(how.place, Place::Swap { .. }) {
        notes.push(
            "subscriptions and replication slots of the old database stay with it; those of the \
             archive are restored disabled"
                .into(),
        );
    }
    Ok(Plan { database, server, steps, space, notes, connections, leftovers, problems })
}

/// The name of the database that the contents will be in.
pub(super) fn name(options: &RestoreOptions, how: &How) -> Result<String, RestoreError> {
    let name = match &how.place {
        Place::Create(name) => name.clone(),
        _ => options.target.database().to_owned(),
    };
    let fits = (1..=63).contains(&name.len()) && !name.contains('\0');
    if fits { Ok(name) } else { Err(RestoreError::BadName(name)) }
}

/// Both files of the schema, as the choices have them and a server of this version takes them.
pub(super) fn objects(
    archive: &Archive,
    manifest: &Manifest,
    choices: &super::Choices,
    server: u32,
) -> Result<[Objects; 2], RestoreError> {
    if choices.data_only {
        return Ok(<[Objects; 2]>::default());
    }
    let schema = &manifest.schema;
    let words = keywords::new(manifest.source.server_version_num, u64::from(server));
    let pre = archive.schema_sql(Section::PreData)?;
    let post = archive.schema_sql(Section::PostData)?;
    Ok([
        Objects::new(&schema.pre_data, &pre, choices, &words),
        Objects::new(&schema.post_data, &post, choices, &words),
    ])
}

/// Checks a server and, where the target is there, the target.
pub(super) async fn check(
    lead: &Session,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    how: &How,
) -> Result<Checked, RestoreError> {
    let [pre, post] = objects(archive, manifest, &how.choices, lead.server_version_num())?;
    target::check(lead, archive, manifest, [&pre, &post], how).await
}

/// The same for a new database.
pub(super) async fn check_beside(
    director: &Director,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    how: &How,
) -> Result<Checked, RestoreError> {
    let mut checked = check(&director.session, archive, manifest, how).await?;
    let name = &director.name;
    let exists = director.exists(name).await?;
    match how.place {
        Place::Create(_) if exists => checked.problems.push(RestoreError::Exists(name.clone())),
        Place::Swap { .. } if !exists => {
            checked.problems.push(RestoreError::NoDatabase(name.clone()));
        }
        Place::Swap { disconnect } => {
            let mut connections = director.connections().await?;
            // Who has just left may still be seen for a moment.
            for _ in 0..10 {
                if disconnect || connections.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                connections = director.connections().await?;
            }
            if !disconnect && !connections.is_empty() {
                let database = name.clone();
                checked.problems.push(RestoreError::Connected { database, connections });
            }
            let old = settings::Old::read(&director.session, name).await?;
            checked.notes.extend(settings::not_given(manifest, how, &old.properties));
            let owns = format!(
                "SELECT rolsuper OR pg_catalog.pg_has_role(current_user, {}, 'MEMBER') \
                 FROM pg_catalog.pg_roles WHERE rolname = current_user",
                crate::pg::literal(&old.properties.owner)
            );
            if !target::flag(&director.session, &owns).await? {
                checked.problems.push(RestoreError::Privileges {
                    role: director.session.params().user().to_owned(),
                    lacks: vec![format!(
                        "it is not a member of {}, who owns {name}",
                        old.properties.owner
                    )],
                });
            }
        }
        _ => {}
    }
    Ok(checked)
}

/// Refuses to go on with a problem.
pub(super) fn refuse(checked: Checked, progress: &dyn Progress) -> Result<(), RestoreError> {
    for note in &checked.notes {
        progress.note(note);
    }
    let mut problems = checked.problems;
    match problems.len() {
        0 => Ok(()),
        1 => problems.pop().map_or(Ok(()), Err),
        _ => Err(RestoreError::Several(problems)),
    }
}
