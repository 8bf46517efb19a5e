//! The few things that one does to a rollout by hand.

use super::{connect, failed};
use crate::cli::{RetryArgs, SteerArgs};
use crate::show;
use cofferdam_cluster::api::names::{RETRY_ANNOTATION, RETRY_ANNOTATION_PREFIX};
use cofferdam_cluster::api::{SandboxNode, SandboxRuntime};
use cofferdam_cluster::now;
use cofferdam_host::error::Result;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::process::ExitCode;

const MANAGER: &str = "kubectl-cofferdam";

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

pub(super) async fn pause(args: &SteerArgs, paused: bool) -> Result<ExitCode> {
    let runtimes = Api::<SandboxRuntime>::all(connect(&args.connect).await?);
    let patch = json!({"spec": {"rollout": {"paused": paused}}});
    let patched = runtimes.patch(&args.runtime, &params(), &Patch::Merge(&patch)).await;
    patched.map_err(|error| failed("patch the SandboxRuntime", &error))?;
    let name = &args.runtime;
    show::say(&if paused {
        format!(
            "{name}: paused; a node that is changing finishes. kubectl cofferdam resume {name} lets it go on"
        )
    } else {
        format!("{name}: goes on")
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn retry(args: &RetryArgs) -> Result<ExitCode> {
    let client = connect(&args.connect).await?;
    let runtimes = Api::<SandboxRuntime>::all(client.clone());
    let asked = |annotation: &str| {
        Patch::Merge(json!({"metadata": {"annotations": {annotation: now().0.to_string()}}}))
    };
    let name = &args.runtime;
    match &args.node {
        None => {
            let patched = runtimes.patch(name, &params(), &asked(RETRY_ANNOTATION)).await;
            patched.map_err(|error| failed("patch the SandboxRuntime", &error))?;
            show::say(&format!("{name}: its failed, drifted and unproven nodes try again"));
        }
        Some(node) => {
            // A misspelled name must not look like a success.
            let found = runtimes.get(name).await;
            found.map_err(|error| failed("read the SandboxRuntime", &error))?;
            let patch = asked(&format!("{RETRY_ANNOTATION_PREFIX}{name}"));
            let patched = Api::<SandboxNode>::all(client).patch(node, &params(), &patch).await;
            patched.map_err(|error| failed("patch the SandboxNode", &error))?;
            show::say(&format!("{name}: {node} tries again, if it is not proven there"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
