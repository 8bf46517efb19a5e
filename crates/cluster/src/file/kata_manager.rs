//! k8s-kata-manager's configuration, translated: each of its classes becomes a runtime whose package is the artifact.
//!
//! Such an artifact is a guest kernel, an image and one configuration, for a Kata that is on the node already: its shim and
//! its hypervisor are not in it, nor is it said which they are. So no descriptor can be made up for it, and the host refuses
//! an artifact without one ([`super::advice`] says what to do). What the original skipped silently (an entry without a name or a url) is an error here.

use super::finding::{Finding, Findings};
use super::schema::there_are;
use super::tree::{Entry, Kind, Tree};
use super::{Declared, twice};
use crate::api::{HandlerSpec, OciSource, PackageSpec, SandboxRuntimeSpec, SourceSpec};
use cofferdam_core::name::RuntimeName;
use cofferdam_core::reference::Reference;
use std::collections::BTreeMap;

const TOP: &[&str] = &["artifactsDir", "runtimeClasses"];
const CLASS: &[&str] = &["name", "nodeSelector", "artifacts"];
const ARTIFACTS: &[&str] = &["url", "pullSecret"];

/// Whether a document is one: told by its keys.
pub(super) fn is(tree: &Tree) -> bool {
    tree.get("kind").is_none() && TOP.iter().any(|key| tree.get(key).is_some())
}

pub(super) fn read(tree: &Tree) -> Result<Vec<Declared>, Findings> {
    let mut findings = Vec::new();
    known(tree, "the file", TOP, &mut findings);
    let mut runtimes = Vec::new();
    match tree.get("runtimeClasses").map(|classes| (classes, &classes.kind)) {
        Some((_, Kind::List(classes))) => {
            for (index, class) in classes.iter().enumerate() {
                runtimes.extend(declared(class, index, &mut findings));
            }
        }
        Some((classes, kind)) => {
            let what = format!("`runtimeClasses` takes a list, not {}", kind.name());
            findings.push(Finding::new(classes.at, what));
        }
        None => findings.push(Finding::new(tree.at, "the key `runtimeClasses` is missing")),
    }
    findings.extend(twice(&runtimes, "the runtime class"));
    Findings::check(findings)?;
    Ok(runtimes)
}

/// What the original obeyed, and nobody does here.
pub(super) fn unused(tree: &Tree) -> Option<Finding> {
    let folder = tree.get("artifactsDir").filter(|folder| !matches!(folder.kind, Kind::Null))?;
    let what = "`artifactsDir` is not used: each version gets a folder of its own below /opt/cofferdam (or --prefix)";
    Some(Finding::new(folder.at, what))
}

fn declared(class: &Tree, index: usize, findings: &mut Vec<Finding>) -> Option<Declared> {
    let path = format!("runtimeClasses[{index}]");
    known(class, &path, CLASS, findings);
    let name = text(class, "name", &path, findings);
    if let Some(Err(error)) = name.as_ref().map(|name| RuntimeName::new(name.clone())) {
        findings.push(Finding::new(class.at, format!("`{path}.name`: {error}")));
        return None;
    }
    let Some(artifacts) = class.get("artifacts") else {
        let hint = "give it `artifacts` with a `url`, or take the entry out";
        findings.push(Finding::new(class.at, format!("`{path}` has no `artifacts`")).hint(hint));
        return None;
    };
    let inner = format!("{path}.artifacts");
    known(artifacts, &inner, ARTIFACTS, findings);
    let url = text(artifacts, "url", &inner, findings)?;
    if let Err(error) = Reference::new(url.clone()) {
        findings.push(Finding::new(artifacts.at, format!("`{inner}.url`: {error}")));
    }
    let name = name?;
    let secret = pull_secret(artifacts, &inner, findings);
    let spec = SandboxRuntimeSpec {
        package: PackageSpec {
            source: SourceSpec {
                oci: Some(OciSource {
                    reference: url,
                    pull_secret: secret,
                    ca_bundle: None,
                    plain_http: false,
                }),
                ..SourceSpec::default()
            },
            preset: None,
            version: None,
            descriptor: None,
            verify: None,
            limits: None,
        },
        handlers: vec![HandlerSpec { name: name.clone(), runtime_class_name: None, overhead: None }],
        node_selector: selector(class, &path, findings),
        runtime_classes: Default::default(),
        scheduling: Default::default(),
        rollout: Default::default(),
        compatibility_labels: false,
        skip_checks: Vec::new(),
    };
    Some(Declared { name, spec, at: class.at })
}

/// The secret's name. Empty and null mean none, as in the original; another type is no name.
fn pull_secret(artifacts: &Tree, path: &str, findings: &mut Vec<Finding>) -> Option<String> {
    let tree = artifacts.get("pullSecret")?;
    match &tree.kind {
        Kind::Text(name) => (!name.is_empty()).then(|| name.clone()),
        Kind::Null => None,
        kind => {
            let what = format!("`{path}.pullSecret` takes a text, not {}", kind.name());
            findings.push(Finding::new(tree.at, what).hint("put the name into quotes"));
            None
        }
    }
}

fn text(tree: &Tree, key: &str, path: &str, findings: &mut Vec<Finding>) -> Option<String> {
    match tree.get(key).map(|value| (value.at, &value.kind)) {
        Some((_, Kind::Text(text))) if !text.is_empty() => return Some(text.clone()),
        Some((at, kind)) if !matches!(kind, Kind::Null | Kind::Text(_)) => {
            let what = format!("`{path}.{key}` takes a text, not {}", kind.name());
            findings.push(Finding::new(at, what).hint("put it into quotes"));
        }
        _ => {
            let hint = format!("give it a `{key}`, or take the entry out");
            findings.push(Finding::new(tree.at, format!("`{path}` has no `{key}`")).hint(hint));
        }
    }
    None
}

fn selector(class: &Tree, path: &str, findings: &mut Vec<Finding>) -> BTreeMap<String, String> {
    let Some(tree) = class.get("nodeSelector") else { return BTreeMap::new() };
    let entries: &[Entry] = match &tree.kind {
        Kind::Map(entries) => entries,
        Kind::Null => &[],
        kind => {
            let what = format!("`{path}.nodeSelector` takes a map, not {}", kind.name());
            findings.push(Finding::new(tree.at, what));
            &[]
        }
    };
    let mut labels = BTreeMap::new();
    for entry in entries {
        match entry.value.text() {
            Some(value) => _ = labels.insert(entry.key.clone(), value.to_owned()),
            None => {
                let what = format!("`{path}.nodeSelector.{}` takes a text", entry.key);
                findings.push(Finding::new(entry.value.at, what).hint("put it into quotes"));
            }
        }
    }
    labels
}

fn known(tree: &Tree, path: &str, names: &[&str], findings: &mut Vec<Finding>) {
    let Kind::Map(entries) = &tree.kind else {
        findings.push(Finding::new(tree.at, format!("`{path}` takes a map, not {}", tree.kind.name())));
        return;
    };
    for entry in entries.iter().filter(|entry| !names.contains(&entry.key.as_str())) {
        let what = format!("`{path}` has no key `{}`", entry.key);
        findings.push(Finding::new(entry.at, what).hint(there_are(path, names)));
    }
}
