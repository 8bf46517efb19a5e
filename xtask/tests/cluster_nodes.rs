//! Nodes and SandboxRuntimes that come, go, change and get into each other's way.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::name::Digest;
use serde_json::{Value, json};
use std::time::Duration;
use xtask::testbed::cluster::condition;
use xtask::testbed::fleet::{Fleet, Kind, LABEL, NAMESPACE, Published};
use xtask::testbed::package::Release;
use xtask::testbed::trial::{binary, wait_for};
use xtask::testbed::{ClusterSpec, Containerd, Member, Signer};

const LIMIT: Duration = Duration::from_secs(300);
const KATA: &str = "katacontainers.io/kata-runtime";
const TAINT: &str = "cofferdam.dev/gvisor";
const RETRY: &str = "cofferdam.dev/retry";
const UNIT: &str = "/etc/systemd/system/cofferdam-recover.service";

/// Without it containerd has no network for pods, and the kubelet says so.
const NETWORK: &str = "/etc/cni/net.d/10-testbed.conflist";

/// A pod that no present node may have, and no taint.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: first, namespace: default}
spec:
  runtimeClassName: runsc-oci
  containers:
  - {name: main, image: 'cofferdam.test/busybox:1', command: [/bin/sleep, '100000']}
";

#[test]
fn nodes_come_and_go_and_specs_change() {
    let mut fleet = Fleet::boot(ClusterSpec::default(), &binary().unwrap(), &[]).unwrap();
    let package = fleet.publish(Kind::Works(Release::Old), "gvisor", "old").unwrap();
    a_pool_with_a_startup_taint(&fleet, &package);
    compatibility_labels_come_and_go(&fleet);
    the_older_of_two_has_the_handler(&fleet, &package);
    a_drifted_node_is_put_back_on_request(&fleet);
    a_cordoned_node_is_replaced_under_its_name(&fleet);
    a_spec_asks_for_what_cannot_be(&fleet);
    a_paused_one_is_not_removed(&fleet, &package);
    what_is_left_of_a_lost_sandbox_node_is_removed(&fleet);
    a_pool_scales_from_zero_and_back(&mut fleet, &package);
}

fn runtime(fleet: &Fleet, name: &str) -> Value {
    fleet.cluster.get_json(&["sandboxruntime", name]).unwrap().unwrap()
}

fn wait_ready(fleet: &Fleet, name: &str, nodes: u64) {
    fleet.wait_complete(name, nodes).unwrap();
}

fn label(fleet: &Fleet, node: &str, label: &str, present: bool) {
    fleet.wait_label(node, label, present).unwrap();
}

fn has_taint(node: &Value) -> bool {
    node["spec"]["taints"].as_array().is_some_and(|all| all.iter().any(|taint| taint["key"] == TAINT))
}

fn patch(fleet: &Fleet, kind: &str, name: &str, patch: &Value) {
    let text = patch.to_string();
    fleet.cluster.kubectl_ok(&["patch", kind, name, "--type=merge", "--patch", &text]).unwrap();
}

/// What would be different if something had been installed or restarted.
fn state(fleet: &Fleet, node: &str) -> String {
    let node = fleet.cluster.node(node).unwrap();
    let ledger = node.ok(&["sha256sum", "/var/lib/cofferdam/ledger.json"]).unwrap();
    let engine = node.ok(&["systemctl", "show", "-p", "MainPID", "containerd"]).unwrap();
    format!("{ledger}{engine}")
}

/// New nodes register with the taint; it goes with the proof, and with the wish.
fn a_pool_with_a_startup_taint(fleet: &Fleet, package: &Published) {
    for node in ["n1", "n2"] {
        fleet.cluster.kubectl_ok(&["taint", "node", node, &format!("{TAINT}:NoSchedule")]).unwrap();
    }
    fleet.cluster.kubectl_ok(&["label", "node", "n1", "pool=sandboxes"]).unwrap();
    let more = format!(
        "  nodeSelector:\n    pool: sandboxes\n  scheduling:\n    nodeSelector:\n      pool: sandboxes\n    startupTaint: {TAINT}\n"
    );
    fleet.cluster.apply(&fleet.runtime("gvisor", package, &more)).unwrap();
    wait_ready(fleet, "gvisor", 1);
    label(fleet, "n1", LABEL, true);
    fleet.cluster.wait_until(&["node", "n1"], LIMIT, |node| !has_taint(node)).unwrap();
    // Not selected, and with nothing of ours but the taint.
    fleet.cluster.wait_until(&["node", "n2"], LIMIT, |node| !has_taint(node)).unwrap();
    let class = fleet.cluster.get_json(&["runtimeclass", "runsc-oci"]).unwrap().unwrap();
    assert_eq!(class["scheduling"]["nodeSelector"], json!({ "pool": "sandboxes" }), "an autoscaler knows it");
    let text = json!({ "spec": { "scheduling": { "startupTaint": "cofferdam.dev/other" } } }).to_string();
    let refused = fleet
        .cluster
        .kubectl(&["patch", "sandboxruntime", "gvisor", "--type=merge", "--patch", &text])
        .unwrap();
    assert!(!refused.success() && refused.stderr.contains("startup taint"), "{refused:?}");
}

fn compatibility_labels_come_and_go(fleet: &Fleet) {
    fleet.cluster.kubectl_ok(&["label", "node", "n2", &format!("{KATA}=true")]).unwrap();
    let all = [KATA, "kata-containers.io/kata-runtime", "kata-containers.io/container-runtime"];
    for there in [true, false] {
        patch(fleet, "sandboxruntime", "gvisor", &json!({ "spec": { "compatibilityLabels": there } }));
        all.iter().for_each(|key| label(fleet, "n1", key, there));
        let text = selectors(fleet).to_string();
        assert!(text.contains("sandboxes"), "{text}");
        assert!(
            !all.iter().any(|key| text.contains(key)),
            "whoever puts such a label gets nothing for it: {text}"
        );
    }
    label(fleet, "n1", LABEL, true);
    label(fleet, "n2", KATA, true);
    fleet.cluster.kubectl_ok(&["label", "node", "n2", &format!("{KATA}-")]).unwrap();
}

/// Where our pods, and the pods of our RuntimeClasses, may be.
fn selectors(fleet: &Fleet) -> Value {
    let list = |args: &[&str]| fleet.cluster.get_json(args).unwrap().unwrap()["items"].take();
    let places = |list: Value| -> Vec<Value> {
        let place = |object: &Value| {
            let pod = &object["spec"]["template"]["spec"];
            json!([object["scheduling"], pod["nodeSelector"], pod["affinity"]])
        };
        list.as_array().unwrap().iter().map(place).collect()
    };
    let classes = places(list(&["runtimeclasses"]));
    let pods = places(list(&["daemonsets,deployments", "-n", NAMESPACE]));
    assert!(!pods.is_empty());
    json!([classes, pods])
}

fn the_older_of_two_has_the_handler(fleet: &Fleet, package: &Published) {
    let before = state(fleet, "n1");
    fleet
        .cluster
        .apply(&fleet.runtime(
            "late",
            package,
            "  nodeSelector:\n    pool: sandboxes\n  handlers:\n  - name: runsc-oci\n",
        ))
        .unwrap();
    let conflict = |object: &Value| object["status"]["phase"] == "Conflict";
    let late = fleet.cluster.wait_until(&["sandboxruntime", "late"], LIMIT, conflict).unwrap();
    assert!(late["status"]["message"].as_str().unwrap().contains("gvisor"), "{late:#}");
    assert_eq!(runtime(fleet, "gvisor")["status"]["phase"], "Complete");
    assert_eq!(state(fleet, "n1"), before, "the first is not touched");
    fleet.cluster.kubectl_ok(&["delete", "sandboxruntime", "gvisor", "--timeout=300s"]).unwrap();
    wait_ready(fleet, "late", 1);
    label(fleet, "n1", LABEL, true);
}

fn a_drifted_node_is_put_back_on_request(fleet: &Fleet) {
    let node = fleet.cluster.node("n1").unwrap();
    node.ok(&["rm", UNIT]).unwrap();
    label(fleet, "n1", LABEL, false);
    let drifted = |own: &Value| own["status"]["runtimes"][0]["state"] == "Drifted";
    fleet.cluster.wait_until(&["sandboxnode", "n1"], LIMIT, drifted).unwrap();
    // What `kubectl cofferdam retry late` writes.
    patch(fleet, "sandboxruntime", "late", &json!({ "metadata": { "annotations": { RETRY: "now" } } }));
    wait_ready(fleet, "late", 1);
    label(fleet, "n1", LABEL, true);
    node.ok(&["test", "-e", UNIT]).unwrap();
}

fn a_cordoned_node_is_replaced_under_its_name(fleet: &Fleet) {
    let before = state(fleet, "n1");
    let old = fleet.cluster.get_json(&["node", "n1"]).unwrap().unwrap()["metadata"]["uid"].clone();
    fleet.cluster.kubectl_ok(&["delete", "node", "n1"]).unwrap();
    fleet.cluster.node("n1").unwrap().ok(&["systemctl", "restart", "kubelet"]).unwrap();
    let new = |node: &Value| node["metadata"]["uid"] != old;
    fleet.cluster.wait_until(&["node", "n1"], LIMIT, new).unwrap();
    fleet.cluster.kubectl_ok(&["label", "node", "n1", "pool=sandboxes", "--overwrite"]).unwrap();
    fleet.cluster.kubectl_ok(&["cordon", "n1"]).unwrap();
    let fresh = |own: &Value| own["spec"]["nodeUID"] != old && own["status"]["heartbeat"].is_string();
    fleet.cluster.wait_until(&["sandboxnode", "n1"], LIMIT, fresh).unwrap();
    wait_ready(fleet, "late", 1);
    label(fleet, "n1", LABEL, true);
    assert_eq!(state(fleet, "n1"), before, "nothing was installed or restarted");
    fleet.cluster.kubectl_ok(&["uncordon", "n1"]).unwrap();
}

/// Nothing that works is taken away for it, and the status says what is wrong.
fn a_spec_asks_for_what_cannot_be(fleet: &Fleet) {
    let handlers =
        |value: Value| patch(fleet, "sandboxruntime", "late", &json!({ "spec": { "handlers": value } }));
    let degraded = |reason: &'static str| {
        let fits = move |object: &Value| {
            let all = object["status"]["conditions"].as_array();
            let degraded = all.and_then(|all| all.iter().find(|condition| condition["type"] == "Degraded"));
            degraded.is_some_and(|c| {
                if reason.is_empty() { c["status"] == "False" } else { c["reason"] == reason }
            })
        };
        fleet.cluster.wait_until(&["sandboxruntime", "late"], LIMIT, fits).unwrap()
    };
    handlers(json!([{ "name": "runsc-oci" }, { "name": "nothing-here" }]));
    let late = degraded("UnknownHandler");
    let message = late["status"]["message"].as_str().unwrap();
    assert!(message.contains("no handler nothing-here, only runsc-oci"), "{message}");
    let gone = || Ok(fleet.cluster.get_json(&["runtimeclass", "nothing-here"])?.is_none().then_some(()));
    wait_for("no RuntimeClass for it", LIMIT, gone).unwrap();
    let theirs = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
        "metadata": { "name": "theirs" }, "handler": "runc" });
    fleet.cluster.apply(&theirs.to_string()).unwrap();
    handlers(json!([{ "name": "runsc-oci", "runtimeClassName": "theirs" }]));
    let late = degraded("RuntimeClassTaken");
    assert!(late["status"]["message"].as_str().unwrap().contains("theirs"), "{late:#}");
    let class = fleet.cluster.get_json(&["runtimeclass", "theirs"]).unwrap().unwrap();
    assert_eq!(class["handler"], "runc", "it is left as it is");
    handlers(json!([{ "name": "runsc-oci" }]));
    degraded("");
    label(fleet, "n1", LABEL, true);
    fleet.cluster.wait_until(&["runtimeclass", "runsc-oci"], LIMIT, |_| true).unwrap();
}

/// No new sandbox is offered; what is installed stays until it is resumed.
fn a_paused_one_is_not_removed(fleet: &Fleet, package: &Published) {
    let before = state(fleet, "n1");
    let pause = |paused: bool| {
        patch(fleet, "sandboxruntime", "late", &json!({ "spec": { "rollout": { "paused": paused } } }));
    };
    pause(true);
    fleet.cluster.kubectl_ok(&["delete", "sandboxruntime", "late", "--wait=false"]).unwrap();
    let says = |object: &Value| {
        object["status"]["message"].as_str().is_some_and(|text| text.contains("resume late"))
    };
    fleet.cluster.wait_until(&["sandboxruntime", "late"], LIMIT, says).unwrap();
    label(fleet, "n1", LABEL, false);
    let gone = |what: &[&str]| fleet.cluster.get_json(what).unwrap().is_none().then_some(());
    wait_for("its RuntimeClass to go", LIMIT, || Ok(gone(&["runtimeclass", "runsc-oci"]))).unwrap();
    assert_eq!(state(fleet, "n1"), before, "it is still there");
    pause(false);
    wait_for("its end", LIMIT, || Ok(gone(&["sandboxruntime", "late"]))).unwrap();
    let node = fleet.cluster.node("n1").unwrap();
    assert!(!node.run(&["test", "-e", "/opt/cofferdam/runtimes/gvisor-oci"]).unwrap().success());
    fleet.cluster.apply(&fleet.runtime("late", package, "  nodeSelector:\n    pool: sandboxes\n")).unwrap();
    wait_ready(fleet, "late", 1);
}

/// Its SandboxNode and the SandboxRuntime go at the same time: the agent's word is waited for.
fn what_is_left_of_a_lost_sandbox_node_is_removed(fleet: &Fleet) {
    fleet.cluster.kubectl_ok(&["delete", "sandboxnode", "n1"]).unwrap();
    fleet.cluster.kubectl_ok(&["delete", "sandboxruntime", "late", "--timeout=300s"]).unwrap();
    let node = fleet.cluster.node("n1").unwrap();
    assert!(!node.run(&["test", "-e", "/opt/cofferdam/runtimes/gvisor-oci"]).unwrap().success());
    label(fleet, "n1", LABEL, false);
}

/// Its agent lives and vouches for the runtime, but its kubelet can start no pod: no new pod is offered, nothing is told, and
/// nothing is done. Then it is as before.
fn a_node_is_not_ready(fleet: &Fleet) {
    let get = |kind: &str, name: &str| fleet.cluster.get_json(&[kind, name]).unwrap().unwrap();
    let container = || get("pod", "first")["status"]["containerStatuses"][0]["containerID"].clone();
    let node = fleet.cluster.node("n3").unwrap();
    let (before, running) = (state(fleet, "n3"), container());
    let network = node.read(NETWORK).unwrap();
    node.remove(NETWORK).unwrap();
    fleet.cluster.wait_condition(&["node", "n3"], "Ready", "False", LIMIT).unwrap();
    let own = get("sandboxnode", "n3");
    // Another revision of the same package.
    patch(fleet, "sandboxruntime", "burst", &json!({ "spec": { "skipChecks": ["kvm"] } }));
    let waits = |object: &Value| {
        let (status, nodes) = (&object["status"], &object["status"]["nodes"]);
        status["observedGeneration"] == object["metadata"]["generation"]
            && status["phase"] == "Progressing"
            && status["message"].as_str().is_some_and(|text| text.contains("n3: the node is not ready"))
            && (&nodes["ready"], &nodes["unknown"], &nodes["waiting"]) == (&json!(0), &json!(1), &json!(1))
    };
    let burst = fleet.cluster.wait_until(&["sandboxruntime", "burst"], LIMIT, waits).unwrap();
    assert_eq!(condition(&burst, "Ready"), Some("Unknown"), "{burst:#}");
    label(fleet, "n3", LABEL, false);
    fleet.cluster.wait_until(&["node", "n3"], LIMIT, has_taint).unwrap();
    let lives = |now: &Value| now["status"]["heartbeat"] != own["status"]["heartbeat"];
    let now = fleet.cluster.wait_until(&["sandboxnode", "n3"], LIMIT, lives).unwrap();
    assert_eq!(now["status"]["runtimes"][0]["state"], "Proven", "{now:#}");
    assert_eq!(now["spec"], own["spec"], "it is told nothing");

    node.put(NETWORK, network, 0o644).unwrap();
    wait_ready(fleet, "burst", 1);
    label(fleet, "n3", LABEL, true);
    fleet.cluster.wait_until(&["node", "n3"], LIMIT, |node| !has_taint(node)).unwrap();
    assert_eq!(container(), running, "the pod runs on");
    assert_eq!(state(fleet, "n3"), before, "nothing was installed or restarted");
}

/// The first machine of a pool registers with the pool's label and the taint, and pods wait until it is proven; what is not
/// signed as it should be does not come onto it. Then it is lost.
fn a_pool_scales_from_zero_and_back(fleet: &mut Fleet, package: &Published) {
    let (ours, others) = (Signer::new().unwrap(), Signer::new().unwrap());
    let image = Digest::try_from(package.digest.clone()).unwrap();
    ours.sign(&fleet.registry, "gvisor", image).unwrap();
    let apply = |fleet: &Fleet, signer: &Signer| {
        let key: String = signer.public_key().lines().map(|line| format!("        {line}\n")).collect();
        let more = format!(
            "    verify:\n      keys:\n      - |\n{key}  nodeSelector:\n    pool: burst\n  handlers:\n  - name: runsc-oci\n  \
             scheduling:\n    nodeSelector:\n      pool: burst\n    startupTaint: {TAINT}\n  rollout:\n    \
             agentSilentSeconds: 20\n"
        );
        fleet.cluster.apply(&fleet.runtime("burst", package, &more)).unwrap();
    };
    let phase = |fleet: &Fleet, wanted: &str| {
        let fits = |object: &Value| object["status"]["phase"] == wanted;
        fleet.cluster.wait_until(&["sandboxruntime", "burst"], LIMIT, fits).unwrap()
    };
    apply(fleet, &others);
    phase(fleet, "NoNodes");
    let class = fleet.cluster.wait_until(&["runtimeclass", "runsc-oci"], LIMIT, |_| true).unwrap();
    assert_eq!(
        class["scheduling"]["nodeSelector"],
        json!({ "pool": "burst" }),
        "an autoscaler sees who wants it"
    );
    fleet.cluster.apply(POD).unwrap();
    let [.., newest] = Containerd::MAJORS;
    let member = Member::new("n3", newest).label("pool", "burst").taint(TAINT, "true", "NoSchedule");
    fleet.add_node(&member).unwrap();
    let halted = phase(fleet, "Halted");
    assert!(halted["status"]["message"].as_str().unwrap().contains("sign"), "{halted:#}");
    assert!(has_taint(&fleet.cluster.get_json(&["node", "n3"]).unwrap().unwrap()));
    let node = fleet.cluster.node("n3").unwrap();
    assert!(!node.run(&["test", "-e", "/opt/cofferdam"]).unwrap().success());

    apply(fleet, &ours);
    wait_ready(fleet, "burst", 1);
    let own = fleet.cluster.get_json(&["sandboxnode", "n3"]).unwrap().unwrap();
    let verified = own["status"]["runtimes"][0]["verified"].as_str().unwrap();
    assert!(verified.contains("keys[0]"), "{verified}");
    label(fleet, "n3", LABEL, true);
    fleet.cluster.wait_until(&["node", "n3"], LIMIT, |node| !has_taint(node)).unwrap();
    let runs = |pod: &Value| pod["status"]["phase"] == "Running" && pod["spec"]["nodeName"] == "n3";
    fleet.cluster.wait_until(&["pod", "first"], LIMIT, runs).unwrap();

    a_node_is_not_ready(fleet);
    // What is no more as it was proven takes no new pods; those that run stay.
    node.ok(&["rm", UNIT]).unwrap();
    label(fleet, "n3", LABEL, false);
    fleet.cluster.wait_until(&["node", "n3"], LIMIT, has_taint).unwrap();
    patch(fleet, "sandboxruntime", "burst", &json!({ "metadata": { "annotations": { RETRY: "now" } } }));
    label(fleet, "n3", LABEL, true);
    fleet.cluster.wait_until(&["node", "n3"], LIMIT, |node| !has_taint(node)).unwrap();
    fleet.cluster.wait_until(&["pod", "first"], LIMIT, runs).unwrap();

    fleet.cluster.destroy_node("n3").unwrap();
    let unknown = |object: &Value| condition(object, "Ready") == Some("Unknown");
    fleet.cluster.wait_until(&["sandboxruntime", "burst"], LIMIT, unknown).unwrap();
    label(fleet, "n3", LABEL, false);
    fleet.cluster.kubectl_ok(&["delete", "node", "n3"]).unwrap();
    phase(fleet, "NoNodes");
    fleet.cluster.kubectl_ok(&["delete", "pod", "first", "--force", "--grace-period=0"]).unwrap();
    fleet.cluster.kubectl_ok(&["delete", "sandboxruntime", "burst", "--timeout=300s"]).unwrap();
}
