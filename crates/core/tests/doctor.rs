//! The doctor's table: every check answers yes, no and "could not look", each for its reason; verdicts follow.
//!
//! `tests/doctor/*.json` are facts of real machines, as `cofferdam doctor --json` printed them.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::descriptor::{self, Descriptor, Requirement};
use cofferdam_core::doctor::facts::{
    AppArmor, CgroupDriver, CgroupVersion, Clock, Cpu, Installer, KernelLock, Kubelet, Kvm, KvmParameters,
    ModuleState, Modules, Mount, OsRelease, SeLinux, Trace,
};
use cofferdam_core::doctor::{
    Answer, Applies, CHECKS, Case, EngineFault, Fact, Facts, FaultKind, Finding, Gate, Readiness, Skip,
    UnknownCheck, Unseen, readiness, requirement_readiness, run,
};
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{
    ConfigOrigin, CriObservation, CriReady, EngineObservation, EngineProcess, TargetObservation,
    UnitObservation,
};
use std::collections::{BTreeMap, BTreeSet};

const DUMP: &str = include_str!("data/containerd/default-1.7.toml");

/// All that a case borrows: a node on which every check says yes.
struct Node {
    engine: Result<EngineObservation, EngineFault>,
    target: Fact<TargetObservation>,
    facts: Facts,
    wanted: Descriptor,
}

fn path(text: &str) -> HostPath {
    HostPath::new(text).unwrap()
}

fn place(text: &str) -> TargetObservation {
    TargetObservation {
        prefix: path(text),
        read_only: false,
        noexec: false,
        free_bytes: 10 << 30,
        free_inodes: 1 << 20,
    }
}

fn engine() -> EngineObservation {
    let config = path("/etc/containerd/config.toml");
    EngineObservation {
        version: EngineVersion::parse("1.7.24"),
        version_text: "1.7.24~ds1".to_owned(),
        process: Some(EngineProcess {
            pid: 77,
            started: 1234,
            binary: path("/usr/bin/containerd"),
            args: Vec::new(),
        }),
        config_resolved: config.clone(),
        config_origin: ConfigOrigin::Default,
        files: BTreeMap::from([(config.clone(), DUMP.to_owned())]),
        config,
        apart: BTreeMap::new(),
        dump: Some(DUMP.to_owned()),
        unit: Some(UnitObservation {
            name: "containerd.service".to_owned(),
            active_state: "active".to_owned(),
            kill_mode: "process".to_owned(),
            main_pid: 77,
        }),
        cri: CriObservation::Ready(CriReady {
            socket: path("/run/containerd/containerd.sock"),
            runtime_ready: true,
            network_ready: true,
            network_message: String::new(),
            handlers: vec!["runc".to_owned()],
            default_handler: "runc".to_owned(),
            sandbox_image: "registry.example/pause:3.10".to_owned(),
            sandboxes: Vec::new(),
        }),
    }
}

fn modules(state: ModuleState) -> Modules {
    let names = ["kkm", "kvm_amd", "kvm_intel", "tun", "vhost", "vhost_net", "vhost_vsock"];
    Modules {
        release: "6.12.1".to_owned(),
        listed: true,
        states: names.iter().map(|name| ((*name).to_owned(), state)).collect(),
        disabled: false,
    }
}

fn cpu(vendor: &str, flags: &[&str]) -> Cpu {
    let flags: BTreeSet<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Cpu { vendor: vendor.to_owned(), flags }
}

fn mount(kind: &str, upper: Option<&str>) -> Mount {
    Mount {
        of: path("/opt/cofferdam"),
        point: "/".to_owned(),
        kind: kind.to_owned(),
        upper: upper.map(str::to_owned),
    }
}

/// A runtime that requires everything.
fn wanted() -> Descriptor {
    let mut descriptor = descriptor::parse(
        "runtime.toml",
        "schema = 1\nname = \"kata\"\nversion = \"1\"\n[[handler]]\nname = \"kata\"\nshim = \"bin/shim\"\n",
    )
    .unwrap();
    descriptor.handlers[0].requires = Requirement::ALL.to_vec();
    descriptor
}

impl Node {
    fn good() -> Self {
        let parameters = KvmParameters {
            nested: Some(true),
            unrestricted_guest: Some(true),
            sev_snp: Some(true),
            tdx: Some(true),
        };
        let devices = ["/dev/kkm", "/dev/net/tun", "/dev/vhost-net", "/dev/vhost-vsock"];
        let facts = Facts {
            cpu: Ok(cpu("GenuineIntel", &["vmx", "lm", "sse4_1"])),
            kvm: Ok(Kvm::Open { api_version: 12 }),
            kvm_parameters: Ok(parameters),
            devices: Ok(devices.iter().map(|device| ((*device).to_owned(), true)).collect()),
            modules: Ok(modules(ModuleState::Loaded)),
            kernel_lock: Ok(KernelLock { lockdown: Some("none".to_owned()), ..KernelLock::default() }),
            cgroups: Ok(CgroupVersion::V2),
            selinux: Ok(None),
            apparmor: Ok(Some(AppArmor { engine: Some("unconfined".to_owned()) })),
            os: Ok(Some(OsRelease::parse("ID=debian\nPRETTY_NAME=\"Debian 13\"\n"))),
            clock: Ok(Clock { now: 1_800_000_000, synchronised: Some(true) }),
            kubelet: Ok(None),
            records: Ok(place("/var/lib/cofferdam")),
            config: Ok(place("/etc/containerd/config.toml")),
            mounts: Ok(vec![mount("ext4", None)]),
            pause_image: Ok(true),
            traces: Ok(Vec::new()),
            interrupted: Ok(None),
        };
        Self { engine: Ok(engine()), target: Ok(place("/opt/cofferdam")), facts, wanted: wanted() }
    }

    /// A machine of which facts were recorded, with the engine of the good node.
    fn recorded(json: &str) -> Self {
        Self { facts: serde_json::from_str(json).unwrap(), ..Self::good() }
    }

    fn engine(&mut self) -> &mut EngineObservation {
        self.engine.as_mut().unwrap()
    }

    fn cri(&mut self) -> &mut CriReady {
        match &mut self.engine().cri {
            CriObservation::Ready(ready) => ready,
            _ => panic!("not ready"),
        }
    }

    fn target(&mut self) -> &mut TargetObservation {
        self.target.as_mut().unwrap()
    }

    fn no_engine(&mut self, kind: FaultKind) {
        self.engine = Err(EngineFault { kind, text: "the reason".to_owned() });
    }

    fn imports(&mut self, import: &str) {
        let text = format!("version = 2\nimports = [\"{import}\"]\n");
        self.engine().files.insert(path("/etc/containerd/config.toml"), text);
    }

    fn kubelet(&mut self, driver: CgroupDriver) {
        let source = "/var/lib/kubelet/config.yaml".to_owned();
        self.facts.kubelet = Ok(Some(Kubelet { source, cgroup_driver: Some(driver) }));
    }

    fn without(&mut self, device: &str, modules: Modules) {
        self.facts.devices.as_mut().unwrap().insert(device.to_owned(), false);
        self.facts.modules = Ok(modules);
    }

    fn offline(&mut self) {
        let engine = self.engine();
        (engine.process, engine.unit, engine.dump) = (None, None, None);
        engine.cri = CriObservation::Offline;
    }

    fn selinux(&mut self, label: Option<&str>) {
        let target_label = label.map(str::to_owned);
        self.facts.selinux = Ok(Some(SeLinux { enforcing: true, target_label }));
    }

    fn case(&self) -> Case<'_> {
        Case {
            engine: self.engine.as_ref(),
            target: self.target.as_ref(),
            facts: &self.facts,
            wanted: Some(&self.wanted),
        }
    }

    fn node_alone(&self) -> Case<'_> {
        Case { wanted: None, ..self.case() }
    }

    fn answer(&self, check: &str) -> Answer {
        let check = CHECKS.iter().find(|known| known.name == check).unwrap();
        check.run(&self.case()).answer
    }
}

fn unseen<T>() -> Fact<T> {
    Err(Unseen::new("a reason"))
}

type Change = fn(&mut Node);

/// One check: what makes it say no, with a word of its reason and one of its remedy, and what it cannot look past.
struct Row {
    check: &'static str,
    no: Change,
    because: &'static str,
    remedy: &'static str,
    unseen: Change,
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

const ROWS: &[Row] = &[
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
        |n| n.facts.modules.as_mut().unwrap().release = "6.8.0-31-generic".to_owned(),
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
            let installer = Installer::KataDeploy;
            n.facts.traces = Ok(vec![Trace { installer, path: "/opt/kata".to_owned() }]);
        },
        "kata-deploy manages kata on this node, too (/opt/kata)",
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

#[test]
fn every_check_of_the_table_has_its_cases() {
    let of = |names: Vec<&'static str>| names.into_iter().collect::<BTreeSet<_>>();
    let table = of(CHECKS.iter().map(|check| check.name).collect());
    assert_eq!(table.len(), CHECKS.len(), "names are distinct");
    assert_eq!(table, of(ROWS.iter().map(|row| row.check).collect()));
    let documented = include_str!("../../../docs/doctor.md");
    for name in table {
        assert!(documented.contains(&format!("| `{name}` |")), "docs/doctor.md has no row for {name}");
    }
}

#[test]
fn every_check_says_yes_no_and_could_not_look() {
    for Row { check, no, because, remedy, unseen } in ROWS {
        let good = Node::good().answer(check);
        assert!(matches!(&good, Answer::Yes { seen } if !seen.is_empty()), "{check}: {good:?}");

        let mut bad = Node::good();
        no(&mut bad);
        let answer = bad.answer(check);
        let Answer::No { because: said, remedy: way_out } = &answer else { panic!("{check}: {answer:?}") };
        assert!(said.contains(because), "{check}: no {because:?} in {said:?}");
        assert!(way_out.contains(remedy), "{check}: no {remedy:?} in {way_out:?}");

        let mut dark = Node::good();
        unseen(&mut dark);
        let answer = dark.answer(check);
        assert!(matches!(&answer, Answer::Unknown { why } if !why.is_empty()), "{check}: {answer:?}");
    }
}

#[test]
fn every_requirement_is_asked_by_a_check() {
    let node = Node::good();
    for requirement in Requirement::ALL {
        let (readiness, findings) = requirement_readiness(&node.node_alone(), requirement);
        assert!(!findings.is_empty(), "{requirement}");
        assert_eq!(readiness, Readiness::Ready, "{requirement}");
        assert_eq!(Requirement::find(requirement.as_str()), Some(requirement));
        let json = serde_json::to_value(requirement).unwrap();
        assert_eq!(json, requirement.as_str(), "one name everywhere");
    }
}

fn names(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.check).collect()
}

/// Facts of a real machine, and what is known about it.
#[test]
fn a_recorded_machine_is_judged_as_it_is() {
    let node = Node::recorded(include_str!("doctor/node-in-a-container.json"));
    let alone = run(&node.node_alone());
    assert_eq!(readiness(&alone), Readiness::Ready, "{alone:#?}");
    let of = |requirement| requirement_readiness(&node.node_alone(), requirement).0;
    // AMD's processor in a virtual machine without svm, with KVM by other means; no modules of its own.
    for there in [Requirement::Kvm, Requirement::KvmOrKkm, Requirement::Tun] {
        assert_eq!(of(there), Readiness::Ready, "{there}");
    }
    for (missing, check) in [
        (Requirement::VhostNet, "vhost-net"),
        (Requirement::VhostVsock, "vhost-vsock"),
        (Requirement::CgroupV2, "cgroup-v2"),
        (Requirement::SevSnp, "sev-snp"),
        (Requirement::Tdx, "tdx"),
    ] {
        assert_eq!(of(missing), Readiness::NotReady { because: vec![check] }, "{missing}");
    }
}

#[test]
fn only_what_applies_is_asked() {
    let mut node = Node::good();
    let alone = run(&node.node_alone());
    assert!(!names(&alone).contains(&"kvm"), "{:?}", names(&alone));
    node.wanted.handlers[0].requires = vec![Requirement::VhostVsock];
    let asked = run(&node.case());
    assert_eq!(asked.len(), alone.len() + 1);
    assert!(names(&asked).contains(&"vhost-vsock"));

    // An offline tree: what only the machine could tell is not asked, but for what a runtime requires.
    node.offline();
    node.facts = Facts { os: Ok(None), ..Facts::unseen("offline") };
    let asked = run(&node.case());
    for machine in ["cni", "unit", "target-exec", "lasting", "selinux", "clock"] {
        assert!(!names(&asked).contains(&machine), "{machine}");
    }
    assert!(names(&asked).contains(&"vhost-vsock") && names(&asked).contains(&"host-system"));
}

#[test]
fn verdicts_name_what_decides() {
    let mut node = Node::good();
    assert_eq!(readiness(&run(&node.case())), Readiness::Ready);
    node.facts.clock = unseen();
    assert_eq!(readiness(&run(&node.case())), Readiness::CannotTell { because: vec!["clock"] });
    node.facts.kvm = Ok(Kvm::Refused { reason: "Device or resource busy".to_owned() });
    assert_eq!(readiness(&run(&node.case())), Readiness::NotReady { because: vec!["kvm"] });
}

#[test]
fn without_an_engine_the_rest_is_answered() {
    let mut node = Node::good();
    node.no_engine(FaultKind::NoProcess);
    let findings = run(&node.case());
    let no: Vec<_> = findings.iter().filter(|finding| finding.is_no()).map(|f| f.check).collect();
    assert_eq!(no, ["engine-binary"]);
    let yes = findings.iter().filter(|finding| matches!(finding.answer, Answer::Yes { .. })).count();
    assert!(yes > 20, "{findings:#?}");
}

#[test]
fn only_checks_that_leave_a_choice_are_skipped() {
    for check in CHECKS {
        let skip = Skip::new(check.name);
        assert_eq!(skip.is_ok(), check.gate == Gate::Skippable, "{}", check.name);
        assert!(
            check.gate == Gate::Skippable || !matches!(check.applies, Applies::If(_)),
            "{}: what a package requires may be wrong about a node",
            check.name
        );
    }
    assert_eq!(Skip::new("unit").unwrap_err(), UnknownCheck::Closed("unit"));
    assert!(Skip::new("cnii").unwrap_err().to_string().contains("did you mean `cni`?"));
}

#[test]
fn others_presence_alone_is_no_obstacle() {
    let mut node = Node::good();
    let path_of_nvidia = "/etc/nvidia-container-runtime/config.toml".to_owned();
    node.facts.traces =
        Ok(vec![Trace { installer: Installer::NvidiaContainerToolkit, path: path_of_nvidia }]);
    let answer = node.answer("other-installers");
    assert!(matches!(&answer, Answer::Yes { seen } if seen.contains("nvidia")), "{answer:?}");
    // A registration in the engine's files is a trace, too; one in a comment is none.
    let text = "version = 2\n# /opt/kata/bin was here\n[plugins.x]\nBinaryName = \"/opt/kwasm/bin/x\"\n";
    node.engine().files.insert(path("/etc/containerd/config.toml"), text.to_owned());
    let answer = node.answer("other-installers");
    assert!(
        matches!(&answer, Answer::Yes { seen } if seen.contains("KWasm") && !seen.contains("kata-deploy"))
    );
}

#[test]
fn engines_that_recreate_pods_are_those_that_did() {
    for (release, recreates) in [("1.6.8", false), ("1.6.9", true), ("1.6.13", true), ("1.6.14", false)] {
        let mut node = Node::good();
        node.engine().version = EngineVersion::parse(release);
        assert_eq!(matches!(node.answer("engine-restart"), Answer::No { .. }), recreates, "{release}");
        assert!(matches!(node.answer("engine-version"), Answer::Yes { .. }), "{release}");
    }
}

#[test]
fn imports_by_glob_or_of_files_that_exist_are_fine() {
    for import in ["/etc/containerd/conf.d/*.toml", "/etc/containerd/config.toml"] {
        let mut node = Node::good();
        node.imports(import);
        assert!(matches!(node.answer("engine-imports"), Answer::Yes { .. }), "{import}");
    }
}

#[test]
fn kubelets_of_today_follow_the_engine() {
    let mut node = Node::good();
    node.kubelet(CgroupDriver::Systemd);
    node.engine().version = EngineVersion::parse("2.1.0");
    assert!(matches!(node.answer("cgroup-driver"), Answer::Yes { .. }));
    let dump = DUMP.replace("SystemdCgroup = false", "SystemdCgroup = true");
    assert_ne!(dump, DUMP);
    let mut node = Node::good();
    node.kubelet(CgroupDriver::Systemd);
    node.engine().dump = Some(dump);
    let answer = node.answer("cgroup-driver");
    assert!(matches!(&answer, Answer::Yes { seen } if seen.starts_with("systemd")), "{answer:?}");
}

#[test]
fn virtualization_by_other_means_counts() {
    let mut node = Node::good();
    node.facts.cpu = Ok(cpu("AuthenticAMD", &["lm", "sse4_1", "hypervisor"]));
    node.facts.modules = Ok(Modules { listed: false, ..modules(ModuleState::Missing) });
    for check in ["cpu-flags", "kvm-module", "kvm", "unrestricted-guest"] {
        assert!(matches!(node.answer(check), Answer::Yes { .. }), "{check}: {:?}", node.answer(check));
    }
}

#[test]
fn immutable_systems_are_told_what_to_do_instead() {
    for (id, instead) in [
        ("talos", "siderolabs/gvisor"),
        ("bottlerocket", "nodes of another"),
        ("cos", "GKE Sandbox"),
        ("rhcos", "OpenShift"),
    ] {
        let mut node = Node::good();
        node.facts.os = Ok(Some(OsRelease::parse(&format!("ID={id}\n"))));
        let answer = node.answer("host-system");
        assert!(matches!(&answer, Answer::No { remedy, .. } if remedy.contains(instead)), "{answer:?}");
    }
    let mut flatcar = Node::good();
    flatcar.facts.os = Ok(Some(OsRelease::parse("ID=flatcar\n")));
    flatcar.facts.config.as_mut().unwrap().read_only = true;
    assert!(matches!(flatcar.answer("host-system"), Answer::Yes { .. }));
    let answer = flatcar.answer("config-writable");
    assert!(
        matches!(&answer, Answer::No { remedy, .. } if remedy.contains("CONTAINERD_CONFIG")),
        "{answer:?}"
    );
}
