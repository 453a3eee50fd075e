//! What the command's exit status means. These numbers are promised: scripts rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Exit {
    /// It did what was asked, and found nothing wrong.
    Clean = 0,
    /// It did what was asked, and found damage, broken references or differences.
    Findings = 1,
    /// What was typed makes no sense.
    Usage = 2,
    /// It could not be completed: I/O, connection, refused.
    Failed = 3,
    /// The archive needs a newer version.
    TooNew = 4,
    /// Ctrl-C, or asked to end.
    Interrupted = 130,
}

impl Exit {
    /// The worst of two, for commands over several files: what could not be done outranks what
    /// was found, for a verdict is missing there.
    pub(super) fn worst(self, other: Self) -> Self {
        self.max(other)
    }

    /// The number.
    pub(super) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
