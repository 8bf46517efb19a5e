//! What clients, kubelets and proxies read at their start. JSON is YAML as well.

use serde_json::{Value, json};
use std::path::Path;

/// A taint: key, value, effect.
pub(super) type Taint = (String, String, String);

/// A kubeconfig with a client certificate and its key.
pub(super) fn kubeconfig(url: &str, authority: &Path, certificate: &Path, key: &Path) -> String {
    with_user(url, authority, &json!({"client-certificate": certificate, "client-key": key}))
}

/// A kubeconfig for those who bring a token: it says nothing about who they are.
pub(super) fn nobody(url: &str, authority: &Path) -> String {
    with_user(url, authority, &json!({}))
}

fn with_user(url: &str, authority: &Path, user: &Value) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": authority}}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    });
    pretty(&config)
}

/// The kubelet's configuration: it gets along with version 1 control groups and a container's limits.
pub(super) fn kubelet(pki: &str, taints: &[Taint]) -> String {
    let taints: Vec<Value> = taints
        .iter()
        .map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect}))
        .collect();
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{pki}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": format!("{pki}/kubelet-serving.crt"),
        "tlsPrivateKeyFile": format!("{pki}/kubelet-serving.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        // There is no DNS: names fail at once in pods, and the kubelet does not warn of each.
        "resolvConf": "",
        "clusterDNS": ["127.0.0.1"],
        "clusterDomain": "cluster.local",
        // The machine's disk may be full enough for the kubelet to throw images and pods out.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
        // A dead node is noticed within a test's patience.
        "nodeLeaseDurationSeconds": 20,
        "nodeStatusUpdateFrequency": "5s",
        "registerWithTaints": taints,
    });
    pretty(&config)
}

/// The proxy's configuration: it leaves alone what a container may not set.
pub(super) fn proxy(node: &str, kubeconfig: &str) -> String {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": kubeconfig},
        "detectLocalMode": "ClusterCIDR",
        "clusterCIDR": "10.244.0.0/16",
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        // Changes are carried out at once, at most every 100 ms.
        "iptables": {"minSyncPeriod": "100ms"},
    });
    pretty(&config)
}

/// containerd's network for pods.
pub(super) fn pod_network(subnet: &str) -> String {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "testbed",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "loopback"},
        ],
    });
    pretty(&config)
}

fn pretty(config: &Value) -> String {
    format!("{config:#}\n")
}
