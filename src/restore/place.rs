//! Databases made for a restore, and how they get their names.
//!
//! The new database is made under a working name, with a comment that says what it is and for
//! whom. It gets its real name when all is in it and compared. A swap renames both databases in
//! one transaction, with everything that belongs to a database rather than its contents: at any
//! moment the name leads to the old or to the new one, and nothing has to be finished later. What
//! a killed run leaves is a database under a working name, which the next run removes. A lock in
//! the database that the work is directed from keeps two runs for one name apart.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::RestoreError;
use super::settings;
use crate::format::manifest::Source;
use crate::pg::{self, Params, PgError, Session, ident, literal};
use crate::progress::Progress;

/// The server's limit for names, in bytes.
const NAME_LIMIT: usize = 63;
/// In every working name, between the beginning of the real one and the time.
pub(super) const WORKING: &str = "_pgark_new_";
/// In the name of what a swap puts aside.
pub(super) const BEFORE: &str = "_before_";
/// Key of the advisory lock, with the hash of the name: "pgar".
const LOCK: i32 = 0x7067_6172;
/// SQLSTATE of what somebody uses, and of a lock that was not had in time.
const IN_USE: &str = "55006";
const LOCKED: &str = "55P03";
/// How long the renaming waits for a lock on a database, each time it is tried.
const LOCK_WAIT: &str = "5s";
/// How often the renaming is tried while somebody is connected; the server itself waits 5 s.
const TRIES: u32 = 4;

/// Where an archive is restored to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Place {
    /// The target itself: a database with nothing in it.
    #[default]
    Existing,
    /// A new database of this name, on the target's server.
    Create(String),
    /// In place of the target's database, which is kept under another name.
    Swap {
        /// End the connections to the old database when the moment has come.
        disconnect: bool,
    },
}

/// Somebody who is connected to the database that is to be replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// The server's process.
    pub pid: i32,
    /// Who.
    pub user: String,
    /// What program, as it calls itself.
    pub application: String,
    /// From where: an address, or `local`.
    pub client: String,
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let application =
            if self.application.is_empty() { "unnamed" } else { self.application.as_str() };
        write!(f, "pid {} ({application}, user {}, {})", self.pid, self.user, self.client)
    }
}

/// The session that makes, renames and drops databases; it is connected to none of them.
pub(super) struct Director {
    pub(super) session: Session,
    /// The database that comes to be.
    pub(super) name: String,
}

impl Director {
    /// Connects to a database of the target's server that is none of those concerned.
    pub(super) async fn open(target: &Params, name: &str) -> Result<Self, RestoreError> {
        let mut first = None;
        for database in ["postgres", "template1"] {
            if database == name {
                continue;
            }
            match Session::open(&target.with_database(database)).await {
                Ok(session) => return Self { session, name: name.to_owned() }.ready().await,
                Err(error) => first = first.or(Some(error)),
            }
        }
        // Where an administrator removed both, the target itself is a way in, for --create.
        match Session::open(target).await {
            Ok(session) if target.database() != name => {
                Self { session, name: name.to_owned() }.ready().await
            }
            Ok(_) => Err(first.map_or_else(
                || RestoreError::Internal("no database to work from".into()),
                RestoreError::Server,
            )),
            Err(error) => Err(first.unwrap_or(error).into()),
        }
    }

    async fn ready(self) -> Result<Self, RestoreError> {
        self.session.run("setting up a session for restoring", super::WRITABLE).await?;
        Ok(self)
    }

    /// Takes the lock that keeps two runs for one name apart; it goes with the session.
    pub(super) async fn lock(&self) -> Result<(), RestoreError> {
        let sql = "SELECT pg_catalog.pg_try_advisory_lock($1, pg_catalog.hashtext($2))";
        let rows = self.session.rows("locking the name", sql, &[&LOCK, &self.name]).await?;
        if one::<bool>("locking the name", &rows)?.unwrap_or(false) {
            Ok(())
        } else {
            Err(RestoreError::UnderWay(self.name.clone()))
        }
    }

    /// Whether a database of this name is there.
    pub(super) async fn exists(&self, name: &str) -> Result<bool, RestoreError> {
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)";
        let rows = self.session.rows("looking for the database", sql, &[&name]).await?;
        Ok(one::<bool>("looking for the database", &rows)?.unwrap_or(false))
    }

    /// Databases that runs for this name have left under a working name.
    pub(super) async fn leftovers(&self, target: &Params) -> Result<Vec<String>, RestoreError> {
        const DOING: &str = "looking for what an earlier run has left";
        let sql = "SELECT d.datname::text, pg_catalog.shobj_description(d.oid, 'pg_database') \
                   FROM pg_catalog.pg_database d WHERE pg_catalog.strpos(d.datname::text, $1) > 0 \
                   ORDER BY 1";
        let mut found = Vec::new();
        for row in self.session.rows(DOING, sql, &[&WORKING]).await? {
            let wrong = |error| PgError::server(DOING, error);
            let name: String = row.try_get(0).map_err(wrong)?;
            let comment: Option<String> = row.try_get(1).map_err(wrong)?;
            let ours = match comment {
                Some(comment) => comment == marker(&self.name),
                // Killed between making it and marking it: there is nothing in it then.
                None => is_working_name(&name, &self.name) && is_empty(target, &name).await,
            };
            if ours {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// Drops a database that is ours, and ends what is still connected to it.
    pub(super) async fn drop(&self, name: &str) -> Result<(), PgError> {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name));
        let doing = format!("dropping database {name}");
        match self.session.run(&doing, &sql).await {
            Err(error) if is(&error, IN_USE) => {}
            done => return done,
        }
        self.drop_subscriptions(name).await?;
        self.session.run(&doing, &sql).await
    }

    /// Subscriptions keep a database from being dropped. Those of a restore never ran, and what
    /// they would read from elsewhere is left alone.
    async fn drop_subscriptions(&self, name: &str) -> Result<(), PgError> {
        let session = Session::open(&self.session.params().with_database(name)).await?;
        let doing = format!("dropping the subscriptions of database {name}");
        let sql = "SELECT s.subname::text FROM pg_catalog.pg_subscription s \
                   JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
                   WHERE d.datname = pg_catalog.current_database()";
        for row in session.rows(&doing, sql, &[]).await? {
            let subscription: String =
                row.try_get(0).map_err(|error| PgError::server(&*doing, error))?;
            let subscription = ident(&subscription);
            for what in [
                format!("ALTER SUBSCRIPTION {subscription} DISABLE"),
                format!("ALTER SUBSCRIPTION {subscription} SET (slot_name = NONE)"),
                format!("DROP SUBSCRIPTION {subscription}"),
            ] {
                session.run(&doing, &what).await?;
            }
        }
        session.close().await;
        Ok(())
    }

    /// A time, as names have it.
    async fn stamp(&self, later: i32) -> Result<String, RestoreError> {
        let sql = "SELECT pg_catalog.to_char((pg_catalog.clock_timestamp() AT TIME ZONE 'UTC') + \
                   pg_catalog.make_interval(secs => $1::pg_catalog.int4), 'YYYYMMDD_HH24MISS')";
        let rows = self.session.rows("asking for the time", sql, &[&later]).await?;
        Ok(one::<String>("asking for the time", &rows)?.unwrap_or_default())
    }

    /// A name of this kind that nobody has.
    pub(super) async fn free_name(&self, infix: &str) -> Result<String, RestoreError> {
        for later in 0..1000 {
            let name = shortened(&self.name, &format!("{infix}{}", self.stamp(later).await?));
            if !self.exists(&name).await? {
                return Ok(name);
            }
        }
        Err(RestoreError::Internal("a thousand names are taken".into()))
    }

    /// Makes the new database under a working name, like the source as far as the server can, and
    /// marks it.
    pub(super) async fn make(
        &self,
        working: &str,
        source: &Source,
        old: Option<&settings::Old>,
        given: Option<&settings::Given>,
    ) -> Result<(), RestoreError> {
        let mut sql = create_database_sql(working, source, self.session.server_version_num());
        if let Some(old) = old {
            let _ = write!(sql, " OWNER {}", ident(&old.properties.owner));
        }
        let tablespace = match old {
            // Naming pg_default, where template0 is, takes a privilege that not everybody has.
            Some(old) => old.properties.tablespace.as_deref(),
            None => given.and_then(settings::Given::tablespace),
        };
        if let Some(tablespace) = tablespace {
            let _ = write!(sql, " TABLESPACE {}", ident(tablespace));
        }
        self.session.run(&format!("creating database {working}"), &sql).await?;
        let mark =
            format!("COMMENT ON DATABASE {} IS {}", ident(working), literal(&marker(&self.name)));
        self.session.run(&format!("marking database {working}"), &mark).await?;
        Ok(())
    }

    /// Gives the new database what belongs to it, by these statements, and its name, which nobody
    /// has.
    pub(super) async fn name(&self, working: &str, given: &str) -> Result<(), RestoreError> {
        let sql = format!(
            "COMMENT ON DATABASE {0} IS NULL; {given}ALTER DATABASE {0} RENAME TO {1}",
            ident(working),
            ident(&self.name)
        );
        self.transaction(&format!("renaming database {working} to {}", self.name), &sql)
            .await
            .map_err(RestoreError::Server)
    }

    /// Puts the new database in the place of the old one, which is kept under another name.
    pub(super) async fn swap(
        &self,
        target: &Params,
        working: &str,
        kept: &str,
        disconnect: bool,
        given: Option<&settings::Given>,
        progress: &dyn Progress,
    ) -> Result<(), RestoreError> {
        let doing = format!("renaming database {} to {kept} and {working} to it", self.name);
        let mut tries = 0;
        let rows = self.session.rows(&doing, "SELECT pg_catalog.pg_backend_pid()", &[]).await?;
        let pid = one::<i32>(&doing, &rows)?.unwrap_or_default();
        loop {
            // What is true of the old one now, not when the restore began.
            let old = settings::Old::read(&self.session, &self.name).await?;
            let sql = format!(
                "SET LOCAL lock_timeout = '{LOCK_WAIT}'; {}ALTER DATABASE {} RENAME TO {}; ALTER DATABASE {} RENAME TO {}",
                old.statements(working, given),
                ident(&self.name),
                ident(kept),
                ident(working),
                ident(&self.name)
            );
            let renaming = self.transaction(&doing, &sql);
            let blockers = Mutex::default();
            // Renaming locks the name, so that nobody new gets in, and then waits for those who
            // are in: this is when they are ended.
            let beside = async {
                let watching = self.watch_blockers(target, pid, &blockers);
                if disconnect {
                    let ending = self.end_connections(target, progress);
                    tokio::try_join!(ending, watching).map(|_| ())
                } else {
                    watching.await
                }
            };
            tokio::pin!(renaming, beside);
            let renamed = tokio::select! {
                renamed = &mut renaming => renamed,
                ended = &mut beside => {
                    if let Err(error) = ended {
                        progress.note(&error.to_string());
                    }
                    renaming.await
                }
            };
            let error = match renamed {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let in_use = is(&error, IN_USE) || is(&error, LOCKED);
            tries += 1;
            if matches!(error, PgError::Lost { .. }) {
                // Did the server still do it? The working name tells.
                let again = Self::open(target, &self.name).await?;
                if !again.exists(working).await? && again.exists(&self.name).await? {
                    return Ok(());
                }
            }
            if !in_use {
                return Err(error.into());
            }
            let mut connections = self.connections().await?;
            if connections.is_empty() {
                connections.clone_from(&blockers.lock().unwrap_or_else(PoisonError::into_inner));
            }
            if tries == TRIES || progress.interrupted() {
                if connections.is_empty() {
                    return Err(error.into());
                }
                return Err(RestoreError::Connected { database: self.name.clone(), connections });
            }
            for connection in connections {
                progress.note(&format!("{connection} is in the way of renaming {}", self.name));
            }
        }
    }

    /// Ends connections to the old database, again and again, until this is dropped or a minute
    /// has passed.
    async fn end_connections(
        &self,
        target: &Params,
        progress: &dyn Progress,
    ) -> Result<(), RestoreError> {
        const DOING: &str = "ending connections";
        let other = Self::open(target, &self.name).await?;
        // By its number: once it is renamed, its name leads to the new one.
        let sql = "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1";
        let rows = other.session.rows(DOING, sql, &[&self.name]).await?;
        let Some(oid) = one::<u32>(DOING, &rows)? else { return Ok(()) };
        let sql = "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                   WHERE datid = $1 AND pid <> pg_catalog.pg_backend_pid()";
        for _ in 0..600 {
            let ended = other.session.rows(DOING, sql, &[&oid]).await?;
            if !ended.is_empty() {
                progress.on(&format!("{} connection(s) ended", ended.len()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Who is connected to the database that is to be replaced.
    pub(super) async fn connections(&self) -> Result<Vec<Connection>, RestoreError> {
        const DOING: &str = "looking for connections";
        let sql = "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), \
                   coalesce(pg_catalog.host(client_addr), 'local') \
                   FROM pg_catalog.pg_stat_activity WHERE datname = $1 \
                   AND pid <> pg_catalog.pg_backend_pid() \
                   AND backend_type IS DISTINCT FROM 'autovacuum worker' ORDER BY pid";
        Ok(connections(DOING, &self.session.rows(DOING, sql, &[&self.name]).await?)?)
    }

    /// Notes who holds up the session of this director, until this is dropped: it may be somebody
    /// who is connected elsewhere, and changes something about the database.
    async fn watch_blockers(
        &self,
        target: &Params,
        pid: i32,
        found: &Mutex<Vec<Connection>>,
    ) -> Result<(), RestoreError> {
        const DOING: &str = "looking for who is in the way";
        let other = Self::open(target, &self.name).await?;
        let sql = "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), \
                   coalesce(pg_catalog.host(client_addr), 'local') \
                   FROM pg_catalog.pg_stat_activity \
                   WHERE pid = ANY (pg_catalog.pg_blocking_pids($1)) ORDER BY pid";
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = connections(DOING, &other.session.rows(DOING, sql, &[&pid]).await?)?;
            if !now.is_empty() {
                *found.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
        }
    }

    async fn transaction(&self, doing: &str, sql: &str) -> Result<(), PgError> {
        let done = self.session.run(doing, &format!("BEGIN; {sql}; COMMIT")).await;
        if done.is_err() {
            // The error is the one to tell; a session that is gone has rolled back anyway.
            _ = self.session.run("rolling back", "ROLLBACK").await;
        }
        done
    }
}

fn connections(doing: &str, rows: &[tokio_postgres::Row]) -> Result<Vec<Connection>, PgError> {
    let wrong = |error| PgError::server(doing, error);
    rows.iter()
        .map(|row| {
            Ok(Connection {
                pid: row.try_get(0).map_err(wrong)?,
                user: row.try_get(1).map_err(wrong)?,
                application: row.try_get(2).map_err(wrong)?,
                client: row.try_get(3).map_err(wrong)?,
            })
        })
        .collect()
}

/// What the comment of a database under a working name says.
fn marker(name: &str) -> String {
    format!("pgark: being restored to become {name}; incomplete, the next restore drops it")
}

/// `name` and `suffix`, within the limit: of the name as much as fits, whole characters.
fn shortened(name: &str, suffix: &str) -> String {
    let mut end = NAME_LIMIT.saturating_sub(suffix.len()).min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", name.get(..end).unwrap_or_default())
}

fn is_working_name(found: &str, name: &str) -> bool {
    let Some((_, stamp)) = found.rsplit_once(WORKING) else { return false };
    let digits = stamp.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    stamp.len() == 15 && digits && shortened(name, &format!("{WORKING}{stamp}")) == found
}

fn is(error: &PgError, code: &str) -> bool {
    error.code().is_some_and(|found| found.code() == code)
}

async fn is_empty(target: &Params, name: &str) -> bool {
    let Ok(session) = Session::open(&target.with_database(name)).await else { return false };
    let empty = pg::contents(&session).await.is_ok_and(|contents| contents.is_empty());
    session.close().await;
    empty
}

/// The statement that makes a database as the source's was, on a server of this version.
pub(crate) fn create_database_sql(name: &str, source: &Source, server: u32) -> String {
    format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {}{}",
        ident(name),
        literal(&source.encoding),
        locale(source, server),
    )
}

/// The clauses of CREATE DATABASE that make text sort and compare as in the source.
fn locale(source: &Source, server: u32) -> String {
    let mut sql = String::new();
    let mut add = |word: &str, value: &str| {
        if !value.is_empty() {
            let _ = write!(sql, " {word} {}", literal(value));
        }
    };
    add("LC_COLLATE", &source.collate);
    add("LC_CTYPE", &source.ctype);
    let locale = source.locale.as_deref().unwrap_or_default();
    if server >= 150_000 {
        add("LOCALE_PROVIDER", &source.locale_provider);
        match source.locale_provider.as_str() {
            "icu" => add("ICU_LOCALE", locale),
            "builtin" => add("BUILTIN_LOCALE", locale),
            _ => {}
        }
    }
    sql
}

fn one<'a, T: tokio_postgres::types::FromSql<'a>>(
    doing: &str,
    rows: &'a [tokio_postgres::Row],
) -> Result<Option<T>, PgError> {
    match rows.first() {
        Some(row) => row.try_get(0).map_err(|error| PgError::server(doing, error)),
        None => Ok(None),
    }
}

/// Guards against names that the server would cut off, and against taking others for ours.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit() {
        assert_eq!(shortened("shop", "_before_20260102_030405"), "shop_before_20260102_030405");
        let long = "ä".repeat(31);
        let cut = shortened(&long, "_before_20260102_030405");
        assert_eq!(cut, format!("{}_before_20260102_030405", "ä".repeat(20)));
        assert!(cut.len() <= NAME_LIMIT);
        let working = shortened(&long, "_pgark_new_20260102_030405");
        assert!(working.len() <= NAME_LIMIT && is_working_name(&working, &long));
        assert!(!is_working_name(&working, "shop"));
        assert!(!is_working_name("shop_pgark_new_2026", "shop"));
        assert!(!is_working_name("shop_pgark_new_x0260102_030405", "shop"));
    }
}
