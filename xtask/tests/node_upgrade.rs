//! Upgrade, rollback and collection between two really different gVisor releases, while pods of the old one run: each
//! sandbox stays with its own tree in every verb, and a tree goes when the last sandbox of it is gone.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::record::Verdict;
use cofferdam_host::cri::ContainerRun;
use cofferdam_host::event::{Ending, Outcome};
use serde_json::Value;
use std::time::{Duration, Instant};
use xtask::testbed::pods::MAIN;
use xtask::testbed::{Containerd, Node, NodeSpec, Pod, Release, Runtime};

const OLD: &str = "20240729.0";
const NEW: &str = "20250205.0";
const LIMIT: Duration = Duration::from_secs(60);

/// A node with a runtime that is upgraded and rolled back on it.
struct Case<'n> {
    node: &'n Node,
    runtime: Runtime,
}

impl Case<'_> {
    fn change(&self, args: &[&str]) -> Outcome {
        let begun = Instant::now();
        let run = self.node.cofferdam(args).unwrap();
        assert_eq!(run.code(), 0, "{:#?}", run.output);
        let outcome = run.outcome().unwrap();
        eprintln!("{}: {} in {:?}", self.node.spec().containerd.version(), args.join(" "), begun.elapsed());
        outcome
    }

    /// A change that is proven, restarts the engine once and no container.
    fn proven(&self, args: &[&str]) {
        let (pods, restarts) = (self.node.pods().unwrap(), self.restarts());
        let outcome = self.change(args);
        assert_eq!((outcome.result, &outcome.verdict), (Ending::Committed, &Some(Verdict::Proven)));
        assert_eq!(self.restarts(), restarts + 1, "{args:?}");
        assert_eq!(self.node.pods().unwrap(), pods, "{args:?}");
    }

    /// How often the engine was started.
    fn restarts(&self) -> usize {
        let log = ["journalctl", "-b", "-o", "cat", "-u", "containerd", "--grep", "^Started containerd"];
        self.node.ok(&log).unwrap().lines().count()
    }

    fn run_pod(&self, name: &str) -> Pod {
        self.node.run_pod(&format!("{}-{name}", self.runtime.name()), self.runtime.handler()).unwrap()
    }

    /// What the program that runs a pod's sandbox says of itself.
    fn version(&self, pod: &Pod) -> String {
        let script = format!(
            "for pid in $(pgrep -f '^runsc-sandbox .*{}'); do /proc/$pid/exe --version | head -n 1; done",
            pod.sandbox
        );
        self.node.sh(&script).unwrap().ok().unwrap().stdout.trim().to_owned()
    }

    fn runs(&self, pod: &Pod, version: &str) {
        let shown = self.version(pod);
        assert!(shown.starts_with("runsc version ") && shown.ends_with(version), "{shown}, not {version}");
        assert_eq!(self.node.exec_ok(pod, &["uname", "-r"]).unwrap(), "4.4.0");
    }

    fn tree(&self, version: &str) -> Option<String> {
        let folder = format!("/opt/cofferdam/runtimes/{}", self.runtime.name());
        let names = self.node.ok(&["ls", &folder]).unwrap();
        let found = names.lines().find(|name| name.starts_with(version));
        found.map(|name| format!("{folder}/{name}"))
    }

    /// Does something while the tree of `version` is not there, so that nothing of it can take part.
    fn without(&self, version: &str, work: impl FnOnce()) {
        let tree = self.tree(version).unwrap();
        self.node.ok(&["mv", &tree, "/opt/away"]).unwrap();
        work();
        self.node.ok(&["mv", "/opt/away", &tree]).unwrap();
    }

    /// Why the tree of `version` stays in a collection; nothing if it goes.
    fn kept(&self, args: &[&str], version: &str) -> Option<Value> {
        let args = [args, &["--dry-run"]].concat();
        let plan: Value = self.node.cofferdam(&args).unwrap().parse().unwrap();
        let kept = plan["kept"].as_array().unwrap();
        kept.iter().find(|k| k["name"] == self.runtime.name() && k["version"] == version).cloned()
    }
}

/// Second container, exec, container restart, kill and delete in a sandbox of the old tree.
fn every_verb(case: &Case<'_>, pod: &Pod) {
    let node = case.node;
    let second = node.run_container(pod, "second", 0).unwrap();
    assert_eq!(node.exec_ok(&second, &["uname", "-r"]).unwrap(), "4.4.0");
    assert_eq!(node.exec_ok(pod, &["echo", "still"]).unwrap(), "still");
    let cri = node.cri().unwrap();
    cri.stop_container(&pod.container, LIMIT).unwrap();
    assert!(matches!(node.pod_state(pod).unwrap(), ContainerRun::Exited { .. }));
    let again = node.run_container(pod, MAIN, 1).unwrap();
    assert_eq!(node.exec_ok(&again, &["echo", "again"]).unwrap(), "again");
    for gone in [&pod.container, &second.container] {
        cri.remove_container(gone, LIMIT).unwrap();
    }
    assert_eq!(node.pod_state(&again).unwrap(), ContainerRun::Running);
    case.runs(&again, OLD);
    node.remove_pod(pod).unwrap();
    assert!(node.pods().unwrap().iter().all(|p| p.id != pod.sandbox));
    assert_eq!(case.version(pod), "", "no process of it is left");
}

fn old_sandboxes_keep_their_tree(case: &Case<'_>) {
    let (node, runtime) = (case.node, case.runtime);
    let before = node.trees().unwrap();
    case.proven(&["install", &runtime.source_of(Release::Old)]);
    let (first, last) = (case.run_pod("first"), case.run_pod("last"));
    case.runs(&first, OLD);
    case.proven(&["upgrade", &runtime.source_of(Release::New)]);
    case.runs(&first, OLD);
    case.without(NEW, || every_verb(case, &first));
    let new = case.run_pod("new");
    case.runs(&new, NEW);
    case.runs(&last, OLD);

    // While it is used, it stays; then because of the rollback; then not at all.
    let name = format!("pod default/{}", last.name);
    let kept = case.kept(&["gc", "--all"], OLD).unwrap();
    assert_eq!(kept["users"], serde_json::json!([name]), "{kept:#}");
    assert_eq!(case.change(&["gc", "--all"]).result, Ending::Unchanged);
    let said = node.ok(&["cofferdam", "gc", "--all"]).unwrap();
    assert!(said.contains(&format!("stays: {} {OLD} is used by {name}", runtime.name())), "{said}");
    assert_eq!(node.exec_ok(&last, &["echo", "there"]).unwrap(), "there");
    node.remove_pod(&last).unwrap();
    assert_eq!(case.kept(&["gc"], OLD).unwrap()["why"], "rollback");

    // The version of before, for new pods.
    case.proven(&["rollback", runtime.name()]);
    let back = case.run_pod("back");
    case.runs(&back, OLD);
    case.runs(&new, NEW);
    case.without(OLD, || {
        assert_eq!(node.exec_ok(&new, &["echo", "mine"]).unwrap(), "mine");
    });
    assert_eq!(case.change(&["gc", "--all"]).result, Ending::Unchanged);
    node.remove_pod(&new).unwrap();
    assert_eq!(case.kept(&["gc", "--all"], NEW), None);
    assert_eq!(case.change(&["gc", "--all"]).result, Ending::Committed);
    assert!(case.tree(NEW).is_none() && case.tree(OLD).is_some());

    // An upgrade's own commit collects what neither a pod nor a rollback needs.
    case.proven(&["upgrade", &runtime.source_of(Release::New)]);
    node.remove_pod(&back).unwrap();
    assert!(case.tree(OLD).is_some(), "a rollback would bring it back");
    case.change(&["remove", runtime.name()]);
    assert_eq!(before.diff(&node.trees().unwrap()), Vec::<String>::new());
}

fn both_forms(containerd: Containerd) {
    let node = Node::boot(NodeSpec::new(containerd)).unwrap();
    node.put_cofferdam().unwrap();
    let keep = node.run_pod("keep", "").unwrap();
    for runtime in [Runtime::Gvisor, Runtime::GvisorOci] {
        for release in [Release::Old, Release::New] {
            node.put_release(runtime, release).unwrap();
        }
        old_sandboxes_keep_their_tree(&Case { node: &node, runtime });
    }
    assert_eq!(node.attempt(&keep).unwrap(), Some((0, true)));
}

#[test]
fn old_sandboxes_keep_their_tree_on_debians_containerd() {
    both_forms(Containerd::Debian17);
}

#[test]
fn old_sandboxes_keep_their_tree_on_upstreams_containerd() {
    both_forms(Containerd::Upstream24);
}
