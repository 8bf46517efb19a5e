//! Pods of a Deployment in sandboxes, one on each node, and whether they are still the same.

#![allow(clippy::indexing_slicing)] // reading what a JSON object has not gives null

use super::cluster::Cluster;
use super::error::Result;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Sandboxes that start on a busy machine.
const LIMIT: Duration = Duration::from_secs(360);

/// By name: the node, the container's id, and how often it was restarted.
pub type Pods = BTreeMap<String, (String, String, u64)>;

impl Cluster {
    /// Makes the Deployment `web`, whose pods have the RuntimeClass `class`, and gives its two pods.
    ///
    /// # Errors
    /// They do not become ready.
    pub fn start_web(&self, class: &str) -> Result<Pods> {
        self.apply(&format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      runtimeClassName: {class}
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {{matchLabels: {{app: web}}}}
      containers:
      - {{name: main, image: 'cofferdam.test/busybox:1', command: [/bin/sleep, '100000']}}
"
        ))?;
        self.web(2)
    }

    /// The pods of `web`, once so many are ready.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn web(&self, wanted: usize) -> Result<Pods> {
        let args = ["pods", "--selector=app=web"];
        let list = self.wait_until(&args, LIMIT, |list| pods(list).len() == wanted)?;
        Ok(pods(&list))
    }
}

fn pods(list: &Value) -> Pods {
    let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    pods.filter_map(|pod| {
        let status = pod["status"]["containerStatuses"].get(0)?;
        (status["ready"] == true && pod["metadata"]["deletionTimestamp"].is_null()).then(|| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let restarts = status["restartCount"].as_u64().unwrap_or_default();
            let (node, container) = (text(&pod["spec"]["nodeName"]), text(&status["containerID"]));
            (text(&pod["metadata"]["name"]), (node, container, restarts))
        })
    })
    .collect()
}
