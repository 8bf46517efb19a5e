//! Metrics (docs/metrics.md lists them): what controller and agent count, in Prometheus' text format.

use crate::api::{Counts, RuntimeState, State};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Every metric's name begins so.
const PREFIX: &str = "cofferdam";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Object {
    object: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeState {
    runtime: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskResult {
    task: &'static str,
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

const NODE_STATES: [&str; 8] =
    ["matched", "updated", "ready", "failed", "unavailable", "unknown", "waiting", "leaving"];

/// What the controller counts.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    registry: Arc<Registry>,
    passes: Histogram,
    decisions: Histogram,
    unreadable: Family<Kind, Gauge>,
    writes: Family<Object, Counter>,
    nodes: Family<NodeState, Gauge>,
    leader: Gauge,
}

impl Default for ControllerMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let passes = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let decisions = Histogram::new(exponential_buckets(0.0005, 2.0, 12));
        let unreadable: Family<Kind, Gauge> = Family::default();
        let writes: Family<Object, Counter> = Family::default();
        let nodes: Family<NodeState, Gauge> = Family::default();
        let leader: Gauge = Gauge::default();
        registry.register(
            "controller_pass_duration_seconds",
            "How long one round over all objects took",
            passes.clone(),
        );
        registry.register(
            "controller_decision_duration_seconds",
            "How long one decision about one SandboxRuntime took, over all its nodes",
            decisions.clone(),
        );
        registry.register(
            "controller_unreadable_objects",
            "Objects that do not parse, by kind: they are left as they are",
            unreadable.clone(),
        );
        registry.register("controller_api_writes", "Writes to the API, by object and result", writes.clone());
        registry.register(
            "runtime_nodes",
            "Nodes by SandboxRuntime and state (a node may be in several states)",
            nodes.clone(),
        );
        registry.register("controller_leader", "1 if this replica leads", leader.clone());
        Self { registry: Arc::new(registry), passes, decisions, unreadable, writes, nodes, leader }
    }
}

impl ControllerMetrics {
    /// A write to the API worked.
    pub fn wrote(&self, object: &str) {
        self.write(object, "ok");
    }

    /// A write to the API failed.
    pub fn failed(&self, object: &str) {
        self.write(object, "error");
    }

    fn write(&self, object: &str, result: &'static str) {
        self.writes.get_or_create(&Object { object: object.to_owned(), result }).inc();
    }

    /// A round took so many seconds.
    pub fn passed(&self, seconds: f64) {
        self.passes.observe(seconds);
    }

    /// A decision took so many seconds.
    pub fn decided(&self, seconds: f64) {
        self.decisions.observe(seconds);
    }

    /// So many objects of a kind do not parse.
    pub fn unreadable(&self, kind: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.unreadable.get_or_create(&Kind { kind }).set(count);
    }

    /// Whether this replica leads.
    pub fn lead(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// How the nodes of a SandboxRuntime stand.
    pub fn nodes(&self, runtime: &str, counts: &Counts) {
        let values = [
            counts.matched,
            counts.updated,
            counts.ready,
            counts.failed,
            counts.unavailable,
            counts.unknown,
            counts.waiting,
            counts.leaving,
        ];
        for (state, value) in NODE_STATES.into_iter().zip(values) {
            let labels = NodeState { runtime: runtime.to_owned(), state };
            self.nodes.get_or_create(&labels).set(i64::from(value));
        }
    }

    /// A SandboxRuntime is gone.
    pub fn forget(&self, runtime: &str) {
        for state in NODE_STATES {
            self.nodes.remove(&NodeState { runtime: runtime.to_owned(), state });
        }
    }
}

/// What an agent counts.
#[derive(Clone, Debug)]
pub struct AgentMetrics {
    registry: Arc<Registry>,
    tasks: Family<TaskResult, Counter>,
    states: Family<NodeState, Gauge>,
    sandboxes: Family<RuntimeLabel, Gauge>,
    patches: Family<Object, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuntimeLabel {
    runtime: String,
}

impl Default for AgentMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let tasks: Family<TaskResult, Counter> = Family::default();
        let states: Family<NodeState, Gauge> = Family::default();
        let sandboxes: Family<RuntimeLabel, Gauge> = Family::default();
        let patches: Family<Object, Counter> = Family::default();
        registry.register("agent_tasks", "Installations and removals, by result", tasks.clone());
        registry.register(
            "agent_runtime_proven",
            "1 if the runtime is proven on this node, by SandboxRuntime and state",
            states.clone(),
        );
        registry.register("agent_sandboxes", "Sandboxes that run, by SandboxRuntime", sandboxes.clone());
        registry.register("agent_api_writes", "Writes to the API, by object and result", patches.clone());
        Self { registry: Arc::new(registry), tasks, states, sandboxes, patches }
    }
}

impl AgentMetrics {
    /// A task ended.
    pub fn ended(&self, task: &'static str, result: &str) {
        self.tasks.get_or_create(&TaskResult { task, result: result.to_owned() }).inc();
    }

    /// A status was patched, or could not be.
    pub fn patched(&self, worked: bool) {
        let result = if worked { "ok" } else { "error" };
        self.patches.get_or_create(&Object { object: "status".to_owned(), result }).inc();
    }

    /// What the node has.
    pub fn states(&self, states: &[RuntimeState]) {
        self.states.clear();
        self.sandboxes.clear();
        for state in states {
            let word = match state.state {
                State::Working => "working",
                State::Proven => "proven",
                State::Unproven => "unproven",
                State::Failed => "failed",
                State::Drifted => "drifted",
                State::Absent => "absent",
            };
            let labels = NodeState { runtime: state.name.clone(), state: word };
            self.states.get_or_create(&labels).set(i64::from(state.state == State::Proven));
            let labels = RuntimeLabel { runtime: state.name.clone() };
            self.sandboxes.get_or_create(&labels).set(i64::from(state.in_use));
        }
    }
}

/// Something that can be scraped.
pub trait Scrape: Send + Sync + 'static {
    /// All metrics as text.
    fn text(&self) -> String;
}

impl Scrape for ControllerMetrics {
    fn text(&self) -> String {
        text(&self.registry)
    }
}

impl Scrape for AgentMetrics {
    fn text(&self) -> String {
        text(&self.registry)
    }
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_page_lists_what_is_counted() {
        let controller = ControllerMetrics::default();
        controller.wrote("node");
        controller.unreadable("Node", 0);
        controller.nodes("gvisor", &Counts::default());
        let agent = AgentMetrics::default();
        agent.ended("install", "committed");
        agent.patched(true);
        let state = serde_json::json!({ "name": "gvisor", "revision": "1", "state": "Proven" });
        agent.states(&[serde_json::from_value(state).unwrap()]);
        let found: BTreeSet<String> = [controller.text(), agent.text()]
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
            .collect();
        let page = include_str!("../../../docs/metrics.md");
        let listed: BTreeSet<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `cofferdam_")?.split_once('`'))
            .map(|(name, _)| format!("cofferdam_{name}"))
            .collect();
        assert_eq!(found, listed);
    }
}
