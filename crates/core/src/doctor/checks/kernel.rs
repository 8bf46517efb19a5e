//! The kernel: modules, devices, and what it forbids.

use super::{Looked, no, unseen, yes};
use crate::doctor::facts::{CgroupVersion, Kvm, ModuleState, Modules};
use crate::doctor::{Case, Unseen};

/// No clock that is right shows less: 2026-01-01, before this release was made.
const EARLIEST: u64 = 1_767_225_600;

/// Types of SELinux labels from which confined programs run nothing: what no policy knows, and users' files.
const UNRUNNABLE: [&str; 5] = ["default_t", "file_t", "unlabeled_t", "user_home_t", "tmp_t"];

/// SELinux lets programs run from the place for trees.
pub(in crate::doctor) fn selinux(case: &Case<'_>) -> Looked {
    let Some(selinux) = case.facts.selinux.as_ref()? else { return yes("off") };
    if !selinux.enforcing {
        return yes("permissive: it reports, and forbids nothing");
    }
    let target = case.target?;
    let Some(label) = &selinux.target_label else {
        return unseen(format!("enforcing, and the label of {} cannot be read", target.prefix));
    };
    match label.split(':').nth(2).filter(|kind| UNRUNNABLE.contains(kind)) {
        Some(kind) => no(
            format!(
                "enforcing, and {} would get the label {kind}, from which the engine runs nothing",
                target.prefix
            ),
            format!(
                "semanage fcontext -a -t usr_t '{0}(/.*)?', then restorecon -R {0}; or --prefix DIR",
                target.prefix
            ),
        ),
        None => yes(format!("enforcing; {} has {label}", target.prefix)),
    }
}

/// AppArmor does not confine the engine.
pub(in crate::doctor) fn apparmor(case: &Case<'_>) -> Looked {
    let Some(apparmor) = case.facts.apparmor.as_ref()? else { return yes("off") };
    match &apparmor.engine {
        None => unseen("no engine runs whose profile could be read"),
        Some(profile) if profile.ends_with("(enforce)") => no(
            format!("the engine runs under the profile {profile}, which may forbid it to start new programs"),
            "let the profile execute what lies below the prefix, or run containerd unconfined as its packages do",
        ),
        Some(profile) => yes(format!("on; the engine runs {profile}")),
    }
}

/// There are cgroups.
pub(in crate::doctor) fn cgroups(case: &Case<'_>) -> Looked {
    match case.facts.cgroups.as_ref()? {
        CgroupVersion::V2 => yes("version 2"),
        CgroupVersion::Hybrid => yes("version 1, with an empty version 2 beside it"),
        CgroupVersion::V1 => yes("version 1"),
        CgroupVersion::None => {
            no("nothing is mounted at /sys/fs/cgroup", "boot with systemd, or mount cgroup2 there")
        }
    }
}

/// The unified hierarchy.
pub(in crate::doctor) fn cgroup_v2(case: &Case<'_>) -> Looked {
    match case.facts.cgroups.as_ref()? {
        CgroupVersion::V2 => yes("version 2"),
        CgroupVersion::None | CgroupVersion::V1 | CgroupVersion::Hybrid => no(
            "cgroups are not in version 2 alone",
            "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
        ),
    }
}

/// Certificates and signatures are judged by a clock that may be right.
pub(in crate::doctor) fn clock(case: &Case<'_>) -> Looked {
    let clock = case.facts.clock.as_ref()?;
    if clock.now < EARLIEST {
        return no(
            format!("the clock shows {} s since 1970, a time before this release was made", clock.now),
            "set it (timedatectl set-time), and let a time service keep it",
        );
    }
    match clock.synchronised {
        Some(true) => yes("synchronised"),
        Some(false) => yes("plausible, not synchronised yet"),
        None => yes("plausible; no service tells whether it is synchronised"),
    }
}

/// KVM's module for this processor is loaded, or can be.
pub(in crate::doctor) fn kvm_module(case: &Case<'_>) -> Looked {
    if matches!(case.facts.kvm, Ok(Kvm::Open { .. })) {
        return yes("/dev/kvm opens: what it needs is there");
    }
    let cpu = case.facts.cpu.as_ref()?;
    // Hygon's processors are AMD's in this, too.
    let module = if cpu.has("svm") || cpu.vendor == "AuthenticAMD" { "kvm_amd" } else { "kvm_intel" };
    let modules = case.facts.modules.as_ref()?;
    match supply(modules, module)? {
        Supply::There(how) => yes(format!("{module} is {how}")),
        Supply::Loadable => yes(format!("{module} is not loaded, and modprobe finds it")),
        Supply::None(because) => no(because, get(modules, module)),
    }
}

/// How a module can be had.
enum Supply {
    /// It is there; how.
    There(&'static str),
    /// `modprobe` loads it.
    Loadable,
    /// Not at all; why.
    None(String),
}

fn supply(modules: &Modules, module: &str) -> Result<Supply, Unseen> {
    let release = &modules.release;
    Ok(match modules.state(module) {
        ModuleState::Loaded => Supply::There("loaded"),
        ModuleState::BuiltIn => Supply::There("part of the kernel"),
        ModuleState::Loadable if modules.disabled => {
            Supply::None(format!("{module} is not loaded, and kernel.modules_disabled=1 forbids to load it"))
        }
        ModuleState::Loadable => Supply::Loadable,
        ModuleState::Missing if modules.listed => {
            Supply::None(format!("Linux {release} has no module {module}"))
        }
        ModuleState::Missing => {
            return Err(Unseen::new(format!(
                "{module} is not loaded, and /lib/modules/{release} has no list"
            )));
        }
    })
}

fn get(modules: &Modules, module: &str) -> String {
    if modules.disabled {
        return format!("reboot with {module} in /etc/modules-load.d");
    }
    "install the distribution's package with further modules (linux-modules-extra on Ubuntu), or another kernel".to_owned()
}

/// /dev/vhost-net.
pub(in crate::doctor) fn vhost_net(case: &Case<'_>) -> Looked {
    device(case, "/dev/vhost-net", "vhost_net")
}

/// /dev/vhost-vsock.
pub(in crate::doctor) fn vhost_vsock(case: &Case<'_>) -> Looked {
    device(case, "/dev/vhost-vsock", "vhost_vsock")
}

/// /dev/net/tun.
pub(in crate::doctor) fn tun(case: &Case<'_>) -> Looked {
    device(case, "/dev/net/tun", "tun")
}

/// A device file with its module behind it. systemd makes some of these files for modules that are not loaded yet:
/// opening one loads the module, if it can be loaded.
fn device(case: &Case<'_>, path: &str, module: &str) -> Looked {
    let there = case.facts.devices.as_ref()?.get(path) == Some(&true);
    let Ok(modules) = &case.facts.modules else {
        return if there { yes(format!("{path} is there")) } else { unseen(format!("{path} is not there")) };
    };
    match (there, supply(modules, module)) {
        (true, Ok(Supply::There(how))) => yes(format!("{path} is there, {module} is {how}")),
        (true, Ok(Supply::Loadable)) => yes(format!("{path} is there, and loads {module} when it is opened")),
        // A kernel without a list of modules: the file is all that can be seen.
        (true, Err(_)) => yes(format!("{path} is there")),
        (false, Ok(Supply::Loadable)) => no(
            format!("{path} is not there: {module} is not loaded"),
            format!("modprobe {module}; for the next boot: echo {module} >/etc/modules-load.d/{module}.conf"),
        ),
        (false, Ok(Supply::There(how))) => no(
            format!("{path} is not there, though {module} is {how}"),
            "start systemd-udevd, which makes it; in a container, pass the device in",
        ),
        (false, Err(unseen)) => no(
            format!("{path} is not there ({})", unseen.0),
            format!("modprobe {module}, or boot a kernel that has it"),
        ),
        (_, Ok(Supply::None(because))) => no(because, get(modules, module)),
    }
}

/// Kontain's module, which no distribution signs, may be loaded where KVM is missing.
pub(in crate::doctor) fn lock(case: &Case<'_>) -> Looked {
    if matches!(case.facts.kvm, Ok(Kvm::Open { .. })) {
        return yes("/dev/kvm opens: no module of others' is needed");
    }
    let lock = case.facts.kernel_lock.as_ref()?;
    let boot = match lock.secure_boot {
        Some(true) => ", Secure Boot on",
        Some(false) => ", Secure Boot off",
        None => "",
    };
    let mode = lock.lockdown.as_deref().unwrap_or("none");
    if mode != "none" || lock.signed_modules_only == Some(true) {
        return no(
            format!("the kernel loads signed modules only (lockdown {mode}{boot}), and kkm is not signed"),
            "sign kkm with a key of this machine (mokutil), switch Secure Boot off, or choose a node with KVM",
        );
    }
    yes(format!("lockdown {mode}{boot}"))
}
