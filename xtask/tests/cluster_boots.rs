//! The test bed's clusters: nodes join, pods run and reach the API, the control plane can be taken away, and nothing is
//! left behind.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::testbed::cluster::{self, condition};
use xtask::testbed::registry::{PASSWORD, USER};
use xtask::testbed::{Cluster, ClusterSpec, Component, Containerd, Member, Registry, RegistrySpec, oci};

const LIMIT: Duration = Duration::from_secs(300);

/// A pod of it on every node, which says who it is and goes on.
const BOXES: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: box, namespace: default}
spec:
  selector: {matchLabels: {app: box}}
  template:
    metadata: {labels: {app: box}}
    spec:
      tolerations: [{operator: Exists}]
      containers:
      - name: main
        image: cofferdam.test/busybox:1
        command: ["/bin/sh", "-c", "trap 'exit 0' TERM INT; echo I am $HOSTNAME; sleep 100000 & wait"]
"#;

/// Says the API server's version to a pod of the cluster that asks for it at the Service's address.
const ASK: &str = "/bin/busybox wget -q -T 10 --no-check-certificate -O - \
    https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version";

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Name and node of every pod of the set, once all run.
fn boxes(cluster: &Cluster, wanted: usize) -> Vec<(String, String)> {
    let all = cluster
        .wait_until(&["pods", "--selector=app=box"], LIMIT, |list| {
            let pods = list["items"].as_array().unwrap();
            pods.len() == wanted && pods.iter().all(|pod| condition(pod, "Ready") == Some("True"))
        })
        .unwrap();
    let pods = all["items"].as_array().unwrap();
    let of = |pod: &Value| (text(pod, "/metadata/name").to_owned(), text(pod, "/spec/nodeName").to_owned());
    pods.iter().map(of).collect()
}

fn asks_the_api(cluster: &Cluster, pod: &str) {
    let answer = cluster.kubectl_ok(&["exec", pod, "--", "/bin/sh", "-c", ASK]).unwrap();
    assert!(answer.contains("v1.34"), "{answer}");
}

#[test]
fn nodes_run_pods_that_reach_the_api() {
    let begun = Instant::now();
    let mut cluster = Cluster::boot(ClusterSpec::default()).unwrap();
    eprintln!("two nodes ready after {:.1} s", begun.elapsed().as_secs_f64());
    for (name, version) in [("n1", "containerd://1.7."), ("n2", "containerd://2.4.")] {
        let node = cluster.get_json(&["node", name]).unwrap().unwrap();
        assert_eq!(condition(&node, "Ready"), Some("True"));
        assert!(text(&node, "/status/nodeInfo/containerRuntimeVersion").starts_with(version), "{node:#}");
    }
    let mark = cluster.mark().unwrap();
    cluster.apply(BOXES).unwrap();
    let pods = boxes(&cluster, 2);
    for (pod, _) in &pods {
        asks_the_api(&cluster, pod);
        let log = cluster.kubectl_ok(&["logs", pod]).unwrap();
        assert_eq!(log.trim(), format!("I am {pod}"));
    }
    let report = cluster.report();
    for (what, part) in
        [("the pods' logs", "I am box-"), ("events", "SuccessfulCreate"), ("journals", "n1 kubelet[")]
    {
        assert!(report.contains(part), "a failed test shows {what}: {report}");
    }
    requests_are_counted(&cluster, mark);
    tokens_name_their_node(&cluster, &pods[0]);
    nodes_have_no_power_over_others(&cluster);
    pods_outlive_the_control_plane(&mut cluster);
    assert_eq!(boxes(&cluster, 2), pods);
    rebooted_node_comes_back(&mut cluster, &pods);
    node_is_replaced_under_its_name(&mut cluster, &pods);
}

fn requests_are_counted(cluster: &Cluster, mark: cluster::Mark) {
    let requests = cluster.requests_since(mark).unwrap();
    let created =
        requests.iter().find(|r| r.resource == "daemonsets.apps" && r.name == "box" && r.is_write());
    let created = created.expect("the administrator made the set");
    assert_eq!((created.user.as_str(), created.verb.as_str()), ("kubernetes-admin", "patch"));
    assert_eq!((created.namespace.as_str(), created.code), ("default", 201));
    let counts = cluster.request_counts(mark).unwrap();
    let count = |user: &str, verb: &str| counts.get(&(user.to_owned(), verb.to_owned())).copied();
    assert_eq!(count("system:serviceaccount:kube-system:daemon-set-controller", "create"), Some(2 + 3));
    assert!(count("system:node:n1", "patch") > Some(0), "its kubelet said how its pod is: {counts:?}");
}

fn tokens_name_their_node(cluster: &Cluster, (pod, node): &(String, String)) {
    let whoami = |token: &str| {
        let answer =
            cluster.kubectl_with_token(token, &["auth", "whoami", "--output=json"]).unwrap().ok().unwrap();
        serde_json::from_str::<Value>(&answer.stdout).unwrap()
    };
    let bound = whoami(&cluster.pod_token("default", "default", pod).unwrap());
    assert_eq!(text(&bound, "/status/userInfo/username"), "system:serviceaccount:default:default");
    let extra = |user: &Value, name: &str| {
        user.pointer("/status/userInfo/extra")
            .and_then(|e| e.get(format!("authentication.kubernetes.io/{name}")))
            .cloned()
    };
    let uid = cluster.get_json(&["node", node]).unwrap().unwrap();
    assert_eq!(extra(&bound, "node-name"), Some(serde_json::json!([node])));
    assert_eq!(extra(&bound, "node-uid"), Some(serde_json::json!([text(&uid, "/metadata/uid")])));
    assert_eq!(extra(&whoami(&cluster.token("default", "default").unwrap()), "node-name"), None);
}

fn nodes_have_no_power_over_others(cluster: &Cluster) {
    let label = |node: &str| {
        cluster
            .kubectl(&[
                "label",
                "node",
                node,
                "of=a-kubelet",
                "--as=system:node:n1",
                "--as-group=system:nodes",
            ])
            .unwrap()
    };
    assert!(label("n1").success());
    let other = label("n2");
    assert!(!other.success() && other.stderr.contains("only its own Node object"), "{other:?}");
}

fn pods_outlive_the_control_plane(cluster: &mut Cluster) {
    let before: Vec<_> = cluster.nodes().iter().map(|node| node.pods().unwrap()).collect();
    let same = |cluster: &Cluster| {
        let now: Vec<_> = cluster.nodes().iter().map(|node| node.pods().unwrap()).collect();
        assert_eq!(now, before, "no container was restarted");
    };
    cluster.stop_api_server().unwrap();
    let away = cluster.kubectl(&["get", "nodes", "--request-timeout=1s"]).unwrap();
    assert!(!away.success(), "{away:?}");
    assert!(cluster.stop_api_server().is_err(), "it is away already");
    same(cluster);
    cluster.start_api_server().unwrap();
    assert!(cluster.start_api_server().is_err(), "it is back already");
    let watch = "/api/v1/nodes?watch=1&timeoutSeconds=5&resourceVersion=1";
    let answer = cluster.kubectl(&["get", "--raw", watch]).unwrap();
    assert!(answer.stdout.contains("\"code\":410"), "who watched before has to list anew: {answer:?}");
    cluster.stop(Component::Etcd).unwrap();
    assert!(!cluster.kubectl(&["get", "nodes", "--request-timeout=1s"]).unwrap().success());
    cluster.start(Component::Etcd).unwrap();
    for component in [Component::ControllerManager, Component::Scheduler] {
        cluster.stop(component).unwrap();
        cluster.start(component).unwrap();
    }
    for name in ["n1", "n2"] {
        cluster.wait_ready(name).unwrap();
    }
    same(cluster);
}

fn rebooted_node_comes_back(cluster: &mut Cluster, pods: &[(String, String)]) {
    let (pod, node) = &pods[1];
    cluster.node_mut(node).unwrap().pull_the_plug().unwrap();
    cluster.wait_until(&["node", node], LIMIT, |node| condition(node, "Ready") != Some("True")).unwrap();
    cluster.node_mut(node).unwrap().power_on().unwrap();
    cluster.wait_ready(node).unwrap();
    let restarted = |object: &Value| {
        object.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64) == Some(1)
            && condition(object, "Ready") == Some("True")
    };
    cluster.wait_until(&["pod", pod], LIMIT, restarted).unwrap();
    asks_the_api(cluster, pod);
}

fn node_is_replaced_under_its_name(cluster: &mut Cluster, pods: &[(String, String)]) {
    let uid = |cluster: &Cluster| {
        let node = cluster.get_json(&["node", "n1"]).unwrap().unwrap();
        text(&node, "/metadata/uid").to_owned()
    };
    let before = uid(cluster);
    cluster.destroy_node("n1").unwrap();
    assert!(cluster.node("n1").is_err() && uid(cluster) == before, "the object stays");
    cluster.kubectl_ok(&["delete", "node", "n1"]).unwrap();
    // Else the new node would find it and start it once more.
    let (old, _) = pods.iter().find(|(_, node)| node == "n1").unwrap();
    cluster.kubectl_ok(&["delete", "pod", old, "--force", "--grace-period=0"]).unwrap();
    let member =
        Member::new("n1", Containerd::Upstream24).label("pool", "new").taint("test", "", "NoSchedule");
    cluster.add_node(&member).unwrap();
    assert_ne!(uid(cluster), before);
    let node = cluster.get_json(&["node", "n1"]).unwrap().unwrap();
    assert_eq!(text(&node, "/metadata/labels/pool"), "new");
    assert_eq!(text(&node, "/spec/taints/0/key"), "test");
    for (pod, _) in boxes(cluster, 2) {
        asks_the_api(cluster, &pod);
    }
}

/// An OCI layout with the busybox image alone.
fn layout(dir: &Path, archive: &Path) -> PathBuf {
    let layout = dir.join("layout");
    std::fs::create_dir(&layout).unwrap();
    let status = Command::new("tar").arg("-C").arg(&layout).arg("-xf").arg(archive).status().unwrap();
    assert!(status.success());
    let path = layout.join("index.json");
    let mut index: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let manifests = index["manifests"].as_array_mut().unwrap();
    manifests.retain(|m| text(m, "/annotations/io.containerd.image.name") == oci::BUSYBOX);
    std::fs::write(&path, index.to_string()).unwrap();
    layout
}

#[test]
fn images_come_from_layouts_and_registries() {
    let spec = ClusterSpec::without_nodes().member(Member::new("n1", Containerd::Debian17));
    let cluster = Cluster::boot(spec).unwrap();
    let node = cluster.node("n1").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cache = xtask::testbed::cache::Cache::open().unwrap();
    let tree = xtask::testbed::image::tree(&cache, xtask::testbed::image::Image::default()).unwrap();
    let images = oci::images(&cache, tree.path()).unwrap();
    let layout = layout(dir.path(), &images.path().join("images.tar"));
    let name = "loaded.test/box:2";
    cluster.load_image(&layout, name).unwrap();
    let releases = cluster.helm(&["list", "--all-namespaces", "--output=json"]).unwrap().ok().unwrap();
    assert_eq!(releases.stdout.trim(), "[]");
    let args = ["run", "loaded", "--restart=Never", "--image", name, "--", "/bin/sh", "-c", "echo it runs"];
    cluster.kubectl_ok(&args).unwrap();
    cluster.wait_until(&["pod", "loaded"], LIMIT, |pod| text(pod, "/status/phase") == "Succeeded").unwrap();
    assert_eq!(cluster.kubectl_ok(&["logs", "loaded"]).unwrap().trim(), "it runs");

    let mut registry = Registry::start(RegistrySpec::new(cluster.address())).unwrap();
    let image = format!("{}/box:3", registry.address());
    node.put("/root/ca.pem", registry.ca_pem().unwrap(), 0o644).unwrap();
    node.ok(&["ctr", "-n", "k8s.io", "images", "tag", name, &image]).unwrap();
    let push = |account: &[&str], image: &str| {
        let mut args = vec!["ctr", "-n", "k8s.io", "images", "push", "--platform=linux/amd64"];
        args.extend(account);
        args.push(image);
        node.run(&args).unwrap()
    };
    let (right, wrong) = (format!("{USER}:{PASSWORD}"), format!("{USER}:no"));
    let ca = "--tlscacert=/root/ca.pem";
    assert!(!push(&[ca], &image).success(), "it asks for an account");
    assert!(!push(&[ca, "--user", &wrong], &image).success(), "and for its password");
    assert!(!push(&["--user", &right], &image).success(), "nobody else vouches for it");
    let pushed = push(&[ca, "--user", &right], &image);
    assert!(pushed.success(), "{pushed:?}");
    assert!(registry.log().contains("/v2/box/manifests/3"), "{}", registry.log());
    registry.stop().unwrap();
    assert!(!push(&[ca, "--user", &right], &image).success(), "it is away");
    registry.resume().unwrap();
    node.ok(&["ctr", "-n", "k8s.io", "images", "rm", &image]).unwrap();
    node.ok(&["ctr", "-n", "k8s.io", "images", "pull", ca, "--user", &right, &image]).unwrap();

    let open = Registry::start(RegistrySpec::new(&node.host_address()).plain_http().anonymous()).unwrap();
    let image = format!("{}/box:3", open.address());
    node.ok(&["ctr", "-n", "k8s.io", "images", "tag", name, &image]).unwrap();
    assert!(open.ca_pem().is_none() && push(&["--plain-http"], &image).success());
}

/// What is left of a cluster with one node.
fn found(dir: &Path, address: &str, processes: &[u32]) -> Vec<String> {
    let addresses = Command::new("ip").args(["-o", "address"]).output().unwrap().stdout;
    let addresses = String::from_utf8_lossy(&addresses).into_owned();
    let mut found: Vec<String> = Vec::new();
    found.extend(dir.exists().then(|| dir.display().to_string()));
    found.extend(addresses.contains(&format!(" {address}/")).then(|| address.to_owned()));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.contains(dir.to_str().unwrap()).then(|| "a mount".to_owned()));
    // A zombie runs no more; only its parent can take it away.
    let runs = |pid: &&u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    found.extend(processes.iter().filter(runs).map(u32::to_string));
    found
}

/// The processes with this in their arguments.
fn processes(argument: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let numbers = all.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let fits = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|c| String::from_utf8_lossy(&c).contains(argument))
    };
    numbers.filter(fits).collect()
}

#[test]
fn killed_owner_is_cleared_up_after_and_interrupted_one_clears_up_itself() {
    for signal in ["KILL", "INT"] {
        let mut owner = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["cluster", "--containerd", "1.7", "--keep"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(owner.stderr.take().unwrap()).lines().map(Result::unwrap);
        let dir = lines.find_map(|l| l.split_once("its files in ").map(|(_, d)| PathBuf::from(d))).unwrap();
        let node = lines.find_map(|l| l.split_once("nsenter -t ").map(|(_, rest)| rest.to_owned())).unwrap();
        let leader: u32 = node.split(' ').next().unwrap().parse().unwrap();
        let number = dir.to_str().unwrap().rsplit_once('-').unwrap().1.to_owned();
        let address = format!("10.98.{number}.1");
        let mut running = processes(&format!("{}/", dir.display()));
        assert_eq!(running.len(), 4, "etcd, API server, controller manager, scheduler");
        running.push(leader);
        assert_eq!(found(&dir, &address, &running).len(), 7, "every trace that we look for but a mount");
        Command::new("kill").args([&format!("-{signal}"), &owner.id().to_string()]).status().unwrap();
        owner.wait().unwrap();
        if signal == "KILL" {
            assert!(dir.exists(), "nobody could clear up yet");
            xtask::testbed::node::clear_leftovers().unwrap();
            cluster::clear_leftovers().unwrap();
        }
        assert_eq!(found(&dir, &address, &running), Vec::<String>::new());
    }
}
