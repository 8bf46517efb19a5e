//! The command line of `kubectl cofferdam`, which is `cofferdam cluster`, too.

use super::{OUTPUT, OutputArgs, help};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Shows and steers the sandboxed runtimes of a cluster.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-cofferdam",
    bin_name = "kubectl cofferdam",
    version,
    max_term_width = 100,
    after_help = help::KUBECTL
)]
pub(crate) struct Kubectl {
    #[command(subcommand)]
    pub(crate) command: KubectlCommand,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KubectlCommand {
    /// List SandboxRuntimes: how far each is, and why
    Status(ListArgs),
    /// List what nodes have, a line for each runtime on each
    Nodes(NodesArgs),
    /// Say why a node is in the state in which it is, and what to do
    Explain(ExplainArgs),
    /// Show what the agents' checks say no to
    Doctor(DoctorArgs),
    /// Show what a rollout would do now
    Plan(RuntimeArgs),
    /// Stop a rollout; nodes keep what they have
    Pause(SteerArgs),
    /// Let a paused rollout go on
    Resume(SteerArgs),
    /// Have failed and drifted nodes try again
    Retry(RetryArgs),
    /// Print what a file needs in a cluster; asks no cluster
    #[command(after_help = help::RENDER)]
    Render(RenderArgs),
}

impl KubectlCommand {
    /// Whether errors are to be JSON.
    pub(crate) const fn json(&self) -> bool {
        match self {
            Self::Status(args) => args.json,
            Self::Nodes(args) => args.list.json,
            Self::Doctor(args) => args.list.json,
            Self::Plan(args) => args.list.json,
            Self::Explain(_) | Self::Pause(_) | Self::Resume(_) | Self::Retry(_) | Self::Render(_) => false,
        }
    }
}

/// Which cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ConnectArgs {
    /// The kubeconfig [default: KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Its context [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Print JSON (docs/json.md)
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Only this SandboxRuntime
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The node's name
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The node's name [default: all nodes]
    #[arg(value_name = "NODE")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RuntimeArgs {
    /// The SandboxRuntime's name
    #[arg(value_name = "RUNTIME")]
    pub(crate) runtime: String,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SteerArgs {
    /// The SandboxRuntime's name
    #[arg(value_name = "RUNTIME")]
    pub(crate) runtime: String,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The SandboxRuntime's name
    #[arg(value_name = "RUNTIME")]
    pub(crate) runtime: String,
    /// Only this node
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// The file: SandboxRuntime objects, or k8s-kata-manager's configuration; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print the pods that do the work without a token, too (docs/no-api.md)
    #[arg(long)]
    pub(crate) no_api: bool,
    /// Their image
    #[arg(long, value_name = "REF", requires = "no_api", default_value = cofferdam_cluster::workload::IMAGE)]
    pub(crate) image: String,
    /// Their namespace
    #[arg(long, value_name = "NAME", requires = "no_api", default_value = "cofferdam-system")]
    pub(crate) namespace: String,
    /// They remove what an earlier file brought and this one does not name
    #[arg(long, requires = "no_api")]
    pub(crate) prune: bool,
    /// The SELinux type of their container where SELinux is enforced, e.g. spc_t
    #[arg(long, value_name = "TYPE", requires = "no_api")]
    pub(crate) selinux_type: Option<String>,
}

/// `cofferdam cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    pub(crate) command: KubectlCommand,
}
