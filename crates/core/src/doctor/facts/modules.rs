//! Kernel modules: what is loaded, and what could be.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleState {
    /// It is loaded, or part of the kernel and in use.
    Loaded,
    /// It is part of the kernel.
    BuiltIn,
    /// `modprobe` finds it.
    Loadable,
    /// This kernel has no such module.
    Missing,
}

/// Modules of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// The kernel's release, which names its folder of modules.
    pub release: String,
    /// Whether that folder lists modules. Without a list, one that is not loaded may still be part of the kernel.
    pub listed: bool,
    /// Those that checks ask for.
    pub states: BTreeMap<String, ModuleState>,
    /// Whether the kernel loads no module any more (`kernel.modules_disabled`).
    pub disabled: bool,
}

impl Modules {
    /// A module's state; missing if nobody asked for it.
    pub fn state(&self, name: &str) -> ModuleState {
        self.states.get(name).copied().unwrap_or(ModuleState::Missing)
    }
}

/// Whether a list of modules (`modules.builtin`, or `modules.dep`, where dependencies follow a colon) holds `name`.
/// File names have `-` or `_`, module names always `_`.
pub fn listed(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
        stem.len() == name.len() && stem.replace('-', "_") == name
    })
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn modules_are_found_by_name_and_not_by_resemblance() {
        let dep = "kernel/arch/x86/kvm/kvm-intel.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz\n\
                   kernel/drivers/vhost/vhost_net.ko: kernel/drivers/vhost/vhost.ko kernel/drivers/net/tap.ko\n";
        assert!(listed(dep, "kvm_intel") && listed(dep, "vhost_net"));
        assert!(!listed(dep, "kvm") && !listed(dep, "vhost") && !listed(dep, "tap"));
        assert!(listed("kernel/drivers/net/tun.ko\n", "tun"));
    }
}
