//! Why a node is not done: a word for conditions, metrics and docs/rollout.md, and a sentence for people.

use super::{Revision, Time, Wanted};
use crate::class::Class;

/// Why a node is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No agent ever reported from this node.
    AgentMissing,
    /// Its agent has not reported for too long.
    AgentSilent {
        /// When it did last.
        last: Time,
    },
    /// Its Ready condition is False.
    NodeNotReady,
    /// Its Ready condition is Unknown, or missing.
    NodeReadyUnknown,
    /// Its SandboxNode cannot be read: what the node has is not known.
    Unreadable,
    /// It is to lose the runtime, and its agent reports, but cannot tell what is there.
    CannotLook,
    /// It changes at this moment.
    Changing {
        /// Whether the runtime is to be there afterwards.
        wanted: Wanted,
        /// The revision that it gets, or loses.
        revision: Revision,
        /// Since when.
        since: Time,
    },
    /// Proven, but not yet for as long as a canary must be.
    Soaking {
        /// Until when.
        until: Time,
    },
    /// Installed, but no sandbox could be started yet.
    Unproven {
        /// Why.
        message: String,
    },
    /// Somebody changed what we installed.
    Drifted {
        /// What is different.
        message: String,
    },
    /// It failed for a reason that may pass, and is tried again.
    Backoff {
        /// When.
        until: Time,
        /// How many attempts failed.
        attempt: u32,
        /// The last one's error.
        message: String,
    },
    /// The revision failed, and there was nothing to go back to (or going back is switched off).
    Failed {
        /// The error's class.
        class: Class,
        /// The error's text.
        message: String,
    },
    /// The revision failed, and the node is back on the one that worked.
    RolledBack {
        /// The error's class.
        class: Class,
        /// The error's text.
        message: String,
    },
    /// The revision failed, and so did going back.
    RollbackFailed {
        /// The error's class.
        class: Class,
        /// The error's text.
        message: String,
    },
    /// Canaries must be proven first.
    WaitingForCanary,
    /// As many nodes as may be are unavailable.
    MaxUnavailable {
        /// So many are.
        unavailable: usize,
        /// So many may be.
        limit: usize,
    },
    /// The rollout is halted.
    Halted,
    /// The rollout is paused.
    Paused,
    /// Another node of its name was changing a moment ago: whether it is really gone is certain in a minute.
    Replaced,
    /// The selector does not match it, or the runtime is being deleted: it is to go from there.
    NotSelected,
    /// It no longer needs the runtime, but sandboxes run.
    SandboxesInUse {
        /// How many.
        sandboxes: u32,
    },
    /// The selector matches no node at all: that is rather a mistake than a wish, and nothing is taken away.
    NothingMatches,
}

impl Reason {
    /// Every word that [`Reason::as_str`] gives.
    pub const WORDS: [&str; 22] = [
        "AgentMissing",
        "AgentSilent",
        "NodeNotReady",
        "NodeReadyUnknown",
        "Unreadable",
        "CannotLook",
        "Changing",
        "Soaking",
        "Unproven",
        "Drifted",
        "Backoff",
        "Failed",
        "RolledBack",
        "RollbackFailed",
        "WaitingForCanary",
        "MaxUnavailable",
        "Halted",
        "Paused",
        "Replaced",
        "NotSelected",
        "SandboxesInUse",
        "NothingMatches",
    ];

    /// The word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::AgentMissing => "AgentMissing",
            Self::AgentSilent { .. } => "AgentSilent",
            Self::NodeNotReady => "NodeNotReady",
            Self::NodeReadyUnknown => "NodeReadyUnknown",
            Self::Unreadable => "Unreadable",
            Self::CannotLook => "CannotLook",
            Self::Changing { .. } => "Changing",
            Self::Soaking { .. } => "Soaking",
            Self::Unproven { .. } => "Unproven",
            Self::Drifted { .. } => "Drifted",
            Self::Backoff { .. } => "Backoff",
            Self::Failed { .. } => "Failed",
            Self::RolledBack { .. } => "RolledBack",
            Self::RollbackFailed { .. } => "RollbackFailed",
            Self::WaitingForCanary => "WaitingForCanary",
            Self::MaxUnavailable { .. } => "MaxUnavailable",
            Self::Halted => "Halted",
            Self::Paused => "Paused",
            Self::Replaced => "Replaced",
            Self::NotSelected => "NotSelected",
            Self::SandboxesInUse { .. } => "SandboxesInUse",
            Self::NothingMatches => "NothingMatches",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AgentMissing => f.write_str("no agent has reported yet"),
            Self::AgentSilent { .. } => f.write_str("its agent has not been heard for too long"),
            Self::NodeNotReady => f.write_str("the node is not ready"),
            Self::NodeReadyUnknown => f.write_str("nobody knows whether the node is ready"),
            Self::Unreadable => f.write_str("its SandboxNode cannot be read: another version wrote it"),
            Self::CannotLook => f.write_str("its agent reports, but cannot tell yet what is on the node"),
            Self::Changing { wanted: Wanted::Present, revision, .. } => write!(f, "gets revision {revision}"),
            Self::Changing { wanted: Wanted::Absent, revision, .. } => write!(f, "loses revision {revision}"),
            Self::Soaking { .. } => f.write_str("proven, and watched for a while"),
            Self::Unproven { message } => write!(f, "not proven: {message}"),
            Self::Drifted { message } => write!(f, "changed by someone else: {message}"),
            Self::Backoff { attempt, message, .. } => {
                write!(f, "attempt {attempt} failed, another follows: {message}")
            }
            Self::Failed { class, message } => write!(f, "failed ({class}): {message}"),
            Self::RolledBack { class, message } => {
                write!(f, "failed ({class}), back on what worked before: {message}")
            }
            Self::RollbackFailed { class, message } => {
                write!(f, "failed ({class}), and going back failed, too: {message}")
            }
            Self::WaitingForCanary => f.write_str("waits until the canaries are proven"),
            Self::MaxUnavailable { unavailable, limit } => {
                write!(f, "waits: {unavailable} nodes are unavailable, and {limit} may be")
            }
            Self::Replaced => f.write_str("another node of its name was changing a moment ago"),
            Self::Halted => f.write_str("the rollout is halted"),
            Self::Paused => f.write_str("the rollout is paused"),
            Self::NotSelected => f.write_str("the selector does not match it any more"),
            Self::SandboxesInUse { sandboxes: 1 } => f.write_str("a sandbox still runs"),
            Self::SandboxesInUse { sandboxes } => write!(f, "{sandboxes} sandboxes still run"),
            Self::NothingMatches => {
                f.write_str("the selector matches no node at all: rather a mistake than a wish")
            }
        }
    }
}
