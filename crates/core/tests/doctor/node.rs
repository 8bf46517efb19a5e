//! A node on which every check says yes, and ways to make it ill.

use cofferdam_core::descriptor::{self, Descriptor, Requirement};
use cofferdam_core::doctor::facts::{
    AppArmor, CgroupDriver, CgroupVersion, Clock, Cpu, KernelLock, Kubelet, Kvm, KvmParameters, ModuleState,
    Modules, Mount, OsRelease, SeLinux,
};
use cofferdam_core::doctor::{Answer, CHECKS, Case, EngineFault, Fact, Facts, FaultKind, Unseen};
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::name::HostPath;
use cofferdam_core::observation::{
    ConfigOrigin, CriObservation, CriReady, EngineObservation, EngineProcess, TargetObservation,
    UnitObservation,
};
use std::collections::{BTreeMap, BTreeSet};

pub const DUMP: &str = include_str!("../data/containerd/default-1.7.toml");

/// All that a case borrows: a node on which every check says yes.
pub struct Node {
    pub engine: Result<EngineObservation, EngineFault>,
    pub target: Fact<TargetObservation>,
    pub facts: Facts,
    pub wanted: Descriptor,
}

pub fn path(text: &str) -> HostPath {
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
        apart: std::collections::BTreeMap::new(),
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

pub fn modules(state: ModuleState) -> Modules {
    let names = ["kkm", "kvm_amd", "kvm_intel", "tun", "vhost", "vhost_net", "vhost_vsock"];
    Modules {
        release: "6.12.1".to_owned(),
        listed: true,
        states: names.iter().map(|name| ((*name).to_owned(), state)).collect(),
        disabled: false,
    }
}

pub fn cpu(vendor: &str, flags: &[&str]) -> Cpu {
    let flags: BTreeSet<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Cpu { vendor: vendor.to_owned(), flags }
}

pub fn mount(kind: &str, upper: Option<&str>) -> Mount {
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
    pub fn good() -> Self {
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
    pub fn recorded(json: &str) -> Self {
        Self { facts: serde_json::from_str(json).unwrap(), ..Self::good() }
    }

    pub fn engine(&mut self) -> &mut EngineObservation {
        self.engine.as_mut().unwrap()
    }

    pub fn cri(&mut self) -> &mut CriReady {
        match &mut self.engine().cri {
            CriObservation::Ready(ready) => ready,
            _ => panic!("not ready"),
        }
    }

    pub fn target(&mut self) -> &mut TargetObservation {
        self.target.as_mut().unwrap()
    }

    pub fn no_engine(&mut self, kind: FaultKind) {
        self.engine = Err(EngineFault { kind, text: "the reason".to_owned() });
    }

    pub fn imports(&mut self, import: &str) {
        let text = format!("version = 2\nimports = [\"{import}\"]\n");
        self.engine().files.insert(path("/etc/containerd/config.toml"), text);
    }

    pub fn kubelet(&mut self, driver: CgroupDriver) {
        let source = "/var/lib/kubelet/config.yaml".to_owned();
        self.facts.kubelet = Ok(Some(Kubelet { source, cgroup_driver: Some(driver) }));
    }

    pub fn without(&mut self, device: &str, modules: Modules) {
        self.facts.devices.as_mut().unwrap().insert(device.to_owned(), false);
        self.facts.modules = Ok(modules);
    }

    pub fn offline(&mut self) {
        let engine = self.engine();
        (engine.process, engine.unit, engine.dump) = (None, None, None);
        engine.cri = CriObservation::Offline;
    }

    pub fn selinux(&mut self, label: Option<&str>) {
        let target_label = label.map(str::to_owned);
        self.facts.selinux = Ok(Some(SeLinux { enforcing: true, target_label }));
    }

    pub fn case(&self) -> Case<'_> {
        Case {
            engine: self.engine.as_ref(),
            target: self.target.as_ref(),
            facts: &self.facts,
            wanted: Some(&self.wanted),
        }
    }

    pub fn node_alone(&self) -> Case<'_> {
        Case { wanted: None, ..self.case() }
    }

    pub fn answer(&self, check: &str) -> Answer {
        let check = CHECKS.iter().find(|known| known.name == check).unwrap();
        check.run(&self.case()).answer
    }
}

pub fn unseen<T>() -> Fact<T> {
    Err(Unseen::new("a reason"))
}
