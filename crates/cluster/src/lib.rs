//! Kubernetes: the API's types, the controller and the agent.
//!
//! ```text
//! api            SandboxRuntime and SandboxNode
//! access         who may do what: RBAC, admission policies, what of the host an agent sees
//! workload       the pods that run this program, as manifests
//! client         the API server, over the program's one connector;  patience: what it does when that is in trouble
//! watch          watches that tell whether they work, and wait longer after each failure
//! agent          one node: does what its SandboxNode says
//! controller     the fleet: says what each node should have, as the rollout allows
//! service        both as processes;  metrics: what they count;  serve: health and metrics over HTTP
//! facts          what objects tell of a node, for the controller and for people
//! runtime_class  handlers -> RuntimeClasses
//! source         where a package comes from, for the host's worker
//! file           the declarative file;  render: everything as text;  view: objects for people
//! ```

pub mod access;
pub mod agent;
pub mod api;
pub mod client;
pub mod controller;
mod facts;
pub mod file;
pub mod metrics;
mod patience;
pub mod render;
pub mod runtime_class;
pub mod serve;
pub mod service;
mod source;
pub mod uninstall;
pub mod view;
mod watch;
pub mod workload;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The present time, in whole seconds: what the API keeps.
pub fn now() -> Time {
    let now = k8s_openapi::jiff::Timestamp::now();
    Time(k8s_openapi::jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
}
