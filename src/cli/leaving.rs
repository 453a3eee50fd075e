//! Words and advice for what goes wrong on the way out of an archive: export, extract, selections.

use std::io;
use std::path::Path;

use super::exit::Exit;
use super::hints::{Trouble, chain, damaged, io_words};
use super::names::near_words;
use crate::export::ExportError;
use crate::export::select::SelectError;
use crate::extract::ExtractError;

pub(super) fn target(path: &Path, error: &io::Error) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, format!("{}: {}", path.display(), io_words(error)));
    match error.kind() {
        io::ErrorKind::AlreadyExists => trouble.hint("--force replaces it"),
        io::ErrorKind::NotFound => trouble.hint("the folder it should be in is not there"),
        _ => trouble,
    }
}

pub(super) fn export(path: &Path, output: Option<&Path>, error: &ExportError) -> Trouble {
    let exit = if error.is_damage() { Exit::Findings } else { Exit::Failed };
    let trouble = Trouble::new(exit, format!("{}: {}", path.display(), chain(error)));
    match (error, output.filter(|output| *output != Path::new("-"))) {
        (ExportError::TooLong { .. }, _) => trouble.hint("--format sql sends such a row in slices"),
        (ExportError::Write(_), None) => {
            trouble.hint("what was written is not complete: psql and pg_restore fail on it")
        }
        (_, None) if error.is_damage() => damaged(path, trouble)
            .hint("what was written is not complete: psql and pg_restore fail on it"),
        (_, Some(output)) if error.is_damage() => {
            damaged(path, trouble).hint(format!("{} was not written", output.display()))
        }
        _ => trouble,
    }
}

pub(super) fn extract(path: &Path, error: &ExtractError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        ExtractError::NotEmpty(_) => {
            trouble.hint("name a new folder, or one with nothing in it: no file is ever replaced")
        }
        ExtractError::Read(_) => damaged(
            path,
            Trouble::new(Exit::Failed, format!("{}: {}", path.display(), chain(error))),
        ),
        ExtractError::Interrupted => Trouble::new(Exit::Interrupted, error.to_string()),
        ExtractError::NotThere(_) => {
            Trouble::new(Exit::Usage, format!("{}: {error}", path.display()))
        }
        ExtractError::Write { .. } => trouble,
    }
}

pub(super) fn select(path: &Path, error: &SelectError) -> Trouble {
    let trouble = Trouble::new(Exit::Usage, error.to_string());
    match error {
        SelectError::NoKey(_) => trouble.hint("--where picks rows by any column"),
        SelectError::NoColumn { table, column, columns } => {
            let near = near_words(column, columns);
            if near.is_empty() {
                let shown = path.display();
                trouble.hint(format!("pgark inspect {shown} --table '{table}' lists its columns"))
            } else {
                trouble.hint(format!("there is {}", near.join(", ")))
            }
        }
        SelectError::Syntax(_) => {
            trouble.hint("quote a column that has = in its name: '\"a=b\"=value'")
        }
        SelectError::Values { .. } => {
            trouble.hint("commas are between values; within a value, write \\,")
        }
        SelectError::Generated { .. } | SelectError::Bytea { .. } => trouble,
    }
}
