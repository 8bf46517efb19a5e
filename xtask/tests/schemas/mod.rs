//! An API server's OpenAPI document as one JSON schema for each kind.

use serde_json::{Map, Value, json};
use std::path::Path;

/// All definitions lie in one file, which the kinds' files point into.
const ALL: &str = "_definitions.json";

/// Writes `GROUP-VERSION-KIND.json`, in small letters, for each kind of the document.
pub(crate) fn write(document: &Value, folder: &Path) {
    let mut definitions: Map<String, Value> = document["definitions"].as_object().unwrap().clone();
    definitions.values_mut().for_each(strict);
    for (name, definition) in &definitions {
        for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let word = |key: &str| kind[key].as_str().unwrap().to_owned();
            // Of `v1` kubeconform takes both for `v1`.
            let group = Some(word("group")).filter(|group| !group.is_empty());
            let group = group.unwrap_or_else(|| word("version"));
            let file = format!("{group}-{}-{}.json", word("version"), word("kind")).to_lowercase();
            let schema = json!({"$ref": format!("{ALL}#/definitions/{name}")});
            std::fs::write(folder.join(file), schema.to_string()).unwrap();
        }
    }
    let all = json!({"definitions": definitions});
    std::fs::write(folder.join(ALL), all.to_string()).unwrap();
}

/// Unknown keys are errors, and numbers stand for texts where Kubernetes takes both.
fn strict(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("format") == Some(&json!("int-or-string")) {
                object.remove("format");
                object.insert("type".to_owned(), json!(["integer", "string"]));
            }
            // The schema of schemas has properties with these names: there the value is no `true`.
            let says = |key: &str| object.get(key) == Some(&json!(true));
            let unknown_kept = says("x-kubernetes-preserve-unknown-fields");
            if says("x-kubernetes-int-or-string") {
                object.insert("type".to_owned(), json!(["integer", "string"]));
            }
            // A map, or whatever: it says so itself.
            let open = unknown_kept || object.contains_key("additionalProperties");
            if object.get("properties").is_some_and(Value::is_object) && !open {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(strict);
        }
        Value::Array(items) => items.iter_mut().for_each(strict),
        _ => {}
    }
}
