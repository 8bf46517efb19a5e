//! The API's reference, from the CRDs' schemas: what `kubectl explain` says, on one page.

#![allow(clippy::indexing_slicing)] // of JSON objects: reading what is not there gives null

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

const HEAD: &str = "# The API\n\n\
    Made by `cargo xtask generate` from `crates/cluster/src/api`. `kubectl explain sandboxruntime.spec --recursive` says \
    the same in a cluster.\n";

/// The whole page.
pub(super) fn document(crds: &[CustomResourceDefinition]) -> Result<String> {
    let mut text = HEAD.to_owned();
    for crd in crds {
        let names = &crd.spec.names;
        let version = crd.spec.versions.first().context("a CRD without a version")?;
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema.context("a CRD without a schema")?)?;
        let short = names.short_names.clone().unwrap_or_default().join(", ");
        text.push_str(&format!(
            "\n## {}\n\n{}\n\n`{}/{}`, {}, short name `{short}`.\n",
            names.kind,
            describe(&schema),
            crd.spec.group,
            version.name,
            if crd.spec.scope == "Cluster" { "cluster-scoped" } else { "namespaced" },
        ));
        for part in ["spec", "status"] {
            text.push_str(&format!("\n### {}: {part}\n\n", names.kind));
            text.push_str("| field | type | what it is |\n|---|---|---|\n");
            fields(&mut text, "", &schema["properties"][part]);
        }
    }
    Ok(text)
}

fn fields(text: &mut String, prefix: &str, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in properties {
        let path = format!("{prefix}{name}");
        let mut what = describe(field);
        let mut add = |note: String| {
            if !what.is_empty() {
                what.push(' ');
            }
            what.push_str(&note);
        };
        if let Some(words) = field["enum"].as_array() {
            let words: Vec<String> =
                words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
            add(format!("One of {}.", words.join(", ")));
        }
        if !field["default"].is_null() && !field["default"].is_object() {
            add(format!("Default: `{}`.", field["default"]));
        }
        for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
            if let Some(message) = rule["message"].as_str() {
                add(format!("Checked: {message}."));
            }
        }
        let star = if required.contains(&name.as_str()) { " **required**" } else { "" };
        text.push_str(&format!("| `{path}` | {}{star} | {} |\n", kind(field), what.replace('|', "\\|")));
        fields(text, &format!("{path}."), field);
        fields(text, &format!("{path}[]."), &field["items"]);
    }
}

fn describe(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn kind(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "integer or string".into();
    }
    match schema["type"].as_str().unwrap_or("any") {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => "map".into(),
        other => schema["format"].as_str().filter(|f| *f == "date-time").unwrap_or(other).into(),
    }
}
