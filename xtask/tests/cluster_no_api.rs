//! Without our API: one kubectl apply of rendered YAML, pods without a token, a runtime proven on the node and used by a pod.

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
    Cluster, ClusterSpec, Containerd, Member, Registry, RegistrySpec, Release, Runtime, package,
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

/// The pod of the set that was made from the file with this hash, once it is ready.
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
    let package = tempfile::tempdir().unwrap();
    package::pack(&Cache::open().unwrap(), Runtime::Gvisor, Release::New, package.path()).unwrap();
    let package = registry.publish(&binary().unwrap(), package.path(), "team/gvisor:1").unwrap();
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
    runs_in_gvisor(&cluster, &node.ok(&["uname", "-r"]).unwrap());

    // The same file again changes nothing; one without it removes what it brought, and waits for who uses it.
    cluster.apply(&yaml).unwrap();
    assert_eq!(ready_pod(&cluster, None)["metadata"]["uid"].as_str(), Some(uid.as_str()));
    cluster.kubectl_ok(&["delete", "pod", "inside", "--wait=true"]).unwrap();
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

fn runs_in_gvisor(cluster: &Cluster, kernel: &str) {
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
    assert_ne!(inside.trim(), kernel.trim(), "gVisor has a kernel of its own");
}
