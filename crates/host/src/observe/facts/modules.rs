//! Kernel modules.

use super::{exists, sure_text, text};
use crate::root::HostRoot;
use cofferdam_core::doctor::Fact;
use cofferdam_core::doctor::facts::{KvmParameters, MODULES, ModuleState, Modules, listed};

pub(super) fn modules(root: &HostRoot) -> Fact<Modules> {
    let release = sure_text(root, "/proc/sys/kernel/osrelease")?.trim().to_owned();
    let built_in = text(root, &format!("/lib/modules/{release}/modules.builtin"))?;
    let loadable = text(root, &format!("/lib/modules/{release}/modules.dep"))?;
    let in_list = |list: &Option<String>, name: &str| list.as_deref().is_some_and(|list| listed(list, name));
    let mut states = std::collections::BTreeMap::new();
    for name in MODULES {
        let state = if exists(root, &format!("/sys/module/{name}"))? {
            ModuleState::Loaded
        } else if in_list(&built_in, name) {
            ModuleState::BuiltIn
        } else if in_list(&loadable, name) {
            ModuleState::Loadable
        } else {
            ModuleState::Missing
        };
        states.insert(name.to_owned(), state);
    }
    let disabled = text(root, "/proc/sys/kernel/modules_disabled")?;
    Ok(Modules {
        release,
        listed: built_in.is_some() && loadable.is_some(),
        states,
        disabled: disabled.as_deref().and_then(KvmParameters::flag) == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn loaded_built_in_loadable_and_missing() {
        let (_folder, root) = tree(&[
            ("/proc/sys/kernel/osrelease", "6.1.0-x\n"),
            ("/proc/sys/kernel/modules_disabled", "0\n"),
            ("/sys/module/kvm_intel/refcnt", "0"),
            ("/lib/modules/6.1.0-x/modules.builtin", "kernel/drivers/net/tun.ko\n"),
            ("/lib/modules/6.1.0-x/modules.dep", "kernel/drivers/vhost/vhost_net.ko.zst: x\n"),
        ]);
        let modules = modules(&root).unwrap();
        assert!(modules.listed && !modules.disabled);
        assert_eq!(modules.state("kvm_intel"), ModuleState::Loaded);
        assert_eq!(modules.state("tun"), ModuleState::BuiltIn);
        assert_eq!(modules.state("vhost_net"), ModuleState::Loadable);
        assert_eq!(modules.state("vhost_vsock"), ModuleState::Missing);
    }
}
