//! The fault matrix (see `xtask::matrix`): on one node for each containerd, every row one after another, while a pod of
//! runc and a pod of gVisor run.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::engine::containerd::{Effective, compare};
use cofferdam_core::name::HandlerName;
use cofferdam_core::observation::Sandbox;
use cofferdam_core::record::Verdict;
use cofferdam_host::event::{Ending, Outcome};
use serde_json::Value;
use std::time::Instant;
use xtask::matrix::{self, Cell, Row};
use xtask::testbed::engine::CONFIG_PATH;
use xtask::testbed::trial::{FAULT, Run};
use xtask::testbed::{Containerd, Node, NodeSpec, Pod, Release, Runtime, Tree};

/// The runtime that is there between the rows, in its old release.
const GVISOR: Runtime = Runtime::GvisorOci;

/// Comes and goes beside it.
const OTHER: Runtime = Runtime::Crun;

const NOTHING: Vec<String> = Vec::new();

struct Bed {
    node: Node,
    /// Without us: all of it.
    clean: Tree,
    /// With gVisor's old release, and nothing to roll back to: what changes reach.
    installed: Tree,
    /// The pods that run throughout.
    pods: Vec<Sandbox>,
    kept: Vec<Pod>,
}

impl Bed {
    fn boot(containerd: Containerd) -> Self {
        let node = Node::boot(NodeSpec::new(containerd)).unwrap();
        node.put_cofferdam().unwrap();
        for (runtime, release) in [(GVISOR, Release::Old), (GVISOR, Release::New), (OTHER, Release::Old)] {
            node.put_release(runtime, release).unwrap();
        }
        let runc = node.run_pod("keeps-runc", "").unwrap();
        let clean = node.trees().unwrap();
        let pods = node.pods().unwrap();
        Self { installed: clean.clone(), clean, pods, kept: vec![runc], node }
    }

    /// A change that commits.
    fn change(&self, args: &[&str]) -> Outcome {
        let outcome = self.node.change(args).unwrap();
        assert_eq!(outcome.result, Ending::Committed, "{args:?}: {outcome:#?}");
        outcome
    }

    /// A change that commits and proves the new registration.
    fn proven(&self, args: &[&str]) {
        let outcome = self.change(args);
        assert_eq!(outcome.verdict, Some(Verdict::Proven), "{args:?}: {outcome:#?}");
    }

    fn run(&self, args: &[&str], code: i32) -> Run {
        let run = self.node.cofferdam(args).unwrap();
        assert_eq!(run.code(), code, "{:#?}", run.output);
        run
    }

    fn same(&self, expected: &Tree, shown: &str) {
        assert_eq!(expected.diff(&self.node.reached_trees().unwrap()), NOTHING, "{shown}");
    }

    /// The same but for the ledger, whose generation counts on.
    fn same_but_ledger(&self, shown: &str) {
        let ledger = ["/var/lib/cofferdam/ledger.json"];
        let (expected, found) = (self.installed.clone(), self.node.reached_trees().unwrap());
        assert_eq!(expected.without(&ledger).diff(&found.without(&ledger)), NOTHING, "{shown}");
    }

    fn serves(&self, handler: &str) -> bool {
        self.node.cri().unwrap().status().unwrap().handlers.iter().any(|h| h == handler)
    }

    fn dump(&self) -> Effective {
        Effective::parse(&self.node.ok(&["containerd", "config", "dump"]).unwrap()).unwrap()
    }

    /// A new pod runs under gVisor of this version.
    fn new_pod_runs(&self, version: &str) {
        let pod = self.node.run_pod("new", GVISOR.handler()).unwrap();
        self.runs(&pod, version);
        self.node.remove_pod(&pod).unwrap();
    }

    fn runs(&self, pod: &Pod, version: &str) {
        let script = format!(
            "for pid in $(pgrep -f '^runsc-sandbox .*{}'); do /proc/$pid/exe --version | head -n 1; done",
            pod.sandbox
        );
        let shown = self.node.sh(&script).unwrap().ok().unwrap().stdout;
        assert!(shown.trim().ends_with(version), "{shown:?}, not {version}");
        assert_eq!(self.node.exec_ok(pod, &["uname", "-r"]).unwrap(), "4.4.0");
    }

    fn kept_pod_runs(&self) {
        self.runs(&self.kept[1], OLD);
    }

    /// Back from gVisor's new release, after whatever a row did.
    fn back_to_old(&self) {
        self.proven(&["rollback", GVISOR.name()]);
        self.change(&["gc", "--all"]);
        self.same_but_ledger("rolled back and collected");
    }
}

const OLD: &str = "20240729.0";
const NEW: &str = "20250205.0";

fn upgrade() -> [String; 2] {
    ["upgrade".into(), GVISOR.source_of(Release::New)]
}

fn install(bed: &mut Bed) {
    let (before, pid) = (bed.dump(), bed.node.engine_pid().unwrap());
    bed.proven(&["install", &GVISOR.source_of(Release::Old)]);
    assert_ne!(bed.node.engine_pid().unwrap(), pid);
    assert_eq!(compare(&before, &bed.dump(), &[HandlerName::new(GVISOR.handler()).unwrap()].into()), []);
    assert!(bed.serves(GVISOR.handler()));
    let pod = bed.node.run_pod("keeps-gvisor", GVISOR.handler()).unwrap();
    bed.kept.push(pod);
    bed.kept_pod_runs();
    bed.installed = bed.node.reached_trees().unwrap();
    bed.pods = bed.node.pods().unwrap();
}

fn no_op(bed: &mut Bed) {
    let pid = bed.node.engine_pid().unwrap();
    let install = GVISOR.source_of(Release::Old);
    for args in [&["install", &install][..], &["repair"], &["recover"], &["gc", "--all"]] {
        assert_eq!(bed.node.change(args).unwrap().result, Ending::Unchanged, "{args:?}");
    }
    bed.run(&["verify"], 0);
    bed.same(&bed.installed, "nothing to do");
    assert_eq!(bed.node.engine_pid().unwrap(), pid);
}

fn upgrades(bed: &mut Bed) {
    bed.proven(&upgrade().each_ref().map(String::as_str));
    bed.new_pod_runs(NEW);
    bed.kept_pod_runs();
}

fn rolls_back(bed: &mut Bed) {
    bed.proven(&["rollback", GVISOR.name()]);
    bed.new_pod_runs(OLD);
    bed.change(&["gc", "--all"]);
    bed.same_but_ledger("rolled back and collected");
}

fn remove(bed: &mut Bed) {
    bed.proven(&["install", &OTHER.source()]);
    assert!(bed.serves(OTHER.handler()));
    bed.run(&["remove", GVISOR.name()], 5);
    bed.change(&["remove", OTHER.name()]);
    assert!(!bed.serves(OTHER.handler()) && bed.serves(GVISOR.handler()));
    bed.same_but_ledger("removed");
}

fn repair(bed: &mut Bed) {
    let (node, config) = (&bed.node, bed.node.read(CONFIG_PATH).unwrap());
    node.put(CONFIG_PATH, node.spec().containerd.admin_config(), 0o644).unwrap();
    node.restart_containerd().unwrap();
    assert!(!bed.serves(GVISOR.handler()));
    let folder = format!("/opt/cofferdam/runtimes/{}", GVISOR.name());
    let spoil = format!("cd {folder}/* && echo more >>bin/runsc-pod && touch bin/additional");
    node.sh(&spoil).unwrap().ok().unwrap();
    let drift: Value = bed.run(&["verify"], 4).parse().unwrap();
    let drift = drift["drift"].to_string();
    for named in ["bin/runsc-pod", "bin/additional", GVISOR.handler()] {
        assert!(drift.contains(named), "{named} in {drift}");
    }
    bed.change(&["repair"]);
    bed.run(&["verify"], 0);
    assert_eq!(node.read(CONFIG_PATH).unwrap(), config);
    bed.same_but_ledger("repaired");
    bed.new_pod_runs(OLD);
    bed.kept_pod_runs();
}

/// gVisor's new release with a setting that `containerd config dump` accepts and CRI does not.
const BAD: &str = r"cp -r /root/packages/gvisor-oci-new /root/packages/bad; cat >>/root/packages/bad/runtime.toml <<E

[handler.engine.containerd]
entry = { base_runtime_spec = '/nonexistent/spec.json' }
E";

fn forced_failure(bed: &mut Bed) {
    let (upgrade, now) = (upgrade(), bed.node.reached_trees().unwrap());
    bed.node.arm("fail:verify:1").unwrap();
    let run = bed.run(&[&*upgrade[0], &*upgrade[1], "--skip-rehearsal"], 7);
    assert!(bed.node.read(FAULT).is_err(), "it struck");
    assert_eq!(run.outcome().unwrap().result, Ending::RolledBack);
    bed.same(&now, "the proof failed");
    bed.node.sh(BAD).unwrap().ok().unwrap();
    let pid = bed.node.engine_pid().unwrap();
    let outcome = bed.run(&["upgrade", "dir:/root/packages/bad"], 3).outcome().unwrap();
    assert_eq!(bed.node.engine_pid().unwrap(), pid, "the rehearsal saw it");
    for said in ["refuses the new configuration", "/nonexistent/spec.json"] {
        assert!(outcome.message.contains(said), "{outcome:#?}");
    }
    let outcome = bed.run(&["upgrade", "dir:/root/packages/bad", "--skip-rehearsal"], 7).outcome().unwrap();
    assert_eq!(outcome.result, Ending::RolledBack, "{outcome:#?}");
    assert!(outcome.message.contains("CRI"), "{outcome:#?}");
    bed.same(&now, "the engine failed");
    bed.new_pod_runs(OLD);
}

fn kill(bed: &mut Bed) {
    let upgrade = upgrade();
    for point in ["before:write-file:1", "after:restart:1", "after:commit:1"] {
        bed.node.arm(&format!("kill:{point}")).unwrap();
        let run = bed.node.cofferdam(&upgrade.each_ref().map(String::as_str)).unwrap();
        assert!(bed.node.read(FAULT).is_err(), "{point}: it struck");
        let ending = run.outcome().unwrap().result;
        match (run.code(), ending) {
            (7, Ending::RolledBack) => bed.same_but_ledger(point),
            (0, Ending::Committed) => bed.back_to_old(),
            _ => panic!("{point}: {:#?}", run.output),
        }
        bed.node.settled().unwrap();
        assert_eq!(ending == Ending::Committed, point == "after:commit:1", "{point}");
        assert_eq!(bed.node.pods().unwrap(), bed.pods, "{point}");
    }
}

fn reboot(bed: &mut Bed) {
    let upgrade = upgrade();
    let now = bed.node.reached_trees().unwrap();
    bed.node.crash(&upgrade.each_ref().map(String::as_str), "kill:after:write-file:1").unwrap();
    bed.node.power_cut().unwrap();
    bed.node.settled().unwrap();
    let (recovered, began) = bed.node.recovery_and_engine().unwrap();
    assert!(0 < recovered && recovered <= began, "recovered at {recovered}, containerd began at {began}");
    bed.same(&now, "mended");
    bed.run(&["verify"], 0);
    bed.new_pod_runs(OLD);
    // No container outlives its kernel; what is left of them goes as the kubelet does it.
    for pod in &bed.kept {
        bed.node.remove_pod(pod).unwrap();
    }
    bed.change(&["remove", GVISOR.name()]);
    assert_eq!(bed.clean.diff(&bed.node.trees().unwrap()), NOTHING, "everything removed");
}

fn run(row: Row, bed: &mut Bed) {
    match row {
        Row::Install => install(bed),
        Row::NoOp => no_op(bed),
        Row::Upgrade => upgrades(bed),
        Row::Rollback => rolls_back(bed),
        Row::Remove => remove(bed),
        Row::Repair => repair(bed),
        Row::ForcedFailure => forced_failure(bed),
        Row::Kill => kill(bed),
        Row::Reboot => reboot(bed),
    }
    if row != Row::Reboot {
        assert_eq!(bed.node.pods().unwrap(), bed.pods, "{}: no container was restarted", row.name());
    }
}

fn column(containerd: Containerd) {
    let mut bed = Bed::boot(containerd);
    for row in Row::ALL {
        if matrix::cell(row, containerd) == Cell::Real {
            let begun = Instant::now();
            run(row, &mut bed);
            eprintln!("-- {} {}: {:.1?}", containerd.version(), row.name(), begun.elapsed());
            matrix::record(row, containerd).unwrap();
        }
    }
}

#[test]
fn every_row_with_containerd_1_6() {
    column(Containerd::Debian16);
}

#[test]
fn every_row_with_containerd_1_7() {
    column(Containerd::Debian17);
}

#[test]
fn every_row_with_containerd_2_1() {
    column(Containerd::Upstream21);
}

#[test]
fn every_row_with_containerd_2_4() {
    column(Containerd::Upstream24);
}
