//! What checks look at beside the engine: gathered by `cofferdam-host`, one file a concern, judged in
//! [`checks`](super::checks). Recorded ones drive tests.

mod clock;
mod installers;
mod kubelet;
mod kvm;
mod modules;
mod mounts;
mod os;
mod security;

pub use clock::Clock;
pub use installers::{Installer, TRACES, Trace, TraceAt, registered_by};
pub use kubelet::{CgroupDriver, Kubelet};
pub use kvm::{Cpu, Kvm, KvmParameters};
pub use modules::{ModuleState, Modules, listed};
pub use mounts::{Mount, mount_of};
pub use os::OsRelease;
pub use security::{AppArmor, CgroupVersion, KernelLock, SeLinux};

use crate::observation::TargetObservation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was seen, or why nothing could be.
pub type Fact<T> = Result<T, Unseen>;

/// Why something could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen(pub String);

impl Unseen {
    /// Nothing was seen, for this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl From<&Self> for Unseen {
    fn from(unseen: &Self) -> Self {
        unseen.clone()
    }
}

/// Everything that checks look at beside the engine and the place for trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The processor.
    pub cpu: Fact<Cpu>,
    /// What opening /dev/kvm gave.
    pub kvm: Fact<Kvm>,
    /// The settings of the modules behind it.
    pub kvm_parameters: Fact<KvmParameters>,
    /// Whether these device files exist, by path (those of [`DEVICES`]).
    pub devices: Fact<BTreeMap<String, bool>>,
    /// The running kernel's modules.
    pub modules: Fact<Modules>,
    /// What the kernel forbids even root.
    pub kernel_lock: Fact<KernelLock>,
    /// How cgroups are mounted.
    pub cgroups: Fact<CgroupVersion>,
    /// SELinux; none where the kernel has it not or it is off.
    pub selinux: Fact<Option<SeLinux>>,
    /// AppArmor's hold on the engine; none where it is off.
    pub apparmor: Fact<Option<AppArmor>>,
    /// /etc/os-release; none if there is no such file.
    pub os: Fact<Option<OsRelease>>,
    /// The clock.
    pub clock: Fact<Clock>,
    /// The kubelet; none if there is no trace of one.
    pub kubelet: Fact<Option<Kubelet>>,
    /// The file system that holds Cofferdam's records.
    pub records: Fact<TargetObservation>,
    /// The file system that holds the engine's configuration.
    pub config: Fact<TargetObservation>,
    /// What is mounted where trees, records and the engine's configuration go.
    pub mounts: Fact<Vec<Mount>>,
    /// Whether the engine has the pause image.
    pub pause_image: Fact<bool>,
    /// Files that other installers left or use.
    pub traces: Fact<Vec<Trace>>,
    /// The change that is under way or was interrupted.
    pub interrupted: Fact<Option<String>>,
}

/// The device files that checks ask for.
pub const DEVICES: [&str; 4] = ["/dev/kkm", "/dev/net/tun", "/dev/vhost-net", "/dev/vhost-vsock"];

/// The modules that checks ask for.
pub const MODULES: [&str; 7] = ["kkm", "kvm_amd", "kvm_intel", "tun", "vhost", "vhost_net", "vhost_vsock"];

impl Facts {
    /// Nothing was looked at, for this reason.
    pub fn unseen(why: &str) -> Self {
        let unseen = || Unseen::new(why);
        Self {
            cpu: Err(unseen()),
            kvm: Err(unseen()),
            kvm_parameters: Err(unseen()),
            devices: Err(unseen()),
            modules: Err(unseen()),
            kernel_lock: Err(unseen()),
            cgroups: Err(unseen()),
            selinux: Err(unseen()),
            apparmor: Err(unseen()),
            os: Err(unseen()),
            clock: Err(unseen()),
            kubelet: Err(unseen()),
            records: Err(unseen()),
            config: Err(unseen()),
            mounts: Err(unseen()),
            pause_image: Err(unseen()),
            traces: Err(unseen()),
            interrupted: Err(unseen()),
        }
    }
}
