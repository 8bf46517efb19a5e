//! What a rollout would do, from what is in the API now.

use super::table::Table;
use crate::api::names::OWNER_LABEL;
use crate::api::{HandlerState, PackageRevision, SandboxNode, SandboxRuntime, State, Wanted};
use crate::runtime_class::runtime_classes;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde::Serialize;
use std::fmt::Write;

/// What a rollout would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The SandboxRuntime.
    pub runtime: String,
    /// The revision that nodes should have.
    pub revision: String,
    /// Whether it is paused.
    pub paused: bool,
    /// How many nodes may be without a proven runtime.
    pub max_unavailable: String,
    /// How many get it first.
    pub canary: u32,
    /// Each node that has to do with it.
    pub nodes: Vec<NodePlan>,
    /// What becomes of RuntimeClasses.
    pub runtime_classes: Vec<ClassPlan>,
    /// Whether the handlers are not known before an agent looked into the package.
    pub handlers_unknown: bool,
}

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodePlan {
    /// Which.
    pub node: String,
    /// `install`, `upgrade`, `keep`, `remove` or `wait`.
    pub action: &'static str,
    /// Why, or in which order.
    pub note: String,
}

/// What becomes of a RuntimeClass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassPlan {
    /// Which.
    pub name: String,
    /// `create`, `change`, `keep`, `delete` or `conflict`.
    pub action: &'static str,
}

/// What a rollout of `runtime` would do to these nodes.
pub fn preview(
    runtime: &SandboxRuntime,
    nodes: &[Node],
    own: &[SandboxNode],
    classes: &[RuntimeClass],
) -> Preview {
    let name = runtime.name_any();
    let target = PackageRevision::of(&runtime.spec.package, &runtime.spec.skip_checks);
    let rollout = &runtime.spec.rollout;
    let mut plans: Vec<(u8, NodePlan)> = nodes
        .iter()
        .filter_map(|node| {
            let own = own.iter().find(|own| own.name_any() == node.name_any());
            node_plan(runtime, &name, &target, node, own)
        })
        .collect();
    plans.sort_by(|one, other| (one.0, &one.1.node).cmp(&(other.0, &other.1.node)));
    let reported: Vec<HandlerState> = own
        .iter()
        .filter_map(|own| own.status.as_ref())
        .flat_map(|status| &status.runtimes)
        .filter(|state| state.name == name)
        .flat_map(|state| state.handlers.clone())
        .collect();
    let wanted = runtime_classes(&name, &runtime.spec, &reported);
    Preview {
        revision: target.revision.to_string(),
        paused: rollout.paused,
        max_unavailable: match &rollout.max_unavailable {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text.clone(),
        },
        canary: rollout.canary,
        nodes: plans.into_iter().map(|(_, plan)| plan).collect(),
        handlers_unknown: wanted.is_empty()
            && runtime.spec.runtime_classes == crate::api::RuntimeClasses::Managed,
        runtime_classes: class_plans(&name, &wanted, classes),
        runtime: name,
    }
}

/// With its place in the order: those that change first come first.
fn node_plan(
    runtime: &SandboxRuntime,
    name: &str,
    target: &PackageRevision,
    node: &Node,
    own: Option<&SandboxNode>,
) -> Option<(u8, NodePlan)> {
    let matches = runtime.spec.node_selector.iter().all(|(key, value)| node.labels().get(key) == Some(value));
    let assigned = own.and_then(|own| own.spec.runtimes.iter().find(|assigned| assigned.name == name));
    let state = own
        .and_then(|own| own.status.as_ref())
        .and_then(|status| status.runtimes.iter().find(|state| state.name == name));
    let there = state.is_some_and(|state| state.installed.is_some() || !state.version.is_empty());
    let in_use = state.map_or(0, |state| state.in_use);
    let kept =
        if in_use > 0 { format!("{in_use} running sandboxes keep their version") } else { String::new() };
    let spec = node.spec.as_ref();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let cordoned = spec.and_then(|spec| spec.unschedulable) == Some(true);
    let plan = |order, action, note: &str| {
        Some((order, NodePlan { node: node.name_any(), action, note: note.to_owned() }))
    };
    if !matches {
        let leaves = there || assigned.is_some_and(|assigned| assigned.wanted == Wanted::Present);
        return match (leaves, in_use) {
            (false, _) => None,
            (true, 0) => plan(4, "remove", "not selected any more"),
            (true, _) => plan(4, "remove", &format!("not selected any more; waits for {in_use} sandboxes")),
        };
    }
    let proven = state.is_some_and(|state| state.state == State::Proven);
    if proven && state.and_then(|state| state.installed.as_ref()) == Some(&target.revision) {
        return plan(5, "keep", "proven");
    }
    if !ready {
        return plan(3, "wait", "the node is not Ready");
    }
    let action = if there { "upgrade" } else { "install" };
    if cordoned {
        return plan(2, action, "last: cordoned");
    }
    plan(1, action, &kept)
}

fn class_plans(owner: &str, wanted: &[RuntimeClass], present: &[RuntimeClass]) -> Vec<ClassPlan> {
    let ours = |class: &RuntimeClass| class.labels().get(OWNER_LABEL).is_some_and(|label| label == owner);
    let of = |wanted: &RuntimeClass| match present.iter().find(|class| class.name_any() == wanted.name_any())
    {
        None => "create",
        Some(class) if !ours(class) => "conflict",
        Some(class)
            if (&class.handler, &class.overhead, &class.scheduling)
                == (&wanted.handler, &wanted.overhead, &wanted.scheduling) =>
        {
            "keep"
        }
        Some(_) => "change",
    };
    let mut plans: Vec<ClassPlan> =
        wanted.iter().map(|class| ClassPlan { name: class.name_any(), action: of(class) }).collect();
    let gone = present.iter().filter(|class| ours(class));
    let gone = gone.filter(|class| !wanted.iter().any(|wanted| wanted.name_any() == class.name_any()));
    // Before an agent looked into the package, nothing is known to be gone.
    if !wanted.is_empty() {
        plans.extend(gone.map(|class| ClassPlan { name: class.name_any(), action: "delete" }));
    }
    plans
}

impl std::fmt::Display for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runtime, revision, max_unavailable, canary, .. } = self;
        writeln!(f, "{runtime}: revision {revision}")?;
        let changing = self.nodes.iter().filter(|plan| matches!(plan.action, "install" | "upgrade")).count();
        let mut how = String::new();
        if changing > 0 {
            let _ = write!(how, "{changing} nodes change");
            if *canary > 0 {
                let _ = write!(how, ": {canary} first, then");
            } else {
                how.push(',');
            }
            let _ = write!(how, " at most {max_unavailable} unavailable at a time; a failure halts it");
        } else {
            how.push_str("no node changes");
        }
        writeln!(f, "{how}")?;
        if self.paused {
            writeln!(f, "paused: nothing happens until kubectl cofferdam resume {runtime}")?;
        }
        let mut table = Table::new(["NODE", "ACTION", "NOTE"]);
        for NodePlan { node, action, note } in &self.nodes {
            table.row([node.clone(), (*action).to_owned(), note.clone()]);
        }
        if !table.is_empty() {
            write!(f, "\n{table}")?;
        }
        let mut table = Table::new(["RUNTIMECLASS", "ACTION"]);
        for ClassPlan { name, action } in &self.runtime_classes {
            table.row([name.clone(), (*action).to_owned()]);
        }
        if !table.is_empty() {
            write!(f, "\n{table}")?;
        }
        if self.handlers_unknown {
            writeln!(f, "\nRuntimeClasses follow once an agent has looked into the package")?;
        }
        Ok(())
    }
}
