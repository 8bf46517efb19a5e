//! The fleet as it was seen: nodes, what they were told, what their agents say.

use super::Time;
use crate::class::Class;
use crate::name::NodeName;
use serde::{Deserialize, Serialize};

/// One content of what a node is told: a hash over the package, its descriptor and what goes with them. Compared for
/// equality only; equal revisions mean that a node has nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's UID: two nodes of one name that follow each other differ in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeUid(pub String);

/// What someone wrote into the retry annotation. Another text asks for another try; the text itself means nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RetryToken(pub String);

/// All nodes that have to do with one runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// They could not be listed, or the answer is not to be believed (nodes were known, and the list is empty). Nothing
    /// is done.
    Unknown {
        /// Why.
        why: String,
    },
    /// Every node that the selector matches, and every other one whose SandboxNode has this runtime in its spec, or that is
    /// still announced. One view a name. An empty list counts as unknown.
    Nodes(Vec<NodeView>),
    /// There is no such node, and that is certain.
    ConfirmedEmpty,
}

/// One node and this runtime on it. Everything stems from one Node object and the SandboxNode of the same UID; a SandboxNode
/// whose UID is not its Node's is that of a replaced node: pass neither its spec nor its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: NodeName,
    /// The Node object's UID.
    pub uid: NodeUid,
    /// Its Ready condition.
    pub ready: NodeReady,
    /// Whether it takes no new pods. Cordoned nodes get revisions as others do, but are the last to be canaries.
    pub cordoned: bool,
    /// Whether the SandboxRuntime's node selector matches it.
    pub matches: bool,
    /// What the SandboxNode's spec says of this runtime.
    pub assigned: Option<Assignment>,
    /// What a node that is assigned nothing has of it.
    pub remains: Remains,
    /// What the SandboxNode's status says of this runtime.
    pub observed: Observation,
    /// How many sandboxes of this runtime's handlers the agent counted.
    pub in_use: u32,
    /// When they became none, by the node's clock, if the agent saw that.
    pub unused_since: Option<Time>,
    /// The retry annotation on its SandboxNode.
    pub retry: Option<RetryToken>,
}

/// What a node has of a runtime that its SandboxNode does not assign to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remains {
    /// Nothing.
    #[default]
    Nothing,
    /// Nobody can tell: its SandboxNode may have been made anew, and its agent has not reported since.
    Unheard,
    /// Nobody can tell: its SandboxNode cannot be read.
    Unreadable,
    /// Its agent found it there: the SandboxNode was made anew.
    Found,
}

/// A node's Ready condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeReady {
    /// True.
    Ready,
    /// False.
    NotReady,
    /// Unknown, or there is no condition.
    Unknown,
}

/// What a node was told to have. The spec carries it as it is, together with what the revision means; the agent echoes
/// `sequence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Whether the runtime is to be there.
    pub wanted: Wanted,
    /// Which revision of it (if it is to go: which one was there).
    pub revision: Revision,
    /// Grows with each assignment of this runtime to this node: it tells which one a status is about, and an agent
    /// begins anew when it changes, also to the same revision.
    pub sequence: u64,
    /// Which attempt at this revision this is, from 1.
    pub attempt: u32,
    /// When it was made, by the controller's clock.
    pub since: Time,
    /// The revision that was proven on this node before: it goes back there if this one fails, so its tree and its
    /// description are kept.
    pub fallback: Option<Revision>,
}

/// Whether a runtime is to be on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// It is.
    #[default]
    Present,
    /// It is to be taken away.
    Absent,
}

/// What a node's agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it was last heard, by the clock of whoever received it (the time that the API server stamped into
    /// `managedFields`, or the controller's own): agents' clocks are not compared with ours. None: never.
    pub heard: Option<Time>,
    /// The assignment that `state` is about. None: none yet.
    pub sequence: Option<u64>,
    /// How it stands.
    pub state: AgentState,
}

/// How the runtime stands on a node, after the assignment that `sequence` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// It is not there.
    Absent,
    /// The node is changing.
    Working,
    /// Installed, and a sandbox ran under each handler.
    Proven {
        /// Since when, by the node's clock.
        since: Time,
    },
    /// Installed, but no sandbox could be started yet (mostly: no pod network).
    Unproven {
        /// Why.
        message: String,
    },
    /// It was proven, and is no longer what was installed.
    Drifted {
        /// What is different.
        message: String,
    },
    /// It could not be brought there, or taken away.
    Failed(Failure),
}

/// Why a node could not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error's class: *unavailable* and *in-use* are tried again, the others are final.
    pub class: Class,
    /// When, by the node's clock.
    pub at: Time,
    /// What failed, on what, why, and what to do next.
    pub message: String,
}

impl Failure {
    /// Whether the same attempt may work later.
    pub const fn is_transient(&self) -> bool {
        matches!(self.class, Class::Unavailable | Class::InUse)
    }
}
