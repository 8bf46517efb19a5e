//! Objects as what a decision depends on.

use super::cache::Snapshot;
use crate::api::{
    Assigned, PackageRevision, Revision, RuntimeState, SandboxNode, SandboxNodeStatus, SandboxRuntime, State,
    Wanted, names,
};
use crate::facts;
use crate::runtime_class::KnownHandler;
use cofferdam_core::class::Class;
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{
    self, AgentState, Assignment, Backoff, Failure, Fleet, Goal, MaxUnavailable, NodeReady, NodeUid,
    NodeView, Observation, Policy, Record, Remains, RetryToken, Time,
};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as ApiTime;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often an *unavailable* failure is tried in all.
const ATTEMPTS: u32 = 6;

/// The longest wait between two attempts, in first waits.
const LONGEST_WAIT: u32 = 16;

/// Everything about one SandboxRuntime that a decision depends on, but the moment.
#[derive(Debug)]
pub(super) struct View {
    pub(super) policy: Policy,
    pub(super) goal: Goal,
    pub(super) retry: Option<RetryToken>,
    pub(super) fleet: Fleet,
    pub(super) record: Record,
    /// What each revision that somebody names is made of.
    pub(super) packages: BTreeMap<Revision, PackageRevision>,
}

impl View {
    /// `own_name`: the runtime's own name on nodes.
    pub(super) fn of(
        runtime: &SandboxRuntime,
        handlers: &[KnownHandler],
        own_name: &str,
        snapshot: &Snapshot,
    ) -> Self {
        let target = PackageRevision::of(&runtime.spec.package, &runtime.spec.skip_checks);
        let goal = match runtime.metadata.deletion_timestamp {
            Some(_) => Goal::Remove,
            None => Goal::Install(core_revision(&target.revision)),
        };
        Self {
            policy: policy(runtime, snapshot.heartbeat),
            goal,
            retry: retry(runtime, names::RETRY_ANNOTATION),
            fleet: fleet(runtime, handlers, own_name, snapshot),
            record: record(runtime),
            packages: packages(runtime, target, snapshot),
        }
    }

    /// Whether anybody told which nodes there are.
    pub(super) const fn is_heard(&self) -> bool {
        matches!(self.fleet, Fleet::Nodes(_) | Fleet::ConfirmedEmpty)
    }

    pub(super) const fn request(&self, moment: rollout::Moment) -> rollout::Request<'_> {
        rollout::Request {
            moment,
            policy: &self.policy,
            goal: &self.goal,
            retry: self.retry.as_ref(),
            fleet: &self.fleet,
            record: &self.record,
        }
    }
}

pub(super) fn core_revision(revision: &Revision) -> rollout::Revision {
    rollout::Revision(revision.0.clone())
}

/// A record that does not parse is lost: that costs safety margins, nothing else.
fn record(runtime: &SandboxRuntime) -> Record {
    let value = runtime.status.as_ref().and_then(|status| status.record.clone());
    value.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
}

fn retry<K: ResourceExt>(object: &K, annotation: &str) -> Option<RetryToken> {
    object.annotations().get(annotation).map(|token| RetryToken(token.clone()))
}

fn policy(runtime: &SandboxRuntime, heartbeat: Duration) -> Policy {
    let spec = &runtime.spec.rollout;
    let seconds = |n: u32| Duration::from_secs(u64::from(n));
    let base = seconds(spec.retry_seconds);
    Policy {
        max_unavailable: match &spec.max_unavailable {
            IntOrString::Int(count) => MaxUnavailable::Count(u32::try_from(*count).unwrap_or(0)),
            // The schema admits nothing else; what it did not see changes nothing.
            IntOrString::String(text) => {
                MaxUnavailable::Percent(text.strip_suffix('%').and_then(|n| n.parse().ok()).unwrap_or(0))
            }
        },
        canary: spec.canary,
        soak: seconds(spec.soak_seconds),
        paused: spec.paused,
        failure_budget: spec.failure_budget,
        retry: Backoff { base, max: base * LONGEST_WAIT, attempts: ATTEMPTS },
        silent_after: facts::silent_after(spec.agent_silent_seconds, heartbeat),
        auto_rollback: true,
    }
}

fn fleet(runtime: &SandboxRuntime, handlers: &[KnownHandler], own_name: &str, snapshot: &Snapshot) -> Fleet {
    let labels: Vec<String> =
        handlers.iter().map(|handler| format!("{}{}", names::HANDLER_LABEL_PREFIX, handler.name)).collect();
    let unreadable = &snapshot.unreadable;
    let has_sandbox_nodes = !(snapshot.sandbox_nodes.is_empty() && unreadable.sandbox_nodes.is_empty());
    if snapshot.nodes.is_empty() && has_sandbox_nodes {
        return Fleet::Unknown { why: "the list of nodes is empty, and SandboxNodes are there".to_owned() };
    }
    let hidden =
        || unreadable.nodes.iter().next().map(|(name, why)| format!("the Node {name} does not parse: {why}"));
    // The last node is done only if every one can be read: else what is on it would be forgotten.
    if runtime.metadata.deletion_timestamp.is_some()
        && let Some(why) = hidden()
    {
        return Fleet::Unknown { why };
    }
    // A SandboxNode that does not parse, or was not listed and could not be made, hides what is on its node: it is told
    // nothing, and what the node is marked with stays.
    let views = snapshot.nodes.iter().filter_map(|(name, node)| {
        let own = snapshot.sandbox_nodes.get(name).map(AsRef::as_ref);
        let mut view = node_view(runtime, node, own)?;
        let unseen = own.is_none();
        view.remains = match &view.assigned {
            _ if unseen => Remains::Unreadable,
            Some(_) => Remains::Nothing,
            None => remains(runtime, own_name, own.filter(|own| own.spec.node_uid == view.uid.0)),
        };
        // A label or a taint that was left behind is a reason to look, too.
        let labelled = labels.iter().any(|label| node.labels().contains_key(label));
        let told = view.assigned.is_some() || view.observed.state != AgentState::Absent;
        let leaves = unseen && runtime.metadata.deletion_timestamp.is_some();
        let concerned = view.matches || told || labelled || leaves || is_tainted(runtime, node);
        concerned.then_some(view)
    });
    let views: Vec<NodeView> = views.collect();
    // Nodes were listed, or both lists agree that there are none.
    match (views.is_empty(), hidden()) {
        (true, Some(why)) => Fleet::Unknown { why },
        (true, None) => Fleet::ConfirmedEmpty,
        (false, _) => Fleet::Nodes(views),
    }
}

/// What a node has that its SandboxNode tells nothing. One that is older than the SandboxRuntime would tell; one that was
/// made later may have taken the place of another, and only the agent knows.
fn remains(runtime: &SandboxRuntime, own_name: &str, own: Option<&SandboxNode>) -> Remains {
    // Before anything was assigned to anybody, what is there is somebody else's.
    if !was_assigned(runtime) {
        return Remains::Nothing;
    }
    let Some(own) = own else { return Remains::Unheard };
    if own.creation_timestamp().map(|time| time.0) < runtime.creation_timestamp().map(|time| time.0) {
        return Remains::Nothing;
    }
    let name = runtime.name_any();
    let told = |status: &SandboxNodeStatus| {
        status.runtimes.iter().any(|own| own.name == name && own.state != State::Absent)
    };
    match &own.status {
        None => Remains::Unheard,
        // Its agent answers to what an earlier SandboxNode said, or could not look at its host yet.
        Some(status) if told(status) || status.engine.is_none() => Remains::Unheard,
        Some(status) if status.unmanaged.iter().any(|name| name == own_name) => Remains::Found,
        Some(_) => Remains::Nothing,
    }
}

/// Whether any node was ever told to have it; yes, if the record cannot be read.
fn was_assigned(runtime: &SandboxRuntime) -> bool {
    let record = runtime.status.as_ref().and_then(|status| status.record.as_ref());
    record.is_some_and(|record| record.get("sequence").and_then(Value::as_u64).is_none_or(|n| n > 0))
}

fn is_tainted(runtime: &SandboxRuntime, node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints
        .into_iter()
        .flatten()
        .any(|taint| Some(&taint.key) == runtime.spec.scheduling.startup_taint.as_ref())
}

fn node_view(runtime: &SandboxRuntime, node: &Node, own: Option<&SandboxNode>) -> Option<NodeView> {
    let name = NodeName::new(node.name_any()).ok()?;
    let uid = node.uid()?;
    let own = own.filter(|own| own.spec.node_uid == uid);
    let runtime_name = runtime.name_any();
    let assigned = own.and_then(|own| own.spec.runtimes.iter().find(|a| a.name == runtime_name));
    let status = own.and_then(|own| own.status.as_ref());
    let state = status.and_then(|status| status.runtimes.iter().find(|s| s.name == runtime_name));
    Some(NodeView {
        name,
        uid: NodeUid(uid),
        ready: ready(node),
        cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
        matches: facts::selects(runtime, node),
        assigned: assigned.map(assignment),
        remains: Remains::Nothing,
        observed: Observation {
            heard: own.and_then(facts::heard).map(time),
            sequence: state.map(|state| state.sequence),
            state: state.map_or(AgentState::Absent, agent_state),
        },
        in_use: state.map_or(0, |state| state.in_use),
        unused_since: state.and_then(|state| state.unused_since.as_ref()).map(time),
        retry: own.and_then(|own| retry(own, &format!("{}{runtime_name}", names::RETRY_ANNOTATION_PREFIX))),
    })
}

fn ready(node: &Node) -> NodeReady {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    match ready.map(|condition| condition.status.as_str()) {
        Some("True") => NodeReady::Ready,
        Some("False") => NodeReady::NotReady,
        _ => NodeReady::Unknown,
    }
}

fn assignment(assigned: &Assigned) -> Assignment {
    Assignment {
        wanted: match assigned.wanted {
            Wanted::Present => rollout::Wanted::Present,
            Wanted::Absent => rollout::Wanted::Absent,
        },
        revision: core_revision(&assigned.target.revision),
        sequence: assigned.sequence,
        attempt: assigned.attempt,
        since: Time(assigned.since),
        fallback: assigned.fallback.as_ref().map(|fallback| core_revision(&fallback.revision)),
    }
}

fn time(time: &ApiTime) -> Time {
    Time(u64::try_from(time.0.as_second()).unwrap_or(0))
}

fn agent_state(state: &RuntimeState) -> AgentState {
    let since = state.since.as_ref().map_or(Time(0), time);
    match state.state {
        State::Absent => AgentState::Absent,
        State::Working => AgentState::Working,
        State::Proven => AgentState::Proven { since },
        State::Unproven => AgentState::Unproven { message: state.message.clone() },
        State::Drifted => AgentState::Drifted { message: state.message.clone() },
        State::Failed => AgentState::Failed(Failure {
            class: class(&state.reason),
            at: since,
            message: state.message.clone(),
        }),
    }
}

fn class(reason: &str) -> Class {
    serde_json::from_value(serde_json::Value::String(reason.to_owned())).unwrap_or(Class::Internal)
}

/// What each revision is made of, from whoever knows it.
fn packages(
    runtime: &SandboxRuntime,
    target: PackageRevision,
    snapshot: &Snapshot,
) -> BTreeMap<Revision, PackageRevision> {
    let name = runtime.name_any();
    let specs = snapshot.sandbox_nodes.values().flat_map(|node| &node.spec.runtimes);
    let assigned = specs.filter(|assigned| assigned.name == name);
    let told = assigned.flat_map(|a| std::iter::once(&a.target).chain(a.fallback.as_ref()));
    let last_good = runtime.status.as_ref().and_then(|status| status.last_good.as_ref());
    let mut packages = BTreeMap::new();
    // What one node is pinned to is by its own word: others get it only if nobody knows better.
    let (own, shared): (Vec<_>, Vec<_>) = told.partition(|package| package.is_pinned());
    for package in last_good.into_iter().chain(shared).chain(own) {
        packages.entry(package.revision.clone()).or_insert_with(|| package.clone());
    }
    packages.insert(target.revision.clone(), target);
    packages
}
