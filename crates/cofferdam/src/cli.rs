//! The command line's definition.

mod help;
mod kubectl;
mod limits;
mod node;
mod package;
mod service;
mod store;
mod trust;
mod values;

pub(crate) use kubectl::{
    ClusterArgs, ConnectArgs, DoctorArgs as KubectlDoctorArgs, ExplainArgs, Kubectl, KubectlCommand,
    ListArgs, NodesArgs, RenderArgs, RetryArgs, RuntimeArgs, SteerArgs,
};
pub(crate) use limits::LimitArgs;
pub(crate) use node::NodeArgs;
pub(crate) use package::{InstallArgs, PackArgs, PullArgs, descriptor_text};
pub(crate) use service::{AgentArgs, ControllerArgs, ReportArgs, UninstallArgs, WorkerArgs};
pub(crate) use store::{StoreArgs, StoreCommand};
pub(crate) use trust::TrustArgs;
pub(crate) use values::{AccessArgs, CompressionArg, PlaceArg, proxies};

use clap::{Args, Parser, Subcommand, ValueEnum};
use cofferdam_core::name::RuntimeName;
use std::path::PathBuf;
use std::time::Duration;
use values::{duration, label, source};

/// The heading of what is about printing.
const OUTPUT: &str = "Output";

/// Puts sandboxed container runtimes on nodes, proves that they work, and removes them without a trace.
#[derive(Debug, Parser)]
#[command(name = "cofferdam", version, max_term_width = 100, after_help = help::COFFERDAM)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How much is printed, and how it looks.
#[derive(Debug, Args)]
#[command(next_help_heading = OUTPUT)]
pub(crate) struct OutputArgs {
    /// Print what was asked for and what went wrong, nothing else
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print how long each part took, too
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Colours: auto means on terminals, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) color: Color,
}

/// When colours are printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Color {
    /// On terminals, unless the environment says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the presets: descriptors for packages that have none
    #[command(after_help = help::CATALOG)]
    Catalog(CatalogArgs),
    /// Look at the node and say what stands in the way
    #[command(after_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// Show what is installed, the engine, and who uses what
    #[command(after_help = help::STATUS)]
    Status(NodeArgs),
    /// Show what an installation would change; writes nothing
    #[command(after_help = help::PLAN)]
    Plan(InstallArgs),
    /// Install a runtime, prove that it starts sandboxes, or take everything back
    #[command(after_help = help::INSTALL)]
    Install(InstallArgs),
    /// Bring a runtime's files here, for an installation to come; registers nothing
    #[command(after_help = help::PULL)]
    Pull(PullArgs),
    /// Install another version beside the present one; running sandboxes keep theirs
    #[command(after_help = help::UPGRADE)]
    Upgrade(InstallArgs),
    /// Bring this machine to what a file says
    #[command(after_help = help::APPLY)]
    Apply(ApplyArgs),
    /// Go back to the version that was there before
    #[command(after_help = help::ROLLBACK)]
    Rollback(RollbackArgs),
    /// Remove a runtime; the last removal leaves the node as it was
    #[command(after_help = help::REMOVE)]
    Remove(RemoveArgs),
    /// Compare the node with what was installed; changes nothing
    #[command(after_help = help::VERIFY)]
    Verify(NodeArgs),
    /// Put back what drifted: files, registrations, units
    #[command(after_help = help::REPAIR)]
    Repair(RepairArgs),
    /// Delete versions that nothing uses any more
    #[command(after_help = help::GC)]
    Gc(GcArgs),
    /// Look after the installed trees: list, disk usage, verify
    #[command(after_help = help::STORE)]
    Store(StoreArgs),
    /// Finish what a crash interrupted
    #[command(after_help = help::RECOVER)]
    Recover(RecoverArgs),
    /// Make an image of a package, for a registry or a folder
    #[command(after_help = help::PACK)]
    Pack(PackArgs),
    /// Show what was done on this node, when, by whom, with which result
    #[command(after_help = help::LOG)]
    Log(LogArgs),
    /// Collect what a maintainer needs to know about this node, without secrets
    #[command(after_help = help::SUPPORT_BUNDLE)]
    SupportBundle(BundleArgs),
    /// Watch the change that is under way; ending this does not end it
    #[command(after_help = help::FOLLOW)]
    Follow(FollowArgs),
    /// Print a script that completes this command's arguments in a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the manual, or write the pages of all commands
    #[command(after_help = help::MAN)]
    Man {
        /// The folder to write all pages into
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Show and steer the runtimes of a cluster (kubectl cofferdam)
    #[command(after_help = help::CLUSTER)]
    Cluster(ClusterArgs),
    /// Run the agent of one node of a cluster (started by its DaemonSet)
    #[command(hide = true)]
    Agent(AgentArgs),
    /// Run the cluster's controller (started by its Deployment)
    #[command(hide = true)]
    Controller(ControllerArgs),
    /// Wait until asked to end (the container beside which apply did its work)
    #[command(hide = true)]
    Pause,
    /// Have every node of the cluster cleaned before Cofferdam goes (the chart's hook)
    #[command(hide = true)]
    Uninstall(UninstallArgs),
    /// Carry out a request (started by systemd)
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Write down what this node has (started by systemd for the cluster's agent)
    #[command(hide = true)]
    Report(ReportArgs),
    /// Enter the namespaces of a rehearsal (started by the worker)
    #[command(hide = true)]
    RehearseChild {
        /// The helper's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

impl Command {
    /// Whether errors are to be JSON.
    pub(crate) const fn json(&self) -> bool {
        match self {
            Self::Catalog(args) => args.json,
            Self::Doctor(args) => args.node.json,
            Self::Status(args) | Self::Verify(args) => args.json,
            Self::Plan(args) | Self::Install(args) | Self::Upgrade(args) => args.node.json,
            Self::Pull(args) => args.node.json,
            Self::Apply(args) => args.node.json,
            Self::Cluster(args) => args.command.json(),
            Self::Rollback(args) => args.node.json,
            Self::Repair(args) => args.node.json,
            Self::Gc(args) => args.node.json,
            Self::Store(args) => args.json(),
            Self::Remove(args) => args.node.json,
            Self::Recover(args) => args.node.json,
            Self::Log(args) => args.node.json,
            Self::Pack(args) => args.json,
            Self::SupportBundle(args) => args.node.json,
            Self::Follow(args) => args.json,
            Self::Completions { .. }
            | Self::Man { .. }
            | Self::Agent(_)
            | Self::Controller(_)
            | Self::Pause
            | Self::Uninstall(_)
            | Self::Worker(_)
            | Self::Report(_)
            | Self::RehearseChild { .. } => false,
        }
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CatalogArgs {
    #[command(subcommand)]
    pub(crate) show: Option<CatalogCommand>,
    /// Print JSON (docs/json.md)
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Show one preset: its descriptor and what a package must hold
    Show {
        /// The preset's name
        #[arg(value_name = "PRESET")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Presets to judge this node for, or dir:PATH or oci:REFERENCE for a package; none: the node alone
    #[arg(value_name = "PRESET")]
    pub(crate) runtimes: Vec<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The file: SandboxRuntime objects, or k8s-kata-manager's configuration; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Remove what an earlier apply installed and the file does not name (any more)
    #[arg(long)]
    pub(crate) prune: bool,
    /// Only show what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A label of this machine, for node selectors (repeatable) [default: selectors are not looked at]
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) node_label: Vec<(String, String)>,
    /// Where pull secrets are: DIR/NAME/.dockerconfigjson
    #[arg(long, value_name = "DIR", default_value = "/etc/cofferdam/pull-secrets")]
    pub(crate) pull_secrets: PathBuf,
    /// Act on the host of this container (docs/no-api.md)
    #[arg(long, conflicts_with_all = ["dry_run", "root"])]
    pub(crate) in_pod: bool,
    /// Do not start the engine on the new configuration in isolation first
    #[arg(long)]
    pub(crate) skip_rehearsal: bool,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The runtime's name
    #[arg(value_name = "RUNTIME")]
    pub(crate) name: RuntimeName,
    /// Only show what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not start the engine on the new configuration in isolation first
    #[arg(long)]
    pub(crate) skip_rehearsal: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Delete the versions that a rollback would bring back, too
    #[arg(long)]
    pub(crate) all: bool,
    /// Only show what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The runtime whose files are put back [default: all]
    #[arg(value_name = "RUNTIME")]
    pub(crate) name: Option<RuntimeName>,
    /// The package to take files from [default: where they came from]
    #[arg(long, value_name = "SOURCE", value_parser = source, requires = "name")]
    pub(crate) from: Option<PlaceArg>,
    /// The runtime.toml that it was installed with, if its package has none
    #[arg(long, value_name = "FILE", requires = "name")]
    pub(crate) descriptor: Option<PathBuf>,
    /// Replace what someone edited in files and tables that are ours
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Only show what would change in the engine's configuration and in units
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not start the engine on the new configuration in isolation first
    #[arg(long)]
    pub(crate) skip_rehearsal: bool,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The runtime's name
    #[arg(value_name = "RUNTIME")]
    pub(crate) name: RuntimeName,
    /// Only show what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait that long for pods to end, e.g. 90s, 10m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "force")]
    pub(crate) wait: Option<Duration>,
    /// Stop the pods that use it
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not start the engine on the new configuration in isolation first
    #[arg(long)]
    pub(crate) skip_rehearsal: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// Where someone else edited a file meanwhile, keep it as it is
    #[arg(long)]
    pub(crate) keep_theirs: bool,
    /// Early at boot: mend files only, ask the engine later (used by the recovery unit)
    #[arg(long, hide = true)]
    pub(crate) boot: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Only the last N entries
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) number: Option<usize>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// The archive to make [default: cofferdam-support-TIME.tar.gz, here]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// Print JSON (docs/json.md)
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}
