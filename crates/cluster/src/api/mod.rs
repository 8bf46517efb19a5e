//! The API `cofferdam.dev/v1alpha1`: its types, from which the CRDs are generated.
//!
//! ```text
//! package   what is installed, and where it comes from (part of both kinds)
//! verify    what is asked of it before it is unpacked
//! runtime   SandboxRuntime: what the fleet should have; a person writes spec, the controller status
//! node      SandboxNode: what one node should have and has; the controller writes spec, the node's agent status
//! names     labels, the finalizer, conditions' types: names that others see
//! ```

pub mod names;
mod node;
mod package;
mod runtime;
mod verify;

pub use node::{
    Assigned, CheckState, EngineState, HandlerState, PodRef, RuntimeState, SandboxNode, SandboxNodeSpec,
    SandboxNodeStatus, State, Wanted,
};
pub use package::{LimitsSpec, OciSource, Overhead, PackageRevision, PackageSpec, Revision, SourceSpec};
pub use runtime::{
    Counts, HandlerSpec, NodeFailure, RolloutSpec, RuntimeClasses, SandboxRuntime, SandboxRuntimeSpec,
    SandboxRuntimeStatus, SchedulingSpec,
};
pub use verify::{KeylessSpec, SignerSpec, VerifySpec};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API's group.
pub const GROUP: &str = "cofferdam.dev";
/// The API's version.
pub const VERSION: &str = "v1alpha1";

/// Every CRD.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![SandboxRuntime::crd(), SandboxNode::crd()]
}
