//! What is known about a cluster when a test has failed.

use super::super::command::Command;
use super::{Cluster, Component};
use serde_json::Value;
use std::time::Duration;

/// Nobody waits long for a cluster that may be broken.
const LIMIT: Duration = Duration::from_secs(10);

/// The units of a node, and how many lines of each are looked at.
const UNITS: [(&str, &str); 3] =
    [("kubelet.service", "40"), ("containerd.service", "150"), ("cofferdam-worker.service", "60")];

/// What Cofferdam has on a node.
const INSTALLED: &str =
    "find /opt/cofferdam /var/lib/cofferdam | head -n 200; tail -n 12 /var/lib/cofferdam/log/*";

impl Cluster {
    /// Nodes, pods with their logs, events, and the ends of the journals: for messages about failures.
    pub fn report(&self) -> String {
        let mut text = self.part(&["get", "nodes,pods", "--all-namespaces", "--output=wide"]);
        text += &self.part(&["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]);
        for (namespace, pod) in self.pod_names() {
            let args = ["logs", &pod, "--namespace", &namespace, "--all-containers", "--prefix", "--tail=30"];
            text += &self.part(&args);
        }
        for node in self.nodes() {
            let name = &node.spec().name;
            for (unit, lines) in UNITS {
                let journal = ["journalctl", "--no-pager", "-o", "short-precise", "-n", lines, "-u", unit];
                text += &shown(&format!("{name}: {unit}"), node.command(&journal));
            }
            text +=
                &shown(&format!("{name}: what is installed"), node.command(&["/bin/sh", "-c", INSTALLED]));
        }
        text += &format!("-- the API server's log\n{}\n", self.log(Component::ApiServer));
        text
    }

    fn pod_names(&self) -> Vec<(String, String)> {
        let Ok(Some(pods)) = self.get_json(&["pods", "--all-namespaces", "--request-timeout=5s"]) else {
            return Vec::new();
        };
        let name = |pod: &Value, pointer: &str| Some(pod.pointer(pointer)?.as_str()?.to_owned());
        let both = |pod: &Value| Some((name(pod, "/metadata/namespace")?, name(pod, "/metadata/name")?));
        pods.get("items").and_then(Value::as_array).into_iter().flatten().filter_map(both).collect()
    }

    fn part(&self, args: &[&str]) -> String {
        shown(
            &format!("kubectl {}", args.join(" ")),
            self.kubectl_command(args).args(["--request-timeout=5s"]),
        )
    }
}

fn shown(title: &str, command: Command) -> String {
    match command.limit(LIMIT).run() {
        Ok(output) => format!("-- {title}\n{}{}\n", output.stdout, output.stderr),
        Err(e) => format!("-- {title}\n{e}\n"),
    }
}
