//! What RBAC cannot say: which object, which field. ValidatingAdmissionPolicies, each for one of our ServiceAccounts
//! only: nobody else's requests are looked at.

#![allow(clippy::indexing_slicing)] // of objects that json! made in the same function

use super::Who;
use crate::api::GROUP;
use crate::api::names::{
    FINALIZER, HANDLER_LABEL_PREFIX, KATA_RUNTIME_LABEL, OLD_ENGINE_LABEL, OLD_KATA_RUNTIME_LABEL,
    OWNER_LABEL, TAINT_PREFIX,
};
use serde_json::{Value, json};

/// One rule: an expression that must be true, and what is said if it is not.
#[derive(Clone, Debug)]
pub struct Rule {
    /// In CEL.
    pub expression: String,
    /// For people.
    pub message: &'static str,
}

/// One policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name and its binding's.
    pub name: &'static str,
    /// Whose requests it judges.
    pub who: Who,
    /// The API group.
    pub group: &'static str,
    /// Its versions.
    pub versions: &'static [&'static str],
    /// Resources, with subresources.
    pub resources: &'static [&'static str],
    /// Operations.
    pub operations: &'static [&'static str],
    /// Named expressions that rules use.
    pub variables: Vec<(&'static str, String)>,
    /// What must be true.
    pub rules: Vec<Rule>,
    /// What it is for.
    pub why: &'static str,
}

fn rule(message: &'static str, expression: impl Into<String>) -> Rule {
    Rule { expression: expression.into(), message }
}

/// Every policy.
pub fn policies() -> Vec<Policy> {
    vec![agent_status(), controller_nodes(), controller_runtimes(), controller_runtime_classes()]
}

fn agent_status() -> Policy {
    let claim = |name: &str, field: &str| {
        format!(
            "request.operation == 'UPDATE' && \
             request.userInfo.extra[?'authentication.kubernetes.io/{name}'].orValue([]) == [{field}]"
        )
    };
    Policy {
        name: "cofferdam-agent-status",
        who: Who::Agent,
        group: GROUP,
        versions: &["*"],
        resources: &["sandboxnodes", "sandboxnodes/*", "sandboxruntimes", "sandboxruntimes/*"],
        operations: &["CREATE", "UPDATE", "DELETE"],
        variables: vec![],
        rules: vec![
            rule(
                "an agent writes the status of a SandboxNode, nothing else",
                "request.operation == 'UPDATE' && request.resource.resource == 'sandboxnodes' && \
                 request.subResource == 'status'",
            ),
            rule(
                "an agent writes the status of its own node only: the token's node name is another, or it has none",
                claim("node-name", "object.metadata.name"),
            ),
            rule(
                "an agent writes the status of its own node only: the token's node UID is another, or it has none",
                claim("node-uid", "object.spec.nodeUID"),
            ),
            rule(
                "an agent does not change what its node should have",
                "request.operation == 'UPDATE' && object.spec == oldObject.spec",
            ),
        ],
        why: "An agent's token writes the status of the node that its pod runs on. Without the claims for node name and \
              node UID (Kubernetes 1.30 and later give them to tokens that are bound to a pod) it writes nothing.",
    }
}

/// With the variables `meta` and `oldMeta`: of metadata only `field` may differ, and what the API server keeps itself.
fn no_metadata_but(field: &str) -> String {
    let free = format!("k in ['{field}', 'managedFields', 'resourceVersion', 'generation']");
    format!(
        "request.operation == 'UPDATE' && \
         variables.meta.all(k, {free} || (k in variables.oldMeta && variables.oldMeta[k] == variables.meta[k])) && \
         variables.oldMeta.all(k, {free} || k in variables.meta)"
    )
}

fn controller_nodes() -> Policy {
    let ours = format!(
        "k.startsWith('{HANDLER_LABEL_PREFIX}') || \
         k in ['{KATA_RUNTIME_LABEL}', '{OLD_KATA_RUNTIME_LABEL}', '{OLD_ENGINE_LABEL}']"
    );
    Policy {
        name: "cofferdam-controller-nodes",
        who: Who::Controller,
        group: "",
        versions: &["*"],
        resources: &["nodes", "nodes/*"],
        operations: &["CREATE", "UPDATE", "DELETE", "CONNECT"],
        variables: vec![
            // Through dyn(): a field that a later Kubernetes adds is compared, too.
            ("meta", "dyn(object.metadata)".into()),
            ("oldMeta", "dyn(oldObject.metadata)".into()),
            ("spec", "has(object.spec) ? dyn(object.spec) : dyn({})".into()),
            ("oldSpec", "has(oldObject.spec) ? dyn(oldObject.spec) : dyn({})".into()),
            ("labels", "has(object.metadata.labels) ? dyn(object.metadata.labels) : dyn({})".into()),
            ("oldLabels", "has(oldObject.metadata.labels) ? dyn(oldObject.metadata.labels) : dyn({})".into()),
            (
                "othersTaints",
                format!(
                    "has(object.spec.taints) ? dyn(object.spec.taints.filter(t, !t.key.startsWith('{TAINT_PREFIX}'))) : dyn([])"
                ),
            ),
            (
                "oldOthersTaints",
                format!(
                    "has(oldObject.spec.taints) ? dyn(oldObject.spec.taints.filter(t, !t.key.startsWith('{TAINT_PREFIX}'))) : dyn([])"
                ),
            ),
        ],
        rules: vec![
            rule(
                "the controller patches nodes, nothing else",
                "request.operation == 'UPDATE' && (!has(request.subResource) || request.subResource == '')",
            ),
            rule(
                "the controller changes its own labels of nodes only",
                format!(
                    "request.operation == 'UPDATE' && \
                     variables.labels.all(k, {ours} || (k in variables.oldLabels && variables.oldLabels[k] == variables.labels[k])) && \
                     variables.oldLabels.all(k, {ours} || k in variables.labels)"
                ),
            ),
            rule(
                "the controller changes its own taints of nodes only",
                "request.operation == 'UPDATE' && variables.othersTaints == variables.oldOthersTaints",
            ),
            rule(
                "the controller's taints keep new pods away (NoSchedule), they end none",
                format!(
                    "request.operation == 'UPDATE' && (!has(object.spec.taints) || \
                     object.spec.taints.all(t, !t.key.startsWith('{TAINT_PREFIX}') || t.effect == 'NoSchedule'))"
                ),
            ),
            rule(
                "the controller changes labels and taints of nodes, no other field of spec",
                "request.operation == 'UPDATE' && \
                 variables.spec.all(k, k == 'taints' || (k in variables.oldSpec && variables.oldSpec[k] == variables.spec[k])) && \
                 variables.oldSpec.all(k, k == 'taints' || k in variables.spec)",
            ),
            rule(
                "the controller changes labels and taints of nodes, no other metadata",
                no_metadata_but("labels"),
            ),
        ],
        why: "The controller's token changes our labels and our taints (NoSchedule) of a node. Every other label, taint \
              and field is refused.",
    }
}

fn controller_runtimes() -> Policy {
    let others = |object: &str| {
        format!(
            "has({object}.metadata.finalizers) ? \
             dyn({object}.metadata.finalizers.filter(f, f != '{FINALIZER}')) : dyn([])"
        )
    };
    Policy {
        name: "cofferdam-controller-sandboxruntimes",
        who: Who::Controller,
        group: GROUP,
        versions: &["*"],
        resources: &["sandboxruntimes"],
        operations: &["UPDATE"],
        variables: vec![
            ("meta", "dyn(object.metadata)".into()),
            ("oldMeta", "dyn(oldObject.metadata)".into()),
            ("othersFinalizers", others("object")),
            ("oldOthersFinalizers", others("oldObject")),
        ],
        rules: vec![
            rule("the controller does not change what people wrote", "object.spec == oldObject.spec"),
            rule(
                "the controller changes its own finalizer of SandboxRuntimes only",
                "variables.othersFinalizers == variables.oldOthersFinalizers",
            ),
            rule(
                "the controller changes finalizers of SandboxRuntimes, no other metadata",
                no_metadata_but("finalizers"),
            ),
        ],
        why: "The controller's token changes its own finalizer of a SandboxRuntime, and the status. Every other finalizer, \
              the other metadata and the spec are refused.",
    }
}

fn controller_runtime_classes() -> Policy {
    let ours = |object: &str| format!("'{OWNER_LABEL}' in {object}.metadata.?labels.orValue({{}})");
    Policy {
        name: "cofferdam-controller-runtimeclasses",
        who: Who::Controller,
        group: "node.k8s.io",
        versions: &["*"],
        resources: &["runtimeclasses"],
        operations: &["CREATE", "UPDATE", "DELETE"],
        variables: vec![],
        rules: vec![
            rule(
                "this RuntimeClass is not the controller's",
                format!("request.operation == 'CREATE' || {}", ours("oldObject")),
            ),
            rule(
                "the controller's RuntimeClasses say whose they are",
                format!("request.operation == 'DELETE' || {}", ours("object")),
            ),
        ],
        why: "The controller's token changes and deletes RuntimeClasses that it made itself.",
    }
}

impl Policy {
    /// The policy and its binding. `namespace` is where Cofferdam runs.
    pub fn objects(&self, namespace: &str) -> [Value; 2] {
        let mut spec = json!({
            "failurePolicy": "Fail",
            "matchConditions": [{
                "name": "who",
                "expression": format!("request.userInfo.username == '{}'", self.who.user(namespace)),
            }],
            "matchConstraints": {
                "resourceRules": [{
                    "apiGroups": [self.group],
                    "apiVersions": self.versions,
                    "operations": self.operations,
                    "resources": self.resources,
                }],
            },
            "validations": self.rules.iter().map(|rule| json!({
                "expression": rule.expression,
                "message": rule.message,
                "reason": "Forbidden",
            })).collect::<Vec<_>>(),
        });
        if !self.variables.is_empty() {
            spec["variables"] = self
                .variables
                .iter()
                .map(|(name, expression)| json!({"name": name, "expression": expression}))
                .collect();
        }
        [
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": self.name},
                "spec": spec,
            }),
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": self.name},
                "spec": {"policyName": self.name, "validationActions": ["Deny"]},
            }),
        ]
    }
}

/// The table as Markdown.
pub fn document() -> String {
    let mut text = String::from("| policy | whose requests | what it says |\n|---|---|---|\n");
    for policy in policies() {
        text.push_str(&format!("| `{}` | `{}` | {} |\n", policy.name, policy.who.account(), policy.why));
    }
    text
}
