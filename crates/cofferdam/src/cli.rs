//! The command line's definition.

use clap::{Args, Parser, Subcommand};
use cofferdam_core::class::Class;
use cofferdam_core::doctor::Skip;
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::name::{HostPath, RuntimeName};
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::root::HostRoot;
use cofferdam_host::survey::{EngineChoice, SurveyOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Puts sandboxed container runtimes on nodes, proves that they work, and removes them without a trace.
#[derive(Debug, Parser)]
#[command(name = "cofferdam", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cofferdam doctor                          what this node has, and what stands in the way
  cofferdam plan dir:./gvisor               what an installation would change, as a diff
  cofferdam install dir:./gvisor            install, prove with a sandbox, or take it all back
  cofferdam status                          what is installed and who uses it
  cofferdam remove gvisor --wait 10m        once no pod uses it, leave the node as it was

Exit codes: 0 done, 1 internal, 2 invalid input, 3 unsupported here, 4 conflict, 5 in use,
            6 unavailable (try again), 7 rolled back";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the presets: descriptors for packages that have none
    Catalog(CatalogArgs),
    /// Look at the node and say what stands in the way
    Doctor(DoctorArgs),
    /// Show what is installed, the engine, and who uses what
    Status(NodeArgs),
    /// Show what an installation would change; writes nothing
    Plan(InstallArgs),
    /// Install a runtime, prove that it starts sandboxes, or take everything back
    Install(InstallArgs),
    /// Remove a runtime; the last removal leaves the node as it was
    Remove(RemoveArgs),
    /// Finish what a crash interrupted
    Recover(RecoverArgs),
    /// Carry out a request (started by systemd)
    #[command(hide = true)]
    Worker(WorkerArgs),
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
            Self::Status(args) => args.json,
            Self::Plan(args) | Self::Install(args) => args.node.json,
            Self::Remove(args) => args.node.json,
            Self::Recover(args) => args.node.json,
            Self::Worker(_) | Self::RehearseChild { .. } => false,
        }
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CatalogArgs {
    #[command(subcommand)]
    pub(crate) show: Option<CatalogCommand>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Show one preset: its descriptor and what a package must hold
    Show {
        /// The preset's name
        name: String,
    },
}

/// Which node, and how to talk about it.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeArgs {
    /// Work on an offline tree (an image build): no engine is asked or restarted
    #[arg(long, value_name = "DIR", requires = "engine")]
    pub(crate) root: Option<PathBuf>,
    /// The engine of an offline tree: containerd, or with its release containerd@1.7
    #[arg(long, value_name = "ENGINE[@VERSION]", value_parser = offline_engine, requires = "root")]
    pub(crate) engine: Option<OfflineEngine>,
    /// The offline tree has no systemd: leave the recovery unit out
    #[arg(long, requires = "root")]
    pub(crate) no_systemd: bool,
    /// Where trees of runtimes go [default: /opt/cofferdam]
    #[arg(long, value_name = "DIR")]
    pub(crate) prefix: Option<HostPath>,
    /// The systemd unit of the running containerd
    #[arg(long, value_name = "UNIT", default_value = "containerd.service")]
    pub(crate) unit: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The engine of an offline tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfflineEngine {
    version: Option<EngineVersion>,
}

fn offline_engine(text: &str) -> std::result::Result<OfflineEngine, String> {
    let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
    if name != "containerd" {
        return Err("only containerd is supported".to_owned());
    }
    let version = match version {
        Some(version) => Some(
            EngineVersion::parse(version)
                .ok_or_else(|| format!("`{version}` is not a release such as 1.7 or 2.1.3"))?,
        ),
        None => None,
    };
    Ok(OfflineEngine { version })
}

impl NodeArgs {
    /// The root to work on.
    pub(crate) fn open_root(&self) -> Result<HostRoot> {
        let Some(root) = &self.root else { return HostRoot::open(Path::new("/")) };
        if std::fs::canonicalize(root).is_ok_and(|real| real == Path::new("/")) {
            let text = "--root is for offline trees, and this is the running machine's own root";
            return Err(HostError::new(Class::Invalid, text).with_hint("leave --root and --engine out"));
        }
        HostRoot::open(root)
    }

    /// What to look at.
    pub(crate) fn survey(&self) -> SurveyOptions {
        let engine = match self.engine {
            Some(OfflineEngine { version }) => EngineChoice::Offline { version },
            None => EngineChoice::Running { unit: self.unit.clone() },
        };
        SurveyOptions {
            prefix: self.prefix.clone(),
            engine,
            systemd: !self.no_systemd,
            skip_checks: Vec::new(),
        }
    }

    /// Whether this is an offline tree.
    pub(crate) const fn is_offline(&self) -> bool {
        self.root.is_some()
    }

    /// On a live machine, only root sees and changes what there is to see and change.
    pub(crate) fn require_root(&self) -> Result<()> {
        if self.is_offline() || rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(HostError::new(Class::Unsupported, "this needs root").with_hint("try again with sudo"))
    }
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Presets to judge this node for, or dir:PATH for a package; none: the node alone
    #[arg(value_name = "PRESET")]
    pub(crate) runtimes: Vec<String>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// The package: dir:PATH
    #[arg(value_name = "SOURCE", value_parser = source)]
    pub(crate) source: PathBuf,
    /// The descriptor to use for a package without runtime.toml (see catalog)
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
    /// The package's version, for a preset, if the package has no file VERSION
    #[arg(long, value_name = "VERSION", requires = "preset")]
    pub(crate) runtime_version: Option<String>,
    /// Go on although this check of the doctor's says no (repeatable)
    #[arg(long, value_name = "NAME", value_parser = Skip::new)]
    pub(crate) skip_check: Vec<Skip>,
    /// Do not start the engine on the new configuration in isolation first
    #[arg(long)]
    pub(crate) skip_rehearsal: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

impl InstallArgs {
    /// What to look at.
    pub(crate) fn survey(&self) -> SurveyOptions {
        SurveyOptions { skip_checks: self.skip_check.clone(), ..self.node.survey() }
    }
}

fn source(text: &str) -> std::result::Result<PathBuf, String> {
    match text.split_once(':') {
        Some(("dir", path)) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err("a source is dir:PATH, a folder that holds the package".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The runtime's name
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

fn duration(text: &str) -> std::result::Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a duration is a number with s, m or h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a duration is a number with s, m or h".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(factor)))
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
pub(crate) struct WorkerArgs {
    /// The job's folder
    pub(crate) folder: PathBuf,
}
