//! What the rollout remembers, in the SandboxRuntime's status.

use super::{NodeUid, RetryToken, Revision, Time, Wanted};
use crate::class::Class;
use crate::name::NodeName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The rollout's memory: a journal in the SandboxRuntime's status. It is written, conditional on the object's
/// resourceVersion, *before* the actions that it announces; so whoever reads it, however old their view of the nodes is,
/// knows every node that may be changing.
///
/// Losing it costs safety margins, nothing else: the next decision derives what it can from the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// The revision that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Revision>,
    /// The highest sequence that an assignment got. It is never used again, on no node: views of different ages can be
    /// told apart by it.
    pub sequence: u64,
    /// The last revision that the whole fleet had. The controller keeps its description (source, handlers) too, for nodes
    /// that join while a newer one is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good: Option<Revision>,
    /// Whether `target`'s canaries were proven.
    pub canaries_passed: bool,
    /// The nodes that try `target` first.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub canaries: BTreeMap<NodeName, Canary>,
    /// Changes that were begun and have not been seen to end, by node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<NodeName, Open>,
    /// Nodes on which `target` failed; also those that were deleted since.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<NodeUid, FailedNode>,
    /// Nodes that drifted or are unproven, and what had been asked for when this was noticed: another request mends them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub drifted: BTreeMap<NodeUid, Asked>,
}

/// The retry annotations at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Asked {
    /// The SandboxRuntime's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<RetryToken>,
    /// The SandboxNode's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<RetryToken>,
}

/// A node that tries a revision first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Canary {
    /// Since when it has been seen to be proven on it, by the controller's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven: Option<Time>,
}

/// A change of one node that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// Which node of that name.
    pub uid: NodeUid,
    /// Whether the runtime is to be there afterwards.
    #[serde(default)]
    pub wanted: Wanted,
    /// The revision that it gets, or loses.
    pub revision: Revision,
    /// The assignment's sequence.
    pub sequence: u64,
    /// The assignment's attempt.
    pub attempt: u32,
    /// When it was begun.
    pub since: Time,
}

/// A node on which the target failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedNode {
    /// Its name.
    pub name: NodeName,
    /// The failed assignment's sequence.
    pub sequence: u64,
    /// The error's class.
    pub class: Class,
    /// The error's text, shortened.
    pub message: String,
    /// When this was noticed.
    pub at: Time,
    /// Whether it was sent back to what worked before.
    pub rolled_back: bool,
    /// The SandboxRuntime's retry annotation at that time: with another one, the failure no longer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_retry: Option<RetryToken>,
    /// The same of the SandboxNode's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_retry: Option<RetryToken>,
}
