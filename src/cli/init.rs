//! `pgark init`: a `pgark.toml` to begin with.

use std::io::Write as _;
use std::path::Path;

use super::Context;
use super::args::Init;
use super::exit::Exit;
use super::hints::Failure;
use crate::io::AtomicFile;
use crate::profile::config::FILE_NAME;
use crate::profile::draft;

/// Runs it.
pub(super) fn run(typed: &Init, context: &Context) -> Result<Exit, Failure> {
    let folder = typed.dir.as_deref().unwrap_or(Path::new("."));
    let path = folder.join(FILE_NAME);
    if !typed.stdout && path.symlink_metadata().is_ok() {
        return Err(Failure::NotReplaced(path));
    }
    let draft = draft::look(folder, &|name| std::env::var(name).ok());
    let draft = draft.map_err(|error| Failure::File(folder.to_owned(), error))?;
    let printer = &context.printer;
    for found in &draft.found {
        printer.message(found);
    }
    if typed.stdout {
        printer.result(&draft.text);
        return Ok(Exit::Clean);
    }
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::NotReplaced(path.clone()),
        _ => Failure::Target(path.clone(), error),
    };
    let file = AtomicFile::create(&path).map_err(failed)?;
    file.file().write_all(draft.text.as_bytes()).map_err(failed)?;
    file.commit().map_err(failed)?;
    if !printer.is_quiet() {
        let first = draft.profiles.first().map_or("NAME", String::as_str);
        printer.result(&format!(
            "{} written: look through it, then pgark create {first}\n",
            path.display()
        ));
    }
    Ok(Exit::Clean)
}
