//! A fleet whose parts fail: nothing is lost or removed, and what was begun comes to its end.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod edits;

use cofferdam_core::observation::Sandbox;
use edits::{a_sandbox_node_is_edited, objects_that_do_not_parse};
use serde_json::{Value, json};
use std::time::Duration;
use xtask::testbed::cluster::{Request, condition};
use xtask::testbed::fleet::{Fleet, Kind, LABEL, NAMESPACE, Published};
use xtask::testbed::package::Release;
use xtask::testbed::trial::{FAULT, JOURNAL, binary, wait_for};
use xtask::testbed::web::Pods;
use xtask::testbed::{ClusterSpec, Tree};

const LIMIT: Duration = Duration::from_secs(300);
const LEDGER: &str = "/var/lib/cofferdam/ledger.json";
const CONTROLLER: &str = "system:serviceaccount:cofferdam-system:cofferdam-controller";
const ROLLOUT: &str = "  rollout:\n    canary: 1\n    maxUnavailable: 1\n    agentSilentSeconds: 20\n";

fn apply(fleet: &Fleet, package: &Published) {
    fleet.cluster.apply(&fleet.runtime("gvisor", package, ROLLOUT)).unwrap();
}

fn wait_complete(fleet: &Fleet) {
    fleet.wait_complete("gvisor", 2).unwrap();
}

fn label(fleet: &Fleet, node: &str, present: bool) {
    fleet.wait_label(node, LABEL, present).unwrap();
}

fn version(fleet: &Fleet, node: &str, version: &str) {
    let fits = |own: &Value| own["status"]["runtimes"][0]["version"] == version;
    fleet.cluster.wait_until(&["sandboxnode", node], LIMIT, fits).unwrap();
}

#[test]
fn nothing_is_lost_when_parts_fail() {
    let mut fleet = Fleet::boot(ClusterSpec::default(), &binary().unwrap(), &[]).unwrap();
    let old = fleet.publish(Kind::Works(Release::Old), "gvisor", "old").unwrap();
    let new = fleet.publish(Kind::Works(Release::New), "gvisor", "new").unwrap();
    a_kubelet_takes_a_probe_away(&fleet, &old);
    let pods = fleet.cluster.start_web("runsc-oci").unwrap();
    what_happened_is_counted_and_told(&fleet);
    the_controller_dies_during_a_rollout(&fleet, &new);
    unharmed(&fleet, &pods);
    an_agent_dies_in_a_transaction(&fleet, &old);
    the_api_server_goes_away(&mut fleet, &new);
    unharmed(&fleet, &pods);
    the_api_server_goes_away_from_an_idle_fleet(&mut fleet);
    a_sandbox_node_is_edited(&fleet);
    unharmed(&fleet, &pods);
    objects_that_do_not_parse(&fleet, &new);
    unharmed(&fleet, &pods);
    a_drifted_node_loses_its_label(&fleet);
    a_node_cannot_be_looked_at(&fleet);
    the_agents_fall_silent(&fleet);
    the_kubelets_cleared_a_probe_away(&fleet);
    unharmed(&fleet, &pods);
    a_node_reboots(&mut fleet, &old);
}

/// The sandboxes that run are those that ran, and none of their containers was restarted.
fn unharmed(fleet: &Fleet, pods: &Pods) {
    assert_eq!(fleet.cluster.web(pods.len()).unwrap(), *pods);
}

/// Every kubelet does so with pods that it does not know, every two seconds: a node may be slower for a while.
fn a_kubelet_takes_a_probe_away(fleet: &Fleet, old: &Published) {
    for node in fleet.cluster.nodes() {
        // The first one is of what was there before, and may fail.
        node.put(FAULT, "slow:probe:2-6", 0o644).unwrap();
    }
    apply(fleet, old);
    wait_complete(fleet);
    for node in fleet.cluster.nodes() {
        assert!(node.read(FAULT).is_err(), "the probe did hesitate");
    }
}

fn what_happened_is_counted_and_told(fleet: &Fleet) {
    for (component, port) in [("controller", 9465), ("agent", 9464)] {
        for path in ["/healthz", "/readyz"] {
            for answer in fleet.scrape(component, port, path).unwrap() {
                assert!(answer.starts_with("HTTP/1.1 200 "), "{component} {path}: {answer}");
            }
        }
    }
    let value = |text: &str, metric: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse().ok())
    };
    let controllers = fleet.scrape("controller", 9465, "/metrics").unwrap();
    let leading: Vec<&String> =
        controllers.iter().filter(|text| value(text, "cofferdam_controller_leader ") == Some(1.0)).collect();
    let [leader] = leading.as_slice() else { panic!("{} of {controllers:#?} lead", leading.len()) };
    for (state, nodes) in [("matched", 2.0), ("ready", 2.0), ("failed", 0.0)] {
        let metric = format!("cofferdam_runtime_nodes{{runtime=\"gvisor\",state=\"{state}\"}} ");
        assert_eq!(value(leader, &metric), Some(nodes), "{metric} {leader}");
    }
    let agents = fleet.scrape("agent", 9464, "/metrics").unwrap();
    assert_eq!(agents.len(), 2);
    for text in &agents {
        let proven = "cofferdam_agent_runtime_proven{runtime=\"gvisor\",state=\"proven\"} ";
        assert_eq!(value(text, proven), Some(1.0), "{text}");
        let installed = "cofferdam_agent_tasks_total{task=\"install\",result=\"committed\"} ";
        assert!(value(text, installed) >= Some(1.0), "{text}");
    }
    let events = fleet.cluster.get_json(&["events", "--all-namespaces"]).unwrap().unwrap();
    let reasons: Vec<&str> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["involvedObject"]["kind"] == "SandboxRuntime")
        .map(|event| event["reason"].as_str().unwrap())
        .collect();
    for phase in ["Progressing", "Complete"] {
        assert!(reasons.contains(&phase), "{reasons:?}");
    }
}

fn the_controller_dies_during_a_rollout(fleet: &Fleet, new: &Published) {
    // What is left of it is the kubelet's to clear away (the_kubelets_cleared_a_probe_away).
    fleet.cluster.node("n2").unwrap().put(FAULT, "keep:probe:1", 0o644).unwrap();
    apply(fleet, new);
    for _ in 0..4 {
        fleet.kill("controller", None).unwrap();
        std::thread::sleep(Duration::from_secs(3));
    }
    wait_complete(fleet);
    for node in ["n1", "n2"] {
        version(fleet, node, "20250205.0");
        label(fleet, node, true);
    }
}

/// Which node is being changed, as soon as one is.
fn node_in_transaction(fleet: &Fleet) -> String {
    wait_for("a transaction on a node", LIMIT, || {
        let nodes = fleet.cluster.nodes().iter();
        Ok(nodes
            .map(|node| (node.spec().name.clone(), node))
            .find_map(|(name, node)| node.read(JOURNAL).ok().map(|_| name)))
    })
    .unwrap()
}

/// If the agent's pod ends in the second in which the engine restarts, nobody sees how: the worker takes it for a loss by the
/// restart, goes back, and the rollout waits for somebody.
fn retry_if_the_restart_is_blamed(fleet: &Fleet) {
    let is_blamed = |object: &Value| {
        let said = object["status"]["message"].as_str().unwrap_or_default();
        object["status"]["phase"] == "Halted" && said.contains("container agent no longer runs")
    };
    let object = fleet
        .cluster
        .wait_until(&["sandboxruntime", "gvisor"], LIMIT, |object| {
            let status = &object["status"];
            let is_current = status["observedGeneration"] == object["metadata"]["generation"];
            is_current && (status["phase"] == "Complete" || is_blamed(object))
        })
        .unwrap();
    if is_blamed(&object) {
        println!("the restart was blamed for the agent's end");
        fleet
            .cluster
            .kubectl_ok(&["annotate", "sandboxruntime", "gvisor", "cofferdam.dev/retry=again"])
            .unwrap();
    }
}

/// The worker is a unit of the host: it ends what it began, and the next agent finds it done.
fn an_agent_dies_in_a_transaction(fleet: &Fleet, old: &Published) {
    apply(fleet, old);
    let canary = node_in_transaction(fleet);
    let node = fleet.cluster.get_json(&["node", &canary]).unwrap().unwrap();
    assert!(
        node["metadata"]["labels"].get(LABEL).is_none(),
        "pods are offered to a node that is changed: {node:#}"
    );
    fleet.kill("agent", Some(&canary)).unwrap();
    retry_if_the_restart_is_blamed(fleet);
    wait_complete(fleet);
    for node in ["n1", "n2"] {
        version(fleet, node, "20240729.0");
        let own = fleet.cluster.get_json(&["sandboxnode", node]).unwrap().unwrap();
        assert_eq!(own["status"]["runtimes"][0]["state"], "Proven", "{own:#}");
    }
}

/// Everybody's sandboxes with their containers, as the engines tell: no API server is asked.
fn sandboxes(fleet: &Fleet) -> Vec<Sandbox> {
    let pods = fleet.cluster.nodes().iter().flat_map(|node| node.pods().unwrap());
    pods.filter(|pod| pod.namespace == "default").collect()
}

fn ledgers(fleet: &Fleet) -> Vec<Vec<u8>> {
    fleet.cluster.nodes().iter().map(|node| node.read(LEDGER).unwrap()).collect()
}

/// Away for minutes, and for longer than an agent may be silent: sandboxes run on, and what was begun ends, but nothing more is
/// begun. Afterwards the labels stay, since nobody listened, and the rollout goes on.
fn the_api_server_goes_away(fleet: &mut Fleet, new: &Published) {
    let (running, before) = (sandboxes(fleet), ledgers(fleet));
    assert!(running.len() == 2 && running.iter().all(|pod| pod.containers[0].running), "{running:#?}");
    apply(fleet, new);
    fleet.cluster.stop_api_server().unwrap();
    std::thread::sleep(Duration::from_secs(130));
    assert_eq!(sandboxes(fleet), running);
    let changed = ledgers(fleet).iter().zip(&before).filter(|(now, then)| now != then).count();
    assert!(changed <= 1, "{changed} nodes were changed, and the canary alone may be");
    fleet.cluster.start_api_server().unwrap();
    wait_complete(fleet);
    for node in ["n1", "n2"] {
        version(fleet, node, "20250205.0");
        label(fleet, node, true);
    }
}

/// Nothing on the nodes changes. There is nothing to do when it is back, either: the controller writes to no node.
fn the_api_server_goes_away_from_an_idle_fleet(fleet: &mut Fleet) {
    let heartbeat = |own: &Value| own["status"]["heartbeat"].clone();
    let engines = |fleet: &Fleet| -> Vec<u32> {
        fleet.cluster.nodes().iter().map(|node| node.engine_pid().unwrap()).collect()
    };
    let before = (sandboxes(fleet), engines(fleet));
    let trees: Vec<Tree> = fleet.cluster.nodes().iter().map(|node| node.reached_trees().unwrap()).collect();
    let mark = fleet.cluster.mark().unwrap();
    fleet.cluster.stop_api_server().unwrap();
    // Longer than agents may be silent, and shorter than nodes may.
    std::thread::sleep(Duration::from_secs(25));
    assert_eq!((sandboxes(fleet), engines(fleet)), before);
    for (node, tree) in fleet.cluster.nodes().iter().zip(&trees) {
        assert_eq!(tree.diff(&node.reached_trees().unwrap()), Vec::<String>::new(), "{}", node.spec().name);
    }
    fleet.cluster.start_api_server().unwrap();
    let last =
        ["n1", "n2"].map(|name| heartbeat(&fleet.cluster.get_json(&["sandboxnode", name]).unwrap().unwrap()));
    for (name, last) in ["n1", "n2"].into_iter().zip(last) {
        fleet.cluster.wait_until(&["sandboxnode", name], LIMIT, |own| heartbeat(own) != last).unwrap();
    }
    let leads =
        |lease: &Value| lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty());
    fleet.cluster.wait_until(&["lease", "cofferdam-controller", "-n", NAMESPACE], LIMIT, leads).unwrap();
    std::thread::sleep(Duration::from_secs(10));
    let is_ours = |request: &Request| {
        request.is_write()
            && request.user == CONTROLLER
            && matches!(request.resource.as_str(), "nodes" | "sandboxnodes.cofferdam.dev")
    };
    let writes: Vec<Request> =
        fleet.cluster.requests_since(mark).unwrap().into_iter().filter(is_ours).collect();
    assert!(writes.is_empty(), "{writes:#?}");
    wait_complete(fleet);
}

fn a_drifted_node_loses_its_label(fleet: &Fleet) {
    let node = fleet.cluster.node("n2").unwrap();
    let (config, aside) = ("/etc/systemd/system/cofferdam-recover.service", "/root/aside");
    node.ok(&["mv", config, aside]).unwrap();
    label(fleet, "n2", false);
    let drifted = |own: &Value| own["status"]["runtimes"][0]["state"] == "Drifted";
    let own = fleet.cluster.wait_until(&["sandboxnode", "n2"], LIMIT, drifted).unwrap();
    let message = own["status"]["runtimes"][0]["message"].as_str().unwrap();
    assert!(message.contains("cofferdam-recover.service"), "{message}");
    node.ok(&["mv", aside, config]).unwrap();
    label(fleet, "n2", true);
}

/// In the middle of a transaction: the host finishes it or takes it back by itself, and the agent goes on from there.
fn a_node_reboots(fleet: &mut Fleet, old: &Published) {
    let boot = |node: &Value| node["status"]["nodeInfo"]["bootID"].clone();
    let heartbeat = |own: &Value| own["status"]["heartbeat"].clone();
    apply(fleet, old);
    let name = &*node_in_transaction(fleet);
    let before = boot(&fleet.cluster.get_json(&["node", name]).unwrap().unwrap());
    fleet.cluster.node_mut(name).unwrap().power_cut().unwrap();
    let last = heartbeat(&fleet.cluster.get_json(&["sandboxnode", name]).unwrap().unwrap());
    // All that follows is from after the boot.
    let again = |node: &Value| boot(node) != before && condition(node, "Ready") == Some("True");
    fleet.cluster.wait_until(&["node", name], LIMIT, again).unwrap();
    fleet.cluster.wait_until(&["sandboxnode", name], LIMIT, |own| heartbeat(own) != last).unwrap();
    wait_complete(fleet);
    for node in ["n1", "n2"] {
        version(fleet, node, "20240729.0");
        label(fleet, node, true);
        assert!(fleet.cluster.node(node).unwrap().read(JOURNAL).is_err(), "nothing is left half done");
    }
}

/// An agent that sees nothing vouches for nothing.
fn a_node_cannot_be_looked_at(fleet: &Fleet) {
    let node = fleet.cluster.node("n1").unwrap();
    node.ok(&["cp", "-a", LEDGER, "/root/aside"]).unwrap();
    node.put(LEDGER, "{\"schema\": 9}", 0o600).unwrap();
    label(fleet, "n1", false);
    let blind = |own: &Value| condition(own, "AgentReady") == Some("False");
    let own = fleet.cluster.wait_until(&["sandboxnode", "n1"], LIMIT, blind).unwrap();
    let message = own["status"]["runtimes"][0]["message"].as_str().unwrap();
    assert!(message.contains("ledger.json has schema 9"), "{message}");
    node.ok(&["cp", "-a", "/root/aside", LEDGER]).unwrap();
    label(fleet, "n1", true);
    let sees = |own: &Value| condition(own, "AgentReady") == Some("True");
    fleet.cluster.wait_until(&["sandboxnode", "n1"], LIMIT, sees).unwrap();
    node.ok(&["rm", "/root/aside"]).unwrap();
}

/// With a container it deletes all files that are named like its log: with a log that has no name, that is `/bin`.
fn the_kubelets_cleared_a_probe_away(fleet: &Fleet) {
    assert!(fleet.cluster.node("n2").unwrap().read(FAULT).is_err(), "a probe was left");
    for node in fleet.cluster.nodes() {
        let left = node.pods().unwrap().into_iter().filter(|pod| pod.namespace == "cofferdam-probe").count();
        assert_eq!(left, 0, "of a probe");
        node.ok(&["test", "-L", "/bin"]).unwrap();
    }
}

/// Nobody vouches for the nodes any more: the labels go, the conditions say Unknown, and what is installed stays.
fn the_agents_fall_silent(fleet: &Fleet) {
    let engines = || {
        let pid = |name| {
            fleet.cluster.node(name).unwrap().ok(&["systemctl", "show", "-P", "MainPID", "containerd"])
        };
        ["n1", "n2"].map(|name| pid(name).unwrap())
    };
    let before = engines();
    let select = |value: Value| {
        let patch = json!({ "spec": { "template": { "spec": { "nodeSelector": value } } } }).to_string();
        let args =
            ["patch", "daemonset", "cofferdam-agent", "-n", NAMESPACE, "--type=merge", "--patch", &patch];
        fleet.cluster.kubectl_ok(&args).unwrap();
    };
    select(json!({ "nobody": "here" }));
    for node in ["n1", "n2"] {
        label(fleet, node, false);
    }
    let unknown = |object: &Value| condition(object, "Ready") == Some("Unknown");
    let object = fleet.cluster.wait_until(&["sandboxruntime", "gvisor"], LIMIT, unknown).unwrap();
    assert_eq!(object["status"]["nodes"]["unknown"], 2, "{object:#}");
    let message = object["status"]["message"].as_str().unwrap();
    assert!(message.contains("has not been heard"), "{message}");
    select(json!({ "nobody": null }));
    wait_complete(fleet);
    for node in ["n1", "n2"] {
        label(fleet, node, true);
    }
    assert_eq!(engines(), before, "no engine was restarted");
}
