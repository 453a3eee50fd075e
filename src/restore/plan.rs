//! What a restore will do, and what stands in its way: known before anything is done.

use std::sync::Arc;
use std::time::Duration;

use super::choices::Objects;
use super::part::Part;
use super::place::{Connection, Director, Place};
use super::target::{self, Checked};
use super::{How, RestoreError, RestoreOptions, keywords, settings};
use crate::create::{interruptible, runtime};
use crate::format::manifest::Manifest;
use crate::format::reader::{Archive, OpenError, Section};
use crate::io::{DiskFile, ReadAt};
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
    let file = DiskFile::open(&options.file).map_err(|error| open(OpenError::Io(error)))?;
    let file: Arc<dyn ReadAt> = Arc::new(file);
    let archive = Arc::new(Archive::from_file(file).map_err(open)?);
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
            "lock the tables against writers and load {rows} rows ({bytes} bytes of rows and \
             blobs) into them, if they are empty, in one transaction: set {} sequence(s), check \
             the target's foreign keys, and commit",
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
        Place::Existing if choices.database_settings => steps.push(format!(
            "give {database} the archive's comment, privileges and settings of its database"
        )),
        Place::Existing => {}
        Place::Create(_) => {
            let given = settings::Given::of(manifest, how, None);
            let what = if given.is_some() {
                "give the new database the archive's owner, comment, privileges and settings of \
                 its database, as far as chosen, and "
            } else {
                ""
            };
            steps.push(format!("{what}name it {database}"));
        }
        Place::Swap { disconnect } => {
            if disconnect {
                steps.push(format!("end all connections to {database}"));
            }
            let settings = old.as_ref().map_or(0, |old| old.properties.settings.len());
            let what = if choices.database_settings {
                " and the comment, privileges and settings of the archive's database".to_owned()
            } else {
                format!(", comment, privileges and {settings} setting(s)")
            };
            let size = old.as_ref().and_then(|old| old.bytes);
            let size = size.map_or_else(String::new, |size| format!(" ({size} bytes)"));
            steps.push(format!(
                "in one transaction: rename {database}{size} to {database}_before_<time>, give the \
                 new one its owner{what}, and rename it to {database}"
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
