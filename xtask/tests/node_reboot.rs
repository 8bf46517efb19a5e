//! A node that loses power in the middle of a change: the recovery unit mends its files before containerd starts,
//! and never keeps the node from booting. And others' edits between the crash and the recovery.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::plan::RECOVER_UNIT;
use cofferdam_core::record::Phase;
use cofferdam_host::cri::PROBE_NAMESPACE;
use cofferdam_host::event::{Ending, Outcome};
use std::time::Instant;
use xtask::testbed::trial::{FAULT, JOURNAL, NO_RESTART};
use xtask::testbed::{Containerd, Node, NodeSpec, Runtime, Tree};

const CONFIG: &str = "/etc/containerd/config.toml";

fn node(containerd: Containerd) -> Node {
    let node = Node::boot(NodeSpec::new(containerd)).unwrap();
    node.put_cofferdam().unwrap();
    node.put_package(Runtime::Crun).unwrap();
    node.put_package(Runtime::GvisorOci).unwrap();
    node
}

fn snapshot(node: &Node) -> Tree {
    node.reached_trees().unwrap()
}

fn same(expected: &Tree, node: &Node, shown: &str) {
    assert_eq!(expected.diff(&snapshot(node)), Vec::<String>::new(), "{shown}");
}

fn change(node: &Node, args: &[&str]) -> Outcome {
    let run = node.cofferdam(args).unwrap();
    assert_eq!(run.code(), 0, "{:#?}", run.output);
    run.outcome().unwrap()
}

fn handlers(node: &Node) -> Vec<String> {
    node.cri().unwrap().status().unwrap().handlers
}

fn journal(node: &Node) -> Option<serde_json::Value> {
    node.read(JOURNAL).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// What the log says last: how a change ended, and whether the recovery at boot ended it.
fn told(node: &Node) -> (Ending, bool) {
    let log: serde_json::Value = node.cofferdam(&["log", "-n", "1"]).unwrap().parse().unwrap();
    let entry = &log["entries"][0];
    let ending = serde_json::from_value(entry["result"].clone()).unwrap();
    (ending, entry["by"]["through"] == "command" && entry["ended_by"]["through"] == "boot")
}

fn phase(node: &Node) -> Phase {
    serde_json::from_value(journal(node).unwrap()["phase"].clone()).unwrap()
}

/// Rewrites the journal's phase: what it would say had the crash come within that phase.
fn set_phase(node: &Node, phase: Phase) {
    let mut journal = journal(node).unwrap();
    journal["phase"] = serde_json::to_value(phase).unwrap();
    node.put(JOURNAL, serde_json::to_vec(&journal).unwrap(), 0o600).unwrap();
}

/// The recovery ended before containerd began.
fn recovered_before_containerd(node: &Node, shown: &str) {
    let (ended, began) = node.recovery_and_engine().unwrap();
    assert!(ended > 0 && began > 0, "{shown}: recovery {ended}, containerd {began}");
    assert!(ended <= began, "{shown}: recovery ended at {ended}, containerd began at {began}");
}

/// The boot came to its end, and the settling worker to its own.
fn settled(node: &Node, shown: &str) {
    node.settled().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!(node.ok(&["systemctl", "is-active", "containerd"]).unwrap().trim(), "active", "{shown}");
}

/// The very first installation is cut off: the recovery at boot takes its own program and unit away with the rest, and the
/// engine is asked all the same.
#[test]
fn power_cut_in_the_first_installation_leaves_nothing() {
    let mut node = node(Containerd::Upstream24);
    let clean = snapshot(&node);
    node.crash(&["install", &Runtime::Crun.source()], "kill:after:restart:1").unwrap();
    node.power_cut().unwrap();
    settled(&node, "the first installation");
    assert!(journal(&node).is_none(), "the engine was asked, and the journal closed");
    same(&clean, &node, "the first installation");
}

/// A second runtime's installation is cut off: crun, its recovery unit with it, is there already.
#[test]
fn power_cut_in_every_phase_ends_old_or_new() {
    let containerd = Containerd::Upstream24;
    let mut node = node(containerd);
    let clean = snapshot(&node);
    change(&node, &["install", &Runtime::Crun.source()]);
    let old = snapshot(&node);
    let source = Runtime::GvisorOci.source();
    let install: &[&str] = &["install", &source];
    let remove: &[&str] = &["remove", "crun"];
    // (the change, where it dies, the phase that the journal tells then, whether it is new after the recovery)
    let cases = [
        (install, "kill:before:place-tree:1", Phase::Staging, false),
        (install, "kill:after:write-file:1", Phase::Applying, false),
        (install, "kill:after:restart:1", Phase::Restarting, false),
        (remove, "kill:after:write-file:1", Phase::RollingBack, false),
        (install, "kill:after:commit:1", Phase::Cleaning, true),
        (remove, "kill:after:commit:1", Phase::Cleaning, true),
    ];
    for (args, failpoint, wanted, new) in cases {
        let shown = format!("{} {} {failpoint} {wanted:?}", containerd.version(), args[0]);
        let begun = Instant::now();
        node.crash(args, failpoint).unwrap_or_else(|error| panic!("{shown}: {error}"));
        // These two cannot be hit by a step of their own: nothing is done in them that the phase before would not show.
        if matches!(wanted, Phase::Staging | Phase::RollingBack) {
            set_phase(&node, wanted);
        }
        assert_eq!(phase(&node), wanted, "{shown}");
        node.power_cut().unwrap();
        settled(&node, &shown);
        // Finishing the last removal, the recovery deletes its own unit: systemd forgets when it ran.
        if !(new && args == remove) {
            recovered_before_containerd(&node, &shown);
        }
        let listed = handlers(&node);
        let has = |runtime: Runtime| listed.iter().any(|h| h == runtime.handler());
        if !(new && args == remove) {
            assert_eq!(
                told(&node),
                (if new { Ending::Committed } else { Ending::RolledBack }, true),
                "{shown}"
            );
        }
        match (args[0], new) {
            (_, false) => {
                same(&old, &node, &shown);
                assert!(has(Runtime::Crun) && !has(Runtime::GvisorOci), "{shown}: {listed:?}");
            }
            ("install", true) => {
                assert!(has(Runtime::Crun) && has(Runtime::GvisorOci), "{shown}: {listed:?}");
                change(&node, &["remove", "gvisor-oci"]);
            }
            _ => {
                same(&clean, &node, &shown);
                assert!(!has(Runtime::Crun), "{shown}: {listed:?}");
            }
        }
        eprintln!("{shown}: {:?}", begun.elapsed());
    }
    // It works as ever.
    change(&node, install);
    change(&node, &["remove", "gvisor-oci"]);
    same(&clean, &node, "at the end");
}

#[test]
fn first_installation_cut_off_before_its_unit_exists_is_settled_by_hand() {
    let mut node = node(Containerd::Upstream24);
    let clean = snapshot(&node);
    node.crash(&["install", &Runtime::Crun.source()], "kill:after:place-tree:1").unwrap();
    node.power_cut().unwrap();
    assert_eq!(node.ok(&["systemctl", "is-active", "containerd"]).unwrap().trim(), "active");
    assert!(journal(&node).is_some(), "nothing recovers it by itself yet");
    let run = node.cofferdam(&["recover"]).unwrap();
    assert_eq!((run.outcome().unwrap().result, run.code()), (Ending::RolledBack, 7), "{:#?}", run.output);
    same(&clean, &node, "by hand");
    assert_eq!(change(&node, &["recover"]).result, Ending::Unchanged);
    same(&clean, &node, "again");
}

#[test]
fn containerd_starts_though_recovery_cannot() {
    let mut node = node(Containerd::Upstream24);
    let clean = snapshot(&node);
    change(&node, &["install", &Runtime::Crun.source()]);
    let worker = node.read("/opt/cofferdam/bin/cofferdam").unwrap();
    node.crash(&["remove", "crun"], "kill:before:restart:1").unwrap();
    node.remove("/opt/cofferdam/bin/cofferdam").unwrap();
    node.power_cut().unwrap();
    assert_eq!(node.ok(&["systemctl", "is-active", "containerd"]).unwrap().trim(), "active");
    let result = node.ok(&["systemctl", "show", "--property=Result", "--value", RECOVER_UNIT]).unwrap();
    assert_ne!(result.trim(), "success");
    assert!(handlers(&node).iter().any(|h| h == "runc"));
    node.put("/opt/cofferdam/bin/cofferdam", worker, 0o755).unwrap();
    let run = node.cofferdam(&["recover"]).unwrap();
    assert_eq!(run.outcome().unwrap().result, Ending::RolledBack, "{:#?}", run.output);
    assert!(handlers(&node).iter().any(|h| h == "crun"));
    change(&node, &["remove", "crun"]);
    same(&clean, &node, "removed");
}

/// Others edit containerd's configuration while the journal is pending.
fn foreign_edit(containerd: Containerd) {
    let node = node(containerd);
    let clean = snapshot(&node);
    let before = node.read(CONFIG).unwrap();
    let theirs = b"\n# theirs\n[debug]\n  level = \"info\"\n".as_slice();

    // What is ours can be told apart: it goes, theirs stays.
    node.crash(&["install", &Runtime::Crun.source()], "kill:before:restart:1").unwrap();
    let mut text = node.read(CONFIG).unwrap();
    assert_ne!(text, before, "the configuration is changed by then");
    text.extend(theirs);
    node.put(CONFIG, &text, 0o644).unwrap();
    let run = node.cofferdam(&["recover"]).unwrap();
    assert_eq!(run.outcome().unwrap().result, Ending::RolledBack, "{:#?}", run.output);
    let kept = [before.as_slice(), theirs].concat();
    assert_eq!(String::from_utf8_lossy(&node.read(CONFIG).unwrap()), String::from_utf8_lossy(&kept));
    node.put(CONFIG, &before, 0o644).unwrap();
    same(&clean, &node, "an edit beside ours");

    // The same in a removal: ours comes back beside theirs.
    change(&node, &["install", &Runtime::Crun.source()]);
    let installed = snapshot(&node);
    let with_ours = node.read(CONFIG).unwrap();
    node.crash(&["remove", "crun"], "kill:before:restart:1").unwrap();
    let text = [node.read(CONFIG).unwrap().as_slice(), theirs].concat();
    node.put(CONFIG, &text, 0o644).unwrap();
    let run = node.cofferdam(&["recover"]).unwrap();
    assert_eq!(run.outcome().unwrap().result, Ending::RolledBack, "{:#?}", run.output);
    let kept = [with_ours.as_slice(), theirs].concat();
    assert_eq!(String::from_utf8_lossy(&node.read(CONFIG).unwrap()), String::from_utf8_lossy(&kept));
    assert!(handlers(&node).iter().any(|h| h == "crun"));
    node.put(CONFIG, &with_ours, 0o644).unwrap();
    same(&installed, &node, "an edit in a removal");
    change(&node, &["remove", "crun"]);
    same(&clean, &node, "removed");

    // An edit of what is ours cannot be told apart from it: a conflict, with a way out.
    node.crash(&["install", &Runtime::Crun.source()], "kill:before:restart:1").unwrap();
    let ours = match containerd {
        Containerd::Debian16 | Containerd::Debian17 => CONFIG,
        Containerd::Upstream21 | Containerd::Upstream24 => "/etc/containerd/cofferdam.d/crun.toml",
    };
    let written = String::from_utf8(node.read(ours).unwrap()).unwrap();
    let text =
        written.replace("BinaryName = \"/opt/cofferdam", "NoPivotRoot = true\nBinaryName = \"/opt/cofferdam");
    assert_ne!(text, written);
    node.put(ours, &text, 0o644).unwrap();
    let run = node.cofferdam(&["recover"]).unwrap();
    let outcome = run.outcome().unwrap();
    assert_eq!((outcome.result, run.code()), (Ending::Conflict, 4), "{outcome:#?}");
    assert!(outcome.hint.as_ref().is_some_and(|h| h.contains("--keep-theirs")), "{outcome:#?}");
    assert!(journal(&node).is_some());
    // Saying so again changes nothing.
    assert_eq!(node.cofferdam(&["recover"]).unwrap().code(), 4);
    assert_eq!(node.read(ours).unwrap(), text.as_bytes(), "theirs stays: {outcome:#?}");
    let run = node.cofferdam(&["recover", "--keep-theirs"]).unwrap();
    assert_eq!(run.outcome().unwrap().result, Ending::RolledBack, "{:#?}", run.output);
    assert_eq!(node.read(ours).unwrap(), text.as_bytes(), "theirs stays");
    assert!(journal(&node).is_none());
    assert_eq!(node.ok(&["systemctl", "is-active", "containerd"]).unwrap().trim(), "active");
}

#[test]
fn edits_of_others_survive_the_recovery_with_containerd_2() {
    foreign_edit(Containerd::Upstream24);
}

#[test]
fn edits_of_others_survive_the_recovery_with_containerd_1() {
    foreign_edit(Containerd::Debian17);
}

/// The worker dies in the middle of a probe: before its change has begun, and after the engine's restart.
fn probes_are_cut_off(containerd: Containerd) {
    let node = node(containerd);
    let clean = snapshot(&node);
    let probes = || -> Vec<String> {
        let pods = node.pods().unwrap().into_iter().filter(|pod| pod.namespace == PROBE_NAMESPACE);
        pods.map(|pod| pod.name).collect()
    };
    for (failpoint, code) in [("kill:probe:1", 0), ("kill:probe:2", 7)] {
        node.put(NO_RESTART, "[Service]\nRestart=no\n", 0o644).unwrap();
        node.arm(failpoint).unwrap();
        assert_ne!(node.cofferdam(&["install", &Runtime::GvisorOci.source()]).unwrap().code(), 0);
        assert!(node.read(FAULT).is_err(), "{failpoint} did not strike");
        assert_eq!(probes().len(), 1, "{failpoint}");
        node.remove(NO_RESTART).unwrap();
        let run = node.cofferdam(&["recover"]).unwrap();
        assert_eq!(run.code(), code, "{failpoint}: {:#?}", run.output);
        assert_eq!(probes(), Vec::<String>::new(), "{failpoint}: {:#?}", run.output);
        same(&clean, &node, failpoint);
    }
}

#[test]
fn a_probe_that_was_cut_off_leaves_no_pod() {
    probes_are_cut_off(Containerd::Upstream24);
}
