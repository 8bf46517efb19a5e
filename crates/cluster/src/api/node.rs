//! SandboxNode: what one node should have, and has.

#![allow(unreachable_pub)] // what KubeSchema derives
#![allow(clippy::duplicated_attributes)] // each printcolumn has its own type_

use super::package::{Overhead, PackageRevision, Revision};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one node should have. Written by the controller; nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "SandboxNode",
    plural = "sandboxnodes",
    shortname = "sbn",
    category = "cofferdam",
    status = "SandboxNodeStatus",
    derive = "PartialEq",
    doc = "What one node should have of sandboxed runtimes, and has. Its name is the node's.",
    printcolumn(
        name = "Engine",
        type_ = "string",
        json_path = ".status.engine.version",
        description = "The container engine's release"
    ),
    printcolumn(
        name = "Runtimes",
        type_ = "string",
        json_path = ".status.summary",
        description = "The state of each SandboxRuntime"
    ),
    printcolumn(
        name = "In-Use",
        type_ = "integer",
        json_path = ".status.inUse",
        description = "Sandboxes that run with any of them"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        description = "What is wrong, of the first that is not as it should be"
    ),
    printcolumn(
        name = "Heard",
        type_ = "date",
        json_path = ".status.heartbeat",
        description = "When the agent was heard last"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SandboxNodeSpec {
    /// The UID of the Node: a node that was replaced under the same name gets an object of its own.
    #[serde(rename = "nodeUID")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("a SandboxNode stays with its node"))]
    pub node_uid: String,
    /// What it should have, and what it should have no more. What is not listed here is left alone.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub runtimes: Vec<Assigned>,
}

/// A runtime that a node should have, or have no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assigned {
    /// The SandboxRuntime's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Whether it should be there.
    #[serde(default)]
    pub wanted: Wanted,
    /// Grows with each assignment: the agent begins anew when it changes, and echoes it.
    pub sequence: u64,
    /// Which attempt at this revision this is, from 1.
    #[serde(default)]
    pub attempt: u32,
    /// When the controller wrote this, in seconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// The runtime's own name on nodes, if the controller knows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub runtime: String,
    /// What should be there, or was.
    pub target: PackageRevision,
    /// What was proven on this node before: where it goes back to if `target` fails. Of an image, with its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<PackageRevision>,
}

/// Whether a runtime should be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Wanted {
    /// It should.
    #[default]
    Present,
    /// It should not: removed once nothing uses it.
    Absent,
}

/// What one node has. Written by its agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxNodeStatus {
    /// The generation of the spec that this is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// When the agent wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Time>,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent_version: String,
    /// The node's kernel.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    /// The node's operating system.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// The container engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineState>,
    /// All runtimes in a line, as `kata=Failed gvisor=Proven`, for a column of a table: those first that are not as they
    /// should be.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 8192))]
    pub summary: String,
    /// How many sandboxes run with any of them.
    #[serde(default)]
    pub in_use: u32,
    /// What is wrong with the first of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub message: String,
    /// One for each runtime of the spec that the agent has dealt with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub runtimes: Vec<RuntimeState>,
    /// Runtimes that are installed, but not by a SandboxRuntime: left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub unmanaged: Vec<String>,
    /// What the doctor says no to, or could not look at (at most 64).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckState>,
    /// What runtimes may require of a node (`kvm`, say), and this one does not have, or could not look for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<CheckState>,
    /// `AgentReady`: whether the agent can look at its node. A dead agent cannot say so, and nobody else
    /// may write it: after `agentSilentSeconds` without a `heartbeat` the SandboxRuntime's condition says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The container engine of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineState {
    /// E.g. `containerd`.
    pub name: String,
    /// E.g. `1.7.24`.
    pub version: String,
    /// What is wrong with it, if something is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What became of one runtime on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeState {
    /// The SandboxRuntime's name.
    pub name: String,
    /// The assignment that `state` is about.
    #[serde(default)]
    pub sequence: u64,
    /// Its revision.
    pub revision: Revision,
    /// In one word.
    pub state: State,
    /// The class of what went wrong, e.g. `rolled-back`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What went wrong and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The runtime's own name on the node, once it is installed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub runtime: String,
    /// The revision that is installed: after a failed upgrade the one of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Revision>,
    /// The installed version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The digest of the installed tree.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The digest of the image that it came from, as the registry names it. A node that goes back is told this one, not
    /// what its tag stands for by then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// What was verified before it was unpacked, and who signed. Empty: nothing was asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub verified: String,
    /// Its handlers, and whether each works now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub handlers: Vec<HandlerState>,
    /// How many sandboxes run with it, in any version.
    #[serde(default)]
    pub in_use: u32,
    /// When they became none, if the agent saw that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_since: Option<Time>,
    /// Some of them, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub pods: Vec<PodRef>,
}

/// How far a runtime is on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Being changed.
    Working,
    /// A sandbox and a container in it ran under each handler, and nothing differs since.
    Proven,
    /// Installed; the engine serves it, but no probe could run.
    Unproven,
    /// The change failed; the node has what it had before.
    Failed,
    /// Installed and proven once; now something of it was changed or is gone.
    Drifted,
    /// Not there (any more).
    Absent,
}

/// One handler on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandlerState {
    /// Its name.
    pub name: String,
    /// Whether it is proven now.
    pub proven: bool,
    /// If it is not, why, in one word: `NotServed` if the engine does not list it, else the runtime's state.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is wrong with it alone. What is wrong with all of the runtime is in the runtime's message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub message: String,
    /// What the package says that a sandbox costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Overhead>,
}

/// A pod that uses a runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One of the doctor's checks that is not a yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckState {
    /// The check's name.
    pub name: String,
    /// `no` or `unknown`.
    pub result: String,
    /// Because.
    pub message: String,
}
