//! `pgark export`: an archive as plain SQL or in `pg_dump`'s custom format.

use std::io::{self, Write};
use std::path::Path;

use super::Context;
use super::args::{Export, ExportFormat};
use super::cat::open;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Exported};
use super::units::{counted, size};
use crate::export::{self, ExportError, ExportOptions, ExportReport};
use crate::format::reader::Archive;
use crate::io::AtomicFile;

/// Runs it.
pub(super) fn run(typed: &Export, context: &Context) -> Result<Exit, Failure> {
    let archive = open(&typed.file, &typed.bases)?;
    let Some(path) = typed.output.as_deref().filter(|path| *path != Path::new("-")) else {
        let mut out = Stdout(context);
        write(typed, &archive, &mut out, context)?;
        return Ok(Exit::Clean);
    };
    let at = |error| Failure::Target(path.to_owned(), error);
    let file = if typed.force { AtomicFile::create_over(path) } else { AtomicFile::create(path) };
    let file = file.map_err(at)?;
    let report = write(typed, &archive, &mut file.file(), context)?;
    file.commit().map_err(at)?;
    if typed.json {
        json::print(&context.printer, &Exported::new(&typed.file, path, &report));
    } else if !context.printer.is_quiet() {
        context.printer.result(&format!(
            "{}: {}, {}, {} of {}\n",
            path.display(),
            counted(report.tables, "table", "tables"),
            counted(report.rows, "row", "rows"),
            size(report.bytes),
            match typed.format {
                ExportFormat::Sql => "SQL",
                ExportFormat::Custom => "custom format",
            }
        ));
    }
    Ok(Exit::Clean)
}

fn write(
    typed: &Export,
    archive: &Archive,
    out: &mut dyn Write,
    context: &Context,
) -> Result<ExportReport, Failure> {
    let bars = context.bars();
    let options = ExportOptions::default();
    let done = match typed.format {
        ExportFormat::Sql => export::run(archive, &options, out, &*bars),
        ExportFormat::Custom => export::custom::run(archive, &options, out, &*bars),
    };
    bars.finish();
    done.map_err(|error| match error {
        ExportError::Interrupted => Failure::Interrupted,
        error => Failure::Export(typed.file.clone(), typed.output.clone(), Box::new(error)),
    })
}

/// Standard output. Unlike `cat`, an export that nobody reads to its end has failed.
struct Stdout<'a>(&'a Context);

impl Write for Stdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.printer.data(bytes);
        if self.0.printer.is_gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
