//! `cargo xtask generate`: the files in the checkout that are made from code.

#![allow(clippy::indexing_slicing)] // of JSON objects: reading what is not there gives null

mod reference;

use crate::task::build::workspace;
use anyhow::{Result, bail};
use cofferdam_cluster::access::manifest::{admission, roles, yaml};
use cofferdam_cluster::access::{NAMESPACE, Who, host, policies, rbac};
use cofferdam_cluster::render::{Options, render};
use cofferdam_cluster::{api, file, workload};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Writes the files that are made from code: CRDs, rights, plain manifests, references.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only compare: fails if a file in the checkout is another.
    #[arg(long)]
    check: bool,
}

/// One file: its path in the checkout, and its text.
pub type Generated = (&'static str, String);

const CHART: &str = "deploy/chart/cofferdam";

/// In the chart's templates it stands for the release's namespace. A DNS label, so that every text stays valid.
const RELEASE: &str = "the-namespace-of-the-release";

const HEAD: &str =
    "# Made by `cargo xtask generate`. Do not edit: change the table in crates/cluster/src/access.\n";

/// Runs the task.
///
/// # Errors
/// A file cannot be written; with `--check`: one is not what the code makes.
pub fn run(args: &Args) -> Result<()> {
    let mut differ = Vec::new();
    for (path, text) in files()? {
        let file = workspace().join(path);
        if fs::read_to_string(&file).is_ok_and(|present| present == text) {
            continue;
        }
        differ.push(path);
        if !args.check {
            write(&file, &text)?;
            println!("wrote {path}");
        }
    }
    if args.check && !differ.is_empty() {
        bail!(
            "not what the code makes: {}; next: cargo xtask generate, look at the difference, commit it",
            differ.join(", ")
        );
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(file, text)?)
}

/// Every generated file.
///
/// # Errors
/// An object cannot be written as YAML; a document to be completed is not there.
pub fn files() -> Result<Vec<Generated>> {
    let [runtimes, nodes] = crds()?;
    let mut all = vec![
        ("deploy/chart/cofferdam/crds/sandboxruntimes.yaml", plain(std::slice::from_ref(&runtimes))?),
        ("deploy/chart/cofferdam/crds/sandboxnodes.yaml", plain(std::slice::from_ref(&nodes))?),
        ("deploy/chart/cofferdam/templates/generated/rbac.yaml", templated(&rights(RELEASE))?),
        ("deploy/chart/cofferdam/templates/generated/uninstall-rbac.yaml", uninstall()?),
        ("deploy/chart/cofferdam/templates/generated/policies.yaml", templated(&admission(RELEASE))?),
        ("deploy/chart/cofferdam/templates/generated/_host.tpl", host_template()?),
        ("deploy/manifests/crds.yaml", plain(&[runtimes, nodes])?),
        ("deploy/manifests/cofferdam.yaml", plain(&cluster_manifest())?),
        ("deploy/no-api/cofferdam.yaml", no_api()?),
        ("docs/reference/api.md", reference::document(&api::crds())?),
    ];
    all.push(("docs/security.md", completed("docs/security.md")?));
    Ok(all)
}

/// Everything of the plain manifests but the CRDs.
fn cluster_manifest() -> Vec<Value> {
    let mut objects = vec![workload::namespace(NAMESPACE)];
    objects.extend(rights(NAMESPACE));
    objects.extend(admission(NAMESPACE));
    objects.extend(workload::all(NAMESPACE, workload::IMAGE));
    objects
}

/// The example's runtimes on a fleet without the API.
fn no_api() -> Result<String> {
    let path = "docs/examples/runtimes.yaml";
    let file = file::parse(path, &fs::read_to_string(workspace().join(path))?)?;
    let options = Options {
        no_api: true,
        image: workload::IMAGE.to_owned(),
        namespace: NAMESPACE.to_owned(),
        prune: false,
        selinux_type: None,
    };
    Ok(render(&file, &options)?)
}

fn rights(namespace: &str) -> Vec<Value> {
    [Who::Controller, Who::Agent].into_iter().flat_map(|who| roles(who, namespace)).collect()
}

fn crds() -> Result<[Value; 2]> {
    let values = api::crds().iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    values.try_into().map_err(|_| anyhow::anyhow!("two CRDs are expected"))
}

fn plain(objects: &[Value]) -> Result<String> {
    let text = yaml(objects).map_err(anyhow::Error::msg)?;
    Ok(format!("{HEAD}{text}"))
}

/// A chart's template: the namespace is the release's.
fn templated(objects: &[Value]) -> Result<String> {
    let text = yaml(objects).map_err(anyhow::Error::msg)?;
    if text.contains("{{") {
        bail!("the text of an object would be taken for a template");
    }
    let text = text
        // Quoted: a namespace's name may look like a number.
        .replace(&format!("namespace: {RELEASE}\n"), "namespace: {{ .Release.Namespace | quote }}\n")
        .replace(RELEASE, "{{ .Release.Namespace }}");
    Ok(format!("{HEAD}{text}"))
}

/// The hook's account and rights: they come before the uninstall and go after it.
fn uninstall() -> Result<String> {
    let mut objects = vec![workload::account(Who::Uninstall, RELEASE)];
    objects.extend(roles(Who::Uninstall, RELEASE));
    for object in &mut objects {
        object["metadata"]["annotations"] = serde_json::json!({
            "helm.sh/hook": "pre-delete",
            "helm.sh/hook-weight": "-10",
            "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
        });
    }
    let text = templated(&objects)?;
    let body = text.strip_prefix(HEAD).unwrap_or(&text);
    Ok(format!("{HEAD}{{{{- if .Values.uninstall.enabled }}}}\n{body}{{{{- end }}}}\n"))
}

/// What the agent gets of its host, for the chart's DaemonSets.
fn host_template() -> Result<String> {
    let mut text = String::from(
        "{{/* Made by `cargo xtask generate` from crates/cluster/src/access/host.rs. Do not edit. */}}\n",
    );
    for (name, value) in [
        ("securityContext", host::security_context()),
        ("volumeMounts", host::mounts()),
        ("volumes", host::volumes()),
    ] {
        let body = plain(&[value])?;
        let body = body.strip_prefix(HEAD).unwrap_or(&body).trim_start_matches("---\n");
        text.push_str(&format!(
            "{{{{- define \"cofferdam.host.{name}\" -}}}}\n{}\n{{{{- end }}}}\n",
            body.trim_end()
        ));
    }
    Ok(text)
}

/// A document of people's in which tables stand between marks: `<!-- generated NAME -->` and `<!-- end -->`.
fn completed(path: &str) -> Result<String> {
    let mut text = fs::read_to_string(workspace().join(path)).unwrap_or_default();
    for (name, table) in
        [("rbac", rbac::document()), ("policies", policies::document()), ("host", host::document())]
    {
        let (begin, end) = (format!("<!-- generated {name} -->\n"), "<!-- end -->");
        let Some((before, rest)) = text.split_once(&begin) else {
            bail!("{path} has no mark {begin:?}");
        };
        let Some((_, after)) = rest.split_once(end) else {
            bail!("{path}: the mark {begin:?} has no end");
        };
        text = format!("{before}{begin}{table}{end}{after}");
    }
    Ok(text)
}

/// Files in generated folders that nothing makes any more.
///
/// # Errors
/// A folder cannot be read.
pub fn strays() -> Result<Vec<String>> {
    let known: Vec<&str> = files()?.iter().map(|(path, _)| *path).collect();
    let mut strays = Vec::new();
    for folder in [format!("{CHART}/crds"), format!("{CHART}/templates/generated")] {
        for entry in fs::read_dir(workspace().join(&folder))? {
            let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            if !known.contains(&path.as_str()) {
                strays.push(path);
            }
        }
    }
    Ok(strays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_the_checkout_are_what_the_code_makes() {
        run(&Args { check: true }).unwrap();
        assert_eq!(strays().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_chart_has_the_workspaces_version() {
        let text = fs::read_to_string(workspace().join(CHART).join("Chart.yaml")).unwrap();
        for key in ["version", "appVersion"] {
            let line = format!("\n{key}: {}\n", env!("CARGO_PKG_VERSION"));
            assert!(text.contains(&line), "{key}");
        }
    }
}
