//! The copy's server: up, with somebody who may read everything, and without the locales that this
//! machine lacks being in the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log::between;
use super::programs::run_own;
use super::{RescueError, log};
use crate::pg::throwaway::{Keeper, ThrowawayError};
use crate::pg::{Params, PgError, Session};
use crate::progress::{Phase, Progress};

/// Recovery takes as long as it takes; whoever waits may interrupt.
const LIMIT: Duration = Duration::from_secs(48 * 3600);
/// More locales than a cluster has.
const LOCALES: usize = 64;
/// What a database or role may have set that would keep a session from starting.
const SESSION: &str = "-c session_preload_libraries= -c local_preload_libraries=";

/// The copy with its server.
pub(super) struct Copy {
    pub(super) keeper: Keeper,
    /// Whether the server is up.
    running: bool,
    /// The superuser to be.
    pub(super) user: String,
    /// Locales that this machine lacks, in whose place another stands.
    pub(super) stand_ins: Vec<String>,
}

impl Copy {
    pub(super) fn new(keeper: Keeper) -> Self {
        Self { keeper, running: false, user: "postgres".into(), stand_ins: Vec::new() }
    }

    /// Starts the server, which recovers first.
    pub(super) fn up(&mut self, progress: &dyn Progress) -> Result<(), RescueError> {
        if self.running {
            return Ok(());
        }
        progress.begin(Phase::Server, 0, 0);
        progress.on("starting it");
        self.running = true;
        self.keeper.serve(LIMIT, progress).map_err(|error| match error {
            ThrowawayError::Interrupted => RescueError::Interrupted,
            ThrowawayError::Failed { .. } => {
                self.running = false;
                RescueError::NotUp { words: log::last_words(&self.log()) }
            }
            error => RescueError::Server(error),
        })
    }

    /// Stops it in an orderly way.
    pub(super) fn down(&mut self, progress: &dyn Progress) -> Result<(), RescueError> {
        if self.running {
            progress.begin(Phase::Server, 0, 0);
            progress.on("stopping it");
            self.running = false;
            self.keeper.halt(progress).map_err(|error| match error {
                ThrowawayError::Interrupted => RescueError::Interrupted,
                error => RescueError::Server(error),
            })?;
        }
        Ok(())
    }

    /// All that the servers of this copy have said.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.keeper.folder().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// How to connect.
    pub(super) fn params(&self, database: &str) -> Result<Params, RescueError> {
        Ok(self.keeper.params(&self.user, database)?.with_options(SESSION))
    }

    /// A session of a superuser in some database; sees to it that there is one.
    pub(super) fn first_session(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        progress: &dyn Progress,
    ) -> Result<Session, RescueError> {
        let mut found_user = false;
        let mut databases = ["template1", "postgres"].iter();
        let mut database = databases.next().copied().unwrap_or_default();
        loop {
            self.up(progress)?;
            let error = match self.session(database, runtime, progress) {
                Ok(session) => {
                    let super_user = runtime.block_on(is_superuser(&session))?;
                    if super_user {
                        return Ok(session);
                    }
                    runtime.block_on(session.close());
                    None
                }
                Err(error) => Some(error),
            };
            match (error, found_user) {
                (Some(RescueError::Session { source, .. }), _)
                    if source.code().is_some_and(|code| code.code() == "3D000")
                        && databases.len() > 0 =>
                {
                    database = databases.next().copied().unwrap_or_default();
                }
                // No such role, or one that may not log in.
                (Some(RescueError::Session { source, .. }), false)
                    if source.code().is_some_and(|code| code.code().starts_with("28")) =>
                {
                    self.down(progress)?;
                    self.user = self.superuser(database, progress)?;
                    found_user = true;
                }
                (None, false) => {
                    self.down(progress)?;
                    self.user = self.superuser(database, progress)?;
                    found_user = true;
                }
                (Some(error), _) => return Err(error),
                (None, true) => return Err(RescueError::NoSuperuser),
            }
        }
    }

    /// A session in a database, with locales that this machine lacks stood in for.
    pub(super) fn session(
        &mut self,
        database: &str,
        runtime: &tokio::runtime::Runtime,
        progress: &dyn Progress,
    ) -> Result<Session, RescueError> {
        for _ in 0..LOCALES {
            self.up(progress)?;
            let params = self.params(database)?;
            let source = match runtime.block_on(Session::open(&params)) {
                Ok(session) => return Ok(session),
                Err(source) => source,
            };
            let words = source.to_string();
            let Some(locale) = missing_locale(&words) else {
                return Err(RescueError::Session { database: database.to_owned(), source });
            };
            if !self.try_stand_in(locale, progress)? {
                return Err(RescueError::Session { database: database.to_owned(), source });
            }
            self.down(progress)?;
        }
        Err(RescueError::NoSuperuser)
    }

    /// Lets another locale stand in for a missing one, from the next start on; false if that is not
    /// to be had, or was done already and has not helped.
    fn try_stand_in(&mut self, locale: &str, progress: &dyn Progress) -> Result<bool, RescueError> {
        if self.stand_ins.iter().any(|known| known == locale) || !self.stand_in(locale)? {
            return Ok(false);
        }
        progress.note(&format!(
            "this machine has no locale {locale}: C.UTF-8 stands in for it, which orders text \
             otherwise; rows are read without it"
        ));
        self.stand_ins.push(locale.to_owned());
        Ok(true)
    }

    /// Puts `C.UTF-8` in the place of a locale. Whether that can be done.
    fn stand_in(&self, locale: &str) -> Result<bool, RescueError> {
        let tame = |c: char| c.is_ascii_alphanumeric() || "_@.-".contains(c);
        let Some(from) = plain_locale() else { return Ok(false) };
        if locale.is_empty() || locale.starts_with('.') || !locale.chars().all(tame) {
            return Ok(false);
        }
        let top = self.keeper.folder().join("locale");
        if !top.exists() {
            let failed = |source| RescueError::Copy { path: top.clone(), source };
            self.keeper.make_folder("locale").map_err(failed)?;
        }
        self.copy_folder(&from, &top.join(locale))?;
        Ok(true)
    }

    fn copy_folder(&self, from: &Path, to: &Path) -> Result<(), RescueError> {
        let failed = |source| RescueError::Copy { path: to.to_owned(), source };
        std::fs::create_dir(to).map_err(failed)?;
        for entry in std::fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                self.copy_folder(&entry.path(), &target)?;
            } else {
                let bytes = std::fs::read(entry.path()).map_err(failed)?;
                std::fs::write(&target, bytes).map_err(failed)?;
                self.keeper.give(&target).map_err(failed)?;
            }
        }
        self.keeper.give(to).map_err(failed)
    }

    /// The role that the cluster was made with, which is always there; sees to it, in the copy, that
    /// it is a superuser and may log in. The server must be stopped.
    fn superuser(
        &mut self,
        database: &str,
        progress: &dyn Progress,
    ) -> Result<String, RescueError> {
        loop {
            let (name, words) = self.alone(database, progress)?;
            if let Some(name) = name {
                return Ok(name);
            }
            if progress.interrupted() {
                return Err(RescueError::Interrupted);
            }
            let locale = missing_locale(&words).map(str::to_owned);
            let stood_in = match locale {
                Some(locale) => self.try_stand_in(&locale, progress)?,
                None => false,
            };
            if !stood_in {
                return Err(RescueError::Said { program: "postgres --single".into(), said: words });
            }
        }
    }

    /// The name of that role, or why it could not be had.
    fn alone(
        &self,
        database: &str,
        progress: &dyn Progress,
    ) -> Result<(Option<String>, String), RescueError> {
        let mut command = self.keeper.program("postgres");
        command.arg("--single").arg("-D").arg(self.keeper.folder().join("data")).arg(database);
        if self.keeper.folder().join("locale").exists() {
            command.env("LOCPATH", self.keeper.folder().join("locale"));
        }
        let sql = "UPDATE pg_catalog.pg_authid SET rolsuper = true, rolcanlogin = true \
                   WHERE oid = 10\n\
                   SELECT pg_catalog.encode(pg_catalog.convert_to(rolname::text, 'UTF8'), 'hex') \
                   AS found FROM pg_catalog.pg_authid WHERE oid = 10\n";
        let ran = run_own("postgres --single", command, sql, progress)?;
        let name = between(&ran.stdout, "found = \"", "\"").and_then(unhex);
        Ok((name, ran.stderr.trim().to_owned()))
    }

    /// Removes all of it.
    pub(super) fn remove(self) -> Result<(), RescueError> {
        self.keeper.stop().map_err(RescueError::Server)
    }
}

async fn is_superuser(session: &Session) -> Result<bool, RescueError> {
    let sql = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let rows = session.rows("asking who we are", sql, &[]).await.map_err(RescueError::Ask)?;
    let row = rows.first();
    let bad = |error| RescueError::Ask(PgError::server("asking who we are", error));
    row.map_or(Ok(false), |row| row.try_get(0).map_err(bad))
}

/// `... initialized with LC_COLLATE "en_US.utf8",  which is not recognized by setlocale().`
fn missing_locale(words: &str) -> Option<&str> {
    let (before, _) = words.split_once("which is not recognized by setlocale")?;
    let mut quoted = before.rsplit('"');
    quoted.next()?;
    quoted.next()
}

/// The files of `C.UTF-8`.
fn plain_locale() -> Option<PathBuf> {
    let places = ["/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8", "/usr/lib/locale/c.utf8"];
    places.iter().map(PathBuf::from).find(|place| place.join("LC_CTYPE").is_file())
}

fn unhex(text: &str) -> Option<String> {
    let digits = text.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    String::from_utf8(bytes?).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_server() {
        let words = "FATAL XX000: database locale is incompatible with operating system; detail: \
                     The database was initialized with LC_COLLATE \"en_US.utf8\",  which is not \
                     recognized by setlocale().";
        assert_eq!(missing_locale(words), Some("en_US.utf8"));
        assert_eq!(missing_locale("FATAL 28000: role \"postgres\" does not exist"), None);
        assert_eq!(unhex("73686f70").as_deref(), Some("shop"));
        assert_eq!(unhex("zz"), None);
    }
}
