//! Why nothing can be planned.

use crate::class::Class;
use crate::doctor::{Gate, Unfit};
use crate::engine::containerd::DialectError;
use crate::name::{HostPath, RuntimeName, Version};

/// Why nothing can be planned. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The planner needs to know what is at a path: observe it and ask again.
    #[error("the state of {0} was not observed")]
    Unobserved(HostPath),
    /// The engine's configuration does not allow it.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// The runtime is there in another version.
    #[error(
        "{name} {installed} is installed already; {wanted} would be another version or another build of it"
    )]
    OtherVersion {
        /// Which runtime.
        name: RuntimeName,
        /// What is there.
        installed: Version,
        /// What was asked for.
        wanted: Version,
    },
    /// Another runtime of ours has the handler.
    #[error("handler {handler} belongs to the installed runtime {owner}")]
    HandlerTaken {
        /// Which handler.
        handler: String,
        /// Whose it is.
        owner: RuntimeName,
    },
    /// The package needs another one's files.
    #[error("{name} needs the files of {base}, which is not installed")]
    BaseMissing {
        /// Which package.
        name: RuntimeName,
        /// What it needs.
        base: RuntimeName,
    },
    /// Nothing of that name is installed.
    #[error("{0} is not installed")]
    NotInstalled(RuntimeName),
    /// Sandboxes run under its handlers.
    #[error("{name} is in use by {}", .users.join(", "))]
    InUse {
        /// Which runtime.
        name: RuntimeName,
        /// Pods, processes, bundles: one text each.
        users: Vec<String>,
    },
    /// A check of the doctor's says no.
    #[error("this node is not fit for {name}: {}: {}", .unfit.check, .unfit.because)]
    Unfit {
        /// Which runtime.
        name: RuntimeName,
        /// What the check says.
        unfit: Unfit,
    },
    /// No space.
    #[error(
        "{prefix} has {free} bytes and {inodes} inodes free, {bytes} bytes and {entries} inodes are needed"
    )]
    NoSpace {
        /// Where.
        prefix: HostPath,
        /// Free bytes.
        free: u64,
        /// Free inodes.
        inodes: u64,
        /// Needed bytes.
        bytes: u64,
        /// Needed inodes.
        entries: u64,
    },
    /// A restart would kill the running sandboxes.
    #[error("{unit} has KillMode={kill_mode}: restarting it would kill {sandboxes} running sandboxes")]
    KillMode {
        /// The engine's unit.
        unit: String,
        /// Its KillMode.
        kill_mode: String,
        /// How many sandboxes run.
        sandboxes: usize,
    },
    /// The engine was not started by systemd.
    #[error("the running containerd (pid {pid}) belongs to no systemd unit, so it cannot be restarted")]
    NoUnit {
        /// Its process.
        pid: u32,
    },
    /// The engine does not serve CRI now, so nothing could be compared afterwards.
    #[error("containerd does not serve CRI: {reason}")]
    CriUnavailable {
        /// Why.
        reason: String,
    },
    /// Something else is where a file or folder of ours should be.
    #[error("{path} is {found}, {wanted} was expected")]
    InTheWay {
        /// Where.
        path: HostPath,
        /// What is there.
        found: &'static str,
        /// What should be.
        wanted: &'static str,
    },
    /// Someone changed a file that is wholly ours.
    #[error("{0} was written by Cofferdam and changed by someone else since")]
    Changed(HostPath),
    /// A kept text is missing.
    #[error("the bytes of before of {0} are missing from the backup folder")]
    KeptMissing(HostPath),
    /// A defect.
    #[error("{0}")]
    Internal(String),
}

impl PlanError {
    /// What may be done about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Dialect(error) => error.class(),
            Self::BaseMissing { .. } | Self::NotInstalled(_) => Class::Invalid,
            Self::Unfit { .. } | Self::NoSpace { .. } | Self::KillMode { .. } | Self::NoUnit { .. } => {
                Class::Unsupported
            }
            Self::OtherVersion { .. }
            | Self::HandlerTaken { .. }
            | Self::InTheWay { .. }
            | Self::Changed(_) => Class::Conflict,
            Self::InUse { .. } => Class::InUse,
            Self::CriUnavailable { .. } => Class::Unavailable,
            Self::Unobserved(_) | Self::KeptMissing(_) | Self::Internal(_) => Class::Internal,
        }
    }

    /// What to do next, if there is more to say than the error does.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::OtherVersion { name, .. } => format!("remove it first: cofferdam remove {name}"),
            Self::HandlerTaken { owner, .. } => {
                format!("rename the handler, or remove the other: cofferdam remove {owner}")
            }
            Self::BaseMissing { base, .. } => format!("install {base} first"),
            Self::NotInstalled(_) => "cofferdam status lists what is installed".to_owned(),
            Self::InUse { .. } => {
                "end these pods, wait for them with --wait 10m, or stop them with --force".to_owned()
            }
            Self::Unfit { unfit, .. } => match unfit.gate {
                Gate::Closed => unfit.remedy.clone(),
                Gate::Skippable => {
                    format!("{}; --skip-check {} goes on without it", unfit.remedy, unfit.check)
                }
            },
            Self::NoSpace { .. } => "choose another place with --prefix DIR".to_owned(),
            Self::KillMode { unit, .. } => format!(
                "set KillMode=process for {unit} (systemctl edit {unit}), as containerd's own unit does, or drain the node first"
            ),
            Self::NoUnit { .. } => "start containerd by its systemd unit".to_owned(),
            Self::CriUnavailable { .. } => {
                "mend the engine first: cofferdam doctor shows what it says".to_owned()
            }
            Self::InTheWay { path, .. } => format!("move {path} away"),
            Self::Changed(path) => {
                format!("compare {path} with cofferdam status, then delete it or put it back as it was")
            }
            // A dialect's error says its way out itself.
            Self::Dialect(_) | Self::Unobserved(_) | Self::KeptMissing(_) | Self::Internal(_) => return None,
        })
    }
}
