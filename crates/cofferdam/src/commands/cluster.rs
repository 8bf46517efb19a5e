//! `cofferdam agent` and `cofferdam controller`: the processes in a cluster.

use crate::cli::{AgentArgs, ControllerArgs, proxies};
use cofferdam_cluster::service::{self, ServiceError};
use cofferdam_cluster::{agent, controller};
use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use std::process::ExitCode;
use std::time::Duration;

/// Runs the agent of one node.
pub(crate) fn agent(args: &AgentArgs) -> Result<ExitCode> {
    let options = agent::Options {
        node: args.node.clone(),
        unit: args.unit.clone(),
        pull_secrets: args.pull_secrets.clone(),
        proxies: proxies(),
        heartbeat: Duration::from_secs(args.heartbeat_seconds),
        verify: Duration::from_secs(args.verify_seconds),
    };
    ended(service::run_agent(options, args.metrics_address))
}

/// Runs the controller.
pub(crate) fn controller(args: &ControllerArgs) -> Result<ExitCode> {
    let options = controller::Options {
        namespace: args.namespace.clone(),
        lease: args.lease.clone(),
        identity: args.identity.clone().unwrap_or_else(host_name),
        heartbeat: Duration::from_secs(args.heartbeat_seconds),
    };
    ended(service::run_controller(options, args.metrics_address))
}

fn ended(result: std::result::Result<(), ServiceError>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS).map_err(|error| HostError::new(Class::Unavailable, error.to_string()))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
