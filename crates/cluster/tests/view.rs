//! The API's objects as text.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_cluster::api::{PackageRevision, SandboxNode, SandboxRuntime};
use cofferdam_cluster::view;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, from_value, json};

fn now() -> Time {
    Time("2026-01-01T12:00:00Z".parse().unwrap())
}

fn package() -> Value {
    json!({"source": {"directory": "/srv/gvisor"}, "preset": "gvisor", "version": "2"})
}

fn runtime(status: Value) -> SandboxRuntime {
    from_value(json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxRuntime",
        "metadata": {"name": "gvisor", "generation": 2},
        "spec": {"package": package(), "nodeSelector": {"pool": "a"}},
        "status": status,
    }))
    .unwrap()
}

fn target() -> String {
    PackageRevision::of(&from_value(package()).unwrap(), &[]).revision.to_string()
}

/// A SandboxNode whose agent says `state`, of assignment 3.
fn own(name: &str, state: Value) -> SandboxNode {
    let mut told = json!({
        "name": "gvisor", "sequence": 3, "revision": target(), "state": "Proven", "runtime": "gvisor",
        "version": "2", "digest": "sha256:0123456789abcdef", "installed": target(),
        "handlers": [{"name": "runsc", "proven": true}],
    });
    told.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
    from_value(json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxNode",
        // What the API server notes of a write tells when the agent was heard.
        "metadata": {"name": name, "managedFields": [
            {"manager": "cofferdam-agent", "operation": "Update", "time": "2026-01-01T11:59:30Z"},
        ]},
        "spec": {"nodeUID": format!("uid-{name}"), "runtimes": [{
            "name": "gvisor", "sequence": 3, "attempt": 2, "since": 1767261600_u64,
            "target": {"revision": target(), "package": package()},
        }]},
        "status": {
            // By the node's clock, which may be wrong.
            "heartbeat": "2026-01-01T02:00:00Z", "agentVersion": "0.1.0", "kernel": "6.12.0", "os": "Debian 13",
            "engine": {"name": "containerd", "version": "2.4.2"}, "runtimes": [told],
            "checks": [{"name": "kill-mode", "result": "no", "message": "it ends sandboxes"}],
            "requirements": [{"name": "kvm", "result": "no", "message": "/dev/kvm is not there"}],
        },
    }))
    .unwrap()
}

fn node(name: &str, pool: &str, ready: &str) -> Node {
    from_value(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"pool": pool}},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap()
}

fn windows(name: &str) -> Node {
    let mut node = node(name, "a", "True");
    let labels = node.metadata.labels.as_mut().unwrap();
    labels.insert("kubernetes.io/os".to_owned(), "windows".to_owned());
    node
}

#[test]
fn runtimes_show_phase_counts_and_why() {
    let status = json!({
        "observedGeneration": 2, "phase": "Halted", "message": "1 node failed: w1\nmore",
        "nodes": {
            "matched": 12, "ready": 11, "updated": 1, "failed": 1, "unavailable": 0, "unknown": 0, "waiting": 0, "leaving": 0,
        },
    });
    assert_eq!(
        view::runtimes(&[runtime(status)]),
        "NAME    PHASE   NODES  PROVEN  UPDATED  FAILED  UNKNOWN  MESSAGE\n\
         gvisor  Halted  12     11      1        1       0        1 node failed: w1\n"
    );
    let stale = view::runtimes(&[runtime(json!({"observedGeneration": 1, "phase": "Complete"}))]);
    assert!(stale.contains("gvisor  Pending") && !stale.contains("Complete"), "{stale}");
    assert!(view::runtimes(&[]).starts_with("no SandboxRuntimes"));
}

#[test]
fn nodes_have_a_line_for_each_runtime() {
    let failed =
        json!({"state": "Failed", "reason": "rolled-back", "message": "the probe failed", "inUse": 2});
    let nodes = [own("w1", failed), own("w2", json!({}))];
    assert_eq!(
        view::nodes(&nodes, Some("gvisor"), &[], &now()),
        "NODE  ENGINE            RUNTIME  STATE   VERSION  IN-USE  HEARD  MESSAGE\n\
         w1    containerd 2.4.2  gvisor   Failed  2        2       30s    the probe failed\n\
         w2    containerd 2.4.2  gvisor   Proven  2        0       30s\n"
    );
    assert_eq!(view::nodes(&nodes, Some("kata"), &[], &now()), "no node has or should have kata\n");
}

#[test]
fn what_a_silent_agent_said_is_not_shown_as_if_it_were_so() {
    let failed = json!({"state": "Failed", "message": "the probe failed"});
    let nodes = [own("w1", json!({})), own("w2", failed)];
    let mut strict = runtime(json!({}));
    strict.spec.rollout.agent_silent_seconds = 20;
    let strict = [strict];
    let at = |time: &str| Time(time.parse().unwrap());
    // Twice the usual heartbeat, whatever is asked for.
    let text = view::nodes(&nodes, None, &strict, &at("2026-01-01T12:09:30Z"));
    assert!(!text.contains("Unknown"), "{text}");
    assert_eq!(
        view::nodes(&nodes, None, &strict, &at("2026-01-01T12:09:31Z")),
        "NODE  ENGINE            RUNTIME  STATE    VERSION  IN-USE  HEARD  MESSAGE\n\
         w1    containerd 2.4.2  gvisor   Unknown  2        0       10m    its agent is silent; it said last: Proven\n\
         w2    containerd 2.4.2  gvisor   Unknown  2        0       10m    its agent is silent; it said last: Failed: the probe \
         failed\n"
    );
}

#[test]
fn explain_says_what_is_wrong_and_what_to_do() {
    let failed = json!({
        "state": "Failed", "reason": "rolled-back", "message": "the probe failed\nexit 1", "inUse": 1,
        "pods": [{"namespace": "default", "name": "web"}],
    });
    let text = view::explain("w1", Some(&node("w1", "a", "True")), Some(&own("w1", failed)), &[], &now());
    for expected in [
        "w1: containerd 2.4.2, 6.12.0, Debian 13\n  agent     0.1.0, heard 30s ago\n",
        "gvisor: Failed\n",
        "attempt 2, assigned 2h ago",
        "in use    1 sandboxes: default/web\n",
        "why       rolled-back: the probe failed\n            exit 1\n",
        "next      the node has what it had before.",
        "kubectl cofferdam retry gvisor --node w1",
        "check kill-mode: no: it ends sandboxes",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn explain_tells_waiting_from_silence_and_from_not_being_meant() {
    let earlier = own("w1", json!({"sequence": 2}));
    let text = view::explain("w1", Some(&node("w1", "a", "True")), Some(&earlier), &[], &now());
    assert!(text.contains("gvisor: Pending") && text.contains("the agent has not taken it up"), "{text}");

    let later = Time("2026-01-01T13:00:00Z".parse().unwrap());
    let text = view::explain("w1", Some(&node("w1", "a", "False")), Some(&earlier), &[], &later);
    assert!(text.contains("it is silent, so nothing below is certain"), "{text}");
    assert!(text.contains("node      is not Ready"), "{text}");

    let halted = [runtime(json!({"observedGeneration": 2, "phase": "Halted", "message": "w9 failed"}))];
    let text = view::explain("w1", Some(&node("w1", "b", "True")), None, &halted, &now());
    assert!(
        text.contains("the controller has not made one") && text.contains("it has no label pool=a"),
        "{text}"
    );
    let text = view::explain("w1", Some(&node("w1", "a", "True")), None, &halted, &now());
    assert!(text.contains("not assigned yet; the rollout: Halted: w9 failed"), "{text}");

    let text = view::explain("w1", Some(&windows("w1")), None, &halted, &now());
    assert!(text.contains("not for this node: agents run on Linux only"), "{text}");

    let mut replaced = node("w1", "a", "True");
    replaced.metadata.uid = Some("another".to_owned());
    let text = view::explain("w1", Some(&replaced), Some(&own("w1", json!({}))), &[], &now());
    assert!(text.contains("was replaced under the same name"), "{text}");
}

#[test]
fn checks_of_all_nodes() {
    let text = view::checks(&[own("w1", json!({}))], &now());
    assert_eq!(
        text,
        "NODE  CHECK      RESULT  BECAUSE\nw1    kill-mode  no      it ends sandboxes\n\n\
         what some runtimes require, and nodes do not have:\n\
         NODE  REQUIREMENT  RESULT  BECAUSE\nw1    kvm          no      /dev/kvm is not there\n"
    );
    let mut bare = own("w2", json!({}));
    let status = bare.status.as_mut().unwrap();
    (status.checks, status.requirements) = Default::default();
    assert_eq!(view::checks(&[bare], &now()), "w2: nothing stands in the way\n");
}

fn class(name: &str, owner: &str) -> RuntimeClass {
    from_value(json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": name,
        "metadata": {"name": name, "labels": {"cofferdam.dev/sandboxruntime": owner}},
    }))
    .unwrap()
}

/// A SandboxNode that was told nothing yet.
fn bare(name: &str) -> SandboxNode {
    let mut own = own(name, json!({}));
    own.spec.runtimes.clear();
    own.status.as_mut().unwrap().runtimes.clear();
    own
}

/// A SandboxNode that was given another revision, and has it.
fn outdated(name: &str, in_use: u32) -> SandboxNode {
    let told =
        json!({"installed": "000000000000", "revision": "000000000000", "version": "1", "inUse": in_use});
    let mut own = own(name, told);
    own.spec.runtimes[0].target.revision = from_value(json!("000000000000")).unwrap();
    own
}

#[test]
fn a_plan_is_the_controllers_own_decision_step_by_step() {
    let nodes = [
        node("keeps", "a", "True"),
        node("new", "a", "True"),
        node("old", "a", "True"),
        node("down", "a", "False"),
        node("left", "b", "True"),
        node("other", "b", "True"),
        windows("windows"),
    ];
    let own = [
        own("keeps", json!({})),
        bare("new"),
        outdated("old", 3),
        bare("down"),
        outdated("left", 2),
        bare("other"),
        bare("windows"),
    ];
    let mut runtime = runtime(json!({}));
    runtime.spec.rollout.max_unavailable = IntOrString::Int(2);
    // Less than twice the usual heartbeat: nobody is silent for that.
    runtime.spec.rollout.agent_silent_seconds = 20;
    let runtimes = [runtime];
    let [runtime] = &runtimes;
    let classes = [class("gone", "gvisor"), class("x", "y")];
    let text = view::preview(runtime, &runtimes, &nodes, &own, &classes, &now()).to_string();
    let expected = "\
STEP  NODE   ACTION   NOTE
1     new    install
1     old    upgrade  3 running sandboxes keep their version
-     down   wait     the node is not ready
-     left   wait     2 sandboxes still run
-     keeps  keep     proven

RUNTIMECLASS  ACTION
runsc         create
gone          delete
";
    assert!(text.ends_with(expected), "{text}");
    // Somebody is proven on it already: no other canary is asked for.
    assert!(text.contains("2 nodes change at once (canaries 1, at most 2 unavailable)"), "{text}");
    let alone = view::preview(runtime, &runtimes, &nodes[1..3], &own[1..3], &[], &now());
    let steps: Vec<_> = alone.nodes.iter().map(|plan| (plan.node.as_str(), plan.step)).collect();
    assert_eq!(steps, [("new", Some(1)), ("old", Some(2))], "{alone}");
}

#[test]
fn a_plan_looks_past_a_pause_and_names_a_rival() {
    let nodes = [node("w1", "a", "True")];
    let own = [bare("w1")];
    let mut paused = runtime(json!({}));
    paused.spec.rollout.paused = true;
    let runtimes = [paused];
    let preview = view::preview(&runtimes[0], &runtimes, &nodes, &own, &[], &now());
    assert_eq!((preview.nodes[0].action, preview.nodes[0].step), ("install", Some(1)));
    assert!(preview.to_string().contains("paused: nothing happens until"), "{preview}");

    let mut older = runtime(json!({}));
    older.metadata.name = Some("a-gvisor".to_owned());
    let runtimes = [runtime(json!({})), older];
    let preview = view::preview(&runtimes[0], &runtimes, &nodes, &own, &[], &now());
    assert_eq!(preview.phase, "Conflict");
    assert!(
        preview.to_string().contains("belongs to the SandboxRuntime a-gvisor: nothing is done"),
        "{preview}"
    );
    assert!(preview.nodes.iter().all(|plan| plan.step.is_none()), "{preview}");
}

#[test]
fn a_class_of_someone_else_is_a_conflict() {
    let runtimes = [runtime(json!({}))];
    let (nodes, own) = ([node("w1", "a", "True")], [own("w1", json!({}))]);
    let taken = view::preview(&runtimes[0], &runtimes, &nodes, &own, &[class("runsc", "another")], &now());
    assert_eq!(taken.runtime_classes[0].action, "conflict");
}
