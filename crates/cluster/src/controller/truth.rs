//! A decision as status and conditions.

use super::claims::Rival;
use super::fault::Fault;
use super::package;
use crate::api::{
    Counts, NodeFailure, PackageRevision, Revision, SandboxNode, SandboxRuntime, SandboxRuntimeStatus, names,
};
use crate::runtime_class::KnownHandler;
use cofferdam_core::name::Digest;
use cofferdam_core::rollout::{Decision, Phase, Reason, Record};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

const MOST_FAILURES: usize = 10;
const MOST_PODS: usize = 5;

/// A condition before it is compared with the present one.
struct Verdict {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

/// What is known beside the decision.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) target: &'a Revision,
    /// The image of `target` that most nodes with it have.
    pub(super) image: Option<Digest>,
    pub(super) packages: &'a BTreeMap<Revision, PackageRevision>,
    pub(super) handlers: &'a [KnownHandler],
    pub(super) runtime: &'a str,
    /// What of the spec cannot be carried out.
    pub(super) faults: &'a [Fault],
    pub(super) sandbox_nodes: &'a BTreeMap<String, Arc<SandboxNode>>,
    pub(super) now: &'a Time,
}

/// The status after a decision.
pub(super) fn status(
    runtime: &SandboxRuntime,
    decision: &Decision,
    record: &Record,
    known: &Known<'_>,
) -> SandboxRuntimeStatus {
    let before = runtime.status.clone().unwrap_or_default();
    let last_good = record.last_good.as_ref().map(|revision| Revision(revision.0.clone()));
    let mut message = message(runtime, decision, known);
    for fault in known.faults {
        message = format!("{message}; {fault}");
    }
    let last_good = match last_good.and_then(|revision| known.packages.get(&revision).cloned()) {
        Some(package) => {
            let image = known.image.filter(|_| package.revision == *known.target);
            Some(package::last_good(package, before.last_good.as_ref(), image))
        }
        None => before.last_good.clone(),
    };
    let mut status = SandboxRuntimeStatus {
        observed_generation: runtime.metadata.generation.unwrap_or_default(),
        revision: Some(known.target.clone()),
        last_good,
        record: serde_json::to_value(record).ok(),
        phase: decision.phase.as_str().to_owned(),
        message: message.clone(),
        nodes: counts(decision),
        failures: failures(record),
        handlers: known.handlers.iter().map(|handler| handler.name.clone()).collect(),
        runtime: known.runtime.to_owned(),
        conditions: before.conditions,
    };
    for verdict in conditions(decision, &status, &message) {
        set(&mut status, verdict, known.now);
    }
    let trouble = known.faults.first().map(|fault| (fault.reason(), fault.to_string()));
    if let Some((reason, message)) = trouble.or_else(|| ailing(decision)) {
        let (kind, reason) = (names::DEGRADED, reason.to_owned());
        set(&mut status, Verdict { kind, status: "True", reason, message }, known.now);
    }
    status
}

/// The status of one whose handler is someone else's. Its nodes may drift or die like any.
pub(super) fn conflict(
    runtime: &SandboxRuntime,
    rival: &Rival,
    decision: &Decision,
    now: &Time,
) -> SandboxRuntimeStatus {
    let mut status = runtime.status.clone().unwrap_or_default();
    let message = format!(
        "{} belongs to the SandboxRuntime {}, which is older; next: rename one of them (spec.handlers), or delete one",
        rival.what, rival.owner
    );
    status.observed_generation = runtime.metadata.generation.unwrap_or_default();
    (status.phase, status.message) = ("Conflict".to_owned(), message.clone());
    status.nodes = counts(decision);
    for (kind, value) in [(names::READY, "False"), (names::PROGRESSING, "False"), (names::DEGRADED, "True")] {
        let verdict =
            Verdict { kind, status: value, reason: "Conflict".to_owned(), message: message.clone() };
        set(&mut status, verdict, now);
    }
    status
}

fn counts(decision: &Decision) -> Counts {
    let n = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let counts = &decision.counts;
    Counts {
        matched: n(counts.matched),
        updated: n(counts.updated),
        ready: n(counts.ready),
        failed: n(counts.failed),
        unavailable: n(counts.unavailable),
        unknown: n(counts.unknown),
        waiting: n(counts.waiting),
        leaving: n(counts.leaving),
    }
}

fn failures(record: &Record) -> Vec<NodeFailure> {
    let mut failures: Vec<NodeFailure> = record
        .failures
        .values()
        .map(|failed| NodeFailure {
            node: failed.name.to_string(),
            revision: Revision(record.target.as_ref().map(|target| target.0.clone()).unwrap_or_default()),
            reason: failed.class.as_str().to_owned(),
            message: failed.message.clone(),
            at: i64::try_from(failed.at.0).ok().and_then(|at| Timestamp::from_second(at).ok()).map(Time),
        })
        .collect();
    failures.sort_by(|one, other| other.at.cmp(&one.at).then_with(|| one.node.cmp(&other.node)));
    failures.truncate(MOST_FAILURES);
    failures
}

/// One line: what the rollout does, and the first thing that stands in its way.
fn message(runtime: &SandboxRuntime, decision: &Decision, known: &Known<'_>) -> String {
    let counts = &decision.counts;
    let nodes = |n: usize| if n == 1 { "1 node".to_owned() } else { format!("{n} nodes") };
    let obstacle = || obstacle(decision).map_or_else(String::new, |text| format!("; {text}"));
    match &decision.phase {
        Phase::Unknown { why } => format!("nothing is changed: {why}"),
        Phase::NoNodes => "no node has the labels of nodeSelector".to_owned(),
        Phase::Progressing => {
            format!("proven on {} of {}{}", counts.updated, nodes(counts.matched), obstacle())
        }
        Phase::Complete => format!("proven on {}", nodes(counts.matched)),
        Phase::Paused if runtime.metadata.deletion_timestamp.is_some() => format!(
            "paused: it stays on {} until then; next: kubectl cofferdam resume {}",
            nodes(counts.leaving),
            runtime.name_any()
        ),
        Phase::Paused => format!("paused; proven on {} of {}", counts.updated, nodes(counts.matched)),
        Phase::Degraded { failed } => format!(
            "proven on {} of {}; failed on {}",
            counts.updated,
            nodes(counts.matched),
            names_and_why(failed.iter().map(ToString::to_string), decision)
        ),
        Phase::Halted { failed } => format!(
            "halted: it failed on {}; next: put it right, then kubectl cofferdam retry {}",
            names_and_why(failed.iter().map(ToString::to_string), decision),
            runtime.name_any()
        ),
        Phase::Removing => match users(runtime, known.sandbox_nodes) {
            Some(users) => format!("sandboxes still run: {users}; next: delete these pods"),
            None => format!("being removed from {}{}", nodes(counts.leaving), obstacle()),
        },
        Phase::Removed => "removed from every node".to_owned(),
    }
}

/// A node on which what was installed works no more, or cannot be proven, whatever the rollout does meanwhile.
fn ailing(decision: &Decision) -> Option<(&'static str, String)> {
    if matches!(decision.phase, Phase::Unknown { .. } | Phase::Halted { .. } | Phase::Degraded { .. }) {
        return None;
    }
    decision.nodes.iter().find_map(|node| {
        let reason = node.reason.as_ref()?;
        matches!(reason, Reason::Drifted { .. } | Reason::Unproven { .. })
            .then(|| (reason.as_str(), format!("{}: {reason}", node.name)))
    })
}

/// The first node that is not done, and why.
fn obstacle(decision: &Decision) -> Option<String> {
    // Those that wait for others say little, and that one is to go says nothing new.
    let rank = |reason: &Reason| match reason {
        Reason::NotSelected => 2,
        Reason::WaitingForCanary | Reason::MaxUnavailable { .. } | Reason::Halted | Reason::Paused => 1,
        _ => 0,
    };
    let reports = decision.nodes.iter().filter(|node| !node.done);
    let (name, reason) = reports
        .filter_map(|node| Some((&node.name, node.reason.as_ref()?)))
        .min_by_key(|(_, reason)| rank(reason))?;
    Some(format!("{name}: {reason}"))
}

fn names_and_why(failed: impl Iterator<Item = String>, decision: &Decision) -> String {
    let failed: Vec<String> = failed.collect();
    let first = failed.first().cloned().unwrap_or_default();
    let report = decision.nodes.iter().find(|node| node.name.as_str() == first);
    let why = report.and_then(|node| node.reason.as_ref()).map_or_else(String::new, |r| format!(" ({r})"));
    match failed.len() {
        0 | 1 => format!("{first}{why}"),
        n => format!("{first}{why} and {} more", n - 1),
    }
}

/// The pods that use it.
pub(super) fn users(
    runtime: &SandboxRuntime,
    sandbox_nodes: &BTreeMap<String, Arc<SandboxNode>>,
) -> Option<String> {
    let name = runtime.name_any();
    let mut total = 0;
    let mut pods = Vec::new();
    for (node, own) in sandbox_nodes {
        let states = own.status.iter().flat_map(|status| &status.runtimes);
        for state in states.filter(|state| state.name == name && state.in_use > 0) {
            total += state.in_use;
            pods.extend(state.pods.iter().map(|pod| format!("{}/{} on {node}", pod.namespace, pod.name)));
        }
    }
    if total == 0 {
        return None;
    }
    let shown = pods.len().min(MOST_PODS);
    pods.truncate(MOST_PODS);
    let rest = usize::try_from(total).unwrap_or(usize::MAX).saturating_sub(shown);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    Some(if pods.is_empty() { format!("{total} sandboxes") } else { format!("{}{more}", pods.join(", ")) })
}

fn conditions(decision: &Decision, status: &SandboxRuntimeStatus, message: &str) -> Vec<Verdict> {
    let counts = &status.nodes;
    let reason = status.phase.clone();
    let verdict =
        |kind, value| Verdict { kind, status: value, reason: reason.clone(), message: message.to_owned() };
    let ready = match &decision.phase {
        Phase::Unknown { .. } => "Unknown",
        _ if counts.matched > 0 && counts.ready == counts.matched => "True",
        _ if counts.unknown > 0 && counts.ready + counts.unknown == counts.matched => "Unknown",
        _ => "False",
    };
    let progressing = match &decision.phase {
        Phase::Unknown { .. } => "Unknown",
        Phase::Progressing | Phase::Removing => "True",
        _ => "False",
    };
    let degraded = match &decision.phase {
        Phase::Unknown { .. } => "Unknown",
        Phase::Halted { .. } | Phase::Degraded { .. } => "True",
        _ => "False",
    };
    vec![
        verdict(names::READY, ready),
        verdict(names::PROGRESSING, progressing),
        verdict(names::DEGRADED, degraded),
    ]
}

/// Puts a condition in; its time moves only with its status.
fn set(status: &mut SandboxRuntimeStatus, verdict: Verdict, now: &Time) {
    let generation = Some(status.observed_generation);
    let present = status.conditions.iter_mut().find(|condition| condition.type_ == verdict.kind);
    match present {
        Some(condition) => {
            if condition.status != verdict.status {
                condition.last_transition_time = now.clone();
                verdict.status.clone_into(&mut condition.status);
            }
            condition.reason = verdict.reason;
            condition.message = verdict.message;
            condition.observed_generation = generation;
        }
        None => status.conditions.push(Condition {
            type_: verdict.kind.to_owned(),
            status: verdict.status.to_owned(),
            reason: verdict.reason,
            message: verdict.message,
            last_transition_time: now.clone(),
            observed_generation: generation,
        }),
    }
}
