//! The worker is killed around every kind of step on a real node: the node is then exactly old or exactly new. The
//! fault matrix has a few such points on every release of containerd.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::plan::WORKER_UNIT;
use cofferdam_core::record::StepKind;
use cofferdam_host::event::Ending;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use xtask::testbed::trial::{FAULT, wait_for};
use xtask::testbed::{Containerd, Node, NodeSpec, Pod, Runtime, Tree};

const RUNTIME: Runtime = Runtime::Crun;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Install,
    Remove,
    /// With a pod that uses the runtime.
    Force,
    /// With a damaged file.
    Repair,
}

impl Change {
    fn args(self) -> Vec<String> {
        let args: &[&str] = match self {
            Self::Install => return vec!["install".into(), RUNTIME.source()],
            Self::Remove => &["remove", RUNTIME.name()],
            Self::Force => &["remove", RUNTIME.name(), "--force"],
            Self::Repair => &["repair"],
        };
        args.iter().map(|&arg| arg.to_owned()).collect()
    }
}

/// The changes that have a step of this kind. That they do is seen when the failpoint strikes.
fn changes(kind: StepKind) -> &'static [Change] {
    match kind {
        StepKind::MakeFolder | StepKind::PlaceTree | StepKind::MakeLink => &[Change::Install],
        StepKind::Rehearse
        | StepKind::WriteFile
        | StepKind::ReloadSystemd
        | StepKind::Restart
        | StepKind::Verify
        | StepKind::Commit => &[Change::Install, Change::Remove],
        StepKind::RemoveFile
        | StepKind::RemoveLink
        | StepKind::RemoveTree
        | StepKind::RemoveFolder
        | StepKind::Forget => &[Change::Remove],
        StepKind::StopSandboxes => &[Change::Force],
        StepKind::ReplaceTree => &[Change::Repair],
    }
}

#[derive(Clone, Copy, Debug)]
struct Point {
    change: Change,
    side: &'static str,
    kind: StepKind,
}

fn points() -> Vec<Point> {
    let points = StepKind::ALL.into_iter().flat_map(|kind| {
        changes(kind)
            .iter()
            .flat_map(move |&change| ["before", "after"].map(|side| Point { change, side, kind }))
    });
    points.collect()
}

struct Trial {
    node: Node,
    keep: Pod,
    old: Tree,
    new: Tree,
    installed: bool,
}

impl Trial {
    fn begin(containerd: Containerd) -> (Self, Tree) {
        let node = Node::boot(NodeSpec::new(containerd)).unwrap();
        node.put_cofferdam().unwrap();
        node.put_package(RUNTIME).unwrap();
        let keep = node.run_pod("keep", "").unwrap();
        let all = node.trees().unwrap();
        let old = node.reached_trees().unwrap();
        let mut trial = Self { node, keep, old: old.clone(), new: old, installed: false };
        trial.change(Change::Install);
        trial.new = trial.node.reached_trees().unwrap();
        assert_ne!(trial.new, trial.old);
        (trial, all)
    }

    /// A change that nothing disturbs.
    fn change(&mut self, change: Change) {
        let (ending, code) = self.run(change);
        assert_eq!((ending, code), (Ending::Committed, 0), "{change:?}");
        self.installed = change == Change::Install;
    }

    fn run(&self, change: Change) -> (Ending, i32) {
        let args = change.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = self.node.cofferdam(&args).unwrap();
        let outcome = run.outcome().unwrap_or_else(|e| panic!("{e}\n{}", self.journal()));
        (outcome.result, run.code())
    }

    fn journal(&self) -> String {
        self.node.ok(&["journalctl", "--no-pager", "-n", "60", "-u", WORKER_UNIT]).unwrap_or_default()
    }

    fn point(&mut self, point: Point) {
        let begun = Instant::now();
        let shown = format!("{:?} kill:{}:{}", point.change, point.side, point.kind.as_str());
        let was = self.installed;
        let user =
            (point.change == Change::Force).then(|| self.node.run_pod("user", RUNTIME.handler()).unwrap());
        let spoilt = (point.change == Change::Repair).then(|| self.spoil());
        self.node.arm(&format!("kill:{}:{}:1", point.side, point.kind.as_str())).unwrap();
        let (ending, code) = self.run(point.change);
        assert!(self.node.read(FAULT).is_err(), "{shown}: it did not strike");
        match ending {
            Ending::Committed => {
                assert_eq!(code, 0, "{shown}");
                self.installed = !was;
            }
            Ending::RolledBack => assert_eq!(code, 7, "{shown}"),
            other => panic!("{shown}: {other:?}\n{}", self.journal()),
        }
        if let Some((path, bytes)) = spoilt {
            // A sound copy that is in its place by then stays there.
            let sound = self.node.read(&path).unwrap() == bytes;
            assert_eq!(sound, point.side == "after", "{shown}");
            self.node.put(&path, bytes, 0o644).unwrap();
        }
        self.whole(&shown);
        if let Some(user) = user {
            // Its sandbox is stopped before the commit, and that cannot be taken back.
            if self.node.pods().unwrap().iter().any(|pod| pod.id == user.sandbox) {
                assert_eq!(point.side, "before", "{shown}: it was stopped");
                self.node.remove_pod(&user).unwrap();
            }
        }
        eprintln!("{}: {shown}: {ending:?} in {:?}", self.node.spec().containerd.version(), begun.elapsed());
    }

    /// Damages a file of the installed tree. Returns its path and what it held.
    fn spoil(&self) -> (String, Vec<u8>) {
        let status: Value = self.node.cofferdam(&["status"]).unwrap().parse().unwrap();
        let path = format!("{}/.cofferdam.json", status["runtimes"][0]["tree"].as_str().unwrap());
        let text = self.node.read(&path).unwrap();
        self.node.put(&path, [text.as_slice(), b" "].concat(), 0o644).unwrap();
        (path, text)
    }

    /// The node is exactly as it was before, or exactly as after the change, and nothing runs any more.
    fn whole(&self, shown: &str) {
        let node = &self.node;
        wait_for("the worker's end", Duration::from_secs(10), || {
            let state = node.run(&["systemctl", "is-active", WORKER_UNIT])?.stdout;
            Ok(matches!(state.trim(), "inactive" | "failed").then_some(()))
        })
        .unwrap();
        let expected = if self.installed { &self.new } else { &self.old };
        let diff = expected.diff(&node.reached_trees().unwrap());
        assert_eq!(diff, Vec::<String>::new(), "{shown}, installed: {}", self.installed);
        assert_eq!(node.ok(&["systemctl", "is-active", "containerd"]).unwrap().trim(), "active", "{shown}");
        let handlers = node.cri().unwrap().status().unwrap().handlers;
        assert!(handlers.iter().any(|h| h == "runc"), "{shown}: {handlers:?}");
        assert_eq!(handlers.iter().any(|h| h == RUNTIME.handler()), self.installed, "{shown}: {handlers:?}");
        assert_eq!(node.attempt(&self.keep).unwrap(), Some((0, true)), "{shown}");
    }
}

/// Every point, in an order that needs few changes in between: each leaves the runtime installed or not.
fn kill_at(containerd: Containerd, mut pending: Vec<Point>) {
    let count = pending.len();
    let begun = Instant::now();
    let (mut trial, all) = Trial::begin(containerd);
    while !pending.is_empty() {
        let fits = |point: &Point| (point.change != Change::Install) == trial.installed;
        match pending.iter().position(fits) {
            Some(next) => {
                let point = pending.remove(next);
                trial.point(point);
            }
            None if trial.installed => trial.change(Change::Remove),
            None => trial.change(Change::Install),
        }
    }
    if !trial.installed {
        trial.change(Change::Install);
    }
    trial.whole("install at the end");
    trial.change(Change::Remove);
    trial.whole("remove at the end");
    assert_eq!(all.diff(&trial.node.trees().unwrap()), Vec::<String>::new());
    eprintln!("{count} points on containerd {} in {:?}", containerd.version(), begun.elapsed());
}

#[test]
fn killed_worker_leaves_old_or_new_whatever_the_step() {
    let points = points();
    let kinds: BTreeSet<StepKind> = points.iter().map(|point| point.kind).collect();
    assert_eq!(kinds.len(), StepKind::ALL.len(), "a kind without a point: {kinds:?}");
    kill_at(Containerd::Upstream24, points);
}
