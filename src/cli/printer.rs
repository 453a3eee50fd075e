//! The one place that writes to standard output and standard error.
//!
//! Results go to standard output, everything else to standard error. A reader that went away
//! (`pgark cat ... | head`) is no error: what remains is thrown away. Whatever goes to standard
//! error has passwords taken out first; results are facts of archives and stay as they are.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::redact::Redactor;
use super::render::folded;

/// How a piece of text is set off, where the terminal can. Never the only carrier of meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// As it is.
    Plain,
    /// A heading.
    Bold,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// Middling news.
    Warn,
}

/// Whether a stream may be coloured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// Plain text, always.
    #[cfg(test)]
    pub(super) const NEVER: Self = Self(false);

    fn of(terminal: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(terminal && !dumb && !set("NO_COLOR"))
    }

    /// `text`, set off.
    pub(super) fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Bold => "1",
            Style::Good => "1;32",
            Style::Bad => "1;31",
            Style::Warn => "1;33",
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Decides which streams exist, and writes to them.
#[derive(Debug)]
pub(super) struct Printer {
    quiet: bool,
    progress: bool,
    gone: AtomicBool,
    failed: Mutex<Option<io::Error>>,
    redactor: Redactor,
    /// How wide standard error is, if it is a terminal.
    columns: Option<usize>,
}

impl Printer {
    /// Streams as they are; `quiet` leaves only errors and findings, `progress` false leaves out
    /// bars and progress lines.
    pub(super) fn new(quiet: bool, progress: bool, redactor: Redactor) -> Self {
        Self {
            quiet,
            progress: progress && !quiet,
            gone: AtomicBool::new(false),
            failed: Mutex::new(None),
            redactor,
            columns: rustix::termios::tcgetwinsize(io::stderr())
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|columns| *columns >= 40),
        }
    }

    /// Whether only errors and findings are wanted.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether progress is to be shown, in whatever form.
    pub(super) fn shows_progress(&self) -> bool {
        self.progress
    }

    /// Whether standard error is a terminal.
    pub(super) fn err_is_terminal() -> bool {
        io::stderr().is_terminal()
    }

    /// Colours for standard output.
    #[expect(clippy::unused_self, reason = "who prints is who knows the streams")]
    pub(super) fn out_paint(&self) -> Paint {
        Paint::of(io::stdout().is_terminal())
    }

    /// Colours for standard error.
    #[expect(clippy::unused_self, reason = "who prints is who knows the streams")]
    pub(super) fn err_paint(&self) -> Paint {
        Paint::of(Self::err_is_terminal())
    }

    /// Part of the result: words for people or a line of JSON.
    pub(super) fn result(&self, text: &str) {
        self.data(text.as_bytes());
    }

    /// Part of the result, byte for byte.
    pub(super) fn data(&self, bytes: &[u8]) {
        if self.is_gone() {
            return;
        }
        if let Err(error) = io::stdout().lock().write_all(bytes) {
            self.keep(error);
        }
    }

    /// Whether there is nobody left who reads the results, or no place to write them: no use in
    /// producing more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Hands over all that was written; the error that kept results from being written, if any.
    pub(super) fn finish(&self) -> io::Result<()> {
        if !self.is_gone()
            && let Err(error) = io::stdout().lock().flush()
        {
            self.keep(error);
        }
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn keep(&self, error: io::Error) {
        self.gone.store(true, Ordering::Relaxed);
        if error.kind() != io::ErrorKind::BrokenPipe {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    /// Something a person should know; not with `--quiet`.
    pub(super) fn message(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// An error or a finding, always shown. A standard error that cannot be written to is beyond
    /// help.
    pub(super) fn error(&self, text: &str) {
        let mut text = self.redactor.redact(text);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if let Some(width) = self.columns {
            text = text.lines().map(|line| folded(line, width)).collect();
        }
        _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// `text` with passwords taken out, for what is drawn by others (the bars) and for
    /// errors that are part of a result.
    pub(super) fn redact(&self, text: &str) -> String {
        self.redactor.redact(text)
    }
}
