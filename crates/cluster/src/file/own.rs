//! SandboxRuntime objects, as `kubectl apply` takes them. What the API server's rules refuse is refused here, too.

use super::finding::{Finding, Findings, Place};
use super::schema::{self, there_are};
use super::tree::{Kind, Tree};
use super::{Declared, twice};
use crate::api::{GROUP, SandboxRuntime, SandboxRuntimeSpec, VERSION};
use crate::source::policy;
use cofferdam_core::descriptor;
use cofferdam_core::name::{HandlerName, RuntimeName};
use cofferdam_core::preset;
use cofferdam_core::reference::Reference;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResourceExt;
use std::collections::BTreeSet;

const KIND: &str = "SandboxRuntime";
const TOP: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];

pub(super) fn read(documents: &[Tree]) -> Result<Vec<Declared>, Findings> {
    let mut findings = Vec::new();
    if documents.is_empty() {
        let what = "there is no SandboxRuntime in it";
        findings.push(Finding::new(Place::default(), what).hint("docs/no-api.md has an example"));
    }
    let schema = spec_schema();
    let mut runtimes = Vec::new();
    for document in documents {
        runtimes.extend(object(document, schema.as_ref(), &mut findings));
    }
    findings.extend(twice(&runtimes, "the SandboxRuntime"));
    Findings::check(findings)?;
    Ok(runtimes)
}

fn spec_schema() -> Option<JSONSchemaProps> {
    let version = SandboxRuntime::crd().spec.versions.into_iter().next()?;
    version.schema?.open_api_v3_schema?.properties?.remove("spec")
}

fn object(tree: &Tree, schema: Option<&JSONSchemaProps>, findings: &mut Vec<Finding>) -> Option<Declared> {
    let Kind::Map(entries) = &tree.kind else {
        let what = format!("a SandboxRuntime is a map, not {}", tree.kind.name());
        findings.push(Finding::new(tree.at, what).hint("docs/no-api.md has an example"));
        return None;
    };
    let api_version = format!("{GROUP}/{VERSION}");
    for (key, wanted) in [("apiVersion", api_version.as_str()), ("kind", KIND)] {
        match tree.get(key) {
            Some(value) if value.text() == Some(wanted) => {}
            Some(value) => {
                let what = format!("`{key}` is not {wanted}");
                let hint = "a declarative file holds SandboxRuntimes and nothing else";
                findings.push(Finding::new(value.at, what).hint(hint));
                return None;
            }
            None => {
                let hint =
                    format!("a SandboxRuntime begins with `apiVersion: {api_version}` and `kind: {KIND}`");
                findings.push(Finding::new(tree.at, format!("the key `{key}` is missing")).hint(hint));
                return None;
            }
        }
    }
    for entry in entries.iter().filter(|entry| !TOP.contains(&entry.key.as_str())) {
        let what = format!("a SandboxRuntime has no key `{}`", entry.key);
        findings.push(Finding::new(entry.at, what).hint(there_are(KIND, TOP)));
    }
    let name = name(tree, findings);
    let Some(spec) = tree.get("spec") else {
        findings.push(Finding::new(tree.at, "the key `spec` is missing"));
        return None;
    };
    let before = findings.len();
    if let Some(schema) = schema {
        schema::check(spec, schema, "spec", findings);
    }
    if findings.len() > before {
        return None;
    }
    match serde_json::from_value::<SandboxRuntimeSpec>(spec.json()) {
        Ok(parsed) => {
            rules(&parsed, spec, findings);
            Some(Declared { name: name?, spec: parsed, at: tree.at })
        }
        Err(error) => {
            findings.push(Finding::new(spec.at, format!("`spec` cannot be read: {error}")));
            None
        }
    }
}

fn name(tree: &Tree, findings: &mut Vec<Finding>) -> Option<String> {
    let Some(value) = tree.get("metadata").and_then(|metadata| metadata.get("name")) else {
        findings.push(Finding::new(tree.at, "`metadata.name` is missing"));
        return None;
    };
    let name = value.text().unwrap_or_default();
    match RuntimeName::new(name) {
        Ok(_) => Some(name.to_owned()),
        Err(error) => {
            findings.push(Finding::new(value.at, format!("`metadata.name`: {error}")));
            None
        }
    }
}

/// The rules of the CRD that are not its schema's, and what would fail on every node.
fn rules(spec: &SandboxRuntimeSpec, tree: &Tree, findings: &mut Vec<Finding>) {
    let at =
        |path: &[&str]| path.iter().try_fold(tree, |tree, key| tree.get(key)).map_or(tree.at, |tree| tree.at);
    let mut wrong = |path: &[&str], what: String, hint: Option<String>| {
        findings.push(Finding { at: at(path), what, hint });
    };
    let package = &spec.package;
    let source = &package.source;
    let local = || source.local().into_iter().filter_map(|(key, path)| Some((key, path?)));
    if local().count() + usize::from(source.oci.is_some()) != 1 {
        let what = "`spec.package.source` takes exactly one of `oci`, `layout`, `tar` and `directory`";
        wrong(&["package", "source"], what.to_owned(), None);
    }
    for (key, path) in local().filter(|(_, path)| !path.starts_with('/')) {
        let what = format!("`spec.package.source.{key}`: `{path}` is not an absolute path");
        wrong(&["package", "source", key], what, None);
    }
    if let Some(Err(error)) = source.oci.as_ref().map(|oci| Reference::new(oci.reference.clone())) {
        wrong(&["package", "source", "oci", "reference"], error.to_string(), None);
    }
    if package.preset.is_some() && package.descriptor.is_some() {
        let what = "`spec.package` takes a preset or a descriptor, not both".to_owned();
        wrong(&["package", "descriptor"], what, None);
    }
    if package.version.is_some() && package.preset.is_none() {
        let what = "`spec.package.version` goes with a preset".to_owned();
        wrong(&["package", "version"], what, Some("a descriptor has its own version".to_owned()));
    }
    if let Some(verify) = &package.verify {
        if source.oci.is_none() && source.layout.is_none() {
            let what =
                "`spec.package.verify` goes with `source.oci` and `source.layout`: files have no signature";
            wrong(&["package", "verify"], what.to_owned(), None);
        }
        if let Err(error) = policy(verify) {
            wrong(&["package", "verify"], format!("spec.{error}"), None);
        }
    }
    if let Some(Err(error)) = package.preset.as_deref().map(preset::find) {
        wrong(&["package", "preset"], format!("`spec.package.preset`: {error}"), error.hint());
    }
    if let Some(Err(error)) = package.descriptor.as_deref().map(|text| descriptor::parse("descriptor", text))
    {
        wrong(&["package", "descriptor"], format!("`spec.package.descriptor`: {error}"), None);
    }
    let mut names = BTreeSet::new();
    for handler in &spec.handlers {
        if let Err(error) = HandlerName::new(handler.name.clone()) {
            wrong(&["handlers"], format!("`spec.handlers`: {error}"), None);
        }
        if !names.insert(&handler.name) {
            wrong(&["handlers"], format!("`spec.handlers` names `{}` twice", handler.name), None);
        }
    }
    let limit = &spec.rollout.max_unavailable;
    let valid = match limit {
        IntOrString::Int(number) => *number >= 1,
        IntOrString::String(text) => text
            .strip_suffix('%')
            .and_then(|number| number.parse::<u8>().ok())
            .is_some_and(|percent| (1..=100).contains(&percent)),
    };
    if !valid {
        let what =
            "`spec.rollout.maxUnavailable` takes a number from 1, or a percentage such as \"10%\"".to_owned();
        wrong(&["rollout", "maxUnavailable"], what, None);
    }
}
