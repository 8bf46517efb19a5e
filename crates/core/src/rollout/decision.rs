//! What comes of a decision: actions, and the truth for `status`.

use super::{Announcement, Assignment, NodeUid, Reason, Record, Time};
use crate::name::NodeName;
use std::collections::BTreeSet;

/// What to do now, and how things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// If there is one: write it into the SandboxRuntime's status first, conditional on the resourceVersion that the
    /// request's record came from. If that fails, do none of the actions, and decide anew.
    pub remember: Option<Record>,
    /// What to do, in this order. Each write is conditional on the resourceVersion of the object that the view came from.
    /// An action that fails is left out, with those that follow for the same node: the next decision repeats it.
    pub actions: Vec<Action>,
    /// How the whole stands.
    pub phase: Phase,
    /// How many nodes stand how.
    pub counts: Counts,
    /// How each node stands, in the order of the request; empty if the fleet is unknown: then nothing is announced anew,
    /// and nothing withdrawn.
    pub nodes: Vec<NodeReport>,
    /// When to decide again if nothing happens before.
    pub next_wake: Option<Time>,
}

/// Something to do to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take back the announcement (label, and taint where one is used) before the node changes. Nothing to do if it is not
    /// announced.
    Withdraw {
        /// The node.
        node: NodeName,
        /// Which node of that name.
        uid: NodeUid,
    },
    /// Write this assignment into the SandboxNode's spec, in the place of the earlier one, if there is one.
    Assign {
        /// The node.
        node: NodeName,
        /// Which node of that name.
        uid: NodeUid,
        /// What to write.
        assignment: Assignment,
        /// Why.
        why: Why,
    },
    /// The runtime was taken away: drop its assignment from the SandboxNode's spec.
    Forget {
        /// The node.
        node: NodeName,
        /// Which node of that name.
        uid: NodeUid,
    },
}

impl Action {
    /// Why a node is assigned something, if it is.
    pub const fn why(&self) -> Option<Why> {
        match self {
            Self::Assign { why, .. } => Some(*why),
            Self::Withdraw { .. } | Self::Forget { .. } => None,
        }
    }

    /// The node.
    pub const fn node(&self) -> &NodeName {
        match self {
            Self::Withdraw { node, .. } | Self::Assign { node, .. } | Self::Forget { node, .. } => node,
        }
    }
}

/// Why a node is assigned a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// It tries it first.
    Canary,
    /// Its turn has come.
    Batch,
    /// It had nothing, and gets the revision that the fleet is known to run.
    Join,
    /// The attempt before failed for a reason that may pass, or someone asked for another.
    Retry,
    /// The revision that it was given failed, or is held: back to what worked.
    Rollback,
    /// It was decided before and has not been seen to happen.
    Resume,
    /// It no longer matches, or the runtime is being deleted.
    Leave,
}

/// How a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The fleet could not be seen. Nothing is done.
    Unknown {
        /// Why.
        why: String,
    },
    /// The runtime is on no node, and none asks for it.
    NoNodes,
    /// It goes on.
    Progressing,
    /// Every matching node is proven on the revision; no other node has it.
    Complete,
    /// All is done that can be, but nodes failed: no more than are tolerated, or later than the fleet had the revision.
    Degraded {
        /// Which.
        failed: BTreeSet<NodeName>,
    },
    /// Paused by policy, and there would be something to do.
    Paused,
    /// Too many nodes failed: no further node gets the revision.
    Halted {
        /// Which.
        failed: BTreeSet<NodeName>,
    },
    /// It is being taken away everywhere.
    Removing,
    /// It was taken away everywhere.
    Removed,
}

impl Phase {
    /// The word, for `status` and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "Unknown",
            Self::NoNodes => "NoNodes",
            Self::Progressing => "Progressing",
            Self::Complete => "Complete",
            Self::Degraded { .. } => "Degraded",
            Self::Paused => "Paused",
            Self::Halted { .. } => "Halted",
            Self::Removing => "Removing",
            Self::Removed => "Removed",
        }
    }
}

/// How many nodes stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The selector matches so many.
    pub matched: usize,
    /// Of these: proven on the target, and reachable.
    pub updated: usize,
    /// Of these: proven on what they were assigned, and reachable.
    pub ready: usize,
    /// Of these: the target failed on them.
    pub failed: usize,
    /// Without a proven runtime although they were given one; what `maxUnavailable` limits.
    pub unavailable: usize,
    /// Not to be judged: NotReady, or their agent is silent.
    pub unknown: usize,
    /// They will get the target, and it is not their turn.
    pub waiting: usize,
    /// They no longer match, and still have the runtime.
    pub leaving: usize,
}

/// How one node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Which.
    pub name: NodeName,
    /// Whether it is proven on the target and reachable.
    pub done: bool,
    /// Why it is not done, or why nothing happens to it.
    pub reason: Option<Reason>,
    /// Whether it is announced. Carry this out after the actions.
    pub announcement: Announcement,
}
