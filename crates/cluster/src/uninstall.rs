//! `cofferdam uninstall`: has the nodes cleaned before Cofferdam itself goes.
//!
//! It looks first, and refuses while sandboxes run: then nothing is deleted. Else it deletes the SandboxRuntimes; the
//! controller's finalizer keeps each until no node has it any more.

use crate::api::{PodRef, SandboxNode, SandboxRuntime};
use crate::client::ClientError;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_secs(1);

/// So many pods or nodes are named.
const NAMED: usize = 20;

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
    let nodes: Api<SandboxNode> = Api::all(client);
    // The server's own word, not a cache's.
    let all = ListParams::default();
    let list = runtimes.list(&all).await?.items;
    let names: Vec<String> = list.iter().map(ResourceExt::name_any).collect();
    if let Some(users) = users(&nodes.list(&all).await?.items) {
        return Err(UninstallError::InUse(users));
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

/// Who uses a runtime; none if nobody does.
fn users(nodes: &[SandboxNode]) -> Option<String> {
    let mut pods: Vec<String> = Vec::new();
    let (mut all, mut unnamed) = (0, BTreeMap::new());
    for node in nodes {
        for state in node.status.iter().flat_map(|status| &status.runtimes) {
            let named = state.pods.len().min(state.in_use as usize);
            all += state.in_use as usize;
            if state.in_use as usize > named {
                *unnamed.entry(node.name_any()).or_insert(0) += state.in_use as usize - named;
            }
            let describe = |PodRef { namespace, name }: &PodRef| {
                format!("{namespace}/{name} on {} ({})", node.name_any(), state.name)
            };
            pods.extend(state.pods.iter().map(describe));
        }
    }
    if all == 0 {
        return None;
    }
    let mut what = some_of(pods);
    for (node, count) in unnamed.iter().take(NAMED) {
        if !what.is_empty() {
            what.push_str(", ");
        }
        what.push_str(&format!("{count} more on {node}"));
    }
    Some(what)
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
