//! Failures that reach a real node: each ends with the bytes of before and an engine that serves what it served. The
//! fault matrix has a proof that fails and a handler that CRI refuses.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_host::event::{Ending, Outcome};
use serde_json::Value;
use std::time::{Duration, Instant};
use xtask::testbed::trial::wait_for;
use xtask::testbed::{Containerd, Node, NodeSpec, Pod, Runtime, Tree};

/// How the unit's daemon fails once our handler is in its configuration.
const FAULT: &str = "/srv/engine-fault";

/// containerd without CRI.
const MUTE: &str = "/srv/mute.toml";

/// Runs the real daemon, unless it has read of us. `exec`: the process has to be containerd itself.
fn wrapper(containerd: Containerd) -> String {
    format!(
        "#!/bin/sh
if grep -rqs /opt/cofferdam /etc/containerd; then
    case $(cat {FAULT} 2>/dev/null) in
        exit) echo 'this daemon exits' >&2; exit 1 ;;
        hang) exec sleep infinity ;;
        mute) exec {binary} --config {MUTE} ;;
    esac
fi
exec {binary}
",
        binary = containerd.binary()
    )
}

fn mute(containerd: Containerd) -> &'static str {
    match containerd {
        // As in the node's own configuration: the default would make /opt/containerd.
        Containerd::Debian16 | Containerd::Debian17 => {
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"/var/lib/containerd/opt\"\n"
        }
        Containerd::Upstream21 | Containerd::Upstream24 => {
            "version = 3\ndisabled_plugins = [\"io.containerd.cri.v1.runtime\", \
             \"io.containerd.cri.v1.images\", \"io.containerd.grpc.v1.cri\"]\n"
        }
    }
}

/// What holds before and after each failure.
struct Before {
    tree: Tree,
    handlers: Value,
    keep: Pod,
}

impl Before {
    fn of(node: &Node) -> Self {
        let keep = node.run_pod("keep", "").unwrap();
        Self { tree: node.trees().unwrap(), handlers: handlers(node), keep }
    }

    fn holds(&self, node: &Node) {
        assert_eq!(self.tree.diff(&node.trees().unwrap()), Vec::<String>::new());
        assert_eq!(node.ok(&["systemctl", "is-active", "containerd"]).unwrap().trim(), "active");
        assert_eq!(handlers(node), self.handlers);
        assert_eq!(node.attempt(&self.keep).unwrap(), Some((0, true)), "its container still runs");
        let pod = node.run_pod("probe-of-the-test", "").unwrap();
        node.remove_pod(&pod).unwrap();
    }
}

fn handlers(node: &Node) -> Value {
    let status: Value = node.cofferdam(&["status"]).unwrap().parse().unwrap();
    status["engine"]["cri"]["handlers"].clone()
}

/// An installation that reaches the engine and is taken back.
fn taken_back(node: &Node, source: &str, before: &Before) -> Outcome {
    let begun = Instant::now();
    let run = node.cofferdam(&["install", source, "--skip-rehearsal"]).unwrap();
    assert_eq!(run.code(), 7, "{:#?}", run.output);
    let outcome = run.outcome().unwrap();
    eprintln!("{} after {:?}: {}", node.machine(), begun.elapsed(), outcome.message);
    assert_eq!(outcome.result, Ending::RolledBack);
    assert!(!outcome.message.contains("the engine is not well"), "{outcome:#?}");
    if outcome.message.contains("serves no CRI") {
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "a daemon without CRI is not waited for: {took:?}");
    }
    before.holds(node);
    outcome
}

/// An installation that is refused while the engine runs on.
fn refused(node: &Node, source: &str, before: &Tree, code: i32) -> String {
    let pid = node.engine_pid().unwrap();
    let run = node.cofferdam(&["install", source]).unwrap();
    assert_eq!(run.code(), code, "{:#?}", run.output);
    assert_eq!(node.engine_pid().unwrap(), pid, "the engine was not touched");
    assert_eq!(before.diff(&node.trees().unwrap()), Vec::<String>::new());
    let outcome = run.outcome().unwrap();
    eprintln!("{}: {:?}: {}", node.machine(), outcome.result, outcome.message);
    outcome.message
}

/// Somebody deletes the shim as soon as its tree is in place.
fn shim_vanishes(node: &Node, before: &Before) {
    let script = "while :; do rm -f /opt/cofferdam/runtimes/gvisor/*/bin/containerd-shim-*; sleep 0.02; done";
    node.ok(&["systemd-run", "--unit=thief", "sh", "-c", script]).unwrap();
    let outcome = taken_back(node, &Runtime::Gvisor.source(), before);
    assert!(outcome.message.contains("runsc"), "{outcome:#?}");
    node.ok(&["systemctl", "stop", "thief"]).unwrap();
}

fn failures(containerd: Containerd) {
    let drop_in = "[Service]\nExecStart=\nExecStart=/usr/local/sbin/engine\n";
    let node = Node::boot(
        NodeSpec::new(containerd)
            .file("/usr/local/sbin/engine", wrapper(containerd), 0o755)
            .file(MUTE, mute(containerd), 0o644)
            .file("/etc/systemd/system/containerd.service.d/engine.conf", drop_in, 0o644),
    )
    .unwrap();
    node.put_cofferdam().unwrap();
    node.put_package(Runtime::Crun).unwrap();
    node.put_package(Runtime::Gvisor).unwrap();
    let before = Before::of(&node);
    let crun = Runtime::Crun.source();

    node.arm("fail:restart:1").unwrap();
    let outcome = taken_back(&node, &crun, &before);
    assert!(outcome.message.contains("failpoint"), "{outcome:#?}");
    shim_vanishes(&node, &before);
    for (fault, said) in [("exit", "containerd"), ("mute", "CRI"), ("hang", "containerd.service")] {
        node.put(FAULT, fault, 0o644).unwrap();
        let outcome = taken_back(&node, &crun, &before);
        assert!(outcome.message.contains(said), "{outcome:#?}");
    }
    node.remove(FAULT).unwrap();
    let run = node.cofferdam(&["install", &crun]).unwrap();
    assert_eq!(run.code(), 0, "then it can be installed: {:#?}", run.output);
}

#[test]
fn failures_on_debians_containerd_are_taken_back() {
    failures(Containerd::Debian17);
}

#[test]
fn failures_on_upstreams_containerd_are_taken_back() {
    failures(Containerd::Upstream24);
}

/// Nodes on which a restart would do harm, or the engine does not run, are left alone.
#[test]
fn what_cannot_end_well_is_refused() {
    for containerd in Containerd::MAJORS {
        let node = Node::boot(NodeSpec::new(containerd)).unwrap();
        node.put_cofferdam().unwrap();
        node.put_package(Runtime::Crun).unwrap();
        let crun = Runtime::Crun.source();
        let keep = node.run_pod("keep", "").unwrap();
        let drop_in = "/etc/systemd/system/containerd.service.d/kill.conf";
        node.put(drop_in, "[Service]\nKillMode=control-group\n", 0o644).unwrap();
        node.ok(&["systemctl", "daemon-reload"]).unwrap();
        let message = refused(&node, &crun, &node.trees().unwrap(), 3);
        assert!(message.contains("KillMode=control-group"), "{message}");
        assert_eq!(node.attempt(&keep).unwrap(), Some((0, true)));
        node.remove(drop_in).unwrap();
        node.ok(&["systemctl", "daemon-reload"]).unwrap();

        // Edited since the daemon started: it would not come back from a restart.
        let path = "/etc/containerd/config.toml";
        let good = String::from_utf8(node.read(path).unwrap()).unwrap();
        let broken =
            good.replace("default_runtime_name = \"runc\"", "default_runtime_name = \"nobody-defined-it\"");
        assert_ne!(good, broken);
        node.put(path, &broken, 0o644).unwrap();
        let message = refused(&node, &crun, &node.trees().unwrap(), 3);
        assert!(message.contains("even on its present configuration"), "{message}");
        assert!(message.contains("nobody-defined-it"), "{message}");
        assert_eq!(node.attempt(&keep).unwrap(), Some((0, true)));
        node.put(path, &good, 0o644).unwrap();

        node.ok(&["systemctl", "stop", "containerd"]).unwrap();
        let message = refused(&node, &crun, &node.trees().unwrap(), 6);
        assert!(message.contains("containerd"), "{message}");
        node.ok(&["systemctl", "start", "containerd"]).unwrap();
        wait_for("the pod", Duration::from_secs(10), || {
            Ok((node.attempt(&keep).ok().flatten() == Some((0, true))).then_some(()))
        })
        .unwrap();
        let run = node.cofferdam(&["install", &crun]).unwrap();
        assert_eq!(run.code(), 0, "{:#?}", run.output);
    }
}
