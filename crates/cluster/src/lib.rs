//! Kubernetes: the API's types, the controller and the agent.
//!
//! ```text
//! api      SandboxRuntime and SandboxNode
//! client   the API server, over the program's one connector
//! agent    one node: does what its SandboxNode says
//! ```

pub mod agent;
pub mod api;
pub mod client;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The present time, in whole seconds: what the API keeps.
fn now() -> Time {
    let now = k8s_openapi::jiff::Timestamp::now();
    Time(k8s_openapi::jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
}
