//! What our accounts' tokens can do to a real API server: exactly what the tables say.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;

use access::{Caller, Door, doors};
use cofferdam_cluster::access::rbac::{TABLE, Within};
use cofferdam_cluster::access::{NAMESPACE, Who};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use xtask::task::build::workspace;
use xtask::testbed::{Cluster, ClusterSpec};

const NODES: &str = "/api/v1/nodes";
const SANDBOX_NODES: &str = "/apis/cofferdam.dev/v1alpha1/sandboxnodes";
const RUNTIMES: &str = "/apis/cofferdam.dev/v1alpha1/sandboxruntimes";
const CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";

/// A policy is enforced some seconds after it was made.
const ENFORCED: Duration = Duration::from_secs(60);

#[test]
fn tokens_can_do_what_the_tables_say_and_no_more() {
    let cluster = Cluster::boot(ClusterSpec::without_nodes()).unwrap();
    let stage = Stage::set(&cluster);
    the_agents_rights(&stage);
    the_other_accounts_rights(&stage);
    an_agent_writes_its_own_status_only(&stage);
    the_controller_changes_its_own_marks_of_nodes_only(&stage);
    the_controller_changes_its_own_runtime_classes_only(&stage);
    the_controller_does_not_change_what_people_wrote(&stage);
    what_no_node_could_install_is_refused(&stage);
    policies_are_well_typed(&stage);
}

/// A cluster with two nodes (objects without a machine), on each the agent's pod, and our rights.
struct Stage {
    admin: Caller,
    agent: Caller,
    /// The agent's account, but bound to no pod.
    unbound: Caller,
    controller: Caller,
    uninstall: Caller,
    /// An account without a binding.
    nobody: Caller,
    doors: Vec<Door>,
}

impl Stage {
    fn set(cluster: &Cluster) -> Self {
        for file in ["crds.yaml", "cofferdam.yaml"] {
            let path = workspace().join("deploy/manifests").join(file);
            cluster.apply(&std::fs::read_to_string(path).unwrap()).unwrap();
        }
        // The hook's rights come with the chart only.
        let mut objects = cofferdam_cluster::access::manifest::roles(Who::Uninstall, NAMESPACE);
        objects.push(cofferdam_cluster::workload::account(Who::Uninstall, NAMESPACE));
        for node in ["a", "b"] {
            let taints = json!([{"key": "other.example/busy", "effect": "NoSchedule"}]);
            objects.push(json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": node,
                    "labels": {"kubernetes.io/os": "linux", "pool": "x"},
                    "annotations": {"note": "x"},
                },
                "spec": {"taints": taints},
            }));
        }
        cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).unwrap();
        let admin_token = {
            cluster.kubectl_ok(&["create", "serviceaccount", "admin"]).unwrap();
            let bind = [
                "create",
                "clusterrolebinding",
                "admin",
                "--clusterrole=cluster-admin",
                "--serviceaccount=default:admin",
            ];
            cluster.kubectl_ok(&bind).unwrap();
            cluster.token("default", "admin").unwrap()
        };
        let admin = Caller::new(cluster, "admin", &admin_token);
        for node in ["a", "b"] {
            let uid = admin.get(&format!("{NODES}/{node}"))["metadata"]["uid"].clone();
            let object = json!({
                "apiVersion": "cofferdam.dev/v1alpha1",
                "kind": "SandboxNode",
                "metadata": {"name": node},
                "spec": {"nodeUID": uid},
            });
            admin.create(SANDBOX_NODES, &object).ok();
        }
        let token = cluster.pod_token(NAMESPACE, Who::Agent.account(), &agent_pod(cluster, "a")).unwrap();
        cluster.kubectl_ok(&["create", "serviceaccount", "nobody", "--namespace", NAMESPACE]).unwrap();
        let caller = |name: &str| Caller::new(cluster, name, &cluster.token(NAMESPACE, name).unwrap());
        let doors = doors(&admin);
        Self {
            agent: Caller::new(cluster, "agent-of-a", &token),
            unbound: caller(Who::Agent.account()),
            controller: caller(Who::Controller.account()),
            uninstall: caller(Who::Uninstall.account()),
            nobody: caller("nobody"),
            admin,
            doors,
        }
    }

    /// What opens for `caller`, but not for an account without a binding: verb, resource, namespace.
    fn gains(&self, caller: &Caller) -> BTreeSet<(String, String, String)> {
        let (more, few) = (caller.open(&self.doors), self.nobody.open(&self.doors));
        assert!(few.is_subset(&more));
        let gains = more.difference(&few);
        gains.map(|door| (door.verb.clone(), door.resource.clone(), door.namespace.clone())).collect()
    }
}

/// A pod of the agent's account on a node: nothing runs it, but its token is that of a pod on this node.
fn agent_pod(cluster: &Cluster, node: &str) -> String {
    let name = format!("agent-on-{node}");
    let spec = json!({
        "nodeName": node,
        "serviceAccountName": Who::Agent.account(),
        "containers": [{"name": "agent", "image": "none.example/none:1"}],
    });
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    cluster.apply(&pod.to_string()).unwrap();
    name
}

fn gain(verb: &str, resource: &str, namespace: &str) -> (String, String, String) {
    (verb.to_owned(), resource.to_owned(), namespace.to_owned())
}

fn the_agents_rights(stage: &Stage) {
    assert!(stage.doors.len() > 500, "only {} doors were found", stage.doors.len());
    let nodes = "sandboxnodes.cofferdam.dev";
    let wanted = BTreeSet::from([
        gain("list", nodes, ""),
        gain("watch", nodes, ""),
        gain("patch", &format!("{nodes}/status"), ""),
    ]);
    assert_eq!(stage.gains(&stage.agent), wanted);
    // Verbs that discovery does not list (impersonate, escalate, bind ...) and URLs that are no resources.
    for namespace in [NAMESPACE, "default", "kube-system"] {
        let (more, few) = (stage.agent.rules(namespace), stage.nobody.rules(namespace));
        let gains: Vec<&String> = more.difference(&few).collect();
        assert_eq!(gains.len(), 2, "{gains:#?}");
        assert!(
            gains.iter().all(|rule| rule.contains("\"cofferdam.dev\"") && !rule.contains('*')),
            "{gains:#?}"
        );
    }
}

fn the_other_accounts_rights(stage: &Stage) {
    for (who, caller) in [(Who::Controller, &stage.controller), (Who::Uninstall, &stage.uninstall)] {
        let mut wanted = BTreeSet::new();
        for row in TABLE.iter().filter(|row| row.who == who && row.names.is_empty()) {
            let namespace = match row.within {
                Within::Cluster => "",
                Within::Own => NAMESPACE,
                Within::Default => "default",
            };
            let group = if row.group.is_empty() { String::new() } else { format!(".{}", row.group) };
            let (plural, sub) = row.resource.split_once('/').unwrap_or((row.resource, ""));
            let slash = if sub.is_empty() { String::new() } else { format!("/{sub}") };
            let resource = format!("{plural}{group}{slash}");
            // A right in the whole cluster opens every namespace's door.
            let doors = stage.doors.iter().filter(|door| door.resource == resource);
            let within = |door: &&Door| namespace.is_empty() || door.namespace == namespace;
            let namespaces: BTreeSet<&str> =
                doors.filter(within).map(|door| door.namespace.as_str()).collect();
            for (verb, _) in row.needs {
                wanted.extend(namespaces.iter().map(|namespace| gain(verb.word(), &resource, namespace)));
            }
        }
        assert_eq!(stage.gains(caller), wanted, "{who:?}");
        no_power_over_rights(stage, caller);
    }
}

/// By what discovery does not list, either: no rule has a wildcard, gives rights or reads secrets.
fn no_power_over_rights(stage: &Stage, caller: &Caller) {
    for namespace in [NAMESPACE, "default", "kube-system"] {
        let (more, few) = (caller.rules(namespace), stage.nobody.rules(namespace));
        for rule in more.difference(&few) {
            let said = [
                "*",
                "impersonate",
                "escalate",
                "\"bind\"",
                "approve",
                "sign",
                "secrets",
                "nonResourceURLs\":[\"",
            ];
            assert!(!said.iter().any(|word| rule.contains(word)), "{rule}");
        }
    }
}

fn an_agent_writes_its_own_status_only(stage: &Stage) {
    let status = |generation: i64| json!({"status": {"observedGeneration": generation}});
    let own = format!("{SANDBOX_NODES}/a/status");
    let other = format!("{SANDBOX_NODES}/b/status");
    enforced(|| !stage.agent.patch(&other, &status(1)).status.is_success());

    stage.agent.patch(&own, &status(7)).ok();
    assert_eq!(stage.admin.get(&format!("{SANDBOX_NODES}/a"))["status"]["observedGeneration"], 7);
    stage.agent.patch(&other, &status(8)).refused("its own node only");
    stage.unbound.patch(&own, &status(8)).refused("or it has none");
    stage.agent.patch(&format!("{SANDBOX_NODES}/a"), &json!({"spec": {"runtimes": []}})).no_right();
    stage.agent.patch(&format!("{SANDBOX_NODES}/a"), &json!({"metadata": {"labels": {"x": "y"}}})).no_right();
    stage.agent.delete(&format!("{SANDBOX_NODES}/a")).no_right();
    let moved = json!({"spec": {"nodeUID": "other"}});
    stage.admin.patch(&format!("{SANDBOX_NODES}/a"), &moved).invalid("a SandboxNode stays with its node");

    // What else a status patch carries has no effect.
    let smuggled = json!({
        "metadata": {"labels": {"x": "y"}, "finalizers": ["x.example/y"]},
        "spec": {"nodeUID": "another"},
        "status": {"observedGeneration": 9},
    });
    let before = stage.admin.get(&format!("{SANDBOX_NODES}/a"));
    stage.agent.patch(&own, &smuggled);
    let after = stage.admin.get(&format!("{SANDBOX_NODES}/a"));
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(
        (&after["metadata"]["labels"], &after["metadata"]["finalizers"]),
        (&Value::Null, &Value::Null)
    );

    // Another machine under the same name: the old one's token is worth nothing.
    stage.admin.delete(&format!("{SANDBOX_NODES}/a")).ok();
    let replaced = json!({
        "apiVersion": "cofferdam.dev/v1alpha1",
        "kind": "SandboxNode",
        "metadata": {"name": "a"},
        "spec": {"nodeUID": "00000000-0000-0000-0000-000000000000"},
    });
    stage.admin.create(SANDBOX_NODES, &replaced).ok();
    stage.agent.patch(&own, &status(10)).refused("node UID");
}

fn the_controller_changes_its_own_marks_of_nodes_only(stage: &Stage) {
    let node = format!("{NODES}/b");
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    // Kubernetes itself adds some to a node that is not ready.
    let others = || stage.admin.get(&node)["spec"]["taints"].as_array().unwrap().clone();
    let taints = |taints: &[Value]| json!({"spec": {"taints": taints}});
    let with = |taint: Value| taints(&[others(), vec![taint]].concat());
    let ours = |effect: &str| json!({"key": "cofferdam.dev/gvisor", "effect": effect});
    enforced(|| !stage.controller.patch(&node, &labels(json!({"pool": "y"}))).status.is_success());

    let own = "cofferdam.node-restriction.kubernetes.io/gvisor";
    for value in [json!("true"), Value::Null] {
        stage.controller.patch(&node, &labels(json!({own: value}))).ok();
    }
    for name in [
        "katacontainers.io/kata-runtime",
        "kata-containers.io/kata-runtime",
        "kata-containers.io/container-runtime",
    ] {
        stage.controller.patch(&node, &labels(json!({name: "x"}))).ok();
        stage.controller.patch(&node, &labels(json!({name: null}))).ok();
    }
    stage.controller.patch(&node, &with(ours("NoSchedule"))).ok();
    let without: Vec<Value> =
        others().into_iter().filter(|taint| taint["key"] != "cofferdam.dev/gvisor").collect();
    stage.controller.patch(&node, &taints(&without)).ok();

    let before = stage.admin.get(&node);
    let labels_only = "its own labels";
    let refused = [
        (labels(json!({"more": "x"})), labels_only),
        (labels(json!({"pool": "y"})), labels_only),
        (labels(json!({"pool": null})), labels_only),
        (labels(json!({own: "true", "node-role.kubernetes.io/control-plane": ""})), labels_only),
        (labels(json!({"node-restriction.kubernetes.io/x": "y"})), labels_only),
        (taints(&[]), "its own taints"),
        (with(json!({"key": "more.example/x", "effect": "NoSchedule"})), "its own taints"),
        (taints(&[json!({"key": "other.example/busy", "effect": "NoExecute"})]), "its own taints"),
        (with(ours("NoExecute")), "they end none"),
        (json!({"spec": {"unschedulable": true}}), "no other field of spec"),
        (json!({"spec": {"providerID": "x://y"}}), "no other field of spec"),
        (json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}}), "no other field of spec"),
        (json!({"metadata": {"annotations": {"note": "y"}}}), "no other metadata"),
        (json!({"metadata": {"annotations": {"more": "y"}}}), "no other metadata"),
        (json!({"metadata": {"annotations": null}}), "no other metadata"),
        (json!({"metadata": {"finalizers": ["x.example/y"]}}), "no other metadata"),
        (
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "x"}]}}),
            "no other metadata",
        ),
    ];
    for (patch, words) in refused {
        stage.controller.patch(&node, &patch).refused(words);
    }
    stage.controller.patch(&format!("{node}/status"), &json!({"status": {"phase": "x"}})).no_right();
    stage.controller.delete(&node).no_right();
    let after = stage.admin.get(&node);
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    assert_eq!(after["metadata"]["annotations"], before["metadata"]["annotations"]);
    // Others are not judged.
    stage.admin.patch(&node, &labels(json!({"pool": "z"}))).ok();
}

fn the_controller_changes_its_own_runtime_classes_only(stage: &Stage) {
    let class = |name: &str, labels: Value| json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": name, "metadata": {"name": name, "labels": labels}});
    let owner = json!({"cofferdam.dev/sandboxruntime": "gvisor"});
    let (own, foreign) = (format!("{CLASSES}/own"), format!("{CLASSES}/foreign"));
    stage.admin.create(CLASSES, &class("foreign", json!({"x": "y"}))).ok();
    stage.controller.create(CLASSES, &class("own", json!({}))).refused("whose they are");
    stage.controller.create(CLASSES, &class("own", owner.clone())).ok();
    let overhead = json!({"overhead": {"podFixed": {"cpu": "10m"}}});
    stage.controller.patch(&own, &overhead).ok();
    stage.controller.patch(&own, &json!({"metadata": {"labels": null}})).refused("whose they are");
    stage.controller.patch(&foreign, &overhead).refused("is not the controller's");
    stage
        .controller
        .patch(&foreign, &json!({"metadata": {"labels": owner}}))
        .refused("is not the controller's");
    stage.controller.delete(&foreign).refused("is not the controller's");
    stage.controller.delete(&own).ok();
}

fn the_controller_does_not_change_what_people_wrote(stage: &Stage) {
    let (own, other) = ("cofferdam.dev/nodes", "other.example/x");
    let people = json!({"labels": {"team": "x"}, "annotations": {"note": "x"}, "finalizers": [other]});
    let runtime = json!({
        "apiVersion": "cofferdam.dev/v1alpha1",
        "kind": "SandboxRuntime",
        "metadata": {"name": "gvisor"},
        "spec": {"package": {"source": {"directory": "/srv/gvisor"}}},
    });
    stage.admin.create(RUNTIMES, &runtime).ok();
    let path = format!("{RUNTIMES}/gvisor");
    let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
    for list in [json!([own]), json!([])] {
        stage.controller.patch(&path, &finalizers(list)).ok();
    }
    stage.admin.patch(&path, &json!({"metadata": people})).ok();
    stage.controller.patch(&path, &finalizers(json!([other, own]))).ok();
    let (own_only, no_more) = ("its own finalizer", "no other metadata");
    let refused = [
        (finalizers(json!([own])), own_only),
        (finalizers(Value::Null), own_only),
        (finalizers(json!([other, own, "more.example/x"])), own_only),
        (json!({"metadata": {"labels": {"team": "y"}}}), no_more),
        (json!({"metadata": {"labels": null}}), no_more),
        (json!({"metadata": {"annotations": {"cofferdam.dev/retry": "y"}}}), no_more),
        (json!({"metadata": {"annotations": null}}), no_more),
        (
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "x"}]}}),
            no_more,
        ),
    ];
    for (patch, words) in refused {
        stage.controller.patch(&path, &patch).refused(words);
    }
    let evil = json!({"spec": {"package": {"source": {"directory": "/srv/evil"}}}});
    stage.controller.patch(&path, &evil).refused("what people wrote");
    stage.controller.patch(&format!("{path}/status"), &json!({"status": {"phase": "Done"}})).ok();
    stage.controller.patch(&path, &finalizers(json!([other]))).ok();
}

/// The rules of the CRD's schema: a spec that contradicts itself is not stored.
fn what_no_node_could_install_is_refused(stage: &Stage) {
    let runtime = |package: Value| {
        json!({
            "apiVersion": "cofferdam.dev/v1alpha1",
            "kind": "SandboxRuntime",
            "metadata": {"name": "checked"},
            "spec": {"package": package},
        })
    };
    let oci = json!({"oci": {"reference": "registry.example/kata:3.26"}});
    let signers = json!([{"identity": "ann@example.com", "issuer": "https://accounts.example.com"}]);
    let keyless = json!({"signers": signers, "trustRoot": "{}"});
    let verify = |verify: Value| json!({"source": oci, "verify": verify});
    let refused = [
        (verify(json!({"keys": ["x"], "keyless": keyless})), "give exactly one of keys and keyless"),
        (verify(json!({})), "give exactly one of keys and keyless"),
        (verify(json!({"keys": []})), "spec.package.verify.keys"),
        (verify(json!({"keys": [""]})), "spec.package.verify.keys[0]"),
        (
            verify(json!({"keyless": {"signers": [], "trustRoot": "{}"}})),
            "spec.package.verify.keyless.signers",
        ),
        (verify(json!({"keyless": {"signers": signers}})), "spec.package.verify.keyless.trustRoot"),
        (json!({"source": {"directory": "/srv/kata"}, "verify": {"keys": ["x"]}}), "files have no signature"),
        (
            json!({"source": {"directory": "/srv/kata", "oci": oci["oci"]}}),
            "give exactly one of oci, layout, tar and directory",
        ),
        (
            json!({"source": oci, "preset": "kata", "descriptor": "x"}),
            "give a preset or a descriptor, not both",
        ),
        (json!({"source": oci, "version": "1"}), "version goes with a preset"),
    ];
    for (package, words) in refused {
        stage.admin.create(RUNTIMES, &runtime(package)).invalid(words);
    }
    for good in [json!({"keys": ["x", "y"]}), json!({"keyless": keyless})] {
        stage.admin.create(RUNTIMES, &runtime(verify(good))).ok();
        stage.admin.delete(&format!("{RUNTIMES}/checked")).ok();
    }
}

/// The API server's type checker has nothing to say against the expressions.
fn policies_are_well_typed(stage: &Stage) {
    let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let checked = |policy: &Value| policy["status"]["observedGeneration"] == policy["metadata"]["generation"];
    enforced(|| stage.admin.get(path)["items"].as_array().unwrap().iter().all(checked));
    for policy in stage.admin.get(path)["items"].as_array().unwrap() {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{}: {warnings:#}", policy["metadata"]["name"]);
    }
}

fn enforced(is: impl Fn() -> bool) {
    let end = Instant::now() + ENFORCED;
    while !is() {
        assert!(Instant::now() < end, "not within {ENFORCED:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}
