//! The objects that the tables stand for, and their text.

#![allow(clippy::indexing_slicing)] // of objects that json! made in the same function

use super::Who;
use super::policies::policies;
use super::rbac::{Row, Within, rows};
use serde_json::{Value, json};

/// What we call ourselves on our own objects.
pub const PART_OF: &str = "cofferdam";

/// The labels of an object of ours.
pub fn labels(component: Option<&str>) -> Value {
    let mut labels = json!({"app.kubernetes.io/name": PART_OF, "app.kubernetes.io/part-of": PART_OF});
    if let Some(component) = component {
        labels["app.kubernetes.io/component"] = component.into();
    }
    labels
}

fn rules<'r>(rows: impl Iterator<Item = &'r Row>) -> Vec<Value> {
    rows.map(|row| {
        let verbs: Vec<&str> = row.needs.iter().map(|(verb, _)| verb.word()).collect();
        let mut rule = json!({"apiGroups": [row.group], "resources": [row.resource], "verbs": verbs});
        if !row.names.is_empty() {
            rule["resourceNames"] = row.names.into();
        }
        rule
    })
    .collect()
}

/// The roles of one ServiceAccount, and their bindings. `namespace` is where Cofferdam runs.
pub fn roles(who: Who, namespace: &str) -> Vec<Value> {
    const API: &str = "rbac.authorization.k8s.io/v1";
    let name = who.account();
    let subject = json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace}]);
    let mut objects = Vec::new();
    for within in [Within::Cluster, Within::Own, Within::Default] {
        let rules = rules(rows(who, within));
        if rules.is_empty() {
            continue;
        }
        let (kind, mut metadata) = match within {
            Within::Cluster => ("ClusterRole", json!({"name": name})),
            Within::Own => ("Role", json!({"name": name, "namespace": namespace})),
            Within::Default => ("Role", json!({"name": format!("{name}-events"), "namespace": "default"})),
        };
        metadata["labels"] = labels(None);
        let reference =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata["name"]});
        objects.push(json!({"apiVersion": API, "kind": kind, "metadata": metadata, "rules": rules}));
        objects.push(json!({
            "apiVersion": API,
            "kind": format!("{kind}Binding"),
            "metadata": metadata,
            "roleRef": reference,
            "subjects": subject,
        }));
    }
    objects
}

/// All policies and their bindings. `namespace` is where Cofferdam runs.
pub fn admission(namespace: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = policies().iter().flat_map(|policy| policy.objects(namespace)).collect();
    for object in &mut objects {
        object["metadata"]["labels"] = labels(None);
    }
    objects
}

/// Objects as YAML documents. The same objects give the same bytes.
///
/// # Errors
/// If one cannot be written as YAML.
pub fn yaml(objects: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    for object in objects {
        let document = serde_saphyr::to_string(object).map_err(|error| error.to_string())?;
        text.push_str("---\n");
        text.push_str(&document);
        if !document.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}
