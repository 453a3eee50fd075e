//! What can go wrong between us and a server.
//!
//! `Display` tells everything: what was being done, and the whole chain of causes with SQLSTATE,
//! message, detail and context of the server. `source()` is kept for code that asks what kind of
//! error it was; printing it as well says the same twice.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_postgres::error::SqlState;

/// An error of connecting to, reading from or writing to a server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PgError {
    /// A connection parameter makes no sense, wherever it came from.
    #[error("connection parameter {name}: {problem}")]
    Parameter {
        /// libpq's name of the parameter, or `connection string`.
        name: String,
        /// What is wrong with it. Never holds a password.
        problem: String,
    },
    /// A file that belongs to the connection could not be used.
    #[error("{kind} {}: {problem}", path.display())]
    File {
        /// What the file is for, such as `service file`.
        kind: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The cause, if it was one of the system's.
        #[source]
        source: Option<std::io::Error>,
    },
    /// No host could be connected to.
    #[error("could not connect to {}", list(attempts))]
    Connect {
        /// What was tried, in order; never empty.
        attempts: Vec<Attempt>,
    },
    /// The server answered with an error, or the connection to it failed in the middle.
    #[error("{doing}: {}", describe(source))]
    Server {
        /// What was being done, and to which object.
        doing: String,
        /// The error as the client library has it.
        source: tokio_postgres::Error,
    },
    /// The connection ended.
    #[error("{doing}: the connection to the server was lost{}", because(source.as_deref()))]
    Lost {
        /// What was being done, and to which object.
        doing: String,
        /// Why, if that is known.
        source: Option<Arc<tokio_postgres::Error>>,
    },
    /// The server said nothing for too long.
    #[error("{doing}: nothing heard from the server for {} s", limit.as_secs())]
    Silent {
        /// What was being done, and to which object.
        doing: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The server sent something that cannot be right.
    #[error("{doing}: {problem}")]
    Protocol {
        /// What was being done, and to which object.
        doing: String,
        /// What was wrong, with the offset in the stream where there is one.
        problem: String,
    },
    /// Something holds for these objects that must not.
    #[error("{problem}: {}", objects.join(", "))]
    Objects {
        /// What holds for them, such as `no privilege to read tables`.
        problem: String,
        /// Their names, and what else there is to say of each.
        objects: Vec<String>,
    },
}

/// One try at one address.
#[derive(Debug, Error)]
#[error("{to}: {}", cause.text())]
pub struct Attempt {
    /// Where to: host, address and port, or the socket.
    pub to: String,
    /// What came of it.
    #[source]
    pub cause: AttemptError,
}

/// Why one try at one address failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The host name could not be resolved, or the like.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Connecting or authenticating failed.
    #[error("{}", describe(_0))]
    Server(#[from] tokio_postgres::Error),
    /// It took too long.
    #[error("no connection within {} s", _0.as_secs())]
    Timeout(Duration),
    /// The server is there, but not of the kind that was asked for.
    #[error("{0}")]
    Unwanted(&'static str),
    /// A setting could not be made on the new session.
    #[error("{0}")]
    Setup(Box<PgError>),
}

impl AttemptError {
    fn text(&self) -> String {
        match self {
            // The client library's words for it name a configuration that nobody wrote.
            Self::Server(error) if describe(error).ends_with("password missing") => {
                "the server asks for a password, and none is known for this connection".to_owned()
            }
            _ => self.to_string(),
        }
    }
}

impl PgError {
    /// An error of the client library, with what was being done and to which object.
    pub fn server(doing: impl Into<String>, source: tokio_postgres::Error) -> Self {
        let doing = doing.into();
        if source.is_closed() {
            Self::Lost { doing, source: None }
        } else {
            Self::Server { doing, source }
        }
    }

    /// Something that a server must not send or be.
    pub fn protocol(doing: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Protocol { doing: doing.into(), problem: problem.into() }
    }

    /// Something that must not hold, and for which objects.
    pub fn objects(problem: impl Into<String>, objects: Vec<String>) -> Self {
        Self::Objects { problem: problem.into(), objects }
    }

    /// The same error, with more said about what was being done: `outer` comes first. For errors
    /// that do not say what was being done, nothing changes.
    #[must_use]
    pub fn during(mut self, outer: &str) -> Self {
        match &mut self {
            Self::Server { doing, .. }
            | Self::Lost { doing, .. }
            | Self::Silent { doing, .. }
            | Self::Protocol { doing, .. } => *doing = format!("{outer}: {doing}"),
            Self::Objects { problem, .. } => *problem = format!("{outer}: {problem}"),
            Self::Parameter { .. } | Self::File { .. } | Self::Connect { .. } => {}
        }
        self
    }

    /// The SQLSTATE, if a server said one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Server { source, .. } => source.code(),
            Self::Lost { source, .. } => source.as_deref().and_then(tokio_postgres::Error::code),
            Self::Connect { attempts } => attempts.iter().rev().find_map(|a| match &a.cause {
                AttemptError::Server(error) => error.code(),
                AttemptError::Setup(error) => error.code(),
                _ => None,
            }),
            _ => None,
        }
    }

    pub(super) fn parameter(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Parameter { name: name.into(), problem: problem.into() }
    }
}

/// All that an error of the client library holds, its causes included: it keeps them to itself
/// (`Display` of a server's error is just `db error`).
pub fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let mut out = format!("{} {}: {}", db.severity(), db.code().code(), db.message());
        for (label, text) in [("detail", db.detail()), ("hint", db.hint()), ("at", db.where_())] {
            if let Some(text) = text {
                let _ = write!(out, "; {label}: {}", text.replace('\n', " / "));
            }
        }
        return out;
    }
    let mut out = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(out, ": {error}");
        cause = error.source();
    }
    out
}

fn because(source: Option<&tokio_postgres::Error>) -> String {
    source.map(|error| format!(": {}", describe(error))).unwrap_or_default()
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// An SQL statement, short enough for a message.
pub(super) fn shortened(sql: &str) -> String {
    const LONGEST: usize = 240;
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
