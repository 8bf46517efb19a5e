//! Kubernetes: the API's types, the controller and the agent.

pub mod access;
pub mod api;
pub mod workload;
