//! Damaged pages, and whose they are.

use std::path::Path;

use super::RescueError;
use super::log::between;
use super::programs::run;
use crate::pg::throwaway::Keeper;
use crate::pg::{PgError, Session, literal};
use crate::progress::Progress;

/// Pages of a file before the next one begins, unless the server was built otherwise.
const SEGMENT: u64 = 131_072;

/// A page of a file of a cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Page {
    /// The file without segment and fork, such as `base/16384/16385`.
    pub relation: String,
    /// The page's number in the whole of the relation, from 0.
    pub block: u64,
    /// `main`, `fsm`, `vm` or `init`.
    pub fork: String,
    /// Whose it is; none if nobody could say, as for a database that was not looked at.
    pub owner: Option<Owner>,
}

/// Whose a page is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// The database.
    pub database: String,
    /// The table, as `schema.name`.
    pub table: String,
    /// What of the table.
    pub part: Part,
    /// The index or other relation itself, if it is not the table.
    pub relation: String,
}

/// What of a table a file holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// Its rows.
    Rows,
    /// The long values of its rows.
    LongValues,
    /// An index, which holds nothing that the rows do not hold.
    Index,
    /// Something else, such as a sequence.
    Other,
}

impl Part {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::LongValues => "long-values",
            Self::Index => "index",
            Self::Other => "other",
        }
    }
}

impl Page {
    /// A page of a file as the server names it.
    pub(super) fn new(path: &str, block: u64) -> Self {
        let (relation, fork, segment) = parse(path);
        let block = block.saturating_add(segment.saturating_mul(SEGMENT));
        Self { relation, block, fork, owner: None }
    }

    /// Whether rows may be lost with it, as far as is known: everything but indexes and the maps of
    /// free and visible space.
    pub fn may_hold_rows(&self) -> bool {
        let is_index = self.owner.as_ref().is_some_and(|owner| owner.part == Part::Index);
        self.fork == "main" && !is_index
    }

    /// The numbers of database (0: of the whole cluster) and tablespace (0: the usual one), and of
    /// the file.
    fn numbers(&self) -> Option<(u32, u32, u32)> {
        let parts: Vec<&str> = self.relation.split('/').collect();
        match parts.as_slice() {
            ["global", file] => Some((0, 1664, file.parse().ok()?)),
            ["base", database, file] => Some((database.parse().ok()?, 0, file.parse().ok()?)),
            ["pg_tblspc", space, _, database, file] => {
                Some((database.parse().ok()?, space.parse().ok()?, file.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// `base/5/16385_fsm.2`: relation, fork, segment.
fn parse(path: &str) -> (String, String, u64) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (name, segment) = match name.split_once('.') {
        Some((name, number)) => (name, number.parse().unwrap_or(0)),
        None => (name, 0),
    };
    let (name, fork) = name.split_once('_').unwrap_or((name, "main"));
    (format!("{folder}/{name}"), fork.to_owned(), segment)
}

/// What `pg_checksums` finds in the cluster in the keeper's folder, which must be stopped. None if
/// that program is not there.
pub(super) fn check_pages(
    keeper: &Keeper,
    progress: &dyn Progress,
) -> Result<Option<Vec<Page>>, RescueError> {
    let name = "pg_checksums";
    let mut command = keeper.program(name);
    command.arg("--check").arg("-D").arg(keeper.folder().join("data"));
    let Some(ran) = run(name, command, "", progress)? else { return Ok(None) };
    let said = &ran.stderr;
    let pages: Vec<Page> =
        said.lines().filter_map(|line| bad_page(line, keeper.folder())).collect();
    // It ends with an error where it found something, and where it could not look.
    if pages.is_empty() && !ran.success {
        return Err(ran.failed(name));
    }
    Ok(Some(pages))
}

/// `... checksum verification failed in file "DIR/base/5/16385", block 3: calculated ...`
fn bad_page(line: &str, folder: &Path) -> Option<Page> {
    let path = between(line, "checksum verification failed in file \"", "\"")?;
    let block = between(line, "\", block ", ":")?.parse().ok()?;
    let top = folder.join("data");
    let path = path.strip_prefix(&*top.to_string_lossy()).unwrap_or(path);
    Some(Page::new(path.trim_start_matches(['/', '.']), block))
}

/// Finds the owners of pages of the session's database.
pub(super) async fn name(
    session: &Session,
    database: &str,
    oid: u32,
    pages: &mut [Page],
) -> Result<(), PgError> {
    for page in pages.iter_mut().filter(|page| page.owner.is_none()) {
        let Some((of, space, file)) = page.numbers() else { continue };
        if of != oid && of != 0 {
            continue;
        }
        let sql = format!(
            "SELECT c.relkind::text AS kind, n.nspname || '.' || c.relname AS name, \
             coalesce(un.nspname || '.' || u.relname, hn.nspname || '.' || h.relname) AS table \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
             LEFT JOIN pg_catalog.pg_class u ON u.reltoastrelid = c.oid \
             LEFT JOIN pg_catalog.pg_namespace un ON un.oid = u.relnamespace \
             LEFT JOIN pg_catalog.pg_class h ON h.oid = i.indrelid \
             LEFT JOIN pg_catalog.pg_namespace hn ON hn.oid = h.relnamespace \
             WHERE c.oid = pg_catalog.pg_filenode_relation({space}, {file})"
        );
        let what = format!("finding the owner of file {}", literal(&page.relation));
        let rows = session.rows(&what, &sql, &[]).await?;
        let Some(row) = rows.first() else { continue };
        let bad = |error| PgError::server("a row of the catalog", error);
        let kind: String = row.try_get("kind").map_err(bad)?;
        let relation: String = row.try_get("name").map_err(bad)?;
        let table: Option<String> = row.try_get("table").map_err(bad)?;
        page.owner = Some(Owner {
            database: if of == 0 { "the whole cluster".into() } else { database.to_owned() },
            part: match kind.as_str() {
                "r" | "m" => Part::Rows,
                "t" => Part::LongValues,
                "i" | "I" => Part::Index,
                _ => Part::Other,
            },
            table: table.unwrap_or_else(|| relation.clone()),
            relation,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_cluster() {
        let page = Page::new("base/16384/16385_vm.2", 7);
        assert_eq!((page.relation.as_str(), page.fork.as_str()), ("base/16384/16385", "vm"));
        assert_eq!(page.block, 2 * SEGMENT + 7);
        assert_eq!(page.numbers(), Some((16384, 0, 16385)));
        assert!(!page.may_hold_rows());
        let page = Page::new("pg_tblspc/16400/PG_17_202406281/16384/16401", 0);
        assert_eq!(page.numbers(), Some((16384, 16400, 16401)));
        assert_eq!(Page::new("global/1262", 1).numbers(), Some((0, 1664, 1262)));
    }

    #[test]
    fn lines_of_pg_checksums() {
        let line = "pg_checksums: error: checksum verification failed in file \
                    \"/tmp/x/data/base/5/16385.1\", block 3: calculated checksum A but block contains B";
        let page = bad_page(line, Path::new("/tmp/x")).unwrap();
        assert_eq!(page, Page::new("base/5/16385.1", 3));
        assert_eq!(
            bad_page("pg_checksums: error: cluster must be shut down", Path::new("/")),
            None
        );
    }
}
