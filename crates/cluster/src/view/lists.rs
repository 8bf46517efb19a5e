//! Tables of objects.

use super::table::Table;
use super::{ago, first_line, is_silent, silent_after};
use crate::api::{RuntimeState, SandboxNode, SandboxRuntime, State};
use crate::facts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

/// A cell without a value.
const NONE: &str = "-";

fn or_none(text: &str) -> String {
    if text.is_empty() { NONE.to_owned() } else { text.to_owned() }
}

/// SandboxRuntimes: phase, counts, why.
pub fn runtimes(runtimes: &[SandboxRuntime]) -> String {
    if runtimes.is_empty() {
        return "no SandboxRuntimes; docs/kubectl.md shows one to begin with\n".to_owned();
    }
    let mut table =
        Table::new(["NAME", "PHASE", "NODES", "PROVEN", "UPDATED", "FAILED", "UNKNOWN", "MESSAGE"]);
    for runtime in runtimes {
        let status = runtime.status.clone().unwrap_or_default();
        let counts = status.nodes;
        let current = runtime.metadata.generation.is_none_or(|now| now == status.observed_generation);
        let phase = match (current, status.phase.as_str()) {
            (false, _) | (_, "") => "Pending",
            (true, phase) => phase,
        };
        let message = match (current, status.message.as_str()) {
            (false, _) => "the controller has not seen its last change yet",
            (true, message) => first_line(message),
        };
        table.row([
            runtime.name_any(),
            phase.to_owned(),
            counts.matched.to_string(),
            counts.ready.to_string(),
            counts.updated.to_string(),
            counts.failed.to_string(),
            counts.unknown.to_string(),
            message.to_owned(),
        ]);
    }
    table.to_string()
}

/// Whether a node has this runtime, or should have it.
pub fn concerns(node: &SandboxNode, runtime: &str) -> bool {
    let states = node.status.iter().flat_map(|status| &status.runtimes);
    node.spec.runtimes.iter().any(|assigned| assigned.name == runtime)
        || states.into_iter().any(|state| state.name == runtime)
}

/// SandboxNodes: one line for each runtime on each. Of one runtime only, if it is given. What an agent that has been silent
/// for too long said last need not be so any more: its states are unknown.
pub fn nodes(nodes: &[SandboxNode], only: Option<&str>, runtimes: &[SandboxRuntime], now: &Time) -> String {
    let mut table =
        Table::new(["NODE", "ENGINE", "RUNTIME", "STATE", "VERSION", "IN-USE", "HEARD", "MESSAGE"]);
    for node in nodes {
        let status = node.status.clone().unwrap_or_default();
        let engine =
            status.engine.map_or_else(String::new, |engine| format!("{} {}", engine.name, engine.version));
        let engine = or_none(engine.trim());
        let last = facts::heard(node);
        let heard = last.map_or_else(|| "never".to_owned(), |last| ago(last, now));
        let mut names: Vec<&str> = node.spec.runtimes.iter().map(|assigned| assigned.name.as_str()).collect();
        names.extend(status.runtimes.iter().map(|state| state.name.as_str()));
        names.sort_unstable();
        names.dedup();
        names.retain(|name| only.is_none_or(|only| only == *name));
        for name in &names {
            let state = status.runtimes.iter().find(|state| state.name == *name);
            let limit = silent_after(runtimes.iter().filter(|runtime| runtime.name_any() == *name));
            let silent = last.is_some() && is_silent(last, limit, now);
            table.row([
                node.name_any(),
                engine.clone(),
                (*name).to_owned(),
                state
                    .map_or("Pending", |state| if silent { "Unknown" } else { word(state.state) })
                    .to_owned(),
                or_none(state.map_or("", |state| state.version.as_str())),
                state.map_or(0, |state| state.in_use).to_string(),
                heard.clone(),
                message(state, silent),
            ]);
        }
        if names.is_empty() && only.is_none() {
            let none = || NONE.to_owned();
            table.row([
                node.name_any(),
                engine,
                none(),
                none(),
                none(),
                "0".to_owned(),
                heard,
                String::new(),
            ]);
        }
    }
    if table.is_empty() {
        return match only {
            Some(name) => format!("no node has or should have {name}\n"),
            None => "no SandboxNodes: the controller makes one for each node\n".to_owned(),
        };
    }
    table.to_string()
}

/// What is wrong with a runtime on a node.
fn message(state: Option<&RuntimeState>, silent: bool) -> String {
    let said = state.map_or("", |state| first_line(&state.message));
    match state.filter(|_| silent) {
        None => said.to_owned(),
        Some(state) if said.is_empty() => format!("its agent is silent; it said last: {}", word(state.state)),
        Some(state) => format!("its agent is silent; it said last: {}: {said}", word(state.state)),
    }
}

pub(super) const fn word(state: State) -> &'static str {
    match state {
        State::Working => "Working",
        State::Proven => "Proven",
        State::Unproven => "Unproven",
        State::Failed => "Failed",
        State::Drifted => "Drifted",
        State::Absent => "Absent",
    }
}

/// What the doctor does not say yes to on these nodes, and what runtimes may require that they do not have.
pub fn checks(nodes: &[SandboxNode], now: &Time) -> String {
    let mut table = Table::new(["NODE", "CHECK", "RESULT", "BECAUSE"]);
    let mut lacking = Table::new(["NODE", "REQUIREMENT", "RESULT", "BECAUSE"]);
    let mut text = String::new();
    for node in nodes {
        let status = node.status.clone().unwrap_or_default();
        let name = node.name_any();
        match facts::heard(node) {
            None => text.push_str(&format!("{name}: its agent was never heard, so nothing is known\n")),
            Some(heard) if is_silent(Some(heard), silent_after(&[]), now) => {
                text.push_str(&format!(
                    "{name}: its agent was heard {} ago; this is what it said\n",
                    ago(heard, now)
                ));
            }
            Some(_) if status.checks.is_empty() => {
                text.push_str(&format!("{name}: nothing stands in the way\n"))
            }
            Some(_) => {}
        }
        for check in status.checks {
            table.row([name.clone(), check.name, check.result, first_line(&check.message).to_owned()]);
        }
        for lack in status.requirements {
            lacking.row([name.clone(), lack.name, lack.result, first_line(&lack.message).to_owned()]);
        }
    }
    let mut shown = if table.is_empty() { text } else { format!("{table}{text}") };
    if !lacking.is_empty() {
        shown.push_str(&format!("\nwhat some runtimes require, and nodes do not have:\n{lacking}"));
    }
    shown
}
