//! The real controller and API server with thousands of nodes whose agents are simulated.

#![allow(clippy::indexing_slicing)] // reading what a JSON object has not gives null

use super::{mib, row};
use crate::task::build::workspace;
use crate::testbed::ClusterSpec;
use crate::testbed::cluster::{Cluster, Component, Mark, Outside, OutsideSpec};
use crate::testbed::fleet::NAMESPACE;
use anyhow::{Context, Result, bail};
use cofferdam_cluster::agent::simulated::{self, Running, Simulation};
use cofferdam_cluster::metrics::Scrape;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Who plays the agents.
const AGENTS: &str = "bench-agents";

/// The controller's account.
const CONTROLLER: &str = "cofferdam-controller";

/// Where it is scraped.
const METRICS: &str = "127.0.0.1:19465";

/// How long a simulated change of a node takes.
const WORK: Duration = Duration::from_secs(8);

/// The agents' heartbeat: the default.
const HEARTBEAT: Duration = Duration::from_secs(300);

/// In this time all agents start.
const SPREAD: Duration = Duration::from_secs(60);

/// Whatever takes longer will not end.
const LIMIT: Duration = Duration::from_secs(1800);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Rows {
    nodes: u32,
    connections: usize,
    phases: Vec<Phase>,
    idle_rss_bytes: u64,
    peak_rss_bytes: u64,
}

/// A part of the whole.
#[derive(Debug, Default, Serialize)]
struct Phase {
    name: &'static str,
    seconds: f64,
    /// Processor time of the controller.
    cpu_seconds: f64,
    rss_bytes: u64,
    /// Decisions, and their mean time.
    decisions: u64,
    decision_milliseconds: f64,
    /// Rounds over everything.
    passes: u64,
    /// Writes by who, what and how they ended.
    writes: BTreeMap<String, usize>,
    /// Of these by the controller and the agents, failed ones as well, for each node.
    writes_per_node: f64,
    /// The largest a SandboxRuntime was seen to be.
    largest_runtime_bytes: usize,
}

/// What is needed while it runs.
struct Bed {
    cluster: Cluster,
    controller: Outside,
    nodes: u32,
    rows: Rows,
}

pub(super) fn measure(binary: &Path, nodes: u32, idle: Duration) -> Result<Rows> {
    let mut cluster = Cluster::boot(ClusterSpec::without_nodes())?;
    for file in ["crds.yaml", "cofferdam.yaml"] {
        let path = workspace().join("deploy/manifests").join(file);
        cluster.apply(
            &std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?,
        )?;
    }
    // No kubelet speaks for these nodes, and no pod has to be made.
    cluster.stop(Component::ControllerManager)?;
    cluster.stop(Component::Scheduler)?;
    let simulation = Simulation {
        kubeconfig: cluster.almighty(AGENTS)?,
        nodes: (1..=nodes)
            .map(|number| format!("ip-10-{}-{}.eu-west-1.compute.internal", number / 250, number % 250))
            .collect(),
        connections: 32,
        work: WORK,
        heartbeat: HEARTBEAT,
        spread: SPREAD,
    };
    simulated::make_nodes(&simulation, &node()?)?;
    let begun = Start::now(&cluster)?;
    let controller = cluster.start_outside(&controller(binary))?;
    let rows = Rows { nodes, connections: simulation.connections, ..Rows::default() };
    let mut bed = Bed { cluster, controller, nodes, rows };
    bed.wait("a SandboxNode for each node", |_| {
        Ok(scrape()?.value("controller_api_writes_total{object=\"sandboxnode\",result=\"ok\"}")
            >= f64::from(nodes))
    })?;
    bed.end("every node gets its SandboxNode", begun, 0)?;

    let begun = Start::now(&bed.cluster)?;
    let agents = simulated::start(simulation)?;
    bed.wait("each agent's first report", |_| Ok(reports(&agents) >= f64::from(nodes)))?;
    bed.end("every agent reports for the first time", begun, 0)?;

    for (name, version) in [("install", 1), ("upgrade", 2)] {
        let begun = Start::now(&bed.cluster)?;
        bed.cluster.apply(&runtime(version))?;
        let largest = bed.rolled_out(version)?;
        bed.end(name, begun, largest)?;
    }
    let begun = Start::now(&bed.cluster)?;
    sleep(idle);
    bed.end("idle, at the default heartbeat of 300 s", begun, 0)?;
    let usage = bed.controller.usage()?;
    (bed.rows.idle_rss_bytes, bed.rows.peak_rss_bytes) = (usage.rss, usage.peak);
    drop(agents);
    Ok(bed.rows)
}

/// Where a phase began.
struct Start {
    at: Instant,
    mark: Mark,
    cpu: f64,
    metrics: Metrics,
}

impl Start {
    fn now(cluster: &Cluster) -> Result<Self> {
        let metrics = scrape().unwrap_or_default();
        Ok(Self { at: Instant::now(), mark: cluster.mark()?, cpu: 0.0, metrics })
    }
}

impl Bed {
    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            self.controller.check()?;
            // It may not listen yet.
            if done(self).unwrap_or(false) {
                return Ok(());
            }
            sleep(LOOK);
        }
        bail!(
            "after {} s there is no {what}; the controller says:\n{}",
            LIMIT.as_secs(),
            self.controller.tail()
        )
    }

    /// Waits until every node has this version. Gives the size of the largest SandboxRuntime that was seen.
    fn rolled_out(&mut self, version: u32) -> Result<usize> {
        let mut largest = 0;
        let nodes = self.nodes;
        self.wait("complete rollout", |bed| {
            let Some(runtime) = bed.cluster.get_json(&["sandboxruntime", "gvisor"])? else {
                return Ok(false);
            };
            largest = largest.max(runtime.to_string().len());
            let status = &runtime["status"];
            Ok(status["phase"] == "Complete"
                && status["observedGeneration"] == runtime["metadata"]["generation"]
                && runtime["metadata"]["generation"] == json!(version)
                && status["nodes"]["ready"] == json!(nodes))
        })?;
        // The last labels are written after the status.
        sleep(LOOK * 5);
        Ok(largest)
    }

    fn end(&mut self, name: &'static str, begun: Start, largest: usize) -> Result<()> {
        let usage = self.controller.usage()?;
        let before: f64 = self.rows.phases.iter().map(|phase| phase.cpu_seconds).sum();
        let seconds = begun.at.elapsed().as_secs_f64();
        let metrics = scrape()?;
        let since = |key: &str| metrics.value(key) - begun.metrics.value(key);
        let decisions = since("controller_decision_duration_seconds_count");
        let mut writes: BTreeMap<String, usize> = BTreeMap::new();
        let mut counted = 0_u32;
        for request in self.cluster.requests_since(begun.mark)? {
            let agent = request.user == AGENTS;
            if !request.is_write() || !(agent || request.user.ends_with(CONTROLLER)) {
                continue;
            }
            let who = if agent { "agents" } else { "controller" };
            let part = if request.subresource.is_empty() { "" } else { "/" };
            let what = format!(
                "{who}: {} {}{part}{} {}",
                request.verb, request.resource, request.subresource, request.code
            );
            *writes.entry(what).or_default() += 1;
            counted += 1;
        }
        let phase = Phase {
            name,
            seconds,
            cpu_seconds: usage.cpu - before - begun.cpu,
            rss_bytes: usage.rss,
            decisions: whole(decisions),
            decision_milliseconds: if decisions > 0.0 {
                since("controller_decision_duration_seconds_sum") * 1e3 / decisions
            } else {
                0.0
            },
            passes: whole(since("controller_pass_duration_seconds_count")),
            writes,
            writes_per_node: f64::from(counted) / f64::from(self.nodes),
            largest_runtime_bytes: largest,
        };
        eprintln!("{name}: {seconds:.0} s");
        self.rows.phases.push(phase);
        Ok(())
    }
}

fn reports(agents: &Running) -> f64 {
    Metrics(agents.metrics().text()).value("agent_api_writes_total{object=\"status\",result=\"ok\"}")
}

fn controller(binary: &Path) -> OutsideSpec {
    let args = ["controller", "--namespace", NAMESPACE, "--identity", "bench", "--metrics-address", METRICS];
    OutsideSpec {
        name: "controller".to_owned(),
        program: binary.to_owned(),
        args: args.map(str::to_owned).to_vec(),
        namespace: NAMESPACE.to_owned(),
        account: CONTROLLER.to_owned(),
        server: None,
    }
}

/// Metrics as text.
#[derive(Debug, Default)]
struct Metrics(String);

impl Metrics {
    /// The value of a sample, by its name after our prefix; 0 if it is not there.
    fn value(&self, key: &str) -> f64 {
        let line = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix("cofferdam_")?.strip_prefix(key)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }
}

fn scrape() -> Result<Metrics> {
    let mut stream = TcpStream::connect_timeout(&METRICS.parse()?, LOOK)?;
    stream.set_read_timeout(Some(LOOK * 10))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {METRICS}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(Metrics(text))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

/// A Node as large as a kubelet makes it: most of it are the images that it has.
fn node() -> Result<k8s_openapi::api::core::v1::Node> {
    let images: Vec<Value> = (0..50)
        .map(|number| {
            let digest = format!("{number:064x}");
            let name = format!("registry.example.com/team-{number}/service-{number}");
            json!({ "names": [format!("{name}@sha256:{digest}"), format!("{name}:v1.{number}.0")], "sizeBytes": 123_456_789 + number })
        })
        .collect();
    let condition = |kind: &str, status: &str| {
        json!({ "type": kind, "status": status, "reason": "Kubelet", "message": "as the kubelet says it",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let resources = json!({ "cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi" });
    let node = json!({
        "metadata": { "labels": { "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "pool": "sandboxes" } },
        "spec": { "podCIDR": "10.244.0.0/24", "providerID": "example:///zone/i-0123456789abcdef0" },
        "status": {
            "capacity": resources, "allocatable": resources, "images": images,
            "conditions": [condition("MemoryPressure", "False"), condition("DiskPressure", "False"),
                condition("PIDPressure", "False"), condition("Ready", "True")],
            "nodeInfo": { "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "6.12.48", "kubeProxyVersion": "", "kubeletVersion": "v1.34.2", "machineID": "m",
                "operatingSystem": "linux", "osImage": "Debian GNU/Linux 13 (trixie)", "systemUUID": "s" },
        },
    });
    serde_json::from_value(node).context("the Node is none")
}

/// The SandboxRuntime, in a version.
fn runtime(version: u32) -> String {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1",
        "kind": "SandboxRuntime",
        "metadata": { "name": "gvisor" },
        "spec": {
            "package": {
                "preset": "gvisor-oci",
                "source": { "oci": { "reference": format!("registry.example.com/gvisor@sha256:{version:064x}") } },
            },
            "nodeSelector": { "pool": "sandboxes" },
            "rollout": { "maxUnavailable": "10%", "canary": 1 },
        },
    })
    .to_string()
}

impl Rows {
    pub(super) fn show(&self, text: &mut String) -> Result<()> {
        writeln!(
            text,
            "\nthe controller with {} nodes; agents simulated over {} connections, {} s for a change, maxUnavailable 10%",
            self.nodes,
            self.connections,
            WORK.as_secs()
        )?;
        row(text, "VmRSS when idle", &format!("{:.1} MiB", mib(self.idle_rss_bytes)))?;
        row(text, "VmHWM", &format!("{:.1} MiB", mib(self.peak_rss_bytes)))?;
        for phase in &self.phases {
            phase.show(text)?;
        }
        Ok(())
    }
}

impl Phase {
    fn show(&self, text: &mut String) -> Result<()> {
        writeln!(text, "\n  {}", self.name)?;
        row(text, "  time", &format!("{:.1} s", self.seconds))?;
        let share = self.cpu_seconds * 100.0 / self.seconds.max(0.001);
        row(text, "  controller's CPU", &format!("{:.1} s ({share:.1} % of a processor)", self.cpu_seconds))?;
        row(text, "  controller's VmRSS", &format!("{:.1} MiB", mib(self.rss_bytes)))?;
        row(
            text,
            "  rounds; decisions; one decision",
            &format!("{}; {}; {:.1} ms", self.passes, self.decisions, self.decision_milliseconds),
        )?;
        let count: u32 = self.writes.values().filter_map(|count| u32::try_from(*count).ok()).sum();
        let rate = f64::from(count) / self.seconds.max(0.001);
        row(text, "  writes", &format!("{count} ({rate:.1} a second), {:.2} a node", self.writes_per_node))?;
        for (what, count) in &self.writes {
            row(text, &format!("    {what}"), &count.to_string())?;
        }
        if self.largest_runtime_bytes > 0 {
            row(text, "  largest SandboxRuntime seen", &format!("{} bytes", self.largest_runtime_bytes))?;
        }
        Ok(())
    }
}
