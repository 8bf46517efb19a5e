//! What the kernel keeps even root's programs from, and how it divides them.

use serde::{Deserialize, Serialize};

/// How cgroups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupVersion {
    /// Not at all.
    None,
    /// One hierarchy for each controller.
    V1,
    /// Controllers in v1, with an empty v2 beside them.
    Hybrid,
    /// One hierarchy for all.
    V2,
}

impl CgroupVersion {
    /// From /proc/self/mountinfo.
    pub fn of_mountinfo(text: &str) -> Self {
        let kinds = || text.lines().filter_map(|line| line.split_once(" - ")?.1.split(' ').next());
        let any = |wanted: &str| kinds().any(|kind| kind == wanted);
        match (any("cgroup"), any("cgroup2")) {
            (true, true) => Self::Hybrid,
            (true, false) => Self::V1,
            (false, true) => Self::V2,
            (false, false) => Self::None,
        }
    }
}

/// SELinux.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeLinux {
    /// Whether it forbids, or only reports.
    pub enforcing: bool,
    /// The label of the nearest folder above the place for trees, e.g. `system_u:object_r:usr_t:s0`.
    pub target_label: Option<String>,
}

/// AppArmor's hold on the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppArmor {
    /// The engine's profile with its mode, e.g. `unconfined`, `cri-containerd (enforce)`. None: no engine runs.
    pub engine: Option<String>,
}

/// What the kernel forbids even root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLock {
    /// The lockdown mode: `none`, `integrity`, `confidentiality`. None: this kernel has no lockdown, or does not tell.
    pub lockdown: Option<String>,
    /// Whether the machine was booted with Secure Boot. None: not by UEFI, or it does not tell.
    pub secure_boot: Option<bool>,
    /// Whether only signed modules are loaded (`module.sig_enforce`).
    pub signed_modules_only: Option<bool>,
}

impl KernelLock {
    /// The mode in brackets of /sys/kernel/security/lockdown: `none [integrity] confidentiality`.
    pub fn lockdown_mode(text: &str) -> Option<String> {
        let (_, rest) = text.split_once('[')?;
        rest.split_once(']').map(|(mode, _)| mode.to_owned())
    }
}
