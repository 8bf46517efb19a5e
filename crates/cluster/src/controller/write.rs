//! Every write to the API.

#![allow(clippy::indexing_slicing)] // of objects that json! made in the same function

use crate::api::{Assigned, SandboxNode, SandboxNodeSpec, SandboxRuntime, SandboxRuntimeStatus, names};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// The controller's writes, each conditional on what was looked at.
#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
}

impl Writer {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    fn params() -> PatchParams {
        PatchParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PatchParams::default() }
    }

    /// Writes a SandboxRuntime's status.
    pub(super) async fn status(
        &self,
        runtime: &SandboxRuntime,
        status: &SandboxRuntimeStatus,
    ) -> kube::Result<SandboxRuntime> {
        let api: Api<SandboxRuntime> = Api::all(self.client.clone());
        let mut value = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
        if let Some(fields) = value.as_object_mut() {
            // What is empty is left out of JSON, and a merge patch would keep it.
            for field in ["lastGood", "record", "phase", "message", "failures", "handlers", "runtime"] {
                fields.entry(field).or_insert(Value::Null);
            }
        }
        // So is what is left out at any depth.
        if let Some(before) = &runtime.status {
            let before = serde_json::to_value(before).map_err(kube::Error::SerdeError)?;
            name_what_went(&before, &mut value);
        }
        let patch = json!({
            "metadata": { "resourceVersion": runtime.resource_version() },
            "status": value,
        });
        api.patch_status(&runtime.name_any(), &Self::params(), &Patch::Merge(patch)).await
    }

    /// Sets the finalizers of a SandboxRuntime.
    pub(super) async fn finalizers(
        &self,
        runtime: &SandboxRuntime,
        finalizers: &[String],
    ) -> kube::Result<SandboxRuntime> {
        let api: Api<SandboxRuntime> = Api::all(self.client.clone());
        let patch = json!({
            "metadata": { "resourceVersion": runtime.resource_version(), "finalizers": finalizers },
        });
        api.patch(&runtime.name_any(), &Self::params(), &Patch::Merge(patch)).await
    }

    /// Makes the SandboxNode of a node. It goes when its Node goes: the garbage collector sees to it.
    pub(super) async fn create_sandbox_node(&self, node: &Node) -> kube::Result<SandboxNode> {
        let api: Api<SandboxNode> = Api::all(self.client.clone());
        let uid = node.uid().unwrap_or_default();
        let mut object = SandboxNode::new(
            &node.name_any(),
            SandboxNodeSpec { node_uid: uid.clone(), runtimes: Vec::new() },
        );
        object.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.name_any(),
            uid,
            block_owner_deletion: None,
            controller: None,
        }]);
        let params =
            PostParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PostParams::default() };
        api.create(&params, &object).await
    }

    /// Replaces what a SandboxNode is told.
    pub(super) async fn assign(&self, own: &SandboxNode, runtimes: &[Assigned]) -> kube::Result<SandboxNode> {
        let api: Api<SandboxNode> = Api::all(self.client.clone());
        let patch = json!({
            "metadata": { "resourceVersion": own.resource_version() },
            "spec": { "runtimes": runtimes },
        });
        api.patch(&own.name_any(), &Self::params(), &Patch::Merge(patch)).await
    }

    /// Patches a node's labels and taints.
    pub(super) async fn mark(&self, node: &str, patch: &Value) -> kube::Result<Node> {
        let api: Api<Node> = Api::all(self.client.clone());
        api.patch(node, &Self::params(), &Patch::Merge(patch)).await
    }

    /// Makes a RuntimeClass.
    pub(super) async fn create_class(&self, class: &RuntimeClass) -> kube::Result<()> {
        let api: Api<RuntimeClass> = Api::all(self.client.clone());
        let params =
            PostParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PostParams::default() };
        api.create(&params, class).await.map(|_| ())
    }

    /// Brings a RuntimeClass of ours to `wanted`. Its handler cannot change.
    pub(super) async fn change_class(
        &self,
        present: &RuntimeClass,
        wanted: &RuntimeClass,
    ) -> kube::Result<()> {
        let api: Api<RuntimeClass> = Api::all(self.client.clone());
        let parts =
            |class: &RuntimeClass| json!({ "overhead": class.overhead, "scheduling": class.scheduling });
        let mut patch = parts(wanted);
        name_what_went(&parts(present), &mut patch);
        patch["metadata"] =
            json!({ "resourceVersion": present.resource_version(), "labels": wanted.metadata.labels });
        api.patch(&present.name_any(), &Self::params(), &Patch::Merge(patch)).await.map(|_| ())
    }

    /// Deletes a RuntimeClass of ours, as it was looked at.
    pub(super) async fn delete_class(&self, class: &RuntimeClass) -> kube::Result<()> {
        let api: Api<RuntimeClass> = Api::all(self.client.clone());
        let preconditions = Preconditions { uid: class.uid(), resource_version: class.resource_version() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&class.name_any(), &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// Adds to `after` a null for each key of `before` that it has not, at every depth: what a merge patch deletes.
fn name_what_went(before: &Value, after: &mut Value) {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) else { return };
    for (key, old) in before {
        match after.get_mut(key) {
            Some(new) => name_what_went(old, new),
            None => {
                after.insert(key.clone(), Value::Null);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::name_what_went;
    use serde_json::json;

    #[test]
    fn what_went_is_named_with_null() {
        let before = json!({ "open": { "a": 1, "b": { "x": 1, "y": 2 } }, "gone": [1] });
        let mut after = json!({ "open": { "b": { "x": 3 } } });
        name_what_went(&before, &mut after);
        assert_eq!(after, json!({ "open": { "a": null, "b": { "x": 3, "y": null } }, "gone": null }));
    }
}
