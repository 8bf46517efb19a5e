//! A booted node becomes a member of the cluster.

use super::super::error::{Error, Result};
use super::super::node::Node;
use super::config::{self, Taint};
use super::plane::Plane;
use std::path::Path;

const PKI: &str = "/etc/kubernetes/pki";
const CNI: &str = "/etc/cni/net.d/10-testbed.conflist";

/// Installs kubelet and proxy, and starts them.
pub(super) fn join(plane: &Plane, node: &Node, labels: &[(String, String)], taints: &[Taint]) -> Result<()> {
    let name = &node.spec().name;
    let address = node.address();
    let authority = plane.authority();
    node.put(CNI, config::pod_network(&node.pod_network()), 0o644)?;
    node.put(&format!("{PKI}/ca.crt"), authority.pem(), 0o644)?;
    let user = format!("system:node:{name}");
    let identities = [
        ("kubelet", authority.client(&user, Some("system:nodes"))?),
        ("kubelet-serving", authority.server(&user, &[&address, name])?),
        ("kube-proxy", authority.client("system:kube-proxy", None)?),
    ];
    for (file, identity) in identities {
        node.put(&format!("{PKI}/{file}.crt"), identity.certificate, 0o644)?;
        node.put(&format!("{PKI}/{file}.key"), identity.key, 0o600)?;
    }
    for program in ["kubelet", "kube-proxy"] {
        let pki = |file: &str| Path::new(PKI).join(file);
        let (certificate, key) = (pki(&format!("{program}.crt")), pki(&format!("{program}.key")));
        let text = config::kubeconfig(&plane.url(), &pki("ca.crt"), &certificate, &key);
        node.put(&format!("/etc/kubernetes/{program}.conf"), text, 0o600)?;
        let path = plane.program(program);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        node.put(&format!("/usr/local/bin/{program}"), bytes, 0o755)?;
    }
    node.put("/etc/kubernetes/kubelet.yaml", config::kubelet(PKI, taints), 0o644)?;
    let proxy = config::proxy(name, "/etc/kubernetes/kube-proxy.conf");
    node.put("/etc/kubernetes/kube-proxy.yaml", proxy, 0o644)?;
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let args = format!(
        "KUBELET_ARGS=--hostname-override={name} --node-ip={address} --node-labels={}\n",
        labels.join(",")
    );
    node.put("/etc/default/kubelet", args, 0o644)?;
    let units = "/etc/systemd/system";
    node.put(
        &format!("{units}/kubelet.service"),
        include_str!("../../../assets/cluster/kubelet.service"),
        0o644,
    )?;
    node.put(
        &format!("{units}/kube-proxy.service"),
        include_str!("../../../assets/cluster/kube-proxy.service"),
        0o644,
    )?;
    node.ok(&["systemctl", "daemon-reload"])?;
    node.ok(&["systemctl", "enable", "--now", "kubelet.service", "kube-proxy.service"])?;
    Ok(())
}
