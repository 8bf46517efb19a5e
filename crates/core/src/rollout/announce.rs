//! Whether a node is announced as having a working runtime: only if its agent reported what the node was assigned as
//! proven, both were heard of lately, the runtime is to stay there, and no change of it has begun.

use super::Reason;

/// What to do about a node's announcement, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The label (and, reversed, the startup taint).
    pub label: Label,
    /// The condition.
    pub status: Status,
    /// Why it is not True.
    pub reason: Option<Reason>,
}

/// What to do about a node's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// It belongs there.
    Put,
    /// It does not.
    Take,
    /// Nobody can tell at this moment: leave it as it is.
    Keep,
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Proven.
    True,
    /// Not.
    False,
    /// Its agent, or the node, has not been heard for too long.
    Unknown,
}
