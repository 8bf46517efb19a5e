//! What objects tell of a node, told alike to the controller and to people: whether a SandboxRuntime is for it, when its
//! agent was heard, and for how long that may be ago.

use crate::api::{SandboxNode, SandboxRuntime, names};
use crate::workload;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::time::Duration;

/// How often agents say that they live, unless the chart says otherwise.
pub(crate) const USUAL_HEARTBEAT: Duration = Duration::from_secs(workload::HEARTBEAT as u64);

/// Whether agents could run on the node. What is not labelled is believed to be Linux.
fn is_linux(node: &Node) -> bool {
    node.labels().get(names::OS_LABEL).is_none_or(|os| os == names::LINUX)
}

/// Whether the SandboxRuntime is for the node.
pub(crate) fn selects(runtime: &SandboxRuntime, node: &Node) -> bool {
    let labels = node.labels();
    is_linux(node) && runtime.spec.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// When the API server saw the agent's last report: an agent's own clock is not compared with anybody's.
pub(crate) fn heard(own: &SandboxNode) -> Option<&Time> {
    own.status.as_ref()?;
    let entries = own.metadata.managed_fields.iter().flatten();
    let reports = entries.filter(|entry| entry.manager.as_deref() == Some(names::AGENT));
    reports.filter_map(|entry| entry.time.as_ref()).max()
}

/// For so long an agent may be silent, whatever is asked for: one sign of life may be late or lost.
pub(crate) const fn least_silence(heartbeat: Duration) -> Duration {
    heartbeat.saturating_mul(2)
}

/// For how long an agent may be silent, if `asked` seconds are asked for.
pub(crate) fn silent_after(asked: u32, heartbeat: Duration) -> Duration {
    Duration::from_secs(asked.into()).max(least_silence(heartbeat))
}
