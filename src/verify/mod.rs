//! Says, with no database at hand, whether an archive is whole and means what it should: every
//! byte, every digest, every row, every reference.
//!
//! The answer for a damaged archive is a [`Report`]; an error is only when nothing could be said.

mod codes;
mod equality;
mod findings;
mod report;
mod spill;
mod values;

pub use codes::{Code, Severity};
pub use findings::{EXAMPLES, Finding};
pub use report::{Level, REPORT_VERSION, Report, TableReport, TableState};
