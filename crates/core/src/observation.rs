//! What was found on a machine. Filled in by `cofferdam-host`, read by the planner; recorded ones drive tests.

use crate::engine::EngineVersion;
use crate::name::{Digest, HostPath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One containerd, as it runs (or, on an offline tree, as its files say).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineObservation {
    /// Its release. None on an offline tree.
    pub version: Option<EngineVersion>,
    /// The release as the engine prints it, with the distribution's suffix.
    pub version_text: String,
    /// The process. None on an offline tree.
    pub process: Option<EngineProcess>,
    /// The root configuration file in use, whether or not it exists, as the engine names it.
    pub config: HostPath,
    /// Where that name ends after links are followed. Equal to `config` if there are none.
    pub config_resolved: HostPath,
    /// How the file came to be the one in use.
    pub config_origin: ConfigOrigin,
    /// The text of the root file (under its resolved name) and of each file that it imports. No key, no file.
    pub files: BTreeMap<HostPath, String>,
    /// The texts of files that the ledger knows as parts of the configuration and that the engine does not read: it was
    /// given another root file, or someone took an import away.
    #[serde(default)]
    pub apart: BTreeMap<HostPath, String>,
    /// The effective configuration: what the running binary's `config dump` printed. None on an offline tree.
    pub dump: Option<String>,
    /// The systemd unit that runs it, if one does.
    pub unit: Option<UnitObservation>,
    /// What CRI says.
    pub cri: CriObservation,
}

/// The engine's process, from /proc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineProcess {
    /// Its process id.
    pub pid: u32,
    /// Start time in clock ticks since boot: with `pid`, a name that is not used again.
    pub started: u64,
    /// The binary that runs (/proc/PID/exe).
    pub binary: HostPath,
    /// Its arguments, without the first.
    pub args: Vec<String>,
}

/// How a configuration file came to be the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigOrigin {
    /// The engine's default path.
    Default,
    /// `--config` or `-c` among its arguments.
    Argument,
    /// `CONTAINERD_CONFIG` in its environment (Flatcar's unit).
    Environment,
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitObservation {
    /// Its name, e.g. `containerd.service`.
    pub name: String,
    /// `ActiveState`.
    pub active_state: String,
    /// `KillMode`: with anything but `process`, a restart may kill running shims.
    pub kill_mode: String,
    /// `MainPID`.
    pub main_pid: u32,
}

/// What CRI says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum CriObservation {
    /// It answered.
    Ready(CriReady),
    /// It did not.
    Unavailable {
        /// The socket that was asked, if one is known.
        socket: Option<HostPath>,
        /// Why.
        reason: String,
    },
    /// Nobody was asked: an offline tree.
    Offline,
}

/// CRI's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CriReady {
    /// The socket.
    pub socket: HostPath,
    /// `RuntimeReady`.
    pub runtime_ready: bool,
    /// `NetworkReady`: false without CNI, and then no probe can prove anything.
    pub network_ready: bool,
    /// The network condition's message, if it is not ready.
    pub network_message: String,
    /// The handlers that the engine lists (without the empty default one).
    pub handlers: Vec<String>,
    /// The default handler's name.
    pub default_handler: String,
    /// The pause image.
    pub sandbox_image: String,
    /// All pod sandboxes.
    pub sandboxes: Vec<Sandbox>,
}

/// One pod sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// CRI's id.
    pub id: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The handler; empty for the default.
    pub handler: String,
    /// Whether the sandbox is ready.
    pub ready: bool,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// CRI's id.
    pub id: String,
    /// The container's name in the pod.
    pub name: String,
    /// How often it was started again (CRI's `attempt`).
    pub attempt: u32,
    /// Whether it runs.
    pub running: bool,
}

/// The place where trees go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetObservation {
    /// The prefix, e.g. `/opt/cofferdam`.
    pub prefix: HostPath,
    /// Mounted read-only.
    pub read_only: bool,
    /// Mounted noexec.
    pub noexec: bool,
    /// Bytes that can be written there.
    pub free_bytes: u64,
    /// Inodes that can be made there (u64::MAX where the file system has no limit).
    pub free_inodes: u64,
}

/// Who uses a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeUse {
    /// A process names it (exe, maps or command line).
    Process {
        /// Its id.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// An engine's bundle names it.
    Bundle {
        /// The bundle's container id.
        id: String,
        /// The containerd namespace.
        namespace: String,
    },
}

/// Who uses which installed tree.
pub type TreeUses = BTreeMap<HostPath, Vec<TreeUse>>;

/// What a tree's files look like beside the manifest that was written with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum TreeState {
    /// No such folder.
    Absent,
    /// All files are as they were installed, and there are no others.
    Sound,
    /// Some are not.
    Damaged {
        /// Which.
        damage: Vec<TreeDamage>,
    },
}

/// One path of a tree that is not as it was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeDamage {
    /// The path in the tree.
    pub path: String,
    /// What about it.
    pub kind: DamageKind,
}

/// What is wrong with a path of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamageKind {
    /// It is gone.
    Missing,
    /// Its content, its type, its target or its permissions are others.
    Changed,
    /// It was not installed.
    Additional,
    /// The manifest, by which the others are judged, is not the one that was written.
    Unrecorded,
}

impl std::fmt::Display for TreeDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, kind } = self;
        match kind {
            DamageKind::Missing => write!(f, "{path} is missing"),
            DamageKind::Changed => write!(f, "{path} was changed"),
            DamageKind::Additional => write!(f, "{path} was added"),
            DamageKind::Unrecorded => write!(f, "{path} is not the manifest that was installed"),
        }
    }
}

/// A path's state, as far as a change depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum PathState {
    /// Nothing is there.
    Absent,
    /// A regular file.
    File {
        /// Its content's digest.
        digest: Digest,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Its target, as written.
        target: String,
    },
    /// A folder.
    Folder,
    /// Something else: a device, a socket.
    Other,
}
