//! Arguments that say which node is meant.

use super::OUTPUT;
use clap::Args;
use cofferdam_core::class::Class;
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::name::HostPath;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::root::HostRoot;
use cofferdam_host::survey::{EngineChoice, SurveyOptions};
use std::path::{Path, PathBuf};

/// Which node, and how to talk about it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Node")]
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
    /// Print JSON (docs/json.md)
    #[arg(long, help_heading = OUTPUT)]
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
