//! What is only looked at.

use super::{connect, failed};
use crate::cli::{ExplainArgs, KubectlDoctorArgs, ListArgs, NodesArgs, RuntimeArgs};
use crate::show;
use cofferdam_cluster::api::{SandboxNode, SandboxRuntime};
use cofferdam_cluster::{now, view};
use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::process::ExitCode;

async fn all<K>(client: &Client, what: &str) -> Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    K: Resource<Scope = kube::core::ClusterResourceScope>,
{
    let list = Api::<K>::all(client.clone()).list(&ListParams::default()).await;
    list.map(|list| list.items).map_err(|error| failed(&format!("list {what}"), &error))
}

fn print(text: &str, json: bool, objects: &impl Serialize) -> Result<ExitCode> {
    if json {
        return show::json(objects);
    }
    text.lines().for_each(show::line);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn status(args: &ListArgs) -> Result<ExitCode> {
    let runtimes: Vec<SandboxRuntime> = all(&connect(&args.connect).await?, "SandboxRuntimes").await?;
    print(&view::runtimes(&runtimes), args.json, &runtimes)
}

pub(super) async fn nodes(args: &NodesArgs) -> Result<ExitCode> {
    let client = connect(&args.list.connect).await?;
    let mut nodes: Vec<SandboxNode> = all(&client, "SandboxNodes").await?;
    // They say for how long an agent may be silent.
    let runtimes: Vec<SandboxRuntime> = all(&client, "SandboxRuntimes").await?;
    if let Some(name) = &args.runtime {
        nodes.retain(|node| view::concerns(node, name));
        // A misspelled name must not look like a runtime that is nowhere.
        if nodes.is_empty() && !runtimes.iter().any(|runtime| runtime.name_any() == *name) {
            return Err(unknown_runtime(name));
        }
    }
    print(&view::nodes(&nodes, args.runtime.as_deref(), &runtimes, &now()), args.list.json, &nodes)
}

pub(super) async fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let client = connect(&args.connect).await?;
    let own = Api::<SandboxNode>::all(client.clone()).get_opt(&args.node).await;
    let own = own.map_err(|error| failed("read the SandboxNode", &error))?;
    let runtimes: Vec<SandboxRuntime> = all(&client, "SandboxRuntimes").await?;
    let node = match Api::<Node>::all(client).get_opt(&args.node).await {
        Ok(None) if own.is_none() => {
            let error = HostError::new(Class::Invalid, format!("there is no node {}", args.node));
            return Err(error.with_hint("kubectl get nodes lists what there is"));
        }
        Ok(node) => node,
        Err(error) => {
            // What is known without it is still worth telling.
            show::note(&format!("note: {}", failed("read the Node", &error)));
            None
        }
    };
    let text = view::explain(&args.node, node.as_ref(), own.as_ref(), &runtimes, &now());
    print(&text, false, &())
}

pub(super) async fn doctor(args: &KubectlDoctorArgs) -> Result<ExitCode> {
    let client = connect(&args.list.connect).await?;
    let nodes: Vec<SandboxNode> = match &args.node {
        None => all(&client, "SandboxNodes").await?,
        Some(name) => {
            let node = Api::<SandboxNode>::all(client).get(name).await;
            vec![node.map_err(|error| failed("read the SandboxNode", &error))?]
        }
    };
    print(&view::checks(&nodes, &now()), args.list.json, &nodes)
}

pub(super) async fn plan(args: &RuntimeArgs) -> Result<ExitCode> {
    let client = connect(&args.list.connect).await?;
    // Others may have a handler that it wants.
    let runtimes: Vec<SandboxRuntime> = all(&client, "SandboxRuntimes").await?;
    let runtime = runtimes.iter().find(|runtime| runtime.name_any() == args.runtime);
    let runtime = runtime.ok_or_else(|| unknown_runtime(&args.runtime))?;
    let nodes: Vec<Node> = all(&client, "nodes").await?;
    let own: Vec<SandboxNode> = all(&client, "SandboxNodes").await?;
    let classes: Vec<RuntimeClass> = all(&client, "RuntimeClasses").await?;
    let preview = view::preview(runtime, &runtimes, &nodes, &own, &classes, &now());
    print(&preview.to_string(), args.list.json, &preview)
}

fn unknown_runtime(name: &str) -> HostError {
    HostError::new(Class::Invalid, format!("there is no SandboxRuntime {name}"))
        .with_hint("kubectl cofferdam status lists what there is")
}
