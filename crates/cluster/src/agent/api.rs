//! The agent's two calls: watching SandboxNodes of its own name, and patching the status of its own.

use crate::api::{SandboxNode, SandboxNodeStatus, names};
use crate::serve::Ready;
use crate::watch::events;
use futures::{Stream, StreamExt};
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use std::sync::Arc;

/// What is left out of a status' JSON when it is empty.
const OMITTED: [&str; 12] = [
    "heartbeat",
    "agentVersion",
    "kernel",
    "os",
    "engine",
    "summary",
    "message",
    "runtimes",
    "unmanaged",
    "checks",
    "requirements",
    "conditions",
];

/// What the watch says.
#[derive(Clone, Debug, Default)]
pub(super) enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// There is no SandboxNode for this node.
    Absent,
    /// It is this. An object that does not parse is no news: the last one that did stays.
    Object(Arc<SandboxNode>),
}

/// The own SandboxNode as it changes. Broken watches, 410s and outages are waited out; `ready` learns of them.
pub(super) fn watch(client: &Client, name: &str, ready: Ready) -> impl Stream<Item = Seen> + Send + use<> {
    let api: Api<DeserializeGuard<SandboxNode>> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut listed = false;
    events(api, config, ready).filter_map(|event| async { event.ok() }).filter_map(move |event| {
        let seen = match event {
            watcher::Event::Init => {
                listed = false;
                None
            }
            watcher::Event::InitApply(object) => {
                listed = true;
                parsed(object)
            }
            watcher::Event::Apply(object) => parsed(object),
            watcher::Event::InitDone => (!listed).then_some(Seen::Absent),
            watcher::Event::Delete(_) => Some(Seen::Absent),
        };
        std::future::ready(seen)
    })
}

fn parsed(object: DeserializeGuard<SandboxNode>) -> Option<Seen> {
    match object.0 {
        Ok(mut node) => {
            node.managed_fields_mut().clear();
            Some(Seen::Object(Arc::new(node)))
        }
        Err(error) => {
            tracing::error!(%error, "the SandboxNode does not parse: it is left as it was");
            None
        }
    }
}

/// Patches the status.
pub(super) async fn patch(client: &Client, name: &str, status: &SandboxNodeStatus) -> kube::Result<()> {
    let api: Api<SandboxNode> = Api::all(client.clone());
    let params = PatchParams { field_manager: Some(names::AGENT.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "status": complete(status) }));
    api.patch_status(name, &params, &patch).await.map(|_| ())
}

/// A merge patch takes away what it names with null, and only that: fields that are left out of JSON when they are empty
/// have to be named.
fn complete(status: &SandboxNodeStatus) -> serde_json::Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        for field in OMITTED {
            fields.entry(field).or_insert(serde_json::Value::Null);
        }
        if let Some(engine) = fields.get_mut("engine").and_then(serde_json::Value::as_object_mut) {
            engine.entry("message").or_insert(serde_json::Value::Null);
        }
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::complete;
    use crate::agent::state::tests::known;
    use crate::api::{CheckState, EngineState, SandboxNodeStatus, State};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    /// With all fields, and none by default: a new one has to be set here.
    fn full() -> SandboxNodeStatus {
        let text = || "text".to_owned();
        let check = CheckState { name: text(), result: text(), message: text() };
        let condition = Condition {
            type_: text(),
            status: text(),
            reason: text(),
            message: text(),
            last_transition_time: crate::now(),
            observed_generation: None,
        };
        SandboxNodeStatus {
            observed_generation: 1,
            heartbeat: Some(crate::now()),
            agent_version: text(),
            kernel: text(),
            os: text(),
            engine: Some(EngineState { name: text(), version: text(), message: text() }),
            summary: text(),
            in_use: 1,
            message: text(),
            runtimes: known("gv", 1, State::Failed).states(),
            unmanaged: vec![text()],
            checks: vec![check.clone()],
            requirements: vec![check],
            conditions: vec![condition],
        }
    }

    #[test]
    fn nothing_that_a_patch_sets_outlives_the_next_one() {
        let (first, second) = (complete(&full()), complete(&SandboxNodeStatus::default()));
        let (first, second) = (first.as_object().unwrap(), second.as_object().unwrap());
        let left: Vec<&String> = first.keys().filter(|field| !second.contains_key(field.as_str())).collect();
        assert!(left.is_empty(), "an old value stays: {left:?}");
    }
}
