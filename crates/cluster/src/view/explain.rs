//! Why one node is in the state in which it is.

use super::advice::advice;
use super::lists::word;
use super::{ago, is_silent, silent_after, span};
use crate::api::{Assigned, RuntimeState, SandboxNode, SandboxNodeStatus, SandboxRuntime, Wanted};
use crate::facts;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::fmt::Write;

/// The most pods that are named.
const MOST_PODS: usize = 5;

/// What is known of the node `name`: of its objects, and of each SandboxRuntime that has to do with it. Objects that are not
/// there, or that the asker may not read, are none.
pub fn explain(
    name: &str,
    node: Option<&Node>,
    own: Option<&SandboxNode>,
    runtimes: &[SandboxRuntime],
    now: &Time,
) -> String {
    let mut text = String::new();
    let status = own.and_then(|own| own.status.clone()).unwrap_or_default();
    let silent = is_silent(own.and_then(facts::heard), silent_after(runtimes), now);
    match own {
        None => {
            let why = "the controller has not made one (is it running? kubectl -n cofferdam-system get pods)";
            let _ = writeln!(text, "{name}: has no SandboxNode: {why}");
        }
        Some(own) => head(&mut text, name, node, own, &status, silent, now),
    }
    let assigned = own.map_or(&[][..], |own| &own.spec.runtimes);
    for one in assigned {
        let state = status.runtimes.iter().find(|state| state.name == one.name);
        runtime(&mut text, name, one, state, silent, now);
    }
    for state in status.runtimes.iter().filter(|state| !assigned.iter().any(|one| one.name == state.name)) {
        let _ = writeln!(text, "\n{}: {} (not assigned any more)", state.name, word(state.state));
        detail(&mut text, state);
    }
    for other in runtimes {
        let other_name = other.name_any();
        if !assigned.iter().any(|one| one.name == other_name) {
            let _ = writeln!(text, "\n{other_name}: {}", unassigned(other, node));
        }
    }
    for foreign in &status.unmanaged {
        let _ = writeln!(text, "\n{foreign}: installed on the node by hand; left alone");
    }
    for check in &status.checks {
        let _ = writeln!(text, "\ncheck {}: {}: {}", check.name, check.result, check.message);
    }
    text
}

fn head(
    text: &mut String,
    name: &str,
    node: Option<&Node>,
    own: &SandboxNode,
    status: &SandboxNodeStatus,
    silent: bool,
    now: &Time,
) {
    let engine = status.engine.as_ref().map_or_else(
        || "engine unknown".to_owned(),
        |engine| format!("{} {}", engine.name, engine.version).trim().to_owned(),
    );
    let parts = [engine.as_str(), status.kernel.as_str(), status.os.as_str()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let _ = writeln!(text, "{name}: {}", parts.join(", "));
    match facts::heard(own) {
        Some(heard) => {
            _ = writeln!(text, "  agent     {}, heard {} ago", status.agent_version, ago(heard, now))
        }
        None => _ = writeln!(text, "  agent     never heard"),
    }
    if silent {
        let _ = writeln!(
            text,
            "  next      it is silent, so nothing below is certain: kubectl -n cofferdam-system get pods -o wide \
             --field-selector spec.nodeName={name}"
        );
    }
    if let Some(engine) = status.engine.as_ref().filter(|engine| !engine.message.is_empty()) {
        let _ = writeln!(text, "  engine    {}", indented(&engine.message));
    }
    let Some(node) = node else { return };
    if node.metadata.uid.as_deref().is_some_and(|uid| uid != own.spec.node_uid) {
        let _ =
            writeln!(text, "  node      was replaced under the same name: what follows is of the old one");
    }
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status != "True") {
        let _ = writeln!(
            text,
            "  node      is not Ready: it is not touched until it is; kubectl describe node {name}"
        );
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        let _ = writeln!(text, "  node      is cordoned: it gets its turn last");
    }
}

fn runtime(
    text: &mut String,
    node: &str,
    assigned: &Assigned,
    state: Option<&RuntimeState>,
    silent: bool,
    now: &Time,
) {
    let wanted = match assigned.wanted {
        Wanted::Present => "should be there",
        Wanted::Absent => "should go",
    };
    let taken = state.filter(|state| state.sequence >= assigned.sequence);
    let word = taken.map_or("Pending", |state| word(state.state));
    let _ = writeln!(text, "\n{}: {word}", assigned.name);
    let since = now.0.as_second().saturating_sub(i64::try_from(assigned.since).unwrap_or(i64::MAX)).max(0);
    let given = if assigned.since == 0 { String::new() } else { format!(", assigned {} ago", span(since)) };
    let attempt =
        if assigned.attempt > 1 { format!(", attempt {}", assigned.attempt) } else { String::new() };
    let _ = writeln!(text, "  wanted    {wanted}, revision {}{attempt}{given}", assigned.target.revision);
    if let Some(state) = state {
        detail(text, state);
    }
    let next = match taken {
        None if silent => Some("its agent is silent (see above)".to_owned()),
        None => Some("nothing yet: the agent has not taken it up".to_owned()),
        Some(state) => advice(node, state),
    };
    if let Some(next) = next {
        let _ = writeln!(text, "  next      {next}");
    }
}

fn detail(text: &mut String, state: &RuntimeState) {
    if let Some(installed) = &state.installed {
        let digest: String = state.digest.chars().take(19).collect();
        let _ = writeln!(text, "  has       version {}, revision {installed}, {digest}", state.version);
    } else if !state.version.is_empty() {
        let _ = writeln!(text, "  has       version {}", state.version);
    }
    if !state.verified.is_empty() {
        let _ = writeln!(text, "  origin    {}", state.verified);
    }
    if !state.handlers.is_empty() {
        let one = |handler: &crate::api::HandlerState| {
            let name = &handler.name;
            match (handler.proven, handler.message.as_str()) {
                (true, _) => format!("{name} proven"),
                (false, "") => format!("{name} not proven"),
                (false, message) => format!("{name} not proven ({message})"),
            }
        };
        let handlers: Vec<String> = state.handlers.iter().map(one).collect();
        let _ = writeln!(text, "  handlers  {}", handlers.join(", "));
    }
    if state.in_use > 0 {
        let pods: Vec<String> =
            state.pods.iter().take(MOST_PODS).map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        let more = if state.pods.len() > MOST_PODS { ", ..." } else { "" };
        let named = if pods.is_empty() { String::new() } else { format!(": {}{more}", pods.join(", ")) };
        let _ = writeln!(text, "  in use    {} sandboxes{named}", state.in_use);
    }
    if !state.message.is_empty() {
        let reason = if state.reason.is_empty() { String::new() } else { format!("{}: ", state.reason) };
        let _ = writeln!(text, "  why       {reason}{}", indented(&state.message));
    }
}

fn indented(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("\n            ")
}

/// Why a SandboxRuntime is not assigned to a node.
fn unassigned(runtime: &SandboxRuntime, node: Option<&Node>) -> String {
    let status = runtime.status.clone().unwrap_or_default();
    let stands = match (status.phase.as_str(), status.message.as_str()) {
        ("", _) => "the controller has not looked at it yet".to_owned(),
        (phase, "") => phase.to_owned(),
        (phase, message) => format!("{phase}: {message}"),
    };
    let selector = runtime.spec.node_selector.iter();
    let lacks: Vec<String> = selector
        .filter(|(key, value)| node.is_some_and(|node| node.labels().get(*key) != Some(*value)))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    match selects(runtime, node) {
        Some(false) if lacks.is_empty() => "not for this node: agents run on Linux only".to_owned(),
        Some(false) => format!("not for this node: it has no label {}", lacks.join(", ")),
        Some(true) => format!("not assigned yet; the rollout: {stands}"),
        None => format!("not assigned; the rollout: {stands}"),
    }
}

/// Whether it selects the node; not known without the Node, unless it selects every one.
fn selects(runtime: &SandboxRuntime, node: Option<&Node>) -> Option<bool> {
    match node {
        Some(node) => Some(facts::selects(runtime, node)),
        None => runtime.spec.node_selector.is_empty().then_some(true),
    }
}
