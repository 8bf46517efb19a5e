//! A recorded node, on which plans are made and carried out in memory.

// Each test binary uses a part of this; helpers fail their test by panicking.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::class::Class;
use cofferdam_core::descriptor;
use cofferdam_core::doctor::{Facts, Fitness};
use cofferdam_core::engine::EngineVersion;
use cofferdam_core::name::{Digest, HostPath, RuntimeName};
use cofferdam_core::observation::{
    ConfigOrigin, Container, CriObservation, CriReady, EngineObservation, EngineProcess, PathState, Sandbox,
    TargetObservation, TreeState, TreeUses, UnitObservation,
};
use cofferdam_core::plan::{self, Blob, Expect, Force, Package, Plan, PlanError, WorkerBinary, World};
use cofferdam_core::record::{Ledger, Step, Verdict};
use std::collections::BTreeMap;

pub const CONFIG: &str = "version = 3\n";

/// A node with containerd 2.4, as an observation of a booted one reads.
pub struct Node {
    pub ledger: Option<Ledger>,
    pub engine: EngineObservation,
    pub target: TargetObservation,
    pub uses: TreeUses,
    pub paths: BTreeMap<HostPath, PathState>,
    pub trees: BTreeMap<HostPath, TreeState>,
    pub kept: BTreeMap<Digest, String>,
    pub worker: Option<WorkerBinary>,
    pub fitness: Fitness,
}

pub fn path(text: &str) -> HostPath {
    HostPath::new(text).unwrap()
}

pub fn name(text: &str) -> RuntimeName {
    RuntimeName::new(text).unwrap()
}

impl Node {
    pub fn live() -> Self {
        let config = path("/etc/containerd/config.toml");
        let engine = EngineObservation {
            version: EngineVersion::parse("2.4.0"),
            version_text: "2.4.0".to_owned(),
            process: Some(EngineProcess {
                pid: 77,
                started: 1234,
                binary: path("/usr/bin/containerd"),
                args: Vec::new(),
            }),
            config_resolved: config.clone(),
            config_origin: ConfigOrigin::Default,
            files: BTreeMap::from([(config.clone(), CONFIG.to_owned())]),
            apart: BTreeMap::new(),
            config,
            dump: None,
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
        };
        Self {
            ledger: None,
            engine,
            target: TargetObservation {
                prefix: path("/opt/cofferdam"),
                read_only: false,
                noexec: false,
                free_bytes: 10 << 30,
                free_inodes: 100_000,
            },
            uses: TreeUses::new(),
            paths: [
                "/opt",
                "/etc",
                "/etc/containerd",
                "/etc/systemd/system",
                "/etc/systemd/system/multi-user.target.wants",
            ]
            .map(|folder| (path(folder), PathState::Folder))
            .into(),
            trees: BTreeMap::new(),
            kept: BTreeMap::new(),
            worker: Some(WorkerBinary { digest: Digest::of(b"worker"), size: 6 }),
            fitness: Fitness { facts: Facts::unseen("nobody looked"), skip: Vec::new() },
        }
    }

    pub fn cri(&mut self) -> &mut CriReady {
        match &mut self.engine.cri {
            CriObservation::Ready(cri) => cri,
            _ => panic!("not ready"),
        }
    }

    pub fn sandbox(&mut self, pod: &str, handler: &str) {
        self.cri().sandboxes.push(Sandbox {
            id: format!("id-{pod}"),
            namespace: "default".to_owned(),
            name: pod.to_owned(),
            uid: String::new(),
            handler: handler.to_owned(),
            ready: true,
            containers: vec![Container {
                id: format!("app-{pod}"),
                name: "app".to_owned(),
                attempt: 0,
                running: true,
            }],
        });
    }

    /// Plans; a path that nobody put there is absent.
    pub fn plan<T: std::fmt::Debug>(
        &self,
        planner: impl Fn(&World<'_>) -> Result<T, PlanError>,
    ) -> Result<T, PlanError> {
        let (mut paths, mut trees) = (self.paths.clone(), self.trees.clone());
        loop {
            let world = World {
                ledger: self.ledger.as_ref(),
                engine: &self.engine,
                target: &self.target,
                uses: &self.uses,
                paths: &paths,
                trees: &trees,
                kept: &self.kept,
                worker: self.worker,
                fitness: &self.fitness,
            };
            match planner(&world) {
                Err(PlanError::Unobserved(path)) => {
                    assert!(
                        paths.insert(path.clone(), PathState::Absent).is_none(),
                        "{path} asked for twice"
                    );
                }
                Err(PlanError::Unchecked { tree, .. }) => {
                    assert!(trees.insert(tree, TreeState::Absent).is_none(), "a tree is asked for once");
                }
                result => {
                    let again = planner(&world);
                    assert_eq!(format!("{result:?}"), format!("{again:?}"), "equal worlds, equal plans");
                    return result;
                }
            }
        }
    }

    pub fn install(&self, package: &Package) -> Result<Plan, PlanError> {
        self.plan(|world| plan::install(world, package, &Expect::Anything, true))
    }

    pub fn remove(&self, name: &RuntimeName, force: Force) -> Result<Plan, PlanError> {
        self.plan(|world| plan::remove(world, name, force, true))
    }

    /// The node after `plan`.
    pub fn carry_out(&mut self, plan: &Plan) {
        let mut proven = false;
        for step in &plan.steps {
            match step {
                Step::MakeFolder { path } => {
                    self.paths.insert(path.clone(), PathState::Folder);
                }
                Step::PlaceTree { tree } | Step::ReplaceTree { tree } => {
                    self.paths.insert(tree.clone(), PathState::Folder);
                    self.trees.insert(tree.clone(), TreeState::Sound);
                }
                Step::RemoveTree { tree } => {
                    self.paths.insert(tree.clone(), PathState::Absent);
                    self.trees.remove(tree);
                }
                Step::WriteFile { path, after, mode, .. } => {
                    if let Blob::Text(text) = &plan.blobs[after]
                        && path.as_str().starts_with("/etc/containerd")
                    {
                        self.engine.files.insert(path.clone(), text.clone());
                    }
                    self.paths.insert(path.clone(), PathState::File { digest: *after, mode: *mode });
                }
                Step::RemoveFile { path, .. } => {
                    self.engine.files.remove(path);
                    self.paths.insert(path.clone(), PathState::Absent);
                }
                Step::MakeLink { path, target } => {
                    self.paths.insert(path.clone(), PathState::Link { target: target.clone() });
                }
                Step::Verify { handlers } => {
                    let listed = handlers.iter().map(ToString::to_string).collect::<Vec<_>>();
                    self.cri().handlers.extend(listed);
                    proven = true;
                }
                _ => {}
            }
        }
        for (digest, blob) in &plan.blobs {
            if let Blob::Text(text) = blob {
                self.kept.insert(*digest, text.clone());
            }
        }
        let mut ledger = plan.after.clone();
        if proven {
            ledger.runtimes.values_mut().for_each(|installed| installed.verdict = Verdict::Proven);
        }
        self.ledger = Some(ledger);
    }
}

pub fn package(runtime: &str) -> Package {
    version(runtime, "1.0", runtime)
}

/// A version of a runtime, with one handler.
pub fn version(runtime: &str, version: &str, handler: &str) -> Package {
    let text = format!(
        "schema = 1\nname = \"{runtime}\"\nversion = \"{version}\"\n[[handler]]\nname = \"{handler}\"\n\
         shim = \"bin/shim\"\n"
    );
    described(&text)
}

/// A package with this descriptor.
pub fn described(text: &str) -> Package {
    Package {
        descriptor: descriptor::parse("runtime.toml", text).unwrap(),
        digest: Digest::of(text.as_bytes()),
        bytes: 1 << 20,
        entries: 2,
        source: "dir:/packages".to_owned(),
        preset: None,
        image: None,
        verified: None,
        findings: Vec::new(),
    }
}

pub fn shown(plan: &Plan) -> Vec<String> {
    let tree = format!("1.0-{}", package("toy").digest.short());
    plan.steps.iter().map(|step| step.to_string().replace(&tree, "TREE")).collect()
}

/// A refusal: its class, these words, and a way out.
pub fn refused<T: std::fmt::Debug>(
    result: Result<T, PlanError>,
    class: Class,
    words: &[&str],
    way_out: &str,
) {
    let error = result.unwrap_err();
    assert_eq!(error.class(), class, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in {error}");
    }
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains(way_out), "no {way_out:?} in {hint:?}");
}
