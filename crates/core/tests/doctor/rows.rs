//! For each check, what makes it say no, and what it cannot look past.

use crate::node::{Node, cpu, modules, mount, path, unseen};
use cofferdam_core::doctor::FaultKind;
use cofferdam_core::doctor::facts::{
    AppArmor, CgroupDriver, CgroupVersion, Clock, KernelLock, Kvm, ModuleState, Modules, OsRelease,
};
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::observation::CriObservation;

pub type Change = fn(&mut Node);

/// One check: what makes it say no, with a word of its reason and one of its remedy, and what it cannot look past.
pub struct Row {
    pub check: &'static str,
    pub no: Change,
    pub because: &'static str,
    pub remedy: &'static str,
    pub unseen: Change,
}

const fn row(
    check: &'static str,
    no: Change,
    because: &'static str,
    remedy: &'static str,
    unseen: Change,
) -> Row {
    Row { check, no, because, remedy, unseen }
}

pub const ROWS: &[Row] = &[
    row(
        "engine-version",
        |n| n.engine().version = EngineVersion::parse("1.5.11"),
        "older than 1.6.0",
        "1.6",
        |n| n.engine().version = None,
    ),
    row(
        "engine-binary",
        |n| n.no_engine(FaultKind::NoProcess),
        "the reason",
        "--unit",
        |n| n.no_engine(FaultKind::Other),
    ),
    row(
        "engine-config",
        |n| n.no_engine(FaultKind::ConfigRefused),
        "the reason",
        "mend",
        |n| n.no_engine(FaultKind::NoProcess),
    ),
    row(
        "engine-imports",
        |n| n.imports("gone.toml"),
        "/etc/containerd/gone.toml, which does not exist",
        "imports",
        |n| n.no_engine(FaultKind::NoProcess),
    ),
    row(
        "engine-restart",
        |n| n.engine().version = EngineVersion::parse("1.6.9"),
        "recreates every pod",
        "1.6.14",
        |n| n.no_engine(FaultKind::NoProcess),
    ),
    row(
        "cri",
        |n| n.engine().cri = CriObservation::Unavailable { socket: None, reason: "refused".to_owned() },
        "refused",
        "journalctl -u containerd.service",
        |n| n.no_engine(FaultKind::NoProcess),
    ),
    row(
        "cni",
        |n| n.cri().network_ready = false,
        "not ready",
        "CNI",
        |n| n.engine().cri = CriObservation::Unavailable { socket: None, reason: "refused".to_owned() },
    ),
    row(
        "pause-image",
        |n| n.facts.pause_image = Ok(false),
        "pause:3.10",
        "images pull",
        |n| n.cri().sandbox_image = String::new(),
    ),
    row(
        "cgroup-driver",
        |n| n.kubelet(CgroupDriver::Systemd),
        "cgroupfs",
        "SystemdCgroup",
        |n| n.facts.kubelet = unseen(),
    ),
    row("unit", |n| n.engine().unit = None, "pid 77", "--unit", |n| n.no_engine(FaultKind::NoProcess)),
    row(
        "kill-mode",
        |n| n.engine().unit.as_mut().unwrap().kill_mode = "mixed".to_owned(),
        "KillMode=mixed",
        "systemctl edit",
        |n| n.engine().unit = None,
    ),
    row(
        "host-system",
        |n| n.facts.os = Ok(Some(OsRelease::parse("ID=talos\nPRETTY_NAME=Talos\n"))),
        "immutable",
        "system extension",
        |n| n.facts.os = unseen(),
    ),
    row("target-writable", |n| n.target().read_only = true, "read-only", "--prefix", |n| n.target = unseen()),
    row("target-exec", |n| n.target().noexec = true, "noexec", "--prefix", |n| n.target = unseen()),
    row("target-space", |n| n.target().free_inodes = 10, "10 inodes", "make room", |n| n.target = unseen()),
    row(
        "config-writable",
        |n| n.facts.config.as_mut().unwrap().read_only = true,
        "read-only",
        "--config in its unit",
        |n| n.facts.config = unseen(),
    ),
    row(
        "records-writable",
        |n| n.facts.records.as_mut().unwrap().read_only = true,
        "read-only",
        "mount",
        |n| n.facts.records = unseen(),
    ),
    row(
        "records-space",
        |n| n.facts.records.as_mut().unwrap().free_bytes = 1 << 20,
        "only 1 MiB",
        "make room",
        |n| n.facts.records = unseen(),
    ),
    row(
        "lasting",
        |n| n.facts.mounts = Ok(vec![mount("tmpfs", None)]),
        "in memory",
        "--root",
        |n| n.facts.mounts = unseen(),
    ),
    row(
        "selinux",
        |n| n.selinux(Some("system_u:object_r:default_t:s0")),
        "default_t",
        "semanage fcontext",
        |n| n.selinux(None),
    ),
    row(
        "apparmor",
        |n| n.facts.apparmor = Ok(Some(AppArmor { engine: Some("x (enforce)".to_owned()) })),
        "x (enforce)",
        "profile",
        |n| n.facts.apparmor = Ok(Some(AppArmor { engine: None })),
    ),
    row(
        "cgroups",
        |n| n.facts.cgroups = Ok(CgroupVersion::None),
        "/sys/fs/cgroup",
        "mount",
        |n| n.facts.cgroups = unseen(),
    ),
    row(
        "clock",
        |n| n.facts.clock = Ok(Clock { now: 86_400, synchronised: None }),
        "86400 s",
        "timedatectl",
        |n| n.facts.clock = unseen(),
    ),
    row(
        "cgroup-v2",
        |n| n.facts.cgroups = Ok(CgroupVersion::Hybrid),
        "version 2",
        "unified",
        |n| n.facts.cgroups = unseen(),
    ),
    row(
        "cpu-flags",
        |n| {
            n.facts.kvm = Ok(Kvm::Absent);
            n.facts.cpu = Ok(cpu("GenuineIntel", &["lm", "sse4_1", "hypervisor"]));
        },
        "neither vmx nor svm",
        "nested virtualization",
        |n| n.facts.cpu = unseen(),
    ),
    row(
        "kvm-module",
        |n| {
            n.facts.kvm = Ok(Kvm::Absent);
            n.facts.modules = Ok(modules(ModuleState::Missing));
        },
        "Linux 6.12.1 has no module kvm_intel",
        "modules",
        |n| {
            n.facts.kvm = Ok(Kvm::Absent);
            n.facts.modules = Ok(Modules { listed: false, ..modules(ModuleState::Missing) });
        },
    ),
    row("kvm", |n| n.facts.kvm = Ok(Kvm::Absent), "no /dev/kvm", "kvm_intel", |n| n.facts.kvm = unseen()),
    row(
        "unrestricted-guest",
        |n| n.facts.kvm_parameters.as_mut().unwrap().unrestricted_guest = Some(false),
        "unrestricted_guest=N",
        "modprobe",
        |n| n.facts.kvm_parameters.as_mut().unwrap().unrestricted_guest = None,
    ),
    row(
        "sev-snp",
        |n| n.facts.kvm_parameters.as_mut().unwrap().sev_snp = Some(false),
        "sev_snp",
        "firmware",
        |n| n.facts.kvm_parameters = unseen(),
    ),
    row(
        "tdx",
        |n| {
            n.facts.modules.as_mut().unwrap().release = "6.8.0-31-generic".to_owned();
            n.facts.kvm_parameters.as_mut().unwrap().tdx = Some(false);
        },
        "6.8.0-31-generic",
        "Linux 6.11",
        |n| n.facts.modules = unseen(),
    ),
    row(
        "kvm-or-kkm",
        |n| {
            n.facts.kvm = Ok(Kvm::Absent);
            n.without("/dev/kkm", modules(ModuleState::Missing));
        },
        "neither /dev/kvm nor /dev/kkm",
        "kkm",
        |n| (n.facts.kvm, n.facts.devices) = (unseen(), unseen()),
    ),
    row(
        "kernel-lock",
        |n| {
            n.facts.kvm = Ok(Kvm::Absent);
            let lockdown = Some("integrity".to_owned());
            n.facts.kernel_lock =
                Ok(KernelLock { lockdown, secure_boot: Some(true), signed_modules_only: None });
        },
        "lockdown integrity, Secure Boot on",
        "mokutil",
        |n| (n.facts.kvm, n.facts.kernel_lock) = (unseen(), unseen()),
    ),
    row(
        "vhost-net",
        |n| n.without("/dev/vhost-net", modules(ModuleState::Loadable)),
        "vhost_net is not loaded",
        "modprobe vhost_net",
        |n| n.facts.devices = unseen(),
    ),
    row(
        "vhost-vsock",
        |n| n.without("/dev/vhost-vsock", Modules { disabled: true, ..modules(ModuleState::Loadable) }),
        "kernel.modules_disabled=1",
        "reboot",
        |n| n.facts.devices = unseen(),
    ),
    row(
        "tun",
        |n| n.without("/dev/net/tun", modules(ModuleState::BuiltIn)),
        "part of the kernel",
        "udev",
        |n| n.facts.devices = unseen(),
    ),
    row(
        "other-installers",
        |n| {
            let text = "version = 2\n[plugins.x]\nConfigPath = \"/opt/kata/share/x.toml\"\n";
            n.engine().files.insert(path("/etc/containerd/config.toml"), text.to_owned());
        },
        "kata-deploy manages kata on this node, too (/etc/containerd/config.toml)",
        "by its own means",
        |n| n.facts.traces = unseen(),
    ),
    row(
        "interrupted",
        |n| n.facts.interrupted = Ok(Some("install toy 1.0".to_owned())),
        "install toy 1.0",
        "cofferdam recover",
        |n| n.facts.interrupted = unseen(),
    ),
];
