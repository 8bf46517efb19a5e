//! Observation: what is on this machine, without changing anything.

mod daemon;
mod facts;
mod target;
mod uses;

pub use daemon::DaemonArgs;
pub(crate) use facts::label_at;
pub use facts::{facts, has_kubelet};
pub use target::target;
pub use uses::uses;

use crate::config_files;
use crate::cri::Cri;
use crate::error::HostError;
use crate::process::{Command, ProcessError};
use crate::root::HostRoot;
use crate::systemd::{Manager, SystemdError};
use cofferdam_core::class::Class;
use cofferdam_core::doctor::{EngineFault, FaultKind};
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::engine::containerd::{DialectError, Effective};
use cofferdam_core::name::{HostPath, NameError};
use cofferdam_core::observation::{CriObservation, EngineObservation, EngineProcess, UnitObservation};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where containerd looks for its configuration without `--config`.
pub const DEFAULT_CONFIG: &str = "/etc/containerd/config.toml";

/// Why this machine could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// No containerd runs.
    #[error(
        "no containerd runs here: the unit {unit} has no main process and no process of this host is one"
    )]
    NotRunning {
        /// The unit that was asked.
        unit: String,
    },
    /// More than one runs, and none of them in the unit.
    #[error("several containerd processes run here ({pids:?}) and the unit {unit} has none")]
    Ambiguous {
        /// The unit that was asked.
        unit: String,
        /// Their ids.
        pids: Vec<u32>,
    },
    /// The engine's binary is no longer the file that runs.
    #[error("{binary} was replaced since containerd (pid {pid}) started from it")]
    BinaryReplaced {
        /// The binary.
        binary: String,
        /// The process.
        pid: u32,
    },
    /// A file of this host cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The configuration's files cannot be read.
    #[error(transparent)]
    Files(#[from] HostError),
    /// A path of this host that Cofferdam cannot handle.
    #[error("{what}: {source}")]
    Path {
        /// Which.
        what: &'static str,
        /// Why not.
        source: NameError,
    },
    /// The engine does not tell its version or its configuration.
    #[error("the engine refuses its own configuration as it stands: {0}")]
    Dump(ProcessError),
    /// The engine's dump has an unexpected form.
    #[error("the engine's dump: {0}")]
    Effective(#[from] DialectError),
    /// `--version` printed something else.
    #[error("{binary} --version printed `{printed}`, which is no containerd's version")]
    Version {
        /// The binary.
        binary: String,
        /// What it printed.
        printed: String,
    },
}

impl ObserveError {
    /// What a caller may do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Files(error) => error.class(),
            Self::NotRunning { .. } | Self::Read { .. } => Class::Unavailable,
            Self::Ambiguous { .. } => Class::Invalid,
            Self::BinaryReplaced { .. } | Self::Dump(_) => Class::Conflict,
            Self::Path { .. } | Self::Version { .. } => Class::Unsupported,
            Self::Effective(error) => error.class(),
        }
    }

    /// What to do next, if there is more to say than the message does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning { unit } => {
                Some(format!("start it (systemctl start {unit}), or name its unit with --unit"))
            }
            Self::Ambiguous { .. } => Some("name the unit that runs the one you mean with --unit".to_owned()),
            Self::BinaryReplaced { .. } => Some(
                "restart the engine first, so that its configuration is judged by the binary that will read it"
                    .to_owned(),
            ),
            Self::Dump(_) => {
                Some("mend the configuration first: the engine would not come back from a restart".to_owned())
            }
            Self::Files(error) => error.hint(),
            Self::Effective(error) => Some(error.hint()),
            Self::Read { .. } | Self::Path { .. } | Self::Version { .. } => None,
        }
    }
}

impl From<&ObserveError> for EngineFault {
    fn from(error: &ObserveError) -> Self {
        let kind = match error {
            ObserveError::NotRunning { .. } | ObserveError::Ambiguous { .. } => FaultKind::NoProcess,
            ObserveError::BinaryReplaced { .. } => FaultKind::BinaryReplaced,
            ObserveError::Dump(_) => FaultKind::ConfigRefused,
            _ => FaultKind::Other,
        };
        Self { kind, text: error.to_string() }
    }
}

/// What to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The systemd unit that runs containerd.
    pub unit: String,
    /// The time limit of each command and of CRI's connection.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { unit: "containerd.service".to_owned(), limit: Duration::from_secs(10) }
    }
}

/// Where the engine keeps its things: its dump, with the arguments that overrule it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnginePaths {
    /// `root`: persistent state.
    pub root: HostPath,
    /// `state`: state until the next boot.
    pub state: HostPath,
    /// The socket that serves CRI.
    pub address: HostPath,
}

impl EnginePaths {
    /// From a process's arguments and the dump of its configuration.
    ///
    /// # Errors
    /// If one of them is no absolute, normal path.
    pub fn new(args: &[String], effective: &Effective) -> Result<Self, ObserveError> {
        let args = DaemonArgs::parse(args);
        let path = |what, given: Option<String>, dumped: Option<&str>, default: &str| {
            let text = given.unwrap_or_else(|| dumped.unwrap_or(default).to_owned());
            HostPath::new(text.trim_end_matches('/')).map_err(|source| ObserveError::Path { what, source })
        };
        Ok(Self {
            root: path("the engine's root", args.root, effective.root(), "/var/lib/containerd")?,
            state: path("the engine's state", args.state, effective.state(), "/run/containerd")?,
            address: path(
                "the engine's address",
                args.address,
                effective.address(),
                "/run/containerd/containerd.sock",
            )?,
        })
    }

    /// Of an observed engine. None on an offline tree.
    ///
    /// # Errors
    /// As [`EnginePaths::new`], and if the dump is none.
    pub fn of(engine: &EngineObservation) -> Result<Option<Self>, ObserveError> {
        let (Some(process), Some(dump)) = (&engine.process, &engine.dump) else { return Ok(None) };
        Self::new(&process.args, &Effective::parse(dump)?).map(Some)
    }
}

/// The containerd that runs on this machine; none if there is none.
///
/// # Errors
/// If several run and none of them in the unit.
pub fn process(unit: &str) -> Result<Option<EngineProcess>, ObserveError> {
    let state = unit_state(unit).ok().flatten();
    match daemon::find(Path::new("/proc"), unit, state.as_ref()) {
        Ok(daemon) => Ok(Some(daemon.process)),
        Err(ObserveError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Observes the containerd that runs on this machine.
///
/// # Errors
/// If none runs, or its files cannot be read. A CRI that does not answer is no error but a finding.
pub fn containerd(root: &HostRoot, options: &Options) -> Result<EngineObservation, ObserveError> {
    // Without systemd there is no unit; the process is found all the same.
    let unit = unit_state(&options.unit).ok().flatten();
    let daemon = daemon::find(Path::new("/proc"), &options.unit, unit.as_ref())?;
    let args = DaemonArgs::parse(&daemon.process.args);
    let (config, config_origin) = daemon.config(&args)?;
    let (config_resolved, files) = config_files::read(root, &config)?;
    let version_text = version(&daemon.process.binary, options.limit)?;
    let dump = dump(&daemon.process.binary, &config, options.limit).map_err(ObserveError::Dump)?;
    let effective = Effective::parse(&dump)?;
    let paths = EnginePaths::new(&daemon.process.args, &effective)?;
    let cri = cri(&paths.address, effective.sandbox_image(), options.limit);
    // A unit that exists but runs something else is not this engine's.
    let unit = unit.filter(|unit| unit.main_pid == daemon.process.pid);
    Ok(EngineObservation {
        version: EngineVersion::parse(&version_text),
        version_text,
        process: Some(daemon.process),
        config,
        config_resolved,
        config_origin,
        files,
        apart: BTreeMap::new(),
        dump: Some(dump),
        unit,
        cri,
    })
}

/// The text of the root file `config` and of each file that it imports, without asking an engine.
///
/// # Errors
/// If one cannot be read, or is not UTF-8.
pub fn config_files(root: &HostRoot, config: &HostPath) -> Result<BTreeMap<HostPath, String>, HostError> {
    config_files::read(root, config).map(|(_, files)| files)
}

/// `BINARY --config CONFIG config dump`.
///
/// An absent file fails up to 1.7 and prints the defaults on 2.x; where containerd runs without one, it runs on the
/// defaults, so both give the defaults here.
///
/// # Errors
/// If the binary refuses the configuration.
pub fn dump(binary: &HostPath, config: &HostPath, limit: Duration) -> Result<String, ProcessError> {
    let there = Path::new(config.as_str()).try_exists().unwrap_or(true);
    let args: &[&str] =
        if there { &["--config", config.as_str(), "config", "dump"] } else { &["config", "default"] };
    let output = Command::new(binary.as_str()).args(args.iter().copied()).limit(limit).run_ok()?;
    Ok(output.text())
}

fn unit_state(name: &str) -> Result<Option<UnitObservation>, SystemdError> {
    let state = Manager::connect()?.unit(name)?;
    Ok(state.is_loaded().then(|| state.observation()))
}

fn version(binary: &HostPath, limit: Duration) -> Result<String, ObserveError> {
    let output = Command::new(binary.as_str()).args(["--version"]).limit(limit).run_ok();
    let printed = output.map_err(ObserveError::Dump)?.text();
    parse_version(&printed).ok_or_else(|| ObserveError::Version {
        binary: binary.to_string(),
        printed: printed.trim().chars().take(200).collect(),
    })
}

/// `containerd github.com/containerd/containerd/v2 v2.4.2 <revision>`: the third word.
fn parse_version(printed: &str) -> Option<String> {
    let mut words = printed.split_whitespace();
    let word = words.next().filter(|name| *name == "containerd").and_then(|_| words.nth(1))?;
    EngineVersion::parse(word).map(|_| word.to_owned())
}

fn cri(socket: &HostPath, sandbox_image: Option<&str>, limit: Duration) -> CriObservation {
    let asked = Cri::connect_with(Path::new(socket.as_str()), limit)
        .and_then(|cri| cri.ready(socket.clone(), sandbox_image));
    match asked {
        Ok(ready) => CriObservation::Ready(ready),
        Err(error) => CriObservation::Unavailable { socket: Some(socket.clone()), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_real_binaries_print_them() {
        let debian = "containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6+deb13u1\n";
        assert_eq!(parse_version(debian).as_deref(), Some("1.7.24~ds1"));
        let upstream = "containerd github.com/containerd/containerd/v2 v2.4.2 0a1b2c\n";
        assert_eq!(parse_version(upstream).as_deref(), Some("v2.4.2"));
        assert_eq!(parse_version("runc version 1.2"), None);
    }

    #[test]
    fn arguments_overrule_the_dump() {
        let effective =
            Effective::parse("root = \"/a\"\nstate = \"/b\"\n[grpc]\naddress = \"/c.sock\"\n").unwrap();
        let paths = EnginePaths::new(&[], &effective).unwrap();
        assert_eq!(
            (paths.root.as_str(), paths.state.as_str(), paths.address.as_str()),
            ("/a", "/b", "/c.sock")
        );
        let args = ["--root=/r", "-a", "/s.sock"].map(str::to_owned);
        let paths = EnginePaths::new(&args, &effective).unwrap();
        assert_eq!(
            (paths.root.as_str(), paths.state.as_str(), paths.address.as_str()),
            ("/r", "/b", "/s.sock")
        );
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_yet_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/srv/new.toml", folder.path().join("config.toml")).unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        let real = root.real(&HostPath::new("/config.toml").unwrap()).unwrap();
        assert_eq!(real.as_str(), "/srv/new.toml");
    }
}
