//! The chart, the plain manifests and the examples in front of Helm and a real API server.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;
use xtask::task::build::workspace;
use xtask::testbed::cache::Cache;
use xtask::testbed::{Cluster, ClusterSpec, gotools};

/// What the chart is rendered for: helm knows older versions only.
const KUBERNETES: &str = "1.34.2";

/// Values that change what is rendered, beside the defaults.
const VARIANTS: &[&[&str]] = &[
    &[],
    &["agent.pullSecrets={reg-a,reg.b}", "agent.seLinuxType=spc_t", "agent.dnsPolicy=Default"],
    &["metrics.services=true", "networkPolicy.enabled=false", "uninstall.enabled=false"],
    &["test.runtimeClasses={gvisor,kata.x}", "controller.replicas=1", "controller.nodeSelector.pool=infra"],
    &[
        "image.digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "imagePullSecrets[0].name=x",
    ],
];

/// Values that the schema refuses.
const REFUSED: &[&str] = &[
    "agent.engineunit=x.service",
    "image.digest=sha256:1",
    "uninstall.timeout=soon",
    "controller.replicas=-1",
];

fn chart() -> PathBuf {
    workspace().join("deploy/chart/cofferdam")
}

struct Helm(PathBuf);

impl Helm {
    fn run(&self, args: &[&str], values: &[&str]) -> Output {
        let mut command = Command::new(&self.0);
        command.args(args).arg(chart());
        for value in values {
            command.args(["--set", value]);
        }
        command.output().unwrap()
    }

    fn template(&self, values: &[&str]) -> String {
        let args = ["template", "cofferdam", "--namespace=cofferdam-system", "--kube-version", KUBERNETES];
        let output = self.run(&args, values);
        assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn chart_manifests_and_examples_hold_before_a_real_api_server() {
    let cache = Cache::open().unwrap();
    let tools = gotools::helm(&cache).unwrap();
    let helm = Helm(tools.path().join("bin/helm"));
    let lint = helm.run(&["lint", "--strict"], &[]);
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    for value in REFUSED {
        let output = helm.run(&["template", "cofferdam", "--kube-version", KUBERNETES], &[value]);
        assert!(!output.status.success(), "{value} was taken");
    }

    let cluster = Cluster::boot(ClusterSpec::without_nodes()).unwrap();
    let read = |path: &str| std::fs::read_to_string(workspace().join(path)).unwrap();
    cluster.apply(&read("deploy/manifests/crds.yaml")).unwrap();
    let class = |name: &str| json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "x"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cofferdam-system"}});
    let needed =
        json!({"apiVersion": "v1", "kind": "List", "items": [namespace, class("gvisor"), class("kata.x")]});
    cluster.apply(&needed.to_string()).unwrap();
    // Pods are taken once their namespace has its account.
    let account = ["serviceaccount", "default", "--namespace=cofferdam-system"];
    cluster.wait_until(&account, Duration::from_secs(30), |_| true).unwrap();
    for values in VARIANTS {
        taken(&cluster, &helm.template(values));
    }
    let plain = objects(&cluster, &read("deploy/manifests/cofferdam.yaml"));
    let rendered = objects(&cluster, &helm.template(&[]));
    for (name, object) in &plain {
        if name != "Namespace cofferdam-system" {
            assert_eq!(Some(object), rendered.get(name), "{name}");
        }
    }
    for name in rendered.keys() {
        assert!(
            plain.contains_key(name) || name.ends_with("cofferdam-uninstall"),
            "{name} is the chart's only"
        );
    }
    examples(&cluster);
}

/// The API server would take these objects, strictly.
fn taken(cluster: &Cluster, text: &str) {
    let args = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    let output = cluster.kubectl_command(&args).input(text).run().unwrap();
    assert!(output.success(), "{output:?}\n{text}");
}

/// Objects by kind and name, without the labels that only Helm's have.
fn objects(cluster: &Cluster, text: &str) -> BTreeMap<String, Value> {
    let args = ["create", "--dry-run=client", "--output=json", "-f", "-"];
    let json = cluster.kubectl_command(&args).input(text).ok().unwrap().stdout;
    // One object after the other.
    let all = serde_json::Deserializer::from_str(&json).into_iter::<Value>().map(Result::unwrap);
    let all = all.flat_map(|object| match object["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![object],
    });
    all.map(|mut object| {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
        object["metadata"].as_object_mut().unwrap().remove("labels");
        if let Some(template) = object.pointer_mut("/spec/template/metadata/labels") {
            let labels = template.as_object_mut().unwrap();
            labels.retain(|name, _| {
                name.ends_with("/name") || name.ends_with("/component") || name.ends_with("/part-of")
            });
        }
        let name =
            format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        (name, object)
    })
    .collect()
}

fn examples(cluster: &Cluster) {
    let folder = workspace().join("deploy/examples");
    let yaml = |folder: &PathBuf| {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
        files.sort();
        assert!(files.len() > 2);
        files
    };
    for file in yaml(&folder) {
        taken(cluster, &std::fs::read_to_string(file).unwrap());
    }
    for file in yaml(&folder.join("invalid")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let words = text.lines().next().unwrap().strip_prefix("# refused: ").unwrap();
        let args = ["create", "--dry-run=server", "-f", "-"];
        let output = cluster.kubectl_command(&args).input(text.as_str()).run().unwrap();
        assert!(!output.success(), "{} was taken", file.display());
        assert!(output.stderr.contains(words), "{}: {output:?}", file.display());
    }
}
