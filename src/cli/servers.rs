//! Advice on what servers, `pg_dump` and the work with them say. Part of [`super::hints`].

use std::io;
use std::path::Path;

use super::exit::Exit;
use super::hints::{BUG, Failure, SCRATCH, Trouble, chain, io_words, open, verification};
use crate::check::CheckError;
use crate::compare::CompareError;
use crate::create::CreateError;
use crate::create::pump::PumpError;
use crate::format::writer::WriteError;
use crate::pg::error::AttemptError;
use crate::pg::{DumpError, PgError};
use crate::restore::RestoreError;

/// Where passwords come from.
const PASSWORD: &str = "the password is taken from PGPASSWORD, ~/.pgpass or a service file";

/// An archive could not be made.
pub(super) fn create(error: &CreateError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        CreateError::Base { .. } => Trouble::new(Exit::Failed, chain(error)).hint(
            "nothing was written. pgark verify says what is wrong with it; without --base the \
             archive is made to stand alone",
        ),
        CreateError::Exists(path) => Trouble::new(
            Exit::Failed,
            format!("{} is there already", path.display()),
        )
        .hint("give another name with --output, or --force to replace it once the new one is complete"),
        CreateError::Output { path, source } => output(path, source),
        CreateError::Server(error) => server(trouble, error),
        CreateError::Schema(error) => dump(trouble, error),
        CreateError::Dump(error) => super::dumps::explain(trouble, error),
        CreateError::Rows(error) => pump(trouble, error),
        CreateError::Write { source: WriteError::Scratch(_), .. } => trouble.hint(SCRATCH),
        CreateError::Write { .. } => trouble,
        CreateError::ReadBack { path, .. } => trouble.hint(format!(
            "what is read is not what was written: check the disk and the memory of this machine, \
             then try again; nothing was left at {}",
            path.display()
        )),
        CreateError::Verify { path, source } => verification(path, source),
        CreateError::Interrupted => Failure::Interrupted.explain(),
        CreateError::Rules(_) => Trouble { exit: Exit::Usage, ..trouble }
            .hint("a table is named as schema.table, or as table where only one schema has it"),
        CreateError::Internal(_) => trouble.hint(BUG),
    }
}

/// The archive cannot be written.
fn output(path: &Path, error: &io::Error) -> Trouble {
    let words = match error.kind() {
        io::ErrorKind::NotFound => "its folder does not exist".to_owned(),
        _ => io_words(error),
    };
    let trouble = Trouble::new(Exit::Failed, format!("{}: {words}", path.display()));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            trouble.hint("nothing was left behind; name a place with more room with --output")
        }
        _ => trouble.hint("name a place that can be written to with --output"),
    }
}

/// A restore was refused, or did not come to its end.
pub(super) fn restore(error: &RestoreError) -> Trouble {
    if error.is_interrupted() {
        let trouble = Failure::Interrupted.explain();
        return match error {
            RestoreError::Partial(_) => trouble.hint(PARTIAL),
            RestoreError::RolledBack(_) => trouble.hint("the target is as it was"),
            RestoreError::Undone { dropping: None, .. } => {
                trouble.hint("the new database was dropped again; nothing else was changed")
            }
            RestoreError::Undone { .. } => Trouble::new(Exit::Interrupted, chain(error)).hint(LEFT),
            _ => trouble,
        };
    }
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        RestoreError::Open { path, source } => open(path, source),
        RestoreError::Verify { path, source } => verification(path, source),
        RestoreError::Damaged { .. } => {
            trouble.hint("nothing was done; take another copy of the archive, or an older archive")
        }
        RestoreError::TooNew { .. } => Trouble { exit: Exit::TooNew, ..trouble }
            .hint("use the version of pgark that wrote the file, or a newer one"),
        RestoreError::NotEmpty { .. } => trouble.hint(
            "nothing was done; --create NAME restores into a new database, --swap replaces this \
             one and keeps it under another name",
        ),
        RestoreError::Unfit(_) => trouble.hint(
            "nothing was done; --data-only needs every table with the archive's columns and no \
             rows; empty them yourself, or restore into a new database with --create NAME",
        ),
        RestoreError::OlderServer { .. } => {
            trouble.hint("restore on a server at least as new as the one the archive came from")
        }
        RestoreError::MissingRoles(_) => trouble.hint(
            "nothing was done; create them first (CREATE ROLE name), name others with --role \
                 old=new, or leave them out with --no-owner and --no-privileges",
        ),
        RestoreError::MissingExtensions(_) => trouble.hint(
            "nothing was done; install them on the server (packages such as postgresql-contrib), \
             or restore on a server that has them",
        ),
        RestoreError::MissingTablespaces(_) => trouble
            .hint("nothing was done; create them first: CREATE TABLESPACE name LOCATION '...'"),
        RestoreError::Standby => trouble.hint("nothing was done; connect to its primary"),
        RestoreError::Privileges { .. } => trouble.hint(
            "nothing was done; connect as a role that may, or leave owners out with --no-owner",
        ),
        RestoreError::Exists(_) => {
            trouble.hint("nothing was done; give another name, or replace it with --swap")
        }
        RestoreError::NoDatabase(_) => trouble.hint("nothing was done; make it with --create NAME"),
        RestoreError::BadName(_) => Trouble { exit: Exit::Usage, ..trouble },
        RestoreError::Connected { .. } => trouble.hint(
            "the database was not replaced; let them end, or end them with --disconnect when the \
             moment has come",
        ),
        RestoreError::Properties(_) => trouble.hint(
            "nothing was replaced; without --database-settings the new database gets what the \
             old one has",
        ),
        RestoreError::UnderWay(_) => trouble.hint("nothing was done; wait until it has ended"),
        RestoreError::Several(errors) => {
            let mut trouble = trouble;
            for hint in errors.iter().flat_map(|error| restore(error).hints) {
                if !trouble.hints.contains(&hint) {
                    trouble.hints.push(hint);
                }
            }
            trouble
        }
        RestoreError::Undone { error: inner, dropping, .. } => {
            let hints = restore(inner).hints;
            let trouble = Trouble { hints, ..trouble };
            if dropping.is_some() { trouble.hint(LEFT) } else { trouble }
        }
        RestoreError::Server(error)
        | RestoreError::Object { source: error, .. }
        | RestoreError::Load { source: error, .. }
            if error.code().is_some_and(|code| code.code() == "42501") =>
        {
            trouble.hint(
                "the role may not make or fill this: connect as one that may, a superuser as a rule",
            )
        }
        RestoreError::Object { source, .. }
            if source.code().is_some_and(|code| code.code() == "42601") =>
        {
            trouble.hint(
                "the SQL is that of an older version, and a newer server has more keywords: rename \
                 in the source what is a keyword now and make another archive, or restore on a \
                 server of the source's version",
            )
        }
        RestoreError::Server(error)
        | RestoreError::Object { source: error, .. }
        | RestoreError::Load { source: error, .. } => server(trouble, error),
        RestoreError::Rows { .. } | RestoreError::Count { .. } => trouble,
        RestoreError::Archive(_) => trouble.hint("pgark verify says what is lost and what is safe"),
        RestoreError::Compare(error) => pump(trouble, error)
            .hint("the data was loaded, but nobody has seen whether it is what the archive holds"),
        RestoreError::Partial(error) => restore(error).hint(PARTIAL),
        RestoreError::RolledBack(inner) => Trouble { hints: restore(inner).hints, ..trouble },
        RestoreError::Interrupted => Failure::Interrupted.explain(),
        RestoreError::Internal(_) => trouble.hint(BUG),
    }
}

/// A database could not be checked.
pub(super) fn check(error: &CheckError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        CheckError::Server(error) => server(trouble, error),
        CheckError::Count { .. } => trouble.hint(
            "rows were lost on the way, or an index of the table is damaged (see amcheck): try \
             again, and do not trust this table until it is understood",
        ),
        CheckError::Interrupted => Failure::Interrupted.explain(),
        CheckError::Internal(_) => trouble.hint(BUG),
    }
}

/// There is no comparison.
pub(super) fn compare(error: &CompareError) -> Trouble {
    if error.is_interrupted() {
        return Failure::Interrupted.explain();
    }
    let trouble = Trouble::new(Exit::Failed, chain(error));
    let mut inner = error;
    while let CompareError::Table { source, .. } = inner {
        inner = source;
    }
    match inner {
        CompareError::Read(_) | CompareError::Rows { .. } | CompareError::Row { .. } => {
            trouble.hint("pgark verify says what is lost and what is safe")
        }
        CompareError::Server(error) => server(trouble, error),
        CompareError::Schema(error) => {
            dump(trouble, error).hint("--no-schema compares rows and sequences without pg_dump")
        }
        CompareError::Pump(error) => pump(trouble, error),
        CompareError::Scratch(_) => trouble.hint(
            "rows of tables that differ go to scratch files: name a folder with more room in TMPDIR",
        ),
        CompareError::TooLong { .. } => {
            trouble.hint("restore the archive into another database and copy the value from there")
        }
        CompareError::Internal(_) => trouble.hint(BUG),
        CompareError::Output(_) | CompareError::Interrupted | CompareError::Table { .. } => trouble,
    }
}
/// What a new database is that could not be dropped.
const LEFT: &str = "the next restore of this database with --create or --swap drops what is left";

/// What a restore that broke off leaves.
const PARTIAL: &str =
    "the target is left partly filled: drop it, create a new one and restore into that";

/// A connection makes no sense before anything is tried.
pub(super) fn connection(error: &PgError) -> Trouble {
    let exit = match error {
        PgError::Parameter { .. } => Exit::Usage,
        _ => Exit::Failed,
    };
    server(Trouble::new(exit, chain(error)), error)
}

pub(super) fn server(trouble: Trouble, error: &PgError) -> Trouble {
    if let Some(hint) = error.code().and_then(|code| code_hint(code.code())) {
        return trouble.hint(hint);
    }
    match error {
        PgError::Parameter { .. } => trouble.hint(
            "a database is named by postgres://user@host/name, by host=... dbname=..., or by its \
             name alone",
        ),
        PgError::Connect { attempts } => {
            let hint = attempts.iter().rev().find_map(|attempt| attempt_hint(&attempt.cause));
            match hint {
                Some(hint) => trouble.hint(hint),
                None => trouble,
            }
        }
        PgError::Lost { .. } => {
            trouble.hint("the log of the server says why it ended; the network may be the cause")
        }
        PgError::Silent { .. } => trouble.hint("the server or the network is stuck: try again"),
        PgError::Protocol { .. } => trouble
            .hint("a pooler or proxy in between may be the cause: connect to the server itself"),
        _ => trouble,
    }
}

fn attempt_hint(cause: &AttemptError) -> Option<&'static str> {
    match cause {
        AttemptError::Io(_) | AttemptError::Timeout(_) => {
            Some("is the server running there? host and port come from the URL, PGHOST and PGPORT")
        }
        AttemptError::Server(error) => {
            let text = crate::pg::error::describe(error);
            if text.contains("password missing") {
                Some(PASSWORD)
            } else if text.contains("refused") || text.contains("No such file") {
                attempt_hint(&AttemptError::Timeout(std::time::Duration::ZERO))
            } else {
                None
            }
        }
        AttemptError::Setup(error) => error.code().and_then(|code| code_hint(code.code())),
        _ => None,
    }
}

/// Advice for an SQLSTATE.
fn code_hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" => PASSWORD,
        "28000" => "the server's pg_hba.conf decides who may connect from where",
        "3D000" => "name a database that exists; a new one is made with createdb",
        "55P03" => {
            "somebody holds a lock on it: wait until they are done (create and compare wait longer with \
             --lock-timeout)"
        }
        "42501" => {
            "the role needs to read everything: a superuser, or a member of pg_read_all_data that \
             has BYPASSRLS where row security is used"
        }
        "53300" => "the server has no connection left: use fewer with --jobs",
        "53100" => "the disk of the server is full",
        "53200" => "the server is out of memory",
        "57P01" | "57P02" => "the server was shut down: try again when it is back",
        "57P03" => "the server is starting or stopping: try again in a moment",
        _ => return None,
    })
}

fn dump(trouble: Trouble, error: &DumpError) -> Trouble {
    match error {
        DumpError::NotFound { server } => trouble.hint(format!(
            "install the client programs of PostgreSQL {server} or newer, or name them with \
             --pg-dump, such as --pg-dump 'docker exec -i db pg_dump'"
        )),
        DumpError::TooOld { server, .. } => {
            trouble.hint(format!("name a pg_dump of version {server} or newer with --pg-dump"))
        }
        DumpError::NoVersion { .. } | DumpError::Words { .. } | DumpError::Start { .. } => {
            trouble.hint("--pg-dump takes a command, such as /usr/lib/postgresql/18/bin/pg_dump")
        }
        DumpError::Server(error) => server(trouble, error),
        DumpError::Kind { .. } => trouble.hint(BUG),
        _ => trouble,
    }
}

fn pump(trouble: Trouble, error: &PumpError) -> Trouble {
    match error {
        PumpError::Server(error) => server(trouble, error),
        PumpError::Interrupted => Failure::Interrupted.explain(),
        PumpError::Internal(_) => trouble.hint(BUG),
        PumpError::Count { .. } => trouble.hint(
            "rows were lost on the way, or an index of the table is damaged (see amcheck): try \
             again, and do not trust this table until it is understood",
        ),
        _ => trouble,
    }
}
