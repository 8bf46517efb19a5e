//! Without our API: one kubectl apply of rendered YAML, pods without a token, a runtime proven on the node and used by a pod.
//! From a file of SandboxRuntimes, and from k8s-kata-manager's configuration.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::Duration;
use xtask::task::image;
use xtask::testbed::cache::Cache;
use xtask::testbed::cluster::condition;
use xtask::testbed::registry::Published;
use xtask::testbed::trial::{binary, wait_for};
use xtask::testbed::{
    Cluster, ClusterSpec, Containerd, Member, Node, Registry, RegistrySpec, Release, Runtime, package,
};

const LIMIT: Duration = Duration::from_secs(300);
const IMAGE: &str = "cofferdam.test/cofferdam:1";
const SELECTOR: &str = "--selector=app.kubernetes.io/component=no-api";
const SPACE: &str = "--namespace=cofferdam-system";

const NOTHING: &str = "runtimeClasses: []\n";

/// The pull secret that it names.
const SECRET: &str = "login";

/// The file for gVisor in a registry.
fn file(registry: &Registry, package: &Published) -> String {
    let authority: String =
        registry.ca_pem().unwrap().lines().map(|line| format!("          {line}\n")).collect();
    format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: SandboxRuntime\nmetadata:\n  name: gvisor\nspec:\n  package:\n    source:\n      \
         oci:\n        reference: {}\n        pullSecret: {SECRET}\n        caBundle: |\n{authority}  handlers:\n  - name: {}\n",
        package.reference,
        Runtime::Gvisor.handler()
    )
}

/// The same as k8s-kata-manager's configuration says it, for the nodes of a pool.
fn kata_managers(package: &Published) -> String {
    let (name, url) = (Runtime::Gvisor.handler(), &package.reference);
    format!(
        "artifactsDir: /opt/artifacts\nruntimeClasses:\n- name: {name}\n  nodeSelector:\n    pool: sandboxes\n  artifacts:\n    \
         url: {url}\n    pullSecret: {SECRET}\n"
    )
}

fn publish(registry: &Registry, release: Release, name: &str) -> Published {
    let folder = tempfile::tempdir().unwrap();
    package::pack(&Cache::open().unwrap(), Runtime::Gvisor, release, folder.path()).unwrap();
    registry.publish(&binary().unwrap(), folder.path(), name).unwrap()
}

/// `kubectl cofferdam render`, which is given no cluster.
fn render(text: &str, args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runtimes.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(binary().unwrap());
    command.env_clear().args(["cluster", "render", path.to_str().unwrap(), "--no-api", "--image", IMAGE]);
    command.args(args).output().unwrap()
}

fn rendered(text: &str, args: &[&str]) -> String {
    let output = render(text, args);
    assert!(output.status.success(), "{output:#?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The only pod, once it is ready and another one than that.
fn ready_pod(cluster: &Cluster, but: Option<&str>) -> Value {
    let list = cluster
        .wait_until(&["pods", SPACE, SELECTOR], LIMIT, |list| {
            let pods = list["items"].as_array().unwrap();
            pods.len() == 1
                && condition(&pods[0], "Ready") == Some("True")
                && pods[0]["metadata"]["uid"].as_str() != but
        })
        .unwrap_or_else(|error| {
            let log = cluster.kubectl(&["logs", SPACE, SELECTOR, "-c", "apply", "--tail=50"]);
            let pods = cluster.kubectl(&["describe", "pods", SPACE]);
            panic!("{error}\n{log:#?}\n{pods:#?}")
        });
    list["items"][0].clone()
}

#[test]
fn a_runtime_comes_and_goes_without_a_token() {
    let spec = ClusterSpec::without_nodes().member(Member::new("n1", Containerd::MAJORS[1]));
    let cluster = Cluster::boot(spec).unwrap();
    let node = cluster.node("n1").unwrap();
    let registry = Registry::start(RegistrySpec::new(cluster.address())).unwrap();
    let package = publish(&registry, Release::New, "team/gvisor:1");
    let layout = tempfile::tempdir().unwrap();
    let image = layout.path().join("image");
    image::build(&binary().unwrap(), &image).unwrap();
    cluster.load_image(&image, IMAGE).unwrap();

    let yaml = rendered(&file(&registry, &package), &[]);
    cluster.apply(&yaml).unwrap();
    a_missing_secret_is_named(&cluster);
    make_secret(&cluster, &registry);
    let pod = ready_pod(&cluster, None);
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    has_no_token(&pod);

    // The commands at its head are what a person runs.
    let commands: Vec<&str> = yaml.lines().filter_map(|line| line.strip_prefix("#   kubectl ")).collect();
    assert_eq!(commands.len(), 1, "{yaml}");
    cluster.kubectl_ok(&commands[0].split(' ').collect::<Vec<_>>()).unwrap();
    runs_in_gvisor(&cluster, node);

    // The same file again changes nothing; one without it removes what it brought.
    cluster.apply(&yaml).unwrap();
    assert_eq!(ready_pod(&cluster, None)["metadata"]["uid"].as_str(), Some(uid.as_str()));
    let uid = kata_managers_file_is_applied(&cluster, &registry, &package, &uid);
    runs_in_gvisor(&cluster, node);
    cluster.apply(&rendered(NOTHING, &["--prune"])).unwrap();
    ready_pod(&cluster, Some(&uid));
    let left =
        node.ok(&["/bin/sh", "-c", "ls -d /opt/cofferdam /var/lib/cofferdam 2>/dev/null; true"]).unwrap();
    assert_eq!(left.trim(), "", "what it brought is gone");
}

/// The pods wait for nothing silently: the log says what is missing, and where it goes.
fn a_missing_secret_is_named(cluster: &Cluster) {
    let names_it = || {
        let log = cluster.kubectl(&["logs", SPACE, SELECTOR, "-c", "apply", "--tail=50"])?;
        let text = format!("{}{}", log.stdout, log.stderr);
        let is_named = text.contains("the pull secret `login` is not mounted")
            && text.contains(
                "make the Secret login of type kubernetes.io/dockerconfigjson in the pod's namespace",
            );
        Ok(is_named.then_some(()))
    };
    wait_for("an error that names the secret", LIMIT, names_it).unwrap();
}

/// Of the older type, whose file has the logins without `auths` around them.
fn make_secret(cluster: &Cluster, registry: &Registry) {
    let login: Value = serde_json::from_str(&registry.docker_config()).unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockercfg",
        "metadata": {"name": SECRET, "namespace": "cofferdam-system"},
        "stringData": {".dockercfg": login["auths"].to_string()},
    });
    cluster.apply(&secret.to_string()).unwrap();
}

fn has_no_token(pod: &Value) {
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume.get("projected").is_none()), "{volumes:#?}");
    let mounts = |container: &Value| container["volumeMounts"].as_array().cloned().unwrap_or_default();
    assert!(mounts(&pod["spec"]["containers"][0]).is_empty(), "what sleeps sees nothing of its host");
    let init = mounts(&pod["spec"]["initContainers"][0]);
    assert!(!init.iter().any(|mount| mount.to_string().contains("serviceaccount")), "{init:#?}");
}

/// It has no word for the registry's authority: containerd's own settings on the node have.
fn trust(node: &Node, registry: &Registry) {
    let folder = format!("/etc/containerd/certs.d/{}", registry.address());
    let text = format!("[host.\"https://{}\"]\nca = \"authority.pem\"\n", registry.address());
    node.put(&format!("{folder}/authority.pem"), registry.ca_pem().unwrap(), 0o644).unwrap();
    node.put(&format!("{folder}/hosts.toml"), text, 0o644).unwrap();
}

/// In the place of the other file: rendered, it finds on the node what it names; as it is, with another artifact, the pod reads
/// it as well. Gives the UID of the pod that was there last.
fn kata_managers_file_is_applied(
    cluster: &Cluster,
    registry: &Registry,
    present: &Published,
    uid: &str,
) -> String {
    let node = cluster.node("n1").unwrap();
    let set = format!("cofferdam-{}", Runtime::Gvisor.handler());
    let get = |args: &[&str]| cluster.get_json(args).unwrap().unwrap();
    trust(node, registry);
    let engine = node.engine_pid().unwrap();
    cluster.kubectl_ok(&["delete", "daemonset", "cofferdam", SPACE]).unwrap();
    cluster.apply(&rendered(&kata_managers(present), &[])).unwrap();
    let seen = |set: &Value| set["status"]["observedGeneration"] == set["metadata"]["generation"];
    let found = cluster.wait_until(&["daemonset", &set, SPACE], LIMIT, seen).unwrap();
    assert_eq!(found["status"]["desiredNumberScheduled"], 0, "no node is of the pool: {found:#}");
    cluster.kubectl_ok(&["label", "node", "n1", "pool=sandboxes"]).unwrap();
    let pod = ready_pod(cluster, Some(uid));
    has_no_token(&pod);
    assert_eq!(node.engine_pid().unwrap(), engine, "it was there already");

    let other = publish(registry, Release::Old, "team/gvisor:2");
    let mut map = get(&["configmap", &set, SPACE]);
    map["data"]["runtimes.yaml"] = kata_managers(&other).into();
    map["metadata"] = json!({ "name": set, "namespace": map["metadata"]["namespace"] });
    cluster.apply(&map.to_string()).unwrap();
    cluster.kubectl_ok(&["rollout", "restart", "daemonset", &set, SPACE]).unwrap();
    let pod = ready_pod(cluster, pod["metadata"]["uid"].as_str());
    let ledger = String::from_utf8(node.read("/var/lib/cofferdam/ledger.json").unwrap()).unwrap();
    assert!(ledger.contains(&other.reference) && ledger.contains(&other.digest), "{ledger}");
    cluster.kubectl_ok(&["delete", "daemonset", &set, SPACE]).unwrap();
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// A pod comes and goes.
fn runs_in_gvisor(cluster: &Cluster, node: &Node) {
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: inside, namespace: default}
spec:
  runtimeClassName: HANDLER
  tolerations: [{operator: Exists}]
  containers:
  - name: main
    image: cofferdam.test/busybox:1
    command: ["/bin/sh", "-c", "uname -r; trap 'exit 0' TERM INT; sleep 100000 & wait"]
"#;
    cluster.apply(&pod.replace("HANDLER", Runtime::Gvisor.handler())).unwrap();
    cluster.wait_condition(&["pod", "inside"], "Ready", "True", LIMIT).unwrap();
    let inside = cluster.kubectl_ok(&["logs", "inside"]).unwrap();
    let kernel = node.ok(&["uname", "-r"]).unwrap();
    assert_ne!(inside.trim(), kernel.trim(), "gVisor has a kernel of its own");
    cluster.kubectl_ok(&["delete", "pod", "inside", "--wait=true"]).unwrap();
}
