//! What the program is made of, as CycloneDX: the crates that are linked into it, from `cargo metadata`.

#![allow(clippy::indexing_slicing)] // of JSON objects: reading what is not there gives null

use crate::task::build::{TARGET, cargo};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The bill of materials of the image with this digest. The same sources give the same bytes: no time, no serial number.
///
/// # Errors
/// cargo does not answer.
pub fn document(image: &str) -> Result<String> {
    let metadata = metadata()?;
    let parts = Parts::of(&metadata).context("cargo metadata says something else than expected")?;
    let components: Vec<Value> =
        parts.linked.iter().filter(|id| **id != parts.root).map(|id| parts.component(id)).collect();
    let dependencies: Vec<Value> = parts
        .linked
        .iter()
        .map(|id| {
            let on: Vec<String> =
                parts.needs.get(id).into_iter().flatten().map(|id| parts.reference(id)).collect();
            json!({"ref": parts.reference(id), "dependsOn": on})
        })
        .collect();
    let mut root = parts.component(parts.root);
    root["type"] = "application".into();
    root["properties"] = json!([{"name": "oci:image:digest", "value": image}]);
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn metadata() -> Result<Value> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", TARGET])
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The crates, by cargo's ids.
struct Parts<'m> {
    packages: BTreeMap<&'m str, &'m Value>,
    /// What each needs when it runs: not what builds or tests it.
    needs: BTreeMap<&'m str, BTreeSet<&'m str>>,
    linked: BTreeSet<&'m str>,
    root: &'m str,
}

impl<'m> Parts<'m> {
    fn of(metadata: &'m Value) -> Option<Self> {
        let packages: BTreeMap<&str, &Value> = metadata["packages"]
            .as_array()?
            .iter()
            .filter_map(|package| Some((package["id"].as_str()?, package)))
            .collect();
        let root = packages.iter().find(|(_, package)| package["name"] == "cofferdam").map(|(id, _)| *id)?;
        let mut needs = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array()? {
            let linked = |dep: &&Value| {
                dep["dep_kinds"]
                    .as_array()
                    .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
            };
            let on: BTreeSet<&str> = node["deps"]
                .as_array()?
                .iter()
                .filter(linked)
                .filter_map(|dep| dep["pkg"].as_str())
                .filter(|id| packages.get(id).is_some_and(|package| !is_macro(package)))
                .collect();
            needs.insert(node["id"].as_str()?, on);
        }
        let (mut linked, mut open) = (BTreeSet::new(), vec![root]);
        while let Some(id) = open.pop() {
            if linked.insert(id) {
                open.extend(needs.get(id).into_iter().flatten());
            }
        }
        Some(Self { packages, needs, linked, root })
    }

    fn field(&self, id: &str, field: &str) -> &str {
        self.packages.get(id).and_then(|package| package[field].as_str()).unwrap_or_default()
    }

    fn reference(&self, id: &str) -> String {
        format!("pkg:cargo/{}@{}", self.field(id, "name"), self.field(id, "version"))
    }

    fn component(&self, id: &str) -> Value {
        let reference = self.reference(id);
        let mut component = json!({
            "type": "library",
            "bom-ref": reference,
            "name": self.field(id, "name"),
            "version": self.field(id, "version"),
            "purl": reference,
        });
        let license = self.field(id, "license");
        if !license.is_empty() {
            // Older crates write "or" as a slash.
            component["licenses"] = json!([{"expression": license.replace('/', " OR ").split_whitespace().collect::<Vec<_>>().join(" ")}]);
        }
        component
    }
}

/// A macro runs in the compiler: nothing of it is in the program.
fn is_macro(package: &Value) -> bool {
    package["targets"]
        .as_array()
        .is_some_and(|targets| targets.iter().any(|target| target["kind"][0] == "proc-macro"))
}
