//! The chart's life, and `kubectl cofferdam` as a person uses it: looked at before anything is installed, installed,
//! tested, upgraded under a running sandbox, and uninstalled, which is refused first.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod person;

use person::Person;
use serde_json::Value;
use std::time::Duration;
use xtask::testbed::cluster::{Mark, Request};
use xtask::testbed::fleet::{Fleet, Kind, NAMESPACE, Published, chart};
use xtask::testbed::package::Release;
use xtask::testbed::trial::binary;
use xtask::testbed::web::Pods;
use xtask::testbed::{ClusterSpec, Output, Tree};

const LIMIT: Duration = Duration::from_secs(300);
const LABELS: [&str; 2] = ["runsc-oci", "crun"];
const NODES: [&str; 2] = ["n1", "n2"];
const ROLLOUT: &str = "  rollout:\n    canary: 1\n    maxUnavailable: 1\n    agentSilentSeconds: 60\n";
const TEST_IMAGE: &str = "test.image=cofferdam.test/busybox:1";

#[test]
fn a_release_lives_and_goes_as_the_docs_say() {
    let fleet = Fleet::boot(ClusterSpec::default(), &binary().unwrap(), &[]).unwrap();
    let person = Person::new(&fleet);
    let before = trees(&fleet);
    let crun = fleet.publish(Kind::Crun, "crun", "1").unwrap();

    before_anything_is_installed(&person);
    a_plan_is_kept(&fleet, &person, &crun);
    a_failure_is_explained_and_tried_again(&fleet, &person);
    bad_input_is_answered_clearly(&fleet, &person);
    let pods = fleet.cluster.start_web("crun").unwrap();
    helm_test_starts_a_pod_for_each_handler(&fleet);
    an_upgrade_of_the_chart_touches_no_node(&fleet, &pods);
    an_uninstall_is_refused_while_sandboxes_run(&fleet, &pods);
    let mark = an_uninstall_gives_up_in_time(&fleet);
    an_uninstall_cleans_the_nodes_first(&fleet, mark, &before);
}

fn trees(fleet: &Fleet) -> Vec<Tree> {
    fleet.cluster.nodes().iter().map(|node| node.reached_trees().unwrap()).collect()
}

fn get(fleet: &Fleet, args: &[&str]) -> Value {
    fleet.cluster.get_json(args).unwrap().unwrap_or_else(|| panic!("there is no {}", args.join(" ")))
}

fn wait_phase(fleet: &Fleet, runtime: &str, phase: &str) -> Value {
    let fits = |object: &Value| {
        object["status"]["phase"] == phase
            && object["status"]["observedGeneration"] == object["metadata"]["generation"]
    };
    fleet.cluster.wait_until(&["sandboxruntime", runtime], LIMIT, fits).unwrap()
}

fn before_anything_is_installed(person: &Person<'_>) {
    let text = person.says(0, &["status"]);
    assert!(text.starts_with("no SandboxRuntimes"), "{text}");
    assert_eq!(person.json(&["status"]), Value::Array(Vec::new()));

    let text = person.says(0, &["doctor"]);
    let nodes = person.json(&["doctor"]);
    for (index, node) in NODES.into_iter().enumerate() {
        assert!(text.contains(node), "{text}");
        assert_eq!(nodes[index]["metadata"]["name"], node);
    }
    // The doctor looked at each node: no machine has what every runtime may require (SEV-SNP and TDX, say).
    for (index, node) in NODES.into_iter().enumerate() {
        let lacking = nodes[index]["status"]["requirements"].as_array().unwrap();
        assert!(!lacking.is_empty(), "{nodes}");
        assert!(text.contains(&format!("{node}: nothing stands in the way")), "{text}");
        for lack in lacking {
            let (name, result) = (lack["name"].as_str().unwrap(), lack["result"].as_str().unwrap());
            let shows = |line: &str| line.starts_with(node) && line.contains(name) && line.contains(result);
            assert!(text.lines().any(shows), "{name}: {text}");
        }
    }
    let one = person.says(0, &["doctor", "n2"]);
    assert!(one.contains("n2") && !one.contains("n1"), "{one}");

    let text = person.says(0, &["nodes"]);
    assert!(text.contains("containerd 1.7") && text.contains("containerd v2.4"), "{text}");
    let text = person.says(0, &["explain", "n1"]);
    assert!(text.starts_with("n1: containerd 1.7"), "{text}");
}

/// What `plan` says of a paused rollout is what happens after `resume`.
fn a_plan_is_kept(fleet: &Fleet, person: &Person<'_>, package: &Published) {
    let paused = format!("{ROLLOUT}    paused: true\n");
    fleet.cluster.apply(&fleet.runtime("crun", package, &paused)).unwrap();
    wait_phase(fleet, "crun", "Paused");
    let text = person.says(0, &["plan", "crun"]);
    assert!(text.contains("2 nodes change in 2 steps"), "{text}");
    assert!(text.contains("paused: nothing happens until kubectl cofferdam resume crun"), "{text}");
    let plan = person.json(&["plan", "crun"]);
    assert_eq!((&plan["paused"], plan["phase"].as_str()), (&true.into(), Some("Paused")));
    let steps = plan["nodes"].as_array().unwrap().iter().map(|node| {
        assert_eq!(node["action"], "install", "{plan:#}");
        (node["node"].as_str().unwrap(), node["step"].as_u64().unwrap())
    });
    let steps: Vec<_> = steps.collect();
    assert_eq!(steps, [("n1", 1), ("n2", 2)]);

    assert!(person.says(0, &["resume", "crun"]).starts_with("crun: goes on"));
    wait_phase(fleet, "crun", "Complete");
    let begun =
        |node: &str| get(fleet, &["sandboxnode", node])["spec"]["runtimes"][0]["sequence"].as_u64().unwrap();
    assert!(begun("n1") < begun("n2"), "the canary is the one that was named");

    let text = person.says(0, &["plan", "crun"]);
    assert!(text.contains("no node changes") && text.contains("keep"), "{text}");
    assert!(text.contains("RUNTIMECLASS  ACTION\ncrun"), "{text}");
    let text = person.says(0, &["status"]);
    assert!(text.contains("crun") && text.contains("Complete"), "{text}");
    assert_eq!(person.json(&["status"])[0]["status"]["nodes"]["ready"], 2);
    let text = person.says(0, &["nodes", "--runtime", "crun"]);
    assert_eq!(text.lines().filter(|line| line.contains("Proven")).count(), 2, "{text}");
    assert!(person.says(0, &["explain", "n2"]).contains("crun: Proven"));

    assert!(person.says(0, &["pause", "crun"]).starts_with("crun: paused"));
    assert_eq!(get(fleet, &["sandboxruntime", "crun"])["spec"]["rollout"]["paused"], true);
    person.says(0, &["resume", "crun"]);
}

/// A package that is not there yet: the canary alone fails, `explain` says why, `retry` goes on once it is there.
fn a_failure_is_explained_and_tried_again(fleet: &Fleet, person: &Person<'_>) {
    let missing =
        Published { reference: format!("{}/gvisor:1", fleet.registry.address()), digest: String::new() };
    let object = fleet.runtime("gvisor", &missing, ROLLOUT).replace("gvisor:1@", "gvisor:1");
    fleet.cluster.apply(&object).unwrap();
    wait_phase(fleet, "gvisor", "Halted");
    let text = person.says(0, &["status"]);
    assert!(text.lines().any(|line| line.contains("gvisor") && line.contains("Halted")), "{text}");
    let text = person.says(0, &["explain", "n1"]);
    assert!(text.contains("gvisor: Failed") && text.contains("gvisor:1"), "{text}");
    assert!(text.contains("next"), "{text}");
    let plan = person.says(0, &["plan", "gvisor"]);
    assert!(plan.contains("Halted") && plan.contains("no node changes"), "{plan}");
    let failed = person.json(&["nodes", "--runtime", "gvisor"]);
    assert_eq!(failed.as_array().unwrap().len(), 1, "the canary alone was told: {failed:#}");

    fleet.publish(Kind::Works(Release::Old), "gvisor", "1").unwrap();
    // On a busy machine gVisor's own probe may fail, too: a person would try again.
    for _ in 0..3 {
        assert!(
            person.says(0, &["retry", "gvisor"]).contains("its failed, drifted and unproven nodes try again")
        );
        // The controller has seen the annotation.
        std::thread::sleep(Duration::from_secs(3));
        let ended = |o: &Value| matches!(o["status"]["phase"].as_str(), Some("Complete" | "Halted"));
        let object = fleet.cluster.wait_until(&["sandboxruntime", "gvisor"], LIMIT, ended);
        if object.unwrap()["status"]["phase"] == "Complete" {
            break;
        }
    }
    wait_phase(fleet, "gvisor", "Complete");
    let text = person.says(0, &["retry", "gvisor", "--node", "n1"]);
    assert!(text.contains("n1 tries again, if it is not proven there"), "{text}");
}

fn bad_input_is_answered_clearly(fleet: &Fleet, person: &Person<'_>) {
    for args in
        [&["plan", "nope"][..], &["pause", "nope"], &["retry", "nope"], &["nodes", "--runtime", "nope"]]
    {
        let text = person.fails(2, args);
        assert!(text.contains("nope") && text.contains("kubectl cofferdam status"), "{args:?}: {text}");
    }
    for args in [&["explain", "n9"][..], &["doctor", "n9"], &["retry", "crun", "--node", "n9"]] {
        let text = person.fails(2, args);
        assert!(text.contains("n9"), "{args:?}: {text}");
    }
    let error = person.run(&["plan", "nope", "--json"]);
    let error: Value = serde_json::from_str(error.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(error["class"], "invalid", "{error:#}");

    // An account that may not read anything.
    fleet.cluster.kubectl_ok(&["create", "serviceaccount", "nobody"]).unwrap();
    let token = fleet.cluster.token("default", "nobody").unwrap();
    let nobody = person.kubeconfig("nobody", &fleet.cluster.url(), &token);
    for args in [&["status"][..], &["nodes"], &["plan", "crun"], &["explain", "n1"], &["pause", "crun"]] {
        let text = person.fails(3, &[args, &["--kubeconfig", &nobody]].concat());
        assert!(text.contains("system:serviceaccount:default:nobody"), "{args:?}: {text}");
        assert!(text.contains("docs/kubectl.md"), "{args:?}: {text}");
    }
    let stranger = person.kubeconfig("stranger", &fleet.cluster.url(), "no-token");
    assert!(person.fails(3, &["status", "--kubeconfig", &stranger]).contains("log in"));
    let away = person.kubeconfig("away", "https://127.0.0.1:1", &token);
    let text = person.fails(6, &["status", "--kubeconfig", &away]);
    assert!(text.contains("Connection refused") && text.contains("readyz"), "{text}");
    person.fails(2, &["status", "--context", "nope"]);
}

fn helm(fleet: &Fleet, args: &[&str]) -> Output {
    let all = [args, &["-n", NAMESPACE]].concat();
    fleet.cluster.helm_command(&all).unwrap().limit(LIMIT).run().unwrap()
}

fn upgrade(fleet: &Fleet, values: &[&str]) {
    let chart = chart();
    let mut args = vec!["upgrade", "cofferdam", &chart, "--reuse-values", "--wait", "--timeout", "150s"];
    for value in values {
        args.extend(["--set", value]);
    }
    let output = helm(fleet, &args);
    assert!(output.success(), "{output:#?}");
}

fn helm_test_starts_a_pod_for_each_handler(fleet: &Fleet) {
    let classes = format!("test.runtimeClasses={{{}}}", LABELS.join(","));
    upgrade(fleet, &[&classes, TEST_IMAGE, "test.command={/bin/false}"]);
    let mark = fleet.cluster.mark().unwrap();
    let output = helm(fleet, &["test", "cofferdam", "--timeout", "120s"]);
    assert!(!output.success(), "a handler whose pod fails is not passed over: {output:#?}");
    upgrade(fleet, &["test.command={/bin/uname,-a}"]);
    let output = helm(fleet, &["test", "cofferdam", "--timeout", "120s"]);
    assert!(output.success(), "{output:#?}");
    for handler in LABELS {
        let pod = format!("cofferdam-test-{handler}");
        assert!(output.stdout.contains(&pod), "{output:#?}");
        let made = fleet.cluster.requests_since(mark).unwrap();
        assert!(made.iter().any(|r| r.verb == "create" && r.resource == "pods" && r.name == pod), "{pod}");
    }
}

fn an_upgrade_of_the_chart_touches_no_node(fleet: &Fleet, pods: &Pods) {
    let ours = ["pods", "-n", NAMESPACE, "--selector=app.kubernetes.io/component in (agent,controller)"];
    let uids = |list: &Value| -> Vec<String> {
        let pods = list["items"].as_array().unwrap().iter();
        pods.map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
    };
    let specs = || NODES.map(|node| get(fleet, &["sandboxnode", node])["spec"].clone());
    let (before, told, trees_before) = (uids(&get(fleet, &ours)), specs(), trees(fleet));
    fleet.load_image("next").unwrap();
    let mark = fleet.cluster.mark().unwrap();
    upgrade(fleet, &["image.tag=next", "agent.podAnnotations.rolled=yes", "uninstall.timeout=40s"]);
    let rolled = |list: &Value| uids(list).len() == 4 && uids(list).iter().all(|uid| !before.contains(uid));
    fleet.cluster.wait_until(&ours, LIMIT, rolled).unwrap();
    let rolled = get(fleet, &["pods", "-n", NAMESPACE, "--selector=app.kubernetes.io/component=agent"]);
    assert!(rolled["items"][0]["spec"]["containers"][0]["image"].as_str().unwrap().ends_with(":next"));
    // The new agents look at their nodes, and the new controllers at what they say.
    std::thread::sleep(Duration::from_secs(6));
    for runtime in ["crun", "gvisor"] {
        let object = get(fleet, &["sandboxruntime", runtime]);
        assert_eq!(
            (object["status"]["phase"].as_str(), &object["status"]["nodes"]["ready"]),
            (Some("Complete"), &2.into())
        );
    }
    let writes = fleet.cluster.requests_since(mark).unwrap();
    let touched =
        |r: &&Request| r.is_write() && r.resource == "nodes" && r.user.contains("cofferdam") && r.code < 300;
    assert_eq!(writes.iter().filter(touched).count(), 0, "labels stay all the time: {writes:#?}");
    has_labels(fleet);
    assert_eq!(specs(), told, "no node was told anything");
    assert_eq!(fleet.cluster.web(2).unwrap(), *pods, "no container was restarted");
    for (before, after) in trees_before.iter().zip(trees(fleet)) {
        let differences = before.diff(&after);
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

fn has_labels(fleet: &Fleet) {
    for node in NODES {
        let labels = get(fleet, &["node", node])["metadata"]["labels"].clone();
        for handler in LABELS {
            assert_eq!(
                labels[format!("cofferdam.node-restriction.kubernetes.io/{handler}")],
                "true",
                "{node}"
            );
        }
    }
}

fn uninstall(fleet: &Fleet) -> Output {
    helm(fleet, &["uninstall", "cofferdam", "--wait", "--timeout", "170s"])
}

/// What a person is told by helm and by the Job's log, and that the release is there still.
fn refused(fleet: &Fleet, output: &Output, words: &[&str]) {
    assert!(!output.success(), "{output:#?}");
    let log = fleet.cluster.kubectl_ok(&["logs", "-n", NAMESPACE, "job/cofferdam-uninstall"]).unwrap();
    for word in words {
        assert!(log.contains(word), "{word} is not in the Job's log: {log}");
        let told = format!("{}{}", output.stdout, output.stderr);
        assert!(told.contains(word), "{word} is not in what helm says: {told}");
    }
    let list = helm(fleet, &["list", "--all", "--output=json"]);
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    // Helm calls it "uninstalling" by now, and takes no upgrade of it; another uninstall it takes.
    assert_eq!(list[0]["name"], "cofferdam", "{list:#}");
    // The rights of the hook do not outlive it.
    assert!(fleet.cluster.get_json(&["clusterrole", "cofferdam-uninstall"]).unwrap().is_none());
}

fn an_uninstall_is_refused_while_sandboxes_run(fleet: &Fleet, pods: &Pods) {
    let before = trees(fleet);
    let output = uninstall(fleet);
    let names: Vec<String> = pods.keys().map(|name| format!("default/{name} on ")).collect();
    let mut words: Vec<&str> = names.iter().map(String::as_str).collect();
    words.extend(["sandboxes run, nothing was deleted", "helm uninstall --no-hooks"]);
    refused(fleet, &output, &words);
    for runtime in ["crun", "gvisor"] {
        let object = get(fleet, &["sandboxruntime", runtime]);
        assert!(object["metadata"].get("deletionTimestamp").is_none(), "{object:#}");
        assert_eq!(object["status"]["phase"], "Complete");
    }
    get(fleet, &["runtimeclass", "runsc-oci"]);
    get(fleet, &["crd", "sandboxruntimes.cofferdam.dev"]);
    has_labels(fleet);
    assert_eq!(fleet.cluster.web(2).unwrap(), *pods);
    for (before, after) in before.iter().zip(trees(fleet)) {
        let differences = before.diff(&after);
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

/// Nobody is there to clean the nodes.
fn an_uninstall_gives_up_in_time(fleet: &Fleet) -> Mark {
    let replicas = |number: &str| {
        let number = format!("--replicas={number}");
        let args = ["scale", "deployment", "cofferdam-controller", "-n", NAMESPACE, &number];
        fleet.cluster.kubectl_ok(&args).unwrap();
    };
    fleet.cluster.kubectl_ok(&["delete", "deployment", "web", "--cascade=foreground", "--wait"]).unwrap();
    replicas("0");
    let selector = "--selector=app.kubernetes.io/component=controller";
    fleet.cluster.wait_gone(&["pods", "-n", NAMESPACE, selector], LIMIT).unwrap();
    let output = uninstall(fleet);
    refused(fleet, &output, &["not clean after 40 seconds", "SandboxRuntimes", "crun on n1: still there"]);
    let mark = fleet.cluster.mark().unwrap();
    replicas("2");
    mark
}

/// The release is uninstalled in the end: nodes first. CRDs stay.
fn an_uninstall_cleans_the_nodes_first(fleet: &Fleet, mark: Mark, before: &[Tree]) {
    // On a busy machine the first may give up again: the controller goes on meanwhile.
    let output = (0..4).map(|_| uninstall(fleet)).find(Output::success);
    assert!(output.is_some(), "{}", fleet.cluster.report());
    let requests = fleet.cluster.requests_since(mark).unwrap();
    let place = |what: &str, fits: &dyn Fn(&Request) -> bool| {
        requests.iter().position(fits).unwrap_or_else(|| panic!("{what} was not seen"))
    };
    let last_finalizer = requests
        .iter()
        .rposition(|r| {
            r.verb == "patch" && r.resource.starts_with("sandboxruntimes") && r.subresource.is_empty()
        })
        .unwrap();
    let agents_go = place("the agents' removal", &|r| r.verb == "delete" && r.resource == "daemonsets.apps");
    assert!(last_finalizer < agents_go, "the nodes are clean before the agents go");
    for (node, (before, after)) in NODES.iter().zip(before.iter().zip(trees(fleet))) {
        let differences = before.diff(&after);
        assert!(differences.is_empty(), "{node}: {differences:#?}");
        let labels = get(fleet, &["node", node])["metadata"]["labels"].to_string();
        assert!(!labels.contains("cofferdam"), "{labels}");
    }
    for kind in ["deployments", "daemonsets", "jobs", "serviceaccounts", "roles"] {
        let left = fleet.cluster.kubectl_ok(&["get", kind, "-n", NAMESPACE, "--output=name"]).unwrap();
        assert!(!left.contains("/cofferdam"), "{left}");
    }
    for kind in ["clusterroles", "validatingadmissionpolicies", "runtimeclasses"] {
        let left = fleet.cluster.kubectl_ok(&["get", kind, "--output=name"]).unwrap();
        assert!(!left.contains("cofferdam") && !left.contains("runsc"), "{left}");
    }
    get(fleet, &["crd", "sandboxruntimes.cofferdam.dev"]);
    get(fleet, &["crd", "sandboxnodes.cofferdam.dev"]);
}
