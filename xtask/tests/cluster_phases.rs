//! A controller that is killed in each phase of a rollout's life (Progressing, also while a canary soaks, Complete, Paused,
//! Halted, Degraded, Unknown, NoNodes, Conflict, Removing): its successor does what it would have done, and no more. Mostly
//! both replicas are killed at once; once the leader alone, and the standby takes over.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use std::time::Duration;
use xtask::testbed::ClusterSpec;
use xtask::testbed::cluster::condition;
use xtask::testbed::fleet::{Fleet, Kind, LABEL, NAMESPACE, Published};
use xtask::testbed::package::Release;
use xtask::testbed::trial::binary;

const LIMIT: Duration = Duration::from_secs(300);
const NODES: [&str; 2] = ["n1", "n2"];

/// What the successor does at once if it does anything: it looks at everything first.
const A_WHILE: Duration = Duration::from_secs(8);

/// How long a canary soaks, in seconds: the lead goes over meanwhile, mostly.
const SOAK: u64 = 20;

fn apply(fleet: &Fleet, package: &Published, more: &str) {
    let rollout = format!("  rollout:\n    canary: 1\n    maxUnavailable: 1\n{more}");
    fleet.cluster.apply(&fleet.runtime("gvisor", package, &rollout)).unwrap();
}

/// Waits until the rollout of the present spec is in that phase.
fn reach(fleet: &Fleet, phase: &str) -> Value {
    reach_of(fleet, "gvisor", phase)
}

fn reach_of(fleet: &Fleet, runtime: &str, phase: &str) -> Value {
    let fits = |object: &Value| {
        object["status"]["phase"] == phase
            && object["status"]["observedGeneration"] == object["metadata"]["generation"]
    };
    fleet.cluster.wait_until(&["sandboxruntime", runtime], LIMIT, fits).unwrap()
}

/// The controller's two pods, once both fit.
fn replicas(fleet: &Fleet, fits: impl Fn(&Value) -> bool) -> [Value; 2] {
    let selector = "--selector=app.kubernetes.io/component=controller";
    let both = |list: &Value| {
        let pods = list["items"].as_array().unwrap();
        pods.len() == 2 && pods.iter().all(&fits)
    };
    let mut list = fleet.cluster.wait_until(&["pods", "-n", NAMESPACE, selector], LIMIT, both).unwrap();
    serde_json::from_value(list["items"].take()).unwrap()
}

/// A replica's name: by it the lease is held.
fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap()
}

/// Waits until one leads whose name fits, and gives it.
fn wait_leader(fleet: &Fleet, fits: impl Fn(&str) -> bool) -> String {
    let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    let leads = |lease: &Value| !holder(lease).is_empty() && fits(&holder(lease));
    let lease = ["lease", "cofferdam-controller", "-n", NAMESPACE];
    holder(&fleet.cluster.wait_until(&lease, LIMIT, leads).unwrap())
}

/// Kills both controllers, and waits until another one leads.
fn succeed(fleet: &Fleet) {
    let before = replicas(fleet, |_| true);
    fleet.kill("controller", None).unwrap();
    wait_leader(fleet, |holder| !before.iter().any(|pod| name(pod) == holder));
}

/// Kills the one that leads, and nothing else. The other one, which waited all the time, leads then.
fn the_standby_takes_over(fleet: &Fleet) {
    let pods = replicas(fleet, |pod| condition(pod, "Ready") == Some("True"));
    let leader = wait_leader(fleet, |holder| pods.iter().any(|pod| name(pod) == holder));
    let [one, other] = &pods;
    let (first, standby) = if name(one) == leader { (one, other) } else { (other, one) };
    let node = fleet.cluster.node(first["spec"]["nodeName"].as_str().unwrap()).unwrap();
    let container = first["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    let id = container.strip_prefix("containerd://").unwrap();
    // It would start it anew at once, under the name that holds the lease.
    node.ok(&["systemctl", "stop", "kubelet"]).unwrap();
    node.ok(&["ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id]).unwrap();
    assert_eq!(wait_leader(fleet, |holder| holder != leader), name(standby));
    node.ok(&["systemctl", "start", "kubelet"]).unwrap();
}

/// What the nodes are told, and whether pods find them.
fn told(fleet: &Fleet) -> Vec<Value> {
    let of = |kind: &str, name: &str| fleet.cluster.get_json(&[kind, name]).unwrap().unwrap();
    let state = |name: &&str| {
        let (own, node) = (of("sandboxnode", name), of("node", name));
        let runtime = &own["status"]["runtimes"][0];
        json!([own["spec"], runtime["state"], runtime["version"], node["metadata"]["labels"][LABEL]])
    };
    NODES.iter().map(state).collect()
}

/// In a phase in which nothing is to be done, the successor does nothing.
fn stays(fleet: &Fleet, phase: &str) -> Value {
    reach(fleet, phase);
    // A node on its way back, and labels, come after the phase.
    for name in NODES {
        let proven = |own: &Value| {
            let (told, found) = (&own["spec"]["runtimes"][0], &own["status"]["runtimes"][0]);
            found["state"] == "Proven" && found["sequence"] == told["sequence"]
        };
        fleet.cluster.wait_until(&["sandboxnode", name], LIMIT, proven).unwrap();
        let offered = |node: &Value| node["metadata"]["labels"][LABEL].is_string();
        fleet.cluster.wait_until(&["node", name], LIMIT, offered).unwrap();
    }
    let before = told(fleet);
    succeed(fleet);
    std::thread::sleep(A_WHILE);
    assert_eq!(told(fleet), before, "{phase}");
    reach(fleet, phase)
}

/// In a phase in which it is at work, the successor brings it to its end.
fn goes_on(fleet: &Fleet, phase: &str) {
    reach(fleet, phase);
    succeed(fleet);
}

/// A complete one beside two others: one wants the same handler, and one is for nodes that are not there. The successor has
/// nothing to say of them, either, and takes nothing away when they go.
fn others_stay(fleet: &Fleet, package: &Published) {
    let others = [
        ("late", "Conflict", "  handlers:\n  - name: runsc-oci\n"),
        ("nowhere", "NoNodes", "  nodeSelector:\n    nobody: here\n"),
    ];
    reach(fleet, "Complete");
    others.iter().for_each(|(name, _, more)| {
        fleet.cluster.apply(&fleet.runtime(name, package, more)).unwrap();
    });
    let statuses = || others.map(|(name, phase, _)| reach_of(fleet, name, phase)["status"].take());
    let before = statuses();
    stays(fleet, "Complete");
    assert_eq!(statuses(), before);
    let told_before = told(fleet);
    fleet.cluster.kubectl_ok(&["delete", "sandboxruntime", "late", "nowhere"]).unwrap();
    assert_eq!(told(fleet), told_before);
    reach(fleet, "Complete");
}

/// The canary is proven and soaks when the leader dies: the standby neither asks it again nor cuts its time short.
fn the_standby_waits_for_the_canary(fleet: &Fleet) {
    let of = |name: &str| {
        let mut own = fleet.cluster.get_json(&["sandboxnode", name]).unwrap().unwrap();
        own["spec"]["runtimes"][0].take()
    };
    let soaks = |object: &Value| {
        let status = &object["status"];
        status["observedGeneration"] == object["metadata"]["generation"]
            && status["nodes"]["updated"] == 1
            && status["record"]["canaries"]["n1"]["proven"].is_u64()
    };
    let object = fleet.cluster.wait_until(&["sandboxruntime", "gvisor"], LIMIT, soaks).unwrap();
    let proven = object["status"]["record"]["canaries"]["n1"]["proven"].as_u64().unwrap();
    let canary = of("n1");
    the_standby_takes_over(fleet);
    reach(fleet, "Complete");
    assert_eq!(of("n1"), canary);
    let told = of("n2")["since"].as_u64().unwrap();
    assert!(told >= proven + SOAK, "n2 was told at {told}, and the canary proven at {proven}");
}

fn versions(fleet: &Fleet) -> Vec<Value> {
    told(fleet).iter().map(|state| state[2].clone()).collect()
}

#[test]
fn a_successor_goes_on_in_every_phase() {
    let fleet = Fleet::boot(ClusterSpec::default(), &binary().unwrap(), &[]).unwrap();
    let old = fleet.publish(Kind::Works(Release::Old), "gvisor", "old").unwrap();
    let new = fleet.publish(Kind::Works(Release::New), "gvisor", "new").unwrap();
    let broken = fleet.publish(Kind::Broken, "gvisor", "broken").unwrap();

    apply(&fleet, &old, "");
    goes_on(&fleet, "Progressing");
    others_stay(&fleet, &old);
    assert_eq!(versions(&fleet), ["20240729.0", "20240729.0"]);

    apply(&fleet, &new, "    paused: true\n");
    stays(&fleet, "Paused");
    assert_eq!(versions(&fleet), ["20240729.0", "20240729.0"]);
    apply(&fleet, &new, &format!("    paused: false\n    soakSeconds: {SOAK}\n"));
    the_standby_waits_for_the_canary(&fleet);
    assert_eq!(versions(&fleet), ["20250205.0", "20250205.0"]);

    // No node has this label: rather a mistake than a wish.
    apply(&fleet, &new, "  nodeSelector:\n    nobody: here\n");
    stays(&fleet, "Unknown");
    assert_eq!(versions(&fleet), ["20250205.0", "20250205.0"]);

    apply(&fleet, &broken, "");
    let halted = stays(&fleet, "Halted");
    let failures = halted["status"]["failures"].as_array().unwrap();
    let failed: Vec<&Value> = failures.iter().map(|failure| &failure["node"]).collect();
    assert_eq!(failed, ["n1"], "the canary alone: {halted:#}");
    assert_eq!(versions(&fleet), ["20250205.0", "20250205.0"]);

    // The first canary fails and the other node does not: one failure is tolerated.
    fleet.cluster.node("n1").unwrap().arm("fail:restart:1").unwrap();
    apply(&fleet, &old, "    failureBudget: 1\n");
    stays(&fleet, "Degraded");
    assert_eq!(versions(&fleet), ["20250205.0", "20240729.0"]);

    fleet.cluster.kubectl_ok(&["delete", "sandboxruntime", "gvisor", "--wait=false"]).unwrap();
    goes_on(&fleet, "Removing");
    fleet.cluster.wait_gone(&["sandboxruntime", "gvisor"], LIMIT).unwrap();
    for name in NODES {
        let node = fleet.cluster.node(name).unwrap();
        assert!(!node.run(&["test", "-e", "/opt/cofferdam/runtimes/gvisor-oci"]).unwrap().success());
        let labels = fleet.cluster.get_json(&["node", name]).unwrap().unwrap()["metadata"]["labels"].clone();
        assert!(labels.get(LABEL).is_none(), "{labels}");
    }
}
