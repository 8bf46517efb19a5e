//! Compares a tree with the schema of the CRD, as the API server would: types, unknown and missing keys, bounds.

use super::finding::Finding;
use super::tree::{Kind, Tree};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Adds what is wrong with `tree` at `path` to `findings`.
pub(super) fn check(tree: &Tree, schema: &JSONSchemaProps, path: &str, findings: &mut Vec<Finding>) {
    let mut wrong = |what: String| findings.push(Finding::new(tree.at, what));
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    if matches!(tree.kind, Kind::Null) {
        if schema.nullable != Some(true) {
            wrong(format!("`{path}` has no value: give it {}, or leave the key out", article(schema)));
        }
        return;
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        if !matches!(tree.kind, Kind::Number(_) | Kind::Text(_)) {
            wrong(format!("`{path}` takes a number or a text, not {}", tree.kind.name()));
        }
        return;
    }
    match (schema.type_.as_deref(), &tree.kind) {
        (Some("object"), Kind::Map(_)) => object(tree, schema, path, findings),
        (Some("array"), Kind::List(items)) => {
            if let Some(JSONSchemaPropsOrArray::Schema(of)) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    check(item, of, &format!("{path}[{index}]"), findings);
                }
            }
            if items.is_empty() && schema.min_items.is_some_and(|least| least > 0) {
                findings.push(Finding::new(tree.at, format!("`{path}` is empty")));
            }
            let most = schema.max_items.unwrap_or(i64::MAX);
            if i64::try_from(items.len()).is_ok_and(|count| count > most) {
                findings.push(Finding::new(tree.at, format!("`{path}` has more than {most} items")));
            }
        }
        (Some("string"), Kind::Text(text)) => string(tree, text, schema, path, findings),
        (Some("string"), Kind::Number(_) | Kind::Bool(_)) => {
            let what = format!("`{path}` takes a text, not {}", tree.kind.name());
            findings.push(Finding::new(tree.at, what).hint("put it into quotes"));
        }
        (Some("boolean"), Kind::Bool(_)) => {}
        (Some("integer" | "number"), Kind::Number(number)) => {
            let value = number.as_f64().unwrap_or_default();
            let whole = number.is_i64() || number.is_u64() || schema.type_.as_deref() == Some("number");
            let (least, most) = (schema.minimum, schema.maximum);
            if !whole {
                wrong(format!("`{path}` takes a whole number"));
            } else if let Some(least) = least.filter(|least| value < *least) {
                wrong(format!("`{path}` is less than {least}"));
            } else if let Some(most) = most.filter(|most| value > *most) {
                wrong(format!("`{path}` is more than {most}"));
            }
        }
        _ => wrong(format!("`{path}` takes {}, not {}", article(schema), tree.kind.name())),
    }
}

fn article(schema: &JSONSchemaProps) -> &'static str {
    match schema.type_.as_deref() {
        Some("object") => "a map",
        Some("array") => "a list",
        Some("boolean") => "true or false",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        _ => "a text",
    }
}

fn object(tree: &Tree, schema: &JSONSchemaProps, path: &str, findings: &mut Vec<Finding>) {
    let Kind::Map(entries) = &tree.kind else { return };
    let known = schema.properties.as_ref();
    for entry in entries {
        let inner = format!("{path}.{}", entry.key);
        if let Some(of) = known.and_then(|known| known.get(&entry.key)) {
            check(&entry.value, of, &inner, findings);
        } else if let Some(JSONSchemaPropsOrBool::Schema(of)) = &schema.additional_properties {
            check(&entry.value, of, &inner, findings);
        } else if schema.additional_properties.is_none() {
            let names: Vec<&str> =
                known.into_iter().flat_map(|known| known.keys().map(String::as_str)).collect();
            findings.push(
                Finding::new(entry.at, format!("`{path}` has no key `{}`", entry.key))
                    .hint(there_are(path, &names)),
            );
        }
    }
    for missing in schema.required.iter().flatten().filter(|key| tree.get(key).is_none()) {
        findings.push(Finding::new(tree.at, format!("`{path}` lacks the key `{missing}`")));
    }
}

pub(super) fn there_are(path: &str, names: &[&str]) -> String {
    format!("keys of `{path}`: {}", names.join(", "))
}

fn string(tree: &Tree, text: &str, schema: &JSONSchemaProps, path: &str, findings: &mut Vec<Finding>) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if schema.min_length.is_some_and(|least| length < least) {
        findings.push(Finding::new(tree.at, format!("`{path}` is empty")));
    }
    if let Some(most) = schema.max_length.filter(|most| length > *most) {
        findings.push(Finding::new(tree.at, format!("`{path}` is longer than {most} characters")));
    }
    if let Some(values) = &schema.enum_ {
        let names: Vec<&str> = values.iter().filter_map(|value| value.0.as_str()).collect();
        if !names.contains(&text) {
            findings
                .push(Finding::new(tree.at, format!("`{path}` takes {}, not `{text}`", names.join(" or "))));
        }
    }
}
