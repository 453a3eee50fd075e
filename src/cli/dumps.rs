//! `pgark create` of a file that `pg_dump` wrote.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Context;
use super::args::Create;
use super::create::{default_name, now};
use super::exit::Exit;
use super::hints::{Failure, Trouble};
use crate::create::CreateReport;
use crate::create::from_dump::{self, DumpOptions};
use crate::format::parity::Protection;
use crate::progress::Progress;
use crate::source::DumpFileError;

/// Endings that dumps have; behind them may be that of what packed it.
const ENDINGS: [&str; 6] = ["sql", "dump", "backup", "pgdump", "psql", "tar"];
const PACKED: [&str; 2] = ["gz", "zst"];

/// The dump that is meant, if it is no connection: `-`, a file with an ending or in a folder that is
/// named, a folder that `pg_dump -Fd` wrote, and what has an ending of dumps, there or not.
pub(super) fn path(source: &str) -> Option<PathBuf> {
    if source.contains("://") || source.contains('=') {
        return None;
    }
    let path = Path::new(source);
    let looks = source.contains('/') || path.extension().is_some();
    let there = path.join("toc.dat").is_file() || looks && path.exists();
    (source == "-" || there || ending(path).is_some()).then(|| path.to_owned())
}

/// The name of a dump without its endings, if it has those of one.
fn ending(path: &Path) -> Option<&Path> {
    let is = |path: &Path, endings: &[&str]| {
        path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known))
    };
    let inner = if is(path, &PACKED) { Path::new(path.file_stem()?) } else { path };
    if is(inner, &ENDINGS) { inner.file_stem().map(Path::new) } else { None }
}

/// Makes an archive of it, with progress.
pub(super) fn save(
    typed: &Create,
    dump: PathBuf,
    context: &Context,
) -> Result<CreateReport, Failure> {
    for (given, name) in [
        (typed.jobs.is_some(), "--jobs"),
        (typed.pg_dump.is_some(), "--pg-dump"),
        (typed.snapshot.is_some(), "--snapshot"),
        (!typed.base.is_empty(), "--base"),
    ] {
        if given {
            let what = format!("{name} is for databases, and {} is a dump", dump.display());
            return Err(Failure::Usage(what));
        }
    }
    let created = typed.created.unwrap_or_else(now);
    let output = typed.output.clone().unwrap_or_else(|| default_name(&name(&dump), created));
    let options = DumpOptions {
        dump,
        output,
        memory: typed.memory,
        profile: None,
        comment: typed.comment.clone(),
        overwrite: typed.force,
        created: typed.created,
        read_back: !typed.no_read_back,
        parity: typed.parity.0.map(|share| Protection { share, ..Protection::default() }),
        rules: typed.rules.as_deref().map(super::verify::rule_file).transpose()?,
    };
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let report = from_dump::run(&options, &progress);
    bars.finish();
    report.map_err(|error| Failure::Create(Box::new(error)))
}

/// What the archive of a dump is called.
fn name(dump: &Path) -> String {
    let stem = ending(dump).or_else(|| dump.file_name().map(Path::new));
    match stem {
        Some(stem) if dump != Path::new("-") => stem.to_string_lossy().into_owned(),
        _ => "dump".to_owned(),
    }
}

/// Advice on a dump that cannot be taken.
pub(super) fn explain(trouble: Trouble, error: &DumpFileError) -> Trouble {
    match error {
        DumpFileError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
            Trouble::new(Exit::Failed, format!("{}: no such file", path.display()))
                .hint("a database of this name is written dbname=NAME")
        }
        DumpFileError::Kind { .. } => trouble.hint(
            "dumps of pg_dump are taken, in each of its forms: plain SQL, also packed by gzip or \
             zstd, custom (-Fc), directory (-Fd), tar (-Ft)",
        ),
        DumpFileError::Incomplete { .. }
        | DumpFileError::Rows { .. }
        | DumpFileError::LargeObject { .. } => trouble.hint(
            "nothing was written: an archive has to hold all of a database. What is there of the \
             dump psql or pg_restore can still load",
        ),
        DumpFileError::Partial(_) => {
            trouble.hint("nothing was written; dump all of the database: pg_dump without choices")
        }
        _ => trouble.hint("nothing was written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_told_from_databases() {
        for dump in ["-", "shop.sql", "shop.sql.gz", "old/shop.dump.zst", "shop.tar"] {
            assert!(path(dump).is_some(), "{dump}");
        }
        for database in ["shop", "postgres://h/shop.sql", "dbname=shop.sql", "shop.v2", "gz"] {
            assert!(path(database).is_none(), "{database}");
        }
    }

    #[test]
    fn archives_are_called_after_their_dump() {
        assert_eq!(name(Path::new("old/shop.sql.gz")), "shop");
        assert_eq!(name(Path::new("backup_sit_2024.dump")), "backup_sit_2024");
        assert_eq!(name(Path::new("folder")), "folder");
        assert_eq!(name(Path::new("-")), "dump");
    }
}
