//! Why nothing can be planned.

use crate::class::Class;
use crate::doctor::{Gate, Unfit};
use crate::engine::containerd::DialectError;
use crate::name::{Digest, HandlerName, HostPath, RuntimeName, Version};

/// Why nothing can be planned. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The planner needs to know what is at a path: observe it and ask again.
    #[error("the state of {0} was not observed")]
    Unobserved(HostPath),
    /// The engine's configuration does not allow it.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// The planner needs to know whether a tree is as it was installed: check it and ask again.
    #[error("{tree} was not checked")]
    Unchecked {
        /// Which tree.
        tree: HostPath,
        /// The digest of its manifest; none if nothing of it was ever recorded.
        manifest: Option<Digest>,
    },
    /// Running sandboxes have a handler that the version to come does not have.
    #[error("{name} {version} has no handler {handler}, which {} uses", .users.join(", "))]
    HandlerInUse {
        /// Which runtime.
        name: RuntimeName,
        /// The version to come.
        version: Version,
        /// The handler.
        handler: HandlerName,
        /// Pods.
        users: Vec<String>,
    },
    /// There is no earlier version.
    #[error("no earlier version of {0} is kept on this node")]
    NoEarlier(RuntimeName),
    /// Files of a tree that is to be used are not as they were installed.
    #[error("the files of {name} {version} in {tree} are not as they were installed: {}", .damage.join(", "))]
    Damaged {
        /// Which runtime.
        name: RuntimeName,
        /// Its version.
        version: Version,
        /// Where.
        tree: HostPath,
        /// What is wrong with them.
        damage: Vec<String>,
    },
    /// No installed tree was made of this package.
    #[error("no installed version of {name} was made of this package ({wanted}): {installed}")]
    OtherPackage {
        /// Which runtime.
        name: RuntimeName,
        /// The package's digest, shortened.
        wanted: String,
        /// What is installed.
        installed: String,
    },
    /// The package is another runtime than the one whose place it is to take.
    #[error("the package is the runtime {name}, and {wanted} is what is installed here")]
    OtherRuntime {
        /// The package's.
        name: RuntimeName,
        /// The installed one.
        wanted: RuntimeName,
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
    /// Someone imports a file of ours by its name.
    #[error("{by} imports {path} by its name: containerd would not start without that file")]
    ImportedByName {
        /// Our file.
        path: HostPath,
        /// Who imports it.
        by: HostPath,
    },
    /// A defect.
    #[error("{0}")]
    Internal(String),
}

impl PlanError {
    /// What may be done about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Dialect(error) => error.class(),
            Self::BaseMissing { .. }
            | Self::NotInstalled(_)
            | Self::NoEarlier(_)
            | Self::OtherPackage { .. }
            | Self::OtherRuntime { .. } => Class::Invalid,
            Self::Unfit { .. } | Self::NoSpace { .. } | Self::KillMode { .. } | Self::NoUnit { .. } => {
                Class::Unsupported
            }
            Self::HandlerTaken { .. }
            | Self::InTheWay { .. }
            | Self::Damaged { .. }
            | Self::Changed(_)
            | Self::ImportedByName { .. } => Class::Conflict,
            Self::InUse { .. } | Self::HandlerInUse { .. } => Class::InUse,
            Self::CriUnavailable { .. } => Class::Unavailable,
            Self::Unobserved(_) | Self::Unchecked { .. } | Self::Internal(_) => Class::Internal,
        }
    }

    /// What to do next, if there is more to say than the error does.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::HandlerInUse { .. } => {
                "end these pods first, or use a version of the package that has the handler".to_owned()
            }
            Self::NoEarlier(_) => {
                "install the version that you want: cofferdam upgrade SOURCE works downwards, too".to_owned()
            }
            Self::Damaged { name, .. } => {
                format!("put them back from the package: cofferdam repair {name} --from SOURCE")
            }
            Self::OtherPackage { .. } => {
                "name the package that was installed; another one is an upgrade".to_owned()
            }
            Self::OtherRuntime { name, wanted } => {
                format!("go back to a package of {wanted}; for {name} make a SandboxRuntime of its own")
            }
            Self::HandlerTaken { owner, .. } => {
                format!("rename the handler, or remove the other: cofferdam remove {owner}")
            }
            Self::BaseMissing { base, .. } => format!("install {base} first"),
            Self::NotInstalled(_) => {
                "cofferdam status lists what is installed; cofferdam install SOURCE installs it".to_owned()
            }
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
                format!("put {path} back as it was, or let cofferdam repair --overwrite replace it")
            }
            Self::ImportedByName { path, by } => {
                format!("take {path} out of the imports in {by}, then run the same command again")
            }
            Self::Dialect(error) => error.hint(),
            Self::Unobserved(_) | Self::Unchecked { .. } | Self::Internal(_) => {
                return None;
            }
        })
    }
}
