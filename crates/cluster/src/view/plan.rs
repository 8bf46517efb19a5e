//! What a rollout would do, from what is in the API now: the controller's own decision, told without writing.

use super::table::Table;
use crate::api::names::OWNER_LABEL;
use crate::api::{RuntimeClasses, SandboxNode, SandboxRuntime};
use crate::controller::forecast::{Fate, Forecast, Objects, forecast, is_target};
use crate::runtime_class;
use cofferdam_core::rollout::{self, Reason, Wanted, Why};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde::Serialize;

/// What a rollout would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The SandboxRuntime.
    pub runtime: String,
    /// The revision that nodes should have; none if it is being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How the rollout stands, as in its status.
    pub phase: &'static str,
    /// What stands in the way of the whole, if something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it is paused: what is told here begins after that.
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
    /// `install`, `upgrade`, `retry`, `roll-back`, `remove`, `keep` or `wait`.
    pub action: &'static str,
    /// When, from 1: nodes of one step change at the same time, those of the next one after their success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// Why.
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

/// What the controller would do about `runtime`, which is one of `runtimes`, if every change succeeds.
pub fn preview(
    runtime: &SandboxRuntime,
    runtimes: &[SandboxRuntime],
    nodes: &[Node],
    own: &[SandboxNode],
    classes: &[RuntimeClass],
    now: &Time,
) -> Preview {
    let name = runtime.name_any();
    let objects = Objects { runtimes, nodes, sandbox_nodes: own };
    let moment = rollout::Time(u64::try_from(now.0.as_second()).unwrap_or(0));
    let forecast = forecast(runtime, &objects, moment);
    let rollout = &runtime.spec.rollout;
    let leaving = forecast.target.is_none();
    let wanted = match (leaving, &forecast.rival) {
        (false, None) => runtime_class::of(&name, &runtime.spec, &forecast.handlers),
        _ => Vec::new(),
    };
    let mut plans: Vec<NodePlan> = forecast.nodes.iter().map(|fate| node_plan(fate, &forecast)).collect();
    // Those that change first come first; then those that wait; those that stay as they are come last.
    plans.sort_by_key(|plan| {
        (plan.step.unwrap_or(usize::MAX), plan.action == "keep", plan.action, plan.node.clone())
    });
    Preview {
        revision: forecast.target.as_ref().map(ToString::to_string),
        phase: forecast.phase,
        paused: rollout.paused,
        max_unavailable: match &rollout.max_unavailable {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => text.clone(),
        },
        canary: rollout.canary,
        nodes: plans,
        handlers_unknown: forecast.handlers.is_empty()
            && !leaving
            && runtime.spec.runtime_classes == RuntimeClasses::Managed,
        runtime_classes: match &forecast.rival {
            Some(_) => Vec::new(),
            None => class_plans(&name, &wanted, classes, leaving),
        },
        note: forecast.rival.or(forecast.note),
        runtime: name,
    }
}

fn node_plan(fate: &Fate, forecast: &Forecast) -> NodePlan {
    let kept = match fate.in_use {
        0 => String::new(),
        1 => "a running sandbox keeps its version".to_owned(),
        number => format!("{number} running sandboxes keep their version"),
    };
    let reason = || fate.reason.as_ref().map(ToString::to_string).unwrap_or_default();
    let (action, note) = match &fate.told {
        Some((_, assignment, why)) => match (assignment.wanted, why) {
            (Wanted::Absent, _) => ("remove", reason()),
            (Wanted::Present, Why::Rollback) => ("roll-back", reason()),
            (Wanted::Present, Why::Retry) => ("retry", reason()),
            (Wanted::Present, _) => {
                let action = if fate.bare { "install" } else { "upgrade" };
                let old = !is_target(assignment, forecast.target.as_ref());
                (action, if old { "to the last good revision".to_owned() } else { kept })
            }
        },
        None if fate.done => ("keep", "proven".to_owned()),
        None => match &fate.reason {
            // Its own change is under way, or it is proven and only watched.
            Some(Reason::Changing { .. } | Reason::Soaking { .. }) | None => ("wait", reason()),
            Some(Reason::Drifted { .. } | Reason::Unproven { .. }) => ("keep", reason()),
            Some(_) => ("wait", reason()),
        },
    };
    let step = fate.told.as_ref().map(|(round, ..)| *round);
    NodePlan { node: fate.name.to_string(), action, step, note }
}

fn class_plans(
    owner: &str,
    wanted: &[RuntimeClass],
    present: &[RuntimeClass],
    leaving: bool,
) -> Vec<ClassPlan> {
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
    if leaving || !wanted.is_empty() {
        plans.extend(gone.map(|class| ClassPlan { name: class.name_any(), action: "delete" }));
    }
    plans
}

impl std::fmt::Display for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runtime, max_unavailable, canary, phase, .. } = self;
        match &self.revision {
            Some(revision) => writeln!(f, "{runtime}: revision {revision}, {phase}")?,
            None => writeln!(f, "{runtime}: being deleted, {phase}")?,
        }
        if let Some(note) = &self.note {
            writeln!(f, "{note}: nothing is done")?;
        }
        let steps = self.nodes.iter().filter_map(|plan| plan.step).max().unwrap_or(0);
        let changing = self.nodes.iter().filter(|plan| plan.step.is_some()).count();
        if changing > 0 {
            let nodes = if changing == 1 { "1 node changes" } else { &format!("{changing} nodes change") };
            let how = if steps == 1 { "at once".to_owned() } else { format!("in {steps} steps") };
            let limits = format!("canaries {canary}, at most {max_unavailable} unavailable");
            writeln!(f, "{nodes} {how} ({limits}), each step after the success of the one before")?;
        } else {
            writeln!(f, "no node changes")?;
        }
        if self.paused {
            writeln!(f, "paused: nothing happens until kubectl cofferdam resume {runtime}")?;
        }
        let mut table = Table::new(["STEP", "NODE", "ACTION", "NOTE"]);
        for NodePlan { node, action, step, note } in &self.nodes {
            let step = step.map_or_else(|| "-".to_owned(), |step| step.to_string());
            let note = super::first_line(note).to_owned();
            table.row([step, node.clone(), (*action).to_owned(), note]);
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
