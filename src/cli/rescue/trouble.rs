//! Words and advice for a rescue that did not come to its end.

use std::path::Path;

use super::kept_words;
use crate::cli::exit::Exit;
use crate::cli::hints::{BUG, Failure, Trouble, chain, io_words};
use crate::cli::units::size;
use crate::cli::{drill, servers};
use crate::create::CreateError;
use crate::pg::throwaway::ThrowawayError;
use crate::rescue::RescueError;

/// What is always so.
const UNTOUCHED: &str = "the original was only read, and is as it was";

/// Words and advice for a rescue that did not come to its end.
pub(in crate::cli) fn trouble(error: &RescueError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        RescueError::Input { path, source } => input(path, source),
        RescueError::Unread { .. } => trouble.hint(
            "the disk fails: make an image of it first (ddrescue keeps what can be read), and rescue \
             from that",
        ),
        RescueError::NoCluster { .. } => trouble.hint(
            "a data directory has PG_VERSION and global/pg_control in it; that of a Docker image is \
             /var/lib/postgresql/data, since version 18 /var/lib/postgresql/18/docker",
        ),
        RescueError::Several { .. } | RescueError::NotThere { .. } => {
            Trouble { exit: Exit::Usage, ..trouble }
                .hint("say which with --within, such as --within 18/docker")
        }
        RescueError::Version(_) => trouble.hint(
            "start a server of that version on a copy of it, and make an archive of a dump of it",
        ),
        RescueError::Alive { .. } => trouble
            .hint(
                "pgark create makes an archive of a server that runs, without stopping it: it is alive",
            )
            .hint("or stop the server first, and run this again"),
        RescueError::Changed(_) => trouble.hint(
            "find out which server works on it (perhaps in a container, or on another machine), and \
             stop it first, or take the archive from it with pgark create",
        ),
        RescueError::Broken(_) => {
            trouble.hint("say with --map OLD=NEW where what they lead to is now").hint(UNTOUCHED)
        }
        RescueError::Unfit(_) => trouble.hint("name another folder with --map OLD=NEW"),
        RescueError::NoWal => trouble
            .hint("find it first: it may be elsewhere (--map), or in a WAL archive")
            .hint(
                "--reset-wal starts without it, on the copy; rows may then be lost or broken, and \
                 nobody can say which",
            ),
        RescueError::IntoOriginal { .. } => Trouble { exit: Exit::Usage, ..trouble }
            .hint("name places outside of it with -o and --work"),
        RescueError::NoRoom { folder, needed, free } => Trouble::new(
            Exit::Failed,
            format!(
                "the copy needs {} in {}, and {} are free",
                size(*needed),
                parent(folder).display(),
                size(*free)
            ),
        )
        .hint("name a folder with more room with --work"),
        RescueError::Copy { source, .. } if is_full(source) => {
            trouble.hint("name a folder with more room with --work").hint(UNTOUCHED)
        }
        RescueError::Copy { .. } => trouble.hint(UNTOUCHED),
        RescueError::Server(error) => server(trouble, error),
        RescueError::MakesTablespace { path, .. } => trouble.hint(format!(
            "do it where {} is not that of the original: in a container, with an empty folder there \
             that the server's user may write to",
            path.display()
        )),
        RescueError::NotUp { words } => {
            let mut trouble = trouble;
            for hint in why_not_up(words) {
                trouble = trouble.hint(hint);
            }
            trouble.hint(UNTOUCHED)
        }
        RescueError::Program { .. } => {
            trouble.hint("the server's programs are not complete: install all of its package")
        }
        RescueError::Said { said, .. } => {
            let mut trouble = trouble;
            for hint in why_not_up(std::slice::from_ref(said)) {
                trouble = trouble.hint(hint);
            }
            trouble.hint(UNTOUCHED)
        }
        RescueError::Session { source, .. } => session(trouble, source),
        RescueError::Ask(source) => servers::server(trouble, source).hint(UNTOUCHED),
        RescueError::NoDatabase { .. } => Trouble { exit: Exit::Usage, ..trouble },
        RescueError::Databases(_) => Trouble { exit: Exit::Usage, ..trouble }
            .hint("--database NAME saves one of them, --all each to an archive of its own"),
        RescueError::Nothing => trouble,
        RescueError::Missing { .. } => trouble.hint(
            "say with --map OLD=NEW where it is now; rows of the other tables are not saved without it",
        ),
        RescueError::Unsaved { source, .. } => unsaved(trouble, source),
        RescueError::Kept { error, folder } => {
            let inner = self::trouble(error);
            let kept = kept_words(folder, "postgres");
            Trouble { exit: inner.exit, hints: inner.hints, ..trouble }.hint(kept)
        }
        RescueError::Interrupted => Failure::Interrupted.explain(),
        RescueError::NoSuperuser | RescueError::Internal(_) => trouble.hint(BUG),
    }
}

fn parent(folder: &Path) -> &Path {
    folder.parent().unwrap_or(folder)
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn input(path: &Path, error: &std::io::Error) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, format!("{}: {}", path.display(), io_words(error)));
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => trouble.hint(
            "a data directory is for its owner alone: run this as root (sudo), or as the user that \
             owns it",
        ),
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => trouble
            .hint("take another copy of the volume, if it is still there; nothing was changed"),
        _ => trouble,
    }
}

fn server(trouble: Trouble, error: &ThrowawayError) -> Trouble {
    match error {
        ThrowawayError::NoServer { wanted, .. } => trouble
            .hint(format!(
                "a data directory needs a server of its own major version: install that of PostgreSQL \
                 {wanted} (Debian and Ubuntu: apt install postgresql-{wanted}, from apt.postgresql.org if \
                 the system has another; Red Hat: dnf install postgresql{wanted}-server; macOS: brew \
                 install postgresql@{wanted}), or say with --bin where its programs are"
            ))
            .hint(format!(
                "or run pgark in the container image that has it: docker run --rm -v VOLUME:/old:ro \
                 -v \"$PWD\":/out -v \"$(command -v pgark)\":/pgark postgres:{wanted} /pgark rescue /old \
                 -o /out/FILE"
            )),
        ThrowawayError::Folder { .. } | ThrowawayError::LongName { .. } => trouble.hint(
            "name a folder with a short name with --work, that the server's user can write to (chmod \
             1777 makes it as /tmp is)",
        ),
        ThrowawayError::Left(folder) => {
            let folder = folder.display();
            trouble.hint(format!(
                "the next rescue there removes it if nothing uses it; or: kill -INT $(head -n 1 \
                 {folder}/data/postmaster.pid); rm -rf {folder}"
            ))
        }
        error => drill::server(trouble, error),
    }
}

/// What a server's last words mean, and what to try.
fn why_not_up(words: &[String]) -> Vec<String> {
    let text = words.join("\n");
    let table: [(&[&str], &str); 12] = [
        (
            &["could not locate required checkpoint record", "could not find redo location"],
            "WAL that recovery begins with is missing. If this is a base backup, put the WAL files of \
             the archive into its pg_wal first; if the server was killed while a backup was made of \
             it, --ignore-backup-label",
        ),
        (
            &["could not locate a valid checkpoint record", "invalid checkpoint record"],
            "the WAL is damaged or not all there. If a better copy is nowhere, --reset-wal starts \
             without it: rows may then be lost or broken, and nobody can say which",
        ),
        (
            &["WAL ends before"],
            "this is a base backup, and the WAL that makes it whole is missing: put it from the \
             archive into its pg_wal; without it, it is not of one moment",
        ),
        (
            &["incompatible with server", "incompatible with this"],
            "the server's programs are built otherwise than those of the old server (block size, \
             processor, edition): use the same package or image as it had",
        ),
        (
            &["incorrect checksum in control file"],
            "global/pg_control is damaged, or of a machine of another kind; --reset-wal rewrites what \
             it can",
        ),
        (
            &[
                "invalid page in block",
                "invalid pages among blocks",
                "WAL contains references to invalid pages",
            ],
            "a page is damaged; --zero-damaged-pages reads it as an empty one, and what was in it is \
             lost",
        ),
        (
            &[
                "could not access file \"$libdir",
                "could not access file",
                "resource manager with ID",
            ],
            "a library of an extension is missing: install it for these programs, and load it with \
             --set shared_preload_libraries=NAME if the WAL needs it",
        ),
        (
            &["unrecognized configuration parameter", "invalid value for parameter"],
            "a setting of --set is not one of this version",
        ),
        (&["No space left"], "name a folder with more room with --work"),
        (
            &["could not access status of transaction", "could not open file \"pg_xact"],
            "the record of what was committed (pg_xact) is damaged: nothing here brings it back; an \
             older backup may be better",
        ),
        (
            &["could not create shared memory", "could not map anonymous shared memory"],
            "this machine has too little memory: --set shared_buffers=16MB needs less",
        ),
        (
            &["create this directory for the tablespace"],
            "the WAL makes a tablespace: do it in a container, with an empty folder where it was",
        ),
    ];
    let fits = |words: &[&str]| words.iter().any(|words| text.contains(words));
    table.iter().filter(|(words, _)| fits(words)).map(|(_, hint)| (*hint).to_owned()).collect()
}

fn session(trouble: Trouble, error: &crate::pg::PgError) -> Trouble {
    let text = error.to_string();
    if text.contains("ICU is not supported") {
        return trouble.hint("use programs that are built with ICU, as those of the packages are");
    }
    if text.contains("not recognized by setlocale") {
        return trouble.hint(
            "make that locale on this machine (localedef, locale-gen), or do it in the container \
             image that the server had",
        );
    }
    let hints = why_not_up(&[text]);
    if hints.is_empty() {
        return servers::server(trouble, error);
    }
    hints.into_iter().fold(trouble, Trouble::hint)
}

fn unsaved(trouble: Trouble, error: &CreateError) -> Trouble {
    let inner = servers::create(error);
    let text = chain(error);
    let damaged = ["invalid page", "invalid pages", "could not read block"];
    let trouble = Trouble { exit: inner.exit, ..trouble };
    if damaged.iter().any(|words| text.contains(words)) {
        return trouble
            .hint("--zero-damaged-pages reads damaged pages as empty ones: the rows in them are lost, \
                   each such page is told, and the rest is saved")
            .hint(UNTOUCHED);
    }
    if ["missing chunk", "unexpected chunk", "data is corrupt"]
        .iter()
        .any(|words| text.contains(words))
    {
        return trouble
            .hint("a long value is damaged: --drop-unreadable-rows leaves out the rows that cannot be \
                   read, tells which, and saves the rest")
            .hint(UNTOUCHED);
    }
    if text.contains("could not access file") || text.contains("must be loaded via shared_preload")
    {
        return trouble.hint(
            "an extension is missing: install it for these programs, and load it with --set \
             shared_preload_libraries=NAME if it asks for that",
        );
    }
    if text.contains("55P03") {
        return trouble.hint(
            "a prepared transaction holds it: --keep leaves the server running on the copy, where it \
             can be rolled back; then pgark create makes the archive",
        );
    }
    Trouble { hints: inner.hints, ..trouble }
}
