//! SandboxRuntime: what the fleet should have.

#![allow(unreachable_pub)] // what KubeSchema derives
#![allow(clippy::duplicated_attributes)] // each printcolumn has its own type_

use super::package::{Overhead, PackageRevision, PackageSpec, Revision};
use cofferdam_core::rollout::Policy;
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A sandboxed runtime that the selected nodes should have, and how it gets there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "cofferdam.dev",
    version = "v1alpha1",
    kind = "SandboxRuntime",
    plural = "sandboxruntimes",
    shortname = "sbr",
    category = "cofferdam",
    status = "SandboxRuntimeStatus",
    derive = "PartialEq",
    doc = "A sandboxed container runtime that nodes should have.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every node that should have it, has it and proved it"
    ),
    printcolumn(
        name = "Nodes",
        type_ = "integer",
        json_path = ".status.nodes.matched",
        description = "Nodes that should have it"
    ),
    printcolumn(
        name = "Proven",
        type_ = "integer",
        json_path = ".status.nodes.ready",
        description = "Nodes on which it is proven now"
    ),
    printcolumn(
        name = "Failed",
        type_ = "integer",
        json_path = ".status.nodes.failed",
        description = "Nodes on which it failed"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "What the rollout does"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = "0",
        description = "Why"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(validation = Rule::new("self.metadata.name.size() <= 63").message("the name is used as a label's value: at most 63 characters"))]
#[serde(rename_all = "camelCase")]
pub struct SandboxRuntimeSpec {
    /// What is installed.
    pub package: PackageSpec,
    /// The handlers that nodes offer to pods. None given: all that the package has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = Rule::new("self.all(x, self.exists_one(y, (has(x.runtimeClassName) ? x.runtimeClassName : x.name) == (has(y.runtimeClassName) ? y.runtimeClassName : y.name)))").message("two handlers have one RuntimeClass"))]
    pub handlers: Vec<HandlerSpec>,
    /// Labels that a node must have. None given: every node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Whether the controller makes RuntimeClasses.
    #[serde(default)]
    pub runtime_classes: RuntimeClasses,
    /// How pods find the nodes.
    #[serde(default)]
    pub scheduling: SchedulingSpec,
    /// How it gets to the nodes.
    #[serde(default)]
    pub rollout: RolloutSpec,
    /// Whether nodes get the labels that kata-deploy's users select by, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compatibility_labels: bool,
    /// Checks of the doctor's whose "no" is overridden on every node (`cofferdam doctor`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    pub skip_checks: Vec<String>,
}

/// A handler, and the RuntimeClass for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandlerSpec {
    /// The handler's name in the package.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The name of its RuntimeClass, if it is not the handler's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub runtime_class_name: Option<String>,
    /// What a sandbox costs, if it is not what the package says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Overhead>,
}

/// Whether the controller makes RuntimeClasses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RuntimeClasses {
    /// One for each handler.
    #[default]
    Managed,
    /// None: someone else does.
    Unmanaged,
}

/// How pods find the nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.startupTaint) ? has(oldSelf.startupTaint) && self.startupTaint == oldSelf.startupTaint : !has(oldSelf.startupTaint)").message("the startup taint cannot be changed: nodes would keep the old one; next: delete the SandboxRuntime and make it anew"))]
pub struct SchedulingSpec {
    /// The RuntimeClass's node selector, instead of the label that says that the handler is proven. For pools that scale
    /// from zero: an autoscaler knows the pool's labels only. Goes with `startupTaint`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// The RuntimeClass's tolerations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// The key of a NoSchedule taint, below `cofferdam.dev/`, that selected nodes have while the runtime is not proven.
    /// New nodes should register with it. It keeps every pod without a toleration away: for pools of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        regex(pattern = "^cofferdam\\.dev/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
    )]
    pub startup_taint: Option<String>,
}

fn one() -> IntOrString {
    IntOrString::Int(1)
}

const fn canary() -> u32 {
    1
}

const fn silent() -> u32 {
    900
}

const fn retry_seconds() -> u32 {
    30
}

/// How a change gets to the nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutSpec {
    /// So many of the selected nodes may be without a proven runtime because of the rollout: a number, or a percentage
    /// (rounded down, but at least one).
    #[serde(default = "one")]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "type(self) == int ? self >= 1 : self.matches('^(100|[1-9][0-9]?)%$')",
        "message": "a number from 1, or a percentage from 1% to 100%"
    }]))]
    pub max_unavailable: IntOrString,
    /// So many nodes get a new revision first, and must prove it before any other gets it.
    #[serde(default = "canary")]
    #[schemars(range(max = 1000))]
    pub canary: u32,
    /// So long a canary must have been proven before the others follow.
    #[serde(default)]
    #[schemars(range(max = 86400))]
    pub soak_seconds: u32,
    /// No node is changed while this is set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// So many nodes may fail before the rollout halts, at most 100. 0: the first failure halts it.
    #[serde(default)]
    #[schemars(range(max = Policy::MOST_FAILURES))]
    pub failure_budget: u32,
    /// The wait before a node that could not reach something tries again; it doubles each time, up to 16-fold.
    #[serde(default = "retry_seconds")]
    #[schemars(range(min = 1, max = 86400))]
    pub retry_seconds: u32,
    /// An agent that was not heard for so long makes its node's state unknown: labels are taken away. At least
    /// twice the agents' heartbeat (5 minutes, unless the chart says otherwise): less is taken for that, and told as
    /// `SilenceTooShort`.
    #[serde(default = "silent")]
    #[schemars(range(min = 10, max = 86400))]
    pub agent_silent_seconds: u32,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            max_unavailable: one(),
            canary: canary(),
            soak_seconds: 0,
            paused: false,
            failure_budget: 0,
            retry_seconds: retry_seconds(),
            agent_silent_seconds: silent(),
        }
    }
}

/// What the fleet has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxRuntimeStatus {
    /// The generation of the spec that this is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// The revision that nodes should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The last revision that every node proved: what failed nodes go back to. Of an image, with the digest that most had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<PackageRevision>,
    /// What the rollout remembers from one decision to the next. Not for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub record: Option<serde_json::Value>,
    /// What the rollout does, in one word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Why, in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How many nodes.
    #[serde(default)]
    pub nodes: Counts,
    /// Nodes that failed, the latest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<NodeFailure>,
    /// The handlers that nodes offer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handlers: Vec<String>,
    /// Its own name on nodes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub runtime: String,
    /// Ready, Progressing, Degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// How many nodes are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Should have it.
    pub matched: u32,
    /// Have the wanted revision, proven.
    pub updated: u32,
    /// Have it proven, in whichever revision.
    pub ready: u32,
    /// Failed with the wanted revision.
    pub failed: u32,
    /// Have no proven runtime although they were given one.
    pub unavailable: u32,
    /// Cannot be judged: not ready, or not heard of for too long.
    pub unknown: u32,
    /// Wait for their turn.
    pub waiting: u32,
    /// Are not selected any more, and still have it.
    pub leaving: u32,
}

/// Why a node failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFailure {
    /// The node.
    pub node: String,
    /// The revision.
    pub revision: Revision,
    /// The failure's class, e.g. `rolled-back`.
    pub reason: String,
    /// The agent's words.
    pub message: String,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}
