//! What runs in a cluster, without Helm: the objects of the plain manifests. The chart's templates, rendered with the
//! chart's defaults, give the same objects (a test compares them).

#![allow(clippy::indexing_slicing)] // of objects that json! made in the same function

use crate::access::manifest::{PART_OF, labels};
use crate::access::{LEASE, Who, host};
use serde_json::{Value, json};

/// Where releases are.
pub const IMAGE: &str = concat!("ghcr.io/cofferdam/cofferdam:", env!("CARGO_PKG_VERSION"));

/// The agent's port for metrics and health.
pub const AGENT_PORT: u16 = 9464;

/// The controller's port for metrics and health.
pub const CONTROLLER_PORT: u16 = 9465;

/// How often an agent says that it lives, in seconds.
pub const HEARTBEAT: u32 = 300;

/// Where pull secrets are mounted.
pub const PULL_SECRETS: &str = "/etc/cofferdam/pull-secrets";

/// containerd's unit, unless a value says otherwise.
pub const ENGINE_UNIT: &str = "containerd.service";

fn selector(component: &str) -> Value {
    json!({"app.kubernetes.io/name": PART_OF, "app.kubernetes.io/component": component})
}

fn metadata(name: &str, namespace: &str, component: Option<&str>) -> Value {
    json!({"name": name, "namespace": namespace, "labels": labels(component)})
}

/// The namespace, with the Pod Security level that the agent's hostPath volumes need.
pub fn namespace(name: &str) -> Value {
    let mut labels = labels(None);
    for mode in ["enforce", "audit", "warn"] {
        labels[format!("pod-security.kubernetes.io/{mode}")] = "privileged".into();
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A ServiceAccount. Its token is mounted where a pod asks for it only.
pub fn account(who: Who, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(who.account(), namespace, None),
        "automountServiceAccountToken": false,
    })
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

fn probe(path: &str) -> Value {
    json!({"httpGet": {"path": path, "port": "metrics"}, "periodSeconds": 20, "timeoutSeconds": 5})
}

/// The controller.
pub fn controller(namespace: &str, image: &str) -> Value {
    let selector = selector("controller");
    let apart = json!({"labelSelector": {"matchLabels": selector}, "topologyKey": "kubernetes.io/hostname"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(Who::Controller.account(), namespace, Some("controller")),
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": labels(Some("controller"))},
                "spec": {
                    "serviceAccountName": Who::Controller.account(),
                    "automountServiceAccountToken": true,
                    "priorityClassName": "system-cluster-critical",
                    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 100, "podAffinityTerm": apart},
                    ]}},
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [{
                        "name": "controller",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": [
                            "controller",
                            "--namespace=$(POD_NAMESPACE)",
                            format!("--lease={LEASE}"),
                            "--identity=$(POD_NAME)",
                            format!("--heartbeat-seconds={HEARTBEAT}"),
                            format!("--metrics-address=0.0.0.0:{CONTROLLER_PORT}"),
                        ],
                        "env": [field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace")],
                        "ports": [{"name": "metrics", "containerPort": CONTROLLER_PORT}],
                        // `kubectl describe pod` shows why it ended, too.
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "livenessProbe": probe("/healthz"),
                        "readinessProbe": probe("/readyz"),
                        "resources": {
                            "requests": {"cpu": "10m", "memory": "64Mi"},
                            "limits": {"memory": "512Mi"},
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "capabilities": {"drop": ["ALL"]},
                            "readOnlyRootFilesystem": true,
                        },
                    }],
                },
            },
        },
    })
}

/// Keeps one controller through drains.
pub fn budget(namespace: &str) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(Who::Controller.account(), namespace, Some("controller")),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector("controller")}},
    })
}

/// The agent.
pub fn agent(namespace: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(Who::Agent.account(), namespace, Some("agent")),
        "spec": {
            "selector": {"matchLabels": selector("agent")},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "template": {
                "metadata": {"labels": labels(Some("agent"))},
                "spec": {
                    "serviceAccountName": Who::Agent.account(),
                    "automountServiceAccountToken": true,
                    "priorityClassName": "system-node-critical",
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    // Nodes that are new, tainted or cordoned are the agent's business, too.
                    "tolerations": [{"operator": "Exists"}],
                    "terminationGracePeriodSeconds": 10,
                    "containers": [{
                        "name": "agent",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": [
                            "agent",
                            "--node=$(NODE_NAME)",
                            format!("--unit={ENGINE_UNIT}"),
                            format!("--pull-secrets={PULL_SECRETS}"),
                            format!("--heartbeat-seconds={HEARTBEAT}"),
                            format!("--metrics-address=0.0.0.0:{AGENT_PORT}"),
                        ],
                        "env": [field("NODE_NAME", "spec.nodeName"), field("POD_NAMESPACE", "metadata.namespace")],
                        "ports": [{"name": "metrics", "containerPort": AGENT_PORT}],
                        // `kubectl describe pod` shows why it ended, too.
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "livenessProbe": probe("/healthz"),
                        "readinessProbe": probe("/readyz"),
                        "resources": {
                            // The program's copy in /run/cofferdam counts as the agent's memory.
                            "requests": {"cpu": "5m", "memory": "48Mi"},
                            "limits": {"memory": "256Mi"},
                        },
                        "securityContext": host::security_context(),
                        "volumeMounts": host::mounts(),
                    }],
                    "volumes": host::volumes(),
                },
            },
        },
    })
}

/// Who may talk to our pods, and to whom they talk: metrics in, the API server out.
pub fn network_policies(namespace: &str) -> Vec<Value> {
    [("controller", Who::Controller, CONTROLLER_PORT), ("agent", Who::Agent, AGENT_PORT)]
        .into_iter()
        .map(|(component, who, port)| {
            json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": metadata(who.account(), namespace, Some(component)),
                "spec": {
                    "podSelector": {"matchLabels": selector(component)},
                    "policyTypes": ["Ingress", "Egress"],
                    "ingress": [{"ports": [{"protocol": "TCP", "port": port}]}],
                    // The API server is no pod: only its ports can be named.
                    "egress": [{"ports": [
                        {"protocol": "TCP", "port": 443},
                        {"protocol": "TCP", "port": 6443},
                        {"protocol": "UDP", "port": 53},
                        {"protocol": "TCP", "port": 53},
                    ]}],
                },
            })
        })
        .collect()
}

/// Controller and agent with all that belongs to them, but CRDs and rights.
pub fn all(namespace: &str, image: &str) -> Vec<Value> {
    let mut objects = vec![
        account(Who::Controller, namespace),
        account(Who::Agent, namespace),
        controller(namespace, image),
        budget(namespace),
        agent(namespace, image),
    ];
    objects.extend(network_policies(namespace));
    objects
}
