//! A drill: an archive is restored into a throwaway server, compared, held against its rules, and
//! all of it is removed again. What has been restored once can be restored again.
//!
//! The server is one of this machine, of the archive's major version or the nearest newer one. The
//! roles and tablespaces that the archive names are made in it; nothing else is done that a restore
//! would not do. Where this machine lacks the archive's locale, the database gets another, and that
//! is said: rows are the same, only the order of text is not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::check::{self, CheckError, CheckOptions, Given};
use crate::create::{interruptible, runtime};
use crate::format::manifest::Source;
use crate::format::reader::{Archive, OpenError};
use crate::pg::throwaway::{self, Options, Server, ThrowawayError};
use crate::pg::{Params, PgError, Session, ident, literal};
use crate::progress::{Phase, Progress};
use crate::restore::{
    self, How, Place, RestoreError, RestoreOptions, RestoreReport, create_database_sql,
};
use crate::verify::rules::RuleFile;
use crate::verify::{ImageCheck, Report};

/// Nobody else is in a server that only we can reach.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// How to hold a drill.
#[derive(Clone, Debug)]
pub struct DrillOptions {
    /// The archive.
    pub file: PathBuf,
    /// Files, or folders with files, that it may be based on if it is thin. Its own folder is looked
    /// through too.
    pub bases: Vec<PathBuf>,
    /// Where to look for servers; none: where packages put them, and on the `PATH`.
    pub binaries: Option<PathBuf>,
    /// Rules to check instead of those that the archive carries.
    pub rules: Option<RuleFile>,
    /// Leave the server running, with the database in it. Not after an interrupt.
    pub keep: bool,
    /// Sessions that work at the same time; at least 1.
    pub jobs: usize,
    /// Bytes of memory, as for a restore.
    pub memory: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct DrillReport {
    /// The major version of the archive's server.
    pub wanted: u32,
    /// The version of the server that it was restored on, such as `16.15`.
    pub server_version: String,
    /// The user that the server ran as, if another than ours.
    pub server_user: Option<&'static str>,
    /// Roles that were made for it.
    pub roles: Vec<String>,
    /// Tablespaces that were made for it.
    pub tablespaces: Vec<String>,
    /// The locale that the database had instead of the archive's, where this machine lacks that.
    pub other_locale: Option<String>,
    /// What the restore said; none if the archive does not verify.
    pub restored: Option<RestoreReport>,
    /// What the verification said, if that is why nothing was restored.
    pub damaged: Option<Report>,
    /// What the rules came to; none if the database is not what the archive holds.
    pub checked: Option<check::Report>,
    /// How long making and starting the server took.
    pub starting: Duration,
    /// How long the rules took.
    pub checking: Duration,
    /// The server that was kept, if so.
    pub kept: Option<Kept>,
}

impl DrillReport {
    /// Whether all is well: restored, equal, nothing left to do, and every rule holds.
    pub fn ok(&self) -> bool {
        let restored = self.restored.as_ref().is_some_and(|report| {
            report.equal && report.findings.is_empty() && report.database.is_some()
        });
        restored && self.checked.as_ref().is_some_and(|report| report.ok)
    }
}

/// A server that was left running.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its folder: the socket is in it, and the cluster.
    pub folder: PathBuf,
    /// The folder of its programs.
    pub programs: PathBuf,
    /// The database that was restored.
    pub database: String,
    /// The user that it runs as, if another than ours.
    pub user: Option<&'static str>,
}

/// Why there was no drill, or why it did not come to its end. Nothing is left behind, unless the
/// error says so.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The file cannot be opened as an archive.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// There is no server, or it could not be removed.
    #[error(transparent)]
    Server(#[from] ThrowawayError),
    /// The server could not be got ready.
    #[error("preparing the throwaway server: {0}")]
    Prepare(#[from] PgError),
    /// A folder for a tablespace could not be made.
    #[error("a folder for tablespace {name}: {source}")]
    Folder {
        /// The tablespace.
        name: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The archive could not be restored.
    #[error("restoring into a throwaway server: {0}")]
    Restore(RestoreError),
    /// The rules could not be checked.
    #[error("checking the restored database: {0}")]
    Check(#[from] CheckError),
    /// The drill failed, and its server was kept, as was wished.
    #[error("{error}; the server was kept in {}", kept.folder.display())]
    Kept {
        /// Why it failed.
        error: Box<DrillError>,
        /// The server.
        kept: Kept,
    },
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// A mistake of this program, or a system that gives no threads.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<RestoreError> for DrillError {
    fn from(error: RestoreError) -> Self {
        match error {
            error if error.is_interrupted() => Self::Interrupted,
            // What was made is removed with the server: nobody has to know.
            RestoreError::Partial(error) | RestoreError::Undone { error, .. } => Self::from(*error),
            error => Self::Restore(error),
        }
    }
}

/// Holds a drill. Blocks until it is done; builds its own runtime, so it must not be called from
/// within one.
///
/// # Errors
/// [`DrillError`]; a damaged archive, a database that is not equal and rules that do not hold are a
/// [`DrillReport`].
pub fn run(
    options: &DrillOptions,
    progress: &Arc<dyn Progress>,
) -> Result<DrillReport, DrillError> {
    let open = |source| DrillError::Open { path: options.file.clone(), source };
    let archive = Archive::open_on(&options.file, &options.bases).map_err(open)?;
    let source = &archive.manifest().source;
    let wanted = u32::try_from(source.server_version_num / 10_000).unwrap_or(u32::MAX);

    let started = Instant::now();
    progress.begin(Phase::Server, 0, 0);
    progress.on("starting it");
    let binaries = throwaway::find(wanted, options.binaries.as_deref())?;
    if binaries.major != wanted {
        progress.note(&format!(
            "no server of version {wanted} is here: the drill is held on {}",
            binaries.version
        ));
    }
    let tables = archive.manifest().tables.len();
    let server = Server::start(binaries, &settings(options, source, tables), progress.as_ref());
    let server = server.map_err(|error| match error {
        ThrowawayError::Interrupted => DrillError::Interrupted,
        error => DrillError::Server(error),
    })?;
    let mut report = DrillReport {
        wanted,
        server_version: server.binaries().version.clone(),
        server_user: server.user(),
        roles: Vec::new(),
        tablespaces: Vec::new(),
        other_locale: None,
        restored: None,
        damaged: None,
        checked: None,
        starting: started.elapsed(),
        checking: Duration::ZERO,
        kept: None,
    };
    let name = database_name(source);
    let held = hold(options, &archive, &server, &name, &mut report, progress);
    // Whoever is in a hurry wants nothing kept.
    let keep = options.keep && !progress.interrupted() && report.damaged.is_none();
    if !keep {
        progress.begin(Phase::Server, 0, 0);
        progress.on("removing it");
        // What is left behind outranks what else went wrong.
        server.stop()?;
        return match held {
            Ok(()) => Ok(report),
            Err(_) if progress.interrupted() => Err(DrillError::Interrupted),
            Err(error) => Err(error),
        };
    }
    let kept = Kept {
        folder: server.folder().to_owned(),
        programs: server.binaries().folder.clone(),
        database: name,
        user: server.user(),
    };
    server.keep();
    match held {
        Ok(()) => {
            report.kept = Some(kept);
            Ok(report)
        }
        Err(error) => Err(DrillError::Kept { error: Box::new(error), kept }),
    }
}

/// The database's own name, where that is free in a new cluster.
fn database_name(source: &Source) -> String {
    match source.database.as_str() {
        "" | "postgres" | "template0" | "template1" => "drill".into(),
        name => name.into(),
    }
}

fn settings(options: &DrillOptions, source: &Source, tables: usize) -> Options {
    // A snapshot locks every table, indexes come to that while they are made.
    let locks = tables.saturating_mul(8).div_ceil(100).clamp(256, 1 << 16);
    let connections = options.jobs.saturating_mul(2).saturating_add(20).max(100);
    Options {
        encoding: if source.encoding.is_empty() { "UTF8".into() } else { source.encoding.clone() },
        locale: "C".into(),
        settings: vec![
            ("max_locks_per_transaction".into(), locks.to_string()),
            ("max_connections".into(), connections.to_string()),
        ],
    }
}

fn hold(
    options: &DrillOptions,
    archive: &Archive,
    server: &Server,
    name: &str,
    report: &mut DrillReport,
    progress: &Arc<dyn Progress>,
) -> Result<(), DrillError> {
    let postgres = server.params("postgres")?;
    let restoring = RestoreOptions {
        file: options.file.clone(),
        bases: options.bases.clone(),
        target: postgres.clone(),
        jobs: options.jobs,
        memory: options.memory,
    };
    let mut how = How { place: Place::Create(name.to_owned()), ..How::default() };
    let plan = restore::plan(&restoring, &how, progress)?;
    let source = &archive.manifest().source;
    let runtime = runtime().map_err(|error| DrillError::Internal(error.to_string()))?;
    let work = prepare(&postgres, server, plan.problems, source, name, report);
    let prepared = runtime.block_on(interruptible(progress.as_ref(), work));
    runtime.shutdown_background();
    let made = prepared.unwrap_or(Err(DrillError::Interrupted))?;
    let mut target = postgres;
    if made {
        how.place = Place::Existing;
        target = target.with_database(name);
        progress.note(&format!(
            "this machine has no locale {}: the database is made with {}, so text is ordered \
             otherwise; rows are compared all the same",
            source.collate,
            report.other_locale.as_deref().unwrap_or("C")
        ));
    }
    let restored = restore::run_as(&RestoreOptions { target, ..restoring }, &how, progress);
    let restored = match restored {
        Ok(restored) => restored,
        Err(RestoreError::Damaged { report: verified, .. }) => {
            report.damaged = Some(*verified);
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let there = restored.database.is_some();
    report.restored = Some(restored);
    if there {
        let started = Instant::now();
        let given = match (&options.rules, &archive.manifest().rules) {
            (Some(file), _) => Given::File(file),
            (None, Some(rules)) => Given::Carried(rules),
            (None, None) => Given::None,
        };
        let checking = CheckOptions {
            jobs: options.jobs,
            memory: options.memory,
            lock_timeout: LOCK_TIMEOUT,
            images: ImageCheck::Pixels,
            snapshot: None,
        };
        report.checked = Some(check::run(&server.params(name)?, given, &checking, progress)?);
        report.checking = started.elapsed();
    }
    Ok(())
}

/// Makes what the archive needs and a new cluster lacks. Whether it made the database too, because
/// the locale had to be another.
async fn prepare(
    postgres: &Params,
    server: &Server,
    problems: Vec<RestoreError>,
    source: &Source,
    name: &str,
    report: &mut DrillReport,
) -> Result<bool, DrillError> {
    let session = Session::open(postgres).await?;
    for problem in problems {
        match problem {
            RestoreError::MissingRoles(roles) => {
                for role in &roles {
                    let sql = format!("CREATE ROLE {} NOLOGIN", ident(role));
                    session.run(&format!("creating role {role}"), &sql).await?;
                }
                report.roles = roles;
            }
            RestoreError::MissingTablespaces(names) => {
                for (number, name) in names.iter().enumerate() {
                    let folder = server.make_folder(&format!("tablespace{number}"));
                    let folder = folder
                        .map_err(|source| DrillError::Folder { name: name.clone(), source })?;
                    let sql = format!(
                        "CREATE TABLESPACE {} LOCATION {}",
                        ident(name),
                        literal(&folder.to_string_lossy())
                    );
                    session.run(&format!("creating tablespace {name}"), &sql).await?;
                }
                report.tablespaces = names;
            }
            other => return Err(other.into()),
        }
    }
    let version = session.server_version_num();
    let doing = format!("creating database {name}");
    let sql = create_database_sql(name, source, version);
    let Err(error) = session.run(&doing, &sql).await else {
        // It can be made: the restore makes its own.
        session.run(&doing, &format!("DROP DATABASE {}", ident(name))).await?;
        session.close().await;
        return Ok(false);
    };
    if error.code().is_none() {
        return Err(error.into());
    }
    let provider = if version >= 150_000 { "libc" } else { "" };
    for ctype in ["C.UTF-8", "C"] {
        let plain = Source {
            encoding: source.encoding.clone(),
            collate: "C".into(),
            ctype: ctype.into(),
            locale_provider: provider.into(),
            ..Source::default()
        };
        if session.run(&doing, &create_database_sql(name, &plain, version)).await.is_ok() {
            report.other_locale =
                Some(if ctype == "C" { "C".into() } else { "C and C.UTF-8".into() });
            session.close().await;
            return Ok(true);
        }
    }
    // It was not the locale.
    Err(error.into())
}
