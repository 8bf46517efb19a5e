//! Classes of failure: what a caller may do about an error.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The class of a failure. It decides retry, exit code, condition reason and metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A defect of Cofferdam itself, or a state it cannot explain.
    Internal,
    /// The input is wrong: descriptor, package, arguments.
    Invalid,
    /// This host cannot do what was asked.
    Unsupported,
    /// Someone else's change stands in the way; nothing of theirs was touched.
    Conflict,
    /// Sandboxes still use what would be taken away.
    InUse,
    /// Something did not answer; the same call may work later.
    Unavailable,
    /// The change reached the node, was not proven, and was taken back.
    RolledBack,
}

impl Class {
    /// The process exit code. Stable: scripts depend on it (docs/exit-codes.md). 2 is clap's usage error and
    /// therefore also *invalid*.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Invalid => 2,
            Self::Unsupported => 3,
            Self::Conflict => 4,
            Self::InUse => 5,
            Self::Unavailable => 6,
            Self::RolledBack => 7,
        }
    }

    /// The name used in JSON, conditions and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Conflict => "conflict",
            Self::InUse => "in-use",
            Self::Unavailable => "unavailable",
            Self::RolledBack => "rolled-back",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
