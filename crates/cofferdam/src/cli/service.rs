//! What Cofferdam runs itself: the worker on a host, and the programs of its pods.

use super::values::{duration, listen};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The job's folder
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The engine's unit
    #[arg(long)]
    pub(crate) unit: String,
    /// Look at every file and at the doctor's checks, too
    #[arg(long)]
    pub(crate) full: bool,
    /// Where to write it
    #[arg(long)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The node's name
    #[arg(long)]
    pub(crate) node: String,
    /// The systemd unit of the node's containerd
    #[arg(long, default_value = "containerd.service")]
    pub(crate) unit: String,
    /// Where pull secrets are mounted, each in a folder of its name
    #[arg(long, default_value = "/etc/cofferdam/pull-secrets")]
    pub(crate) pull_secrets: PathBuf,
    /// How often the agent says that it lives, and looks for drift
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=43200))]
    pub(crate) heartbeat_seconds: u64,
    /// How often it looks at every file of what is installed
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(crate) verify_seconds: u64,
    /// Where to answer /healthz, /readyz and /metrics
    #[arg(long, default_value = ":9464", value_parser = listen)]
    pub(crate) metrics_address: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// How long to wait for the nodes, e.g. 90s, 10m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct ControllerArgs {
    /// The namespace of the lease
    #[arg(long)]
    pub(crate) namespace: String,
    /// The lease's name
    #[arg(long, default_value = "cofferdam-controller")]
    pub(crate) lease: String,
    /// This replica's name [default: its pod's, which is the host name]
    #[arg(long)]
    pub(crate) identity: Option<String>,
    /// How often agents say that they live, as they are told: none counts as silent before twice that time
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=43200))]
    pub(crate) heartbeat_seconds: u64,
    /// Where to answer /healthz, /readyz and /metrics
    #[arg(long, default_value = ":9465", value_parser = listen)]
    pub(crate) metrics_address: SocketAddr,
}
