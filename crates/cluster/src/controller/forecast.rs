//! What the controller would do to one SandboxRuntime, told without writing: its own claims, its own view, and the
//! decision itself, made again and again as if every change succeeded. Pure.

use super::cache::{Snapshot, Unreadable};
use super::claims::Claims;
use super::view::{View, core_revision};
use crate::api::{PackageRevision, Revision, SandboxNode, SandboxRuntime};
use crate::facts;
use crate::runtime_class::KnownHandler;
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{
    Action, AgentState, Assignment, Decision, Fleet, Goal, Moment, NodeReport, NodeView, Reason, Remains,
    Time, Wanted, Why, decide,
};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many rounds are looked ahead.
const MOST_ROUNDS: usize = 200;

/// What stands in the API.
#[derive(Debug)]
pub(crate) struct Objects<'a> {
    pub(crate) runtimes: &'a [SandboxRuntime],
    pub(crate) nodes: &'a [Node],
    pub(crate) sandbox_nodes: &'a [SandboxNode],
}

/// What comes of it.
#[derive(Debug)]
pub(crate) struct Forecast {
    /// What nodes should have; none if the runtime is being deleted.
    pub(crate) target: Option<Revision>,
    /// The handlers that are known.
    pub(crate) handlers: Vec<KnownHandler>,
    /// Who stands in its way: then nothing is decided.
    pub(crate) rival: Option<String>,
    /// How it stands now.
    pub(crate) phase: &'static str,
    /// Why it is so, where a sentence says it.
    pub(crate) note: Option<String>,
    /// Each node that has to do with it.
    pub(crate) nodes: Vec<Fate>,
}

/// What becomes of a node.
#[derive(Debug)]
pub(crate) struct Fate {
    pub(crate) name: NodeName,
    /// Whether it had something of the runtime before.
    pub(crate) bare: bool,
    /// How many sandboxes run.
    pub(crate) in_use: u32,
    /// How it stands now.
    pub(crate) done: bool,
    /// Why it is not done.
    pub(crate) reason: Option<Reason>,
    /// The first thing that it is told, and in which round, from 1.
    pub(crate) told: Option<(usize, Assignment, Why)>,
}

/// What becomes of `runtime` from `now` on. A pause is looked past: what would be done is told, not that nothing is.
pub(crate) fn forecast(runtime: &SandboxRuntime, objects: &Objects<'_>, now: Time) -> Forecast {
    let snapshot = snapshot(objects, now);
    let claims = Claims::of(&snapshot.runtimes, &snapshot.unreadable.runtimes, &snapshot.sandbox_nodes);
    let name = runtime.name_any();
    let handlers = claims.handlers(&name).to_vec();
    let mut view = View::of(runtime, &handlers, claims.runtime(&name), &snapshot);
    let leaving = view.goal == Goal::Remove;
    let rival = claims.rival(&name).filter(|_| !leaving);
    let first = decide(&view.request(snapshot.moment));
    let mut forecast = Forecast {
        target: (!leaving)
            .then(|| PackageRevision::of(&runtime.spec.package, &runtime.spec.skip_checks).revision),
        handlers,
        rival: rival.map(|rival| format!("{} belongs to the SandboxRuntime {}", rival.what, rival.owner)),
        phase: first.phase.as_str(),
        note: match &first.phase {
            cofferdam_core::rollout::Phase::Unknown { why } => Some(why.clone()),
            _ => None,
        },
        nodes: fates(&view.fleet, &first),
    };
    if forecast.rival.is_some() {
        forecast.phase = "Conflict";
        return forecast;
    }
    let deaf: BTreeSet<NodeName> = unheard(&first.nodes);
    view.policy.paused = false;
    let mut moment = snapshot.moment;
    let mut told: BTreeMap<NodeName, (usize, Assignment, Why)> = BTreeMap::new();
    let mut round = 0;
    for _ in 0..MOST_ROUNDS {
        let decision = decide(&view.request(moment));
        if let Some(record) = &decision.remember {
            view.record = record.clone();
        }
        if decision.actions.iter().any(|action| matches!(action, Action::Assign { .. })) {
            round += 1;
        }
        for action in &decision.actions {
            if let Action::Assign { node, assignment, why, .. } = action {
                told.entry(node.clone()).or_insert_with(|| (round, assignment.clone(), *why));
            }
        }
        let Fleet::Nodes(views) = &mut view.fleet else { break };
        let changed = succeed(views, &decision.actions, &deaf, moment.now);
        match (changed, decision.next_wake) {
            (true, _) => {}
            (false, Some(wake)) if wake > moment.now => moment.now = wake,
            (false, _) => break,
        }
        for view in views.iter_mut().filter(|view| !deaf.contains(&view.name)) {
            view.observed.heard = Some(moment.now);
        }
    }
    for fate in &mut forecast.nodes {
        fate.told = told.remove(&fate.name);
    }
    forecast
}

/// As the controller would see it, had it listened all the time. Its heartbeat is the chart's, which is not known here.
fn snapshot(objects: &Objects<'_>, now: Time) -> Snapshot {
    let mut runtimes: Vec<Arc<SandboxRuntime>> = objects.runtimes.iter().cloned().map(Arc::new).collect();
    Snapshot::in_order(&mut runtimes);
    Snapshot {
        moment: Moment { now, hearing_since: Time(0) },
        heartbeat: facts::USUAL_HEARTBEAT,
        runtimes,
        sandbox_nodes: objects
            .sandbox_nodes
            .iter()
            .map(|node| (node.name_any(), Arc::new(node.clone())))
            .collect(),
        nodes: objects.nodes.iter().map(|node| (node.name_any(), Arc::new(node.clone()))).collect(),
        classes: Vec::new(),
        unreadable: Unreadable::default(),
    }
}

fn fates(fleet: &Fleet, decision: &Decision) -> Vec<Fate> {
    let Fleet::Nodes(views) = fleet else { return Vec::new() };
    // The reports are in the order of the views.
    let fate = |(view, report): (&NodeView, &NodeReport)| Fate {
        name: view.name.clone(),
        bare: view.assigned.as_ref().is_none_or(|assigned| assigned.wanted == Wanted::Absent),
        in_use: view.in_use,
        done: report.done,
        reason: report.reason.clone(),
        told: None,
    };
    views.iter().zip(&decision.nodes).map(fate).collect()
}

/// Those that cannot be told anything, and are not assumed to come back.
fn unheard(reports: &[NodeReport]) -> BTreeSet<NodeName> {
    let away = |reason: &Reason| {
        matches!(
            reason,
            Reason::AgentMissing
                | Reason::AgentSilent { .. }
                | Reason::NodeNotReady
                | Reason::NodeReadyUnknown
                | Reason::Unreadable
        )
    };
    reports.iter().filter(|r| r.reason.as_ref().is_some_and(away)).map(|r| r.name.clone()).collect()
}

/// Every change that was told of comes to a good end. Whether there was one.
fn succeed(views: &mut [NodeView], actions: &[Action], deaf: &BTreeSet<NodeName>, now: Time) -> bool {
    for action in actions {
        let Some(view) = views.iter_mut().find(|view| view.name == *action.node()) else { continue };
        match action {
            Action::Assign { assignment, .. } => {
                view.assigned = Some(assignment.clone());
                view.remains = Remains::Nothing;
            }
            Action::Forget { .. } => view.assigned = None,
            Action::Withdraw { .. } => {}
        }
    }
    let mut changed = !actions.is_empty();
    for view in views.iter_mut().filter(|view| !deaf.contains(&view.name)) {
        let Some(assigned) = &view.assigned else { continue };
        let working = matches!(view.observed.state, AgentState::Working);
        if view.observed.sequence == Some(assigned.sequence) && !working {
            continue;
        }
        view.observed.sequence = Some(assigned.sequence);
        view.observed.state = match assigned.wanted {
            Wanted::Present => AgentState::Proven { since: now },
            Wanted::Absent => AgentState::Absent,
        };
        changed = true;
    }
    changed
}

/// Whether this is the revision that the fleet should have.
pub(crate) fn is_target(assignment: &Assignment, target: Option<&Revision>) -> bool {
    target.is_some_and(|target| assignment.revision == core_revision(target))
}
