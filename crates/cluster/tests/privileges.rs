//! No pod of ours is in a namespace of its node, unless the table of what it gets of the node says so.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_cluster::access::host::{DENIED, GRANTED};
use cofferdam_cluster::file::parse;
use cofferdam_cluster::render::{self, Options};
use cofferdam_cluster::workload;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What puts a pod into a namespace of its node.
const NAMESPACES: [&str; 3] = ["hostPID", "hostNetwork", "hostIPC"];

/// The plain manifests as they are released.
const RELEASED: &str = include_str!("../../../deploy/manifests/cofferdam.yaml");

/// The text of every file beneath `folder`.
fn texts(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let each = |path: PathBuf| match path.is_dir() {
        true => texts(&path),
        false => vec![std::fs::read_to_string(path).unwrap()],
    };
    entries.flat_map(each).collect()
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Every pod in a manifest: what has containers.
fn pods<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("containers") {
                found.push(value);
            }
            fields.values().for_each(|field| pods(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| pods(item, found)),
        _ => {}
    }
}

fn is_granted(setting: &str) -> bool {
    GRANTED.iter().any(|granted| granted.name == setting)
}

#[track_caller]
fn check(what: &str, objects: &[Value], expected: usize) {
    let mut found = Vec::new();
    objects.iter().for_each(|object| pods(object, &mut found));
    assert_eq!(found.len(), expected, "pods in {what}");
    for pod in found {
        for setting in NAMESPACES.into_iter().filter(|setting| !is_granted(setting)) {
            assert!(
                matches!(pod.get(setting), None | Some(Value::Bool(false))),
                "{what}: {setting} in {pod}"
            );
        }
    }
}

#[test]
fn the_table_speaks_of_each() {
    for setting in NAMESPACES {
        let denied = DENIED.iter().any(|denied| denied.name == setting);
        assert_ne!(denied, is_granted(setting), "{setting} is either granted or denied");
    }
}

#[test]
fn no_pod_is_in_a_namespace_of_its_node() {
    check("the code", &workload::all("sandboxes", workload::IMAGE), 2);
    check("deploy/manifests", &documents(RELEASED), 2);
    let file = parse("f.yaml", include_str!("../../../docs/examples/runtimes.yaml")).unwrap();
    let options = Options {
        no_api: true,
        image: workload::IMAGE.to_owned(),
        namespace: "sandboxes".to_owned(),
        prune: false,
        selinux_type: None,
    };
    let rendered = documents(&render::render(&file, &options).unwrap());
    let groups = rendered.iter().filter(|object| object["kind"] == "DaemonSet").count();
    assert!(groups > 0);
    check("kubectl cofferdam render --no-api", &rendered, groups);
}

#[test]
fn no_template_of_the_chart_asks_for_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/chart/cofferdam/templates");
    let templates = texts(&folder);
    assert!(templates.iter().any(|text| text.contains("kind: DaemonSet")), "{}", folder.display());
    for setting in NAMESPACES.into_iter().filter(|setting| !is_granted(setting)) {
        assert!(!templates.iter().any(|text| text.contains(setting)), "{setting} is in the chart");
    }
}
