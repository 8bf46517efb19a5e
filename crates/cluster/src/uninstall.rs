//! `cofferdam uninstall`: has the nodes cleaned before Cofferdam itself goes.
//!
//! It looks first, and refuses while sandboxes run: then nothing is deleted. Else it deletes the SandboxRuntimes; the
//! controller's finalizer keeps each until no node has it any more.
//!
//! Who uses a runtime is asked of the API server: what agents report may be as old as a heartbeat. A sandbox that the API
//! server does not know, or that starts meanwhile, is seen by the worker before it removes anything.

use crate::api::{SandboxNode, SandboxRuntime};
use crate::client::ClientError;
use crate::runtime_class;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_secs(1);

/// So many pods or nodes are named.
const NAMED: usize = 20;

/// How many pods a page of a list has.
const PAGE: u32 = 500;

/// Pods that have ended use nothing.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Why the nodes are not clean.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// Sandboxes run. Nothing was deleted.
    #[error("sandboxes run, nothing was deleted: {0}")]
    InUse(String),
    /// It took too long.
    #[error("not clean after {}: {what}", words(*.limit))]
    TimeOut {
        /// How long it was waited.
        limit: Duration,
        /// What is left.
        what: String,
    },
    /// The API server refused, or is silent.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// No client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No event loop.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Does it from within a pod, and returns the names of the SandboxRuntimes that are gone.
///
/// # Errors
/// If sandboxes run, or the nodes are not clean in time.
pub fn run(limit: Duration, say: impl FnMut(&str)) -> Result<Vec<String>, UninstallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { clean(crate::client::in_cluster()?, limit, say).await })
}

/// Has every node cleaned.
///
/// # Errors
/// If sandboxes run, or the nodes are not clean in time.
pub async fn clean(
    client: Client,
    limit: Duration,
    mut say: impl FnMut(&str),
) -> Result<Vec<String>, UninstallError> {
    let end = Instant::now() + limit;
    let runtimes: Api<SandboxRuntime> = Api::all(client.clone());
    let nodes: Api<SandboxNode> = Api::all(client.clone());
    // The server's own word, not a cache's.
    let all = ListParams::default();
    let list = runtimes.list(&all).await?.items;
    let names: Vec<String> = list.iter().map(ResourceExt::name_any).collect();
    let handlers = handlers(&list, &nodes.list(&all).await?.items);
    let users = users(&client, &handlers).await?;
    if !users.is_empty() {
        return Err(UninstallError::InUse(some_of(users)));
    }
    for runtime in &list {
        let preconditions = Preconditions { uid: runtime.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match runtimes.delete(&runtime.name_any(), &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other?),
        }
        say(&format!("SandboxRuntime {}: waiting until no node has it", runtime.name_any()));
    }
    let mut before = String::new();
    loop {
        // An outage is waited out: the controller goes on as soon as it can.
        let (what, clean) = match (runtimes.list(&all).await, nodes.list(&all).await) {
            (Ok(runtimes), Ok(_)) if runtimes.items.is_empty() => (String::new(), true),
            (Ok(runtimes), Ok(nodes)) => (left(&runtimes.items, &nodes.items), false),
            (Err(error), _) | (_, Err(error)) => (format!("the API server: {error}"), false),
        };
        if clean {
            return Ok(names);
        }
        if what != before {
            say(&what);
            before.clone_from(&what);
        }
        if Instant::now() >= end {
            return Err(UninstallError::TimeOut { limit, what });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The handlers that these SandboxRuntimes have on nodes, or will have.
fn handlers(runtimes: &[SandboxRuntime], nodes: &[SandboxNode]) -> BTreeSet<String> {
    let states = nodes.iter().filter_map(|node| node.status.as_ref()).flat_map(|status| &status.runtimes);
    let reported = states.flat_map(|state| &state.handlers).map(|handler| handler.name.clone());
    let known = runtimes.iter().flat_map(|runtime| runtime_class::handlers(&runtime.spec, &[]));
    reported.chain(known.map(|handler| handler.name)).collect()
}

/// The pods on nodes whose RuntimeClass names one of these handlers.
async fn users(client: &Client, handlers: &BTreeSet<String>) -> kube::Result<Vec<String>> {
    let classes: Api<RuntimeClass> = Api::all(client.clone());
    let classes = classes.list(&ListParams::default()).await?.items;
    let ours: BTreeSet<String> =
        classes.iter().filter(|class| handlers.contains(&class.handler)).map(ResourceExt::name_any).collect();
    let pods: Api<Pod> = Api::all(client.clone());
    let mut page = ListParams::default().fields(NOT_ENDED).limit(PAGE);
    let mut users = Vec::new();
    loop {
        let list = pods.list(&page).await?;
        users.extend(list.items.iter().filter_map(|pod| user(pod, &ours)));
        page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
        if page.continue_token.is_none() {
            return Ok(users);
        }
    }
}

/// The pod, if it is on a node and has one of these RuntimeClasses.
fn user(pod: &Pod, classes: &BTreeSet<String>) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let (class, node) = (spec.runtime_class_name.as_ref()?, spec.node_name.as_ref()?);
    let namespace = pod.namespace().unwrap_or_default();
    classes.contains(class).then(|| format!("{namespace}/{} on {node} ({class})", pod.name_any()))
}

/// What is not gone yet, and where.
fn left(runtimes: &[SandboxRuntime], nodes: &[SandboxNode]) -> String {
    let names: Vec<String> = runtimes.iter().map(ResourceExt::name_any).collect();
    let mut on: Vec<String> = Vec::new();
    for node in nodes {
        for state in node.status.iter().flat_map(|status| &status.runtimes) {
            if state.installed.is_some() || state.in_use > 0 || !state.message.is_empty() {
                let reason = if state.message.is_empty() { "still there" } else { state.message.as_str() };
                on.push(format!("{} on {}: {reason}", state.name, node.name_any()));
            }
        }
    }
    let nodes = if on.is_empty() { "no agent says that it has one".to_owned() } else { some_of(on) };
    format!("SandboxRuntimes {} are left; {nodes}", names.join(", "))
}

fn some_of(all: Vec<String>) -> String {
    let count = all.len();
    let mut text = all.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    if count > NAMED {
        text.push_str(&format!(" and {} more", count - NAMED));
    }
    text
}

fn words(limit: Duration) -> String {
    match limit.as_secs() {
        seconds if seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}
