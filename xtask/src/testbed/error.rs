//! What can go wrong in the test bed.

use cofferdam_core::class::Class;
use cofferdam_host::cri::CriError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of a test bed call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the test bed: what, on what, why, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The operation, as an infinitive.
        action: &'static str,
        /// Its object.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A command could not be started.
    #[error("cannot start `{command}`: {source}; next: {next}")]
    Start {
        /// The command line.
        command: String,
        /// The reason.
        source: io::Error,
        /// What to do.
        next: String,
    },
    /// A command ended with a failure.
    #[error("`{command}` ended with status {status}:\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// The exit status, 128 + signal when killed.
        status: i32,
        /// The end of what it printed.
        output: String,
    },
    /// A command did not end in time and was killed.
    #[error("`{command}` did not end within {limit:?} and was killed; it had printed:\n{output}")]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit.
        limit: Duration,
        /// The end of what it printed.
        output: String,
    },
    /// This machine lacks something that we do not install.
    #[error("{what} is missing: {why}; next: {next}")]
    Missing {
        /// What.
        what: String,
        /// What needs it.
        why: String,
        /// What to do.
        next: String,
    },
    /// CRI on a node failed.
    #[error(transparent)]
    Cri(#[from] CriError),
    /// The user, or whoever started us, wants an end.
    #[error("interrupted while `{command}` ran")]
    Interrupted {
        /// The command line.
        command: String,
    },
    /// A node did not do what it should.
    #[error("node {node}: {what}: {why}")]
    Node {
        /// The node.
        node: String,
        /// What failed.
        what: String,
        /// Why, with the evidence.
        why: String,
    },
    /// A cluster did not do what it should.
    #[error("cluster: cannot {what}: {why}")]
    Cluster {
        /// What failed, as an infinitive.
        what: String,
        /// Why, with the evidence.
        why: String,
    },
    /// Something did not have the form that we know.
    #[error("{what} is not as expected: {why}; next: {next}")]
    Unexpected {
        /// What.
        what: String,
        /// The difference.
        why: String,
        /// What to do.
        next: String,
    },
}

impl Error {
    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Io { .. } | Self::Unexpected { .. } => Class::Internal,
            Self::Start { .. } | Self::Missing { .. } => Class::Unsupported,
            Self::Cri(e) => e.class(),
            Self::Failed { .. }
            | Self::TimedOut { .. }
            | Self::Node { .. }
            | Self::Cluster { .. }
            | Self::Interrupted { .. } => Class::Unavailable,
        }
    }

    /// For `map_err`: an [`Error::Io`] that names the operation and its object.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source: source.into() }
    }
}
