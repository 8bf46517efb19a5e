//! The chart, the plain manifests and the examples in front of Helm and a real API server.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod schemas;

use cofferdam_cluster::render::{Options, render};
use cofferdam_cluster::{file, workload};
use cofferdam_core::descriptor;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;
use xtask::task::build::workspace;
use xtask::testbed::cache::Cache;
use xtask::testbed::trial::wait_for;
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
    moving(&cluster);
    conform(&cluster, &cache, &helm);
}

/// What docs/moving.md shows of ours: read, rendered, and put before the API server.
fn moving(cluster: &Cluster) {
    let text = std::fs::read_to_string(workspace().join("docs/moving.md")).unwrap();
    let (mut objects, mut files, mut descriptors) = (0, 0, 0);
    for block in blocks(&text) {
        if block.starts_with("schema = 1") {
            descriptor::parse("docs/moving.md", &block).unwrap_or_else(|error| panic!("{error}\n{block}"));
            descriptors += 1;
            continue;
        }
        let object = block.starts_with("apiVersion: cofferdam.dev");
        if !object && !block.starts_with("artifactsDir:") {
            continue;
        }
        if object {
            taken(cluster, &block);
        }
        let file = file::parse("docs/moving.md", &block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        let options = Options {
            no_api: true,
            image: workload::IMAGE.to_owned(),
            namespace: "cofferdam-system".to_owned(),
            prune: false,
            selinux_type: None,
        };
        let rendered = render(&file, &options).unwrap();
        // The namespace is there already.
        let args = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = cluster.kubectl_command(&args).input(rendered.as_str()).run().unwrap();
        assert!(output.success(), "{output:?}\n{rendered}");
        *(if object { &mut objects } else { &mut files }) += 1;
    }
    assert_eq!((objects, files, descriptors), (3, 1, 2), "a block of the page is not recognised any more");
}

/// The indented blocks of a page.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(code), Some(block)) => block.push_str(&format!("{code}\n")),
            // An empty line belongs to the block before, if it goes on.
            (None, Some(block)) if line.is_empty() && !block.is_empty() => block.push('\n'),
            _ => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| !block.trim().is_empty());
    blocks
}

/// kubeconform with the schemas of this very API server, our CRDs' among them: no network, and nothing out of date.
fn conform(cluster: &Cluster, cache: &Cache, helm: &Helm) {
    let tools = gotools::kubeconform(cache).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // What a CRD brought is published a moment later.
    let document = wait_for("the CRDs in the API server's OpenAPI", Duration::from_secs(60), || {
        let text = cluster.kubectl_ok(&["get", "--raw", "/openapi/v2"])?;
        Ok(text.contains("dev.cofferdam.v1alpha1.SandboxNode").then_some(text))
    });
    let document: Value = serde_json::from_str(&document.unwrap()).unwrap();
    schemas::write(&document, folder.path());
    let location = format!(
        "{}/{{{{.Group}}}}-{{{{.ResourceAPIVersion}}}}-{{{{.ResourceKind}}}}.json",
        folder.path().display()
    );
    let kubeconform = |text: &str| {
        let args = ["-strict", "-summary", "-schema-location", &location, "-"];
        let program = tools.path().join("bin/kubeconform");
        xtask::testbed::command::Command::new(program).args(args).input(text).run().unwrap()
    };
    let mut texts: Vec<String> = VARIANTS.iter().map(|values| helm.template(values)).collect();
    for path in
        ["deploy/manifests/cofferdam.yaml", "deploy/manifests/crds.yaml", "deploy/no-api/cofferdam.yaml"]
    {
        texts.push(std::fs::read_to_string(workspace().join(path)).unwrap());
    }
    for entry in std::fs::read_dir(workspace().join("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    for text in &texts {
        let output = kubeconform(text);
        assert!(output.success(), "{output:#?}");
        assert!(output.stdout.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{output:#?}");
    }
    // It can say no: to an unknown key in a core kind, and in ours.
    let spoilt = texts[0].replace("replicas:", "replicaz:");
    assert!(!kubeconform(&spoilt).success());
    let example = std::fs::read_to_string(workspace().join("deploy/examples/gvisor.yaml")).unwrap();
    assert!(!kubeconform(&example.replace("spec:", "spec:\n  packag: {}")).success());
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
