//! The command line's definition.

mod help;
mod kubectl;
mod limits;
mod node;
mod store;
mod trust;
mod values;

pub(crate) use kubectl::{
    ClusterArgs, ConnectArgs, DoctorArgs as KubectlDoctorArgs, ExplainArgs, Kubectl, KubectlCommand,
    ListArgs, NodesArgs, RenderArgs, RetryArgs, RuntimeArgs, SteerArgs,
};
pub(crate) use limits::LimitArgs;
pub(crate) use node::NodeArgs;
pub(crate) use store::{StoreArgs, StoreCommand};
pub(crate) use trust::TrustArgs;
pub(crate) use values::{AccessArgs, CompressionArg, PlaceArg, proxies};

use clap::{Args, Parser, Subcommand, ValueEnum};
use cofferdam_core::doctor::Skip;
use cofferdam_core::name::RuntimeName;
use cofferdam_core::reference::Reference;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::package::{Place, Source};
use cofferdam_host::survey::SurveyOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use values::{duration, image, label, listen, source};

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
pub(crate) struct InstallArgs {
    // First: an option after those of the package would stand under their headings.
    /// Go on although this check of the doctor's says no (repeatable)
    #[arg(long, value_name = "NAME", value_parser = Skip::new)]
    pub(crate) skip_check: Vec<Skip>,
    /// Do not start the engine on the new configuration in isolation first
    #[arg(long)]
    pub(crate) skip_rehearsal: bool,
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// A package that is to come here: where it is, what describes it, and what is asked of it.
#[derive(Debug, Args)]
pub(crate) struct PackageArgs {
    /// The package: dir:PATH, tar:FILE, layout:PATH (an image here) or oci:REFERENCE (in a registry)
    #[arg(value_name = "SOURCE", value_parser = source)]
    source: PlaceArg,
    #[command(flatten)]
    described: DescribedArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

impl PackageArgs {
    /// The package.
    ///
    /// # Errors
    /// If a file that an option names cannot be read, or is not valid.
    pub(crate) fn source(&self) -> Result<Source> {
        let source = self.described.source(self.access.place(&self.source)?)?;
        Ok(Source { policy: self.trust.policy()?, limits: self.limits.limits(), ..source })
    }
}

/// What describes a package that does not do so itself.
#[derive(Debug, Args)]
pub(crate) struct DescribedArgs {
    /// The descriptor to use for a package without runtime.toml (see catalog)
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<String>,
    /// The package's version, for a preset, if the package has no file VERSION
    #[arg(long, value_name = "VERSION", requires = "preset")]
    pub(crate) runtime_version: Option<String>,
    /// A runtime.toml to use for a package without one (docs/descriptor.md)
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub(crate) descriptor: Option<PathBuf>,
}

impl DescribedArgs {
    /// The package at `place`.
    pub(crate) fn source(&self, place: Place) -> Result<Source> {
        let descriptor = match &self.descriptor {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| HostError::std_io("read", path.display(), error))?,
            ),
            None => None,
        };
        let (preset, version) = (self.preset.clone(), self.runtime_version.clone());
        Ok(Source { preset, version, descriptor, ..Source::plain(place) })
    }
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).multiple(true).args(["push", "out"]))]
pub(crate) struct PackArgs {
    /// The package: dir:PATH, tar:FILE, layout:PATH or oci:REFERENCE
    #[arg(value_name = "SOURCE", value_parser = source)]
    pub(crate) source: PlaceArg,
    #[command(flatten)]
    pub(crate) described: DescribedArgs,
    /// The image's reference, e.g. registry.example.com/kata:3.26
    #[arg(short, long, value_name = "REFERENCE", value_parser = image)]
    pub(crate) tag: Option<Reference>,
    /// Write the image to the registry that --tag names
    #[arg(long, requires = "tag")]
    pub(crate) push: bool,
    /// Write the image to a new folder, in the OCI layout
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How layers are compressed: gzip (every tool reads it, and it is smaller) or zstd (unpacks faster)
    #[arg(long, value_name = "gzip|zstd", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) compression: CompressionArg,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Print JSON (docs/json.md)
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

impl InstallArgs {
    /// What to look at.
    pub(crate) fn survey(&self) -> SurveyOptions {
        SurveyOptions { skip_checks: self.skip_check.clone(), ..self.node.survey() }
    }
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
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
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
    /// Where to answer /healthz, /readyz and /metrics
    #[arg(long, default_value = ":9465", value_parser = listen)]
    pub(crate) metrics_address: SocketAddr,
}
