//! Kubernetes: the API's types, the controller and the agent.

pub mod api;
pub mod runtime_class;
