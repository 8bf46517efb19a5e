//! Objects that people edit by hand, or another version writes: nothing is taken away from anybody for it.

use super::{LEDGER, LIMIT, apply, label, wait_complete};
use serde_json::{Value, json};
use std::time::Duration;
use xtask::testbed::fleet::{Fleet, Published};
use xtask::testbed::trial::wait_for;

/// What would be different if something had been installed, removed or restarted.
fn state(fleet: &Fleet, node: &str) -> (Vec<u8>, u32) {
    let node = fleet.cluster.node(node).unwrap();
    (node.read(LEDGER).unwrap(), node.engine_pid().unwrap())
}

fn sandbox_node(fleet: &Fleet) -> Value {
    fleet.cluster.get_json(&["sandboxnode", "n1"]).unwrap().unwrap()
}

fn tell(fleet: &Fleet, runtimes: &Value) {
    let patch = json!({ "spec": { "runtimes": runtimes } }).to_string();
    fleet.cluster.kubectl_ok(&["patch", "sandboxnode", "n1", "--type=merge", "--patch", &patch]).unwrap();
}

/// Waits until the node is told the one thing that it should have, and its agent says that it has it.
fn wait_settled(fleet: &Fleet, revision: &Value) {
    let settled = |own: &Value| {
        let (told, found) = (&own["spec"]["runtimes"][0], &own["status"]["runtimes"][0]);
        own["status"]["observedGeneration"] == own["metadata"]["generation"]
            && own["spec"]["runtimes"].as_array().is_some_and(|all| all.len() == 1)
            && told["wanted"] == "Present"
            && told["target"]["revision"] == *revision
            && found["sequence"] == told["sequence"]
            && found["state"] == "Proven"
    };
    fleet.cluster.wait_until(&["sandboxnode", "n1"], LIMIT, settled).unwrap();
    wait_complete(fleet);
    label(fleet, "n1", true);
}

/// The controller puts it back, and a removal that the agent hears of before that is refused: a sandbox runs there.
pub(crate) fn a_sandbox_node_is_edited(fleet: &Fleet) {
    let runtime = fleet.cluster.get_json(&["sandboxruntime", "gvisor"]).unwrap().unwrap();
    let revision = &runtime["status"]["revision"];
    wait_settled(fleet, revision);
    let before = state(fleet, "n1");
    let nowhere = json!({ "revision": "0123456789ab", "package": { "source": { "directory": "/nowhere" } } });
    let edits = [
        // The agent does nothing under a sequence that it has dealt with.
        json!({ "wanted": "Absent" }),
        json!({ "wanted": "Absent", "sequence": 1_000 }),
        json!({ "target": nowhere, "sequence": 2_000 }),
        // Not put back: the agent makes sure once more of what it has.
        json!({ "sequence": 1 }),
    ];
    for edit in edits {
        let mut told = sandbox_node(fleet)["spec"]["runtimes"].take();
        told[0].as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
        tell(fleet, &told);
        wait_settled(fleet, revision);
        assert_eq!(state(fleet, "n1"), before, "{edit}");
    }
    tell(fleet, &json!([]));
    wait_settled(fleet, revision);
    fleet.cluster.kubectl_ok(&["delete", "sandboxnode", "n1"]).unwrap();
    wait_settled(fleet, revision);
    assert_eq!(state(fleet, "n1"), before, "nothing was installed, removed or restarted");
}

/// As a newer version may write them, or somebody who changed the schema: nothing is taken away from anybody.
pub(crate) fn objects_that_do_not_parse(fleet: &Fleet, new: &Published) {
    const CRD: [&str; 2] = ["crd", "sandboxruntimes.cofferdam.dev"];
    let schema = fleet.cluster.get_json(&CRD).unwrap().unwrap()["spec"]["versions"][0]["schema"].take();
    let take_schema = |schema: &Value| {
        let patch =
            json!([{ "op": "replace", "path": "/spec/versions/0/schema", "value": schema }]).to_string();
        let [kind, name] = CRD;
        fleet.cluster.kubectl_ok(&["patch", kind, name, "--type=json", "--patch", &patch]).unwrap();
    };
    let unreadable = |count: &str| {
        let metric = format!("cofferdam_controller_unreadable_objects{{kind=\"SandboxRuntime\"}} {count}\n");
        wait_for("the metric", LIMIT, || {
            let texts = fleet.scrape("controller", 9465, "/metrics")?;
            Ok(texts.iter().any(|text| text.contains(&metric)).then_some(()))
        })
        .unwrap();
    };
    let trees = || {
        let list = |name| {
            fleet.cluster.node(name).unwrap().ok(&["ls", "/opt/cofferdam/runtimes/gvisor-oci"]).unwrap()
        };
        ["n1", "n2"].map(list)
    };
    let before = trees();
    take_schema(&json!({ "openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    } }));
    let strange = json!({ "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxRuntime",
        "metadata": { "name": "strange" }, "spec": { "package": 17 } });
    // The server goes by the old schema for a moment.
    let applied = || Ok(fleet.cluster.apply(&strange.to_string()).ok());
    wait_for("the server to take it", LIMIT, applied).unwrap();
    unreadable("1");
    let edited = json!({ "spec": { "rollout": "soon" } }).to_string();
    fleet
        .cluster
        .kubectl_ok(&["patch", "sandboxruntime", "gvisor", "--type=merge", "--patch", &edited])
        .unwrap();
    unreadable("2");
    // Some heartbeats and rounds later.
    std::thread::sleep(Duration::from_secs(15));
    for node in ["n1", "n2"] {
        label(fleet, node, true);
        let own = fleet.cluster.get_json(&["sandboxnode", node]).unwrap().unwrap();
        assert_eq!(own["spec"]["runtimes"].as_array().unwrap().len(), 1, "{own:#}");
    }
    assert!(fleet.cluster.get_json(&["runtimeclass", "runsc-oci"]).unwrap().is_some());
    assert_eq!(trees(), before, "nothing was removed");
    fleet.cluster.kubectl_ok(&["delete", "sandboxruntime", "strange"]).unwrap();
    apply(fleet, new);
    take_schema(&schema);
    unreadable("0");
    wait_complete(fleet);
}
