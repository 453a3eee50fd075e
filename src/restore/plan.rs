//! What a restore will do, and what stands in its way: known before anything is done.

use std::sync::Arc;
use std::time::Duration;

use super::choices::Objects;
use super::part::Part;
use super::place::{Connection, Director, Place};
use super::target::{self, Checked};
use super::{How, RestoreError, RestoreOptions, settings};
use crate::create::{interruptible, runtime};
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
    pub steps: Vec<String>,
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
    steps.push(format!("verify {}", options.file.display()));
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
        steps.extend(
            leftovers.iter().map(|name| format!("drop {name}, left by an earlier restore")),
        );
        steps.push(format!(
            "create a new database beside, encoding {}, collation {}",
            manifest.source.encoding, manifest.source.collate
        ));
        director.session.close().await;
    }
    let data = manifest.tables.iter().filter_map(|table| table.data).chain(manifest.large_objects);
    let (rows, bytes) = data.fold((0_u64, 0_u64), |(rows, bytes), data| {
        (rows.saturating_add(data.rows), bytes.saturating_add(data.bytes + data.blob_bytes))
    });
    let pre = manifest.schema.pre_data.len() + manifest.schema.post_data.len();
    if choices.data_only {
        steps.push(format!(
            "load {rows} rows ({bytes} bytes of rows and blobs) into tables that are there and \
             empty, set {} sequence(s), and check the target's foreign keys",
            manifest.sequences.len()
        ));
    } else if choices.schema_only {
        steps.push(format!("create up to {pre} objects of the schema, without rows"));
    } else {
        steps.push(format!(
            "create {} tables and the rest of the schema, load {rows} rows ({bytes} bytes of rows \
             and blobs, before the server's overhead and indexes)",
            manifest.tables.len()
        ));
    }
    if !choices.no_compare && !choices.schema_only {
        steps.push("read all of it back and compare it with the archive".into());
    }
    match how.place {
        Place::Existing => {}
        Place::Create(_) => steps.push(format!("name the new database {database}")),
        Place::Swap { disconnect } => {
            if disconnect {
                steps.push(format!("end all connections to {database}"));
            }
            let settings = old.as_ref().map_or(0, settings::Old::settings);
            let size = old.as_ref().and_then(|old| old.bytes);
            let size = size.map_or_else(String::new, |size| format!(" ({size} bytes)"));
            steps.push(format!(
                "in one transaction: rename {database}{size} to {database}_before_<time>, give the \
                 new one its owner, comment, privileges and {settings} setting(s), and rename it to \
                 {database}"
            ));
        }
    }
    let Checked { problems, mut notes } = checked;
    notes.extend(part.notes);
    if matches!(how.place, Place::Swap { .. }) {
        notes.push(
            "subscriptions and replication slots of the old database stay with it; those of the \
             archive are restored disabled"
                .into(),
        );
    }
    Ok(Plan { database, server, steps, notes, connections, leftovers, problems })
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

/// Both files of the schema, as the choices have them.
pub(super) fn objects(
    archive: &Archive,
    manifest: &Manifest,
    choices: &super::Choices,
) -> Result<[Objects; 2], RestoreError> {
    if choices.data_only {
        return Ok(<[Objects; 2]>::default());
    }
    let schema = &manifest.schema;
    let pre = archive.schema_sql(Section::PreData)?;
    let post = archive.schema_sql(Section::PostData)?;
    Ok([
        Objects::new(&schema.pre_data, &pre, choices),
        Objects::new(&schema.post_data, &post, choices),
    ])
}

/// Checks a server and, where the target is there, the target.
pub(super) async fn check(
    lead: &Session,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    how: &How,
) -> Result<Checked, RestoreError> {
    let [pre, post] = objects(archive, manifest, &how.choices)?;
    target::check(lead, archive, manifest, [&pre, &post], &how.choices, &how.place).await
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
            let owns = format!(
                "SELECT rolsuper OR pg_catalog.pg_has_role(current_user, {}, 'MEMBER') \
                 FROM pg_catalog.pg_roles WHERE rolname = current_user",
                crate::pg::literal(&old.owner)
            );
            if !target::flag(&director.session, &owns).await? {
                checked.problems.push(RestoreError::Privileges {
                    role: director.session.params().user().to_owned(),
                    lacks: vec![format!("it is not a member of {}, who owns {name}", old.owner)],
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
