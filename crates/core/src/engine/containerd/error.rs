//! What the dialect refuses, and why.

use crate::class::Class;
use crate::engine::EngineVersion;
use crate::name::HostPath;
use serde::Serialize;
use std::fmt;

/// A place in a configuration, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file; none if only the effective configuration says so.
    pub file: Option<HostPath>,
    /// The line, from 1.
    pub line: Option<usize>,
}

impl Place {
    /// A file as a whole.
    pub fn file(file: &HostPath) -> Self {
        Self { file: Some(file.clone()), line: None }
    }

    /// The line of `file` that holds the byte `offset` of `text`.
    pub fn at(file: &HostPath, text: &str, offset: usize) -> Self {
        Self { file: Some(file.clone()), line: Some(line_of(text, offset)) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}"),
            (Some(file), None) => write!(f, "{file}"),
            (None, _) => f.write_str("containerd's effective configuration"),
        }
    }
}

/// The line that holds `offset`, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// Why a configuration cannot be read or changed. Nothing has been changed when one of these comes back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialectError {
    /// Not TOML, or not the types that containerd expects.
    #[error("{place}: {message}")]
    Parse {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// A configuration that this version of Cofferdam must not change.
    #[error("{place}: {what}")]
    Unsupported {
        /// Where.
        place: Place,
        /// What was found.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A containerd whose configuration is not changed.
    #[error("containerd {engine} {what}")]
    Engine {
        /// Its release.
        engine: EngineVersion,
        /// Why not.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Someone else's change stands in the way.
    #[error("{place}: {what}")]
    Conflict {
        /// Where.
        place: Place,
        /// What was found.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The result did not mean what was intended: a defect, found before anything was written.
    #[error("{place}: the edited text would not mean what was intended ({what})")]
    Unsound {
        /// Where.
        place: Place,
        /// What differs.
        what: String,
    },
}

impl DialectError {
    /// The class that decides exit code and retry.
    pub const fn class(&self) -> Class {
        match self {
            Self::Parse { .. } => Class::Invalid,
            Self::Unsupported { .. } | Self::Engine { .. } => Class::Unsupported,
            Self::Conflict { .. } => Class::Conflict,
            Self::Unsound { .. } => Class::Internal,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Parse { .. } => "containerd cannot load it either: mend the file first".to_owned(),
            Self::Unsupported { hint, .. } | Self::Engine { hint, .. } | Self::Conflict { hint, .. } => {
                hint.clone()
            }
            Self::Unsound { .. } => "nothing was changed: report this, with the file".to_owned(),
        }
    }
}
