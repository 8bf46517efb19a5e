//! Pods that do the work without a token: a DaemonSet and its ConfigMap for each node selector of the file, since a pod
//! without a token cannot ask for its node's labels.

#![allow(clippy::indexing_slicing)] // of JSON objects that are made here: a key that is missing is added

use super::{Options, RenderError, json};
use crate::access::{host, manifest};
use crate::agent::secrets::KEYS;
use crate::api::{GROUP, VERSION, names};
use crate::file::{Declared, RuntimeFile};
use crate::workload::{self, PULL_SECRETS};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const COMPONENT: &str = "no-api";
const FILE: &str = "runtimes.yaml";
const FOLDER: &str = "/etc/cofferdam";
/// Nobody, for the container that only sleeps.
const NOBODY: u32 = 65532;

/// A file that names nothing, and says so.
const NOTHING: &str = "runtimeClasses: []\n";

type Selector = BTreeMap<String, String>;

pub(super) fn objects(file: &RuntimeFile, options: &Options) -> Result<Vec<Value>, RenderError> {
    let mut groups: Vec<(&Selector, Vec<&Declared>)> = Vec::new();
    for declared in &file.runtimes {
        let selector = &declared.spec.node_selector;
        match groups.iter_mut().find(|(known, _)| *known == selector) {
            Some((_, members)) => members.push(declared),
            None => groups.push((selector, vec![declared])),
        }
    }
    if options.prune && groups.len() > 1 {
        return Err(RenderError::Prune);
    }
    let everywhere = Selector::new();
    if groups.is_empty() {
        groups.push((&everywhere, Vec::new()));
    }
    let mut objects = vec![workload::namespace(&options.namespace)];
    for (selector, members) in groups {
        objects.extend(group(selector, &members, options)?);
    }
    Ok(objects)
}

fn group(selector: &Selector, members: &[&Declared], options: &Options) -> Result<[Value; 2], RenderError> {
    // Selectors of their own get a name of their own, which another runtime of the file does not change.
    let name = match members.first().filter(|_| !selector.is_empty()) {
        Some(first) => format!("cofferdam-{}", first.name),
        None => "cofferdam".to_owned(),
    };
    let config = config(members)?;
    let metadata = json!({
        "name": name,
        "namespace": options.namespace,
        "labels": manifest::labels(Some(COMPONENT)),
    });
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {FILE: config},
    });
    let mut own = manifest::labels(Some(COMPONENT));
    own["app.kubernetes.io/instance"] = name.clone().into();
    let mut pod = pod(&name, members, options);
    let mut places = selector.clone();
    places.entry(names::OS_LABEL.to_owned()).or_insert_with(|| names::LINUX.to_owned());
    pod["nodeSelector"] = json(&places)?;
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": own},
            // A node whose init container fails is not available: the next one is not touched.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": own, "annotations": {"cofferdam.dev/config": hash(&config)}},
                "spec": pod,
            },
        },
    });
    Ok([map, set])
}

/// The runtimes as the file that the pods read: without selectors, which are the DaemonSet's.
fn config(members: &[&Declared]) -> Result<String, RenderError> {
    if members.is_empty() {
        return Ok(NOTHING.to_owned());
    }
    let documents = members.iter().map(|declared| {
        let mut spec = json(&declared.spec)?;
        if let Some(spec) = spec.as_object_mut() {
            // What only a controller reads.
            for key in ["nodeSelector", "rollout", "scheduling", "runtimeClasses"] {
                spec.remove(key);
            }
        }
        Ok(json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "SandboxRuntime",
            "metadata": {"name": declared.name},
            "spec": spec,
        }))
    });
    let documents = documents.collect::<Result<Vec<_>, RenderError>>()?;
    manifest::yaml(&documents).map_err(RenderError::Yaml)
}

/// Twelve digits: a changed file makes changed pods.
fn hash(config: &str) -> String {
    Sha256::digest(config.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn pod(name: &str, members: &[&Declared], options: &Options) -> Value {
    let mut volumes = list(host::volumes());
    let mut mounts = list(host::mounts());
    volumes.push(json!({"name": "config", "configMap": {"name": name}}));
    mounts.push(json!({
        "name": "config", "mountPath": format!("{FOLDER}/{FILE}"), "subPath": FILE, "readOnly": true,
    }));
    let secrets: BTreeSet<&str> = members
        .iter()
        .filter_map(|declared| declared.spec.package.source.oci.as_ref()?.pull_secret.as_deref())
        .collect();
    for (index, secret) in secrets.into_iter().enumerate() {
        let volume = format!("pull-secret-{index}");
        volumes.push(json!({
            "name": volume,
            // Where it is missing, `apply` says so; a pod that waits for its volume says little.
            "secret": {
                "secretName": secret, "optional": true, "defaultMode": 0o400,
                // Of two types: the key that a Secret has not is left out, as the Secret itself may be.
                "items": KEYS.map(|key| json!({"key": key, "path": key})),
            },
        }));
        mounts
            .push(json!({"name": volume, "mountPath": format!("{PULL_SECRETS}/{secret}"), "readOnly": true}));
    }
    let mut args = vec!["apply", "-f", "/etc/cofferdam/runtimes.yaml", "--in-pod"];
    if options.prune {
        args.push("--prune");
    }
    let mut power = host::security_context();
    if let Some(kind) = &options.selinux_type {
        power["seLinuxOptions"] = json!({"type": kind});
    }
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 5,
        "tolerations": [{"operator": "Exists"}],
        "initContainers": [{
            "name": "apply",
            "image": options.image,
            "args": args,
            "securityContext": power,
            "volumeMounts": mounts,
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        }],
        "containers": [{
            "name": "pause",
            "image": options.image,
            "args": ["pause"],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
                "runAsGroup": NOBODY,
                "runAsNonRoot": true,
                "runAsUser": NOBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"memory": "32Mi"}},
        }],
        "volumes": volumes,
    })
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        other => vec![other],
    }
}
