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
    pub const WORDS: [&str; 20] = [
        "AgentMissing",
        "AgentSilent",
        "NodeNotReady",
        "NodeReadyUnknown",
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
