//! What agents report of a runtime, as far as they agree: an agent speaks for its own node, and one that lies must not
//! decide what pods everywhere are offered, or which SandboxRuntime owns what. Pure.
//!
//! What a node says of a runtime counts if the controller told the node to have it, in a revision that it was told. Of
//! the nodes that have the same revision two must say the same, or all of them: the first one, a canary, is believed.

use crate::api::{HandlerState, Overhead, Revision, RuntimeState, SandboxNode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many who say the same are believed.
const ENOUGH: usize = 2;

/// What is believed of one SandboxRuntime.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reported {
    /// Its handlers, each once: their names and overheads.
    pub(super) handlers: Vec<HandlerState>,
    /// The runtime's own names on nodes.
    pub(super) names: BTreeSet<String>,
}

/// By SandboxRuntime.
pub(super) fn reported(sandbox_nodes: &BTreeMap<String, Arc<SandboxNode>>) -> BTreeMap<String, Reported> {
    let mut groups: BTreeMap<(&str, &Revision), Vec<&RuntimeState>> = BTreeMap::new();
    for (name, revision, state) in sandbox_nodes.values().flat_map(|node| told(node)) {
        groups.entry((name, revision)).or_default().push(state);
    }
    // What most have comes last, and counts where revisions differ.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, states)| states.len());
    let mut all: BTreeMap<String, Reported> = BTreeMap::new();
    for ((name, _), states) in groups {
        let known = all.entry(name.to_owned()).or_default();
        known.names.extend(believed(&states, |state| {
            (!state.runtime.is_empty()).then(|| BTreeSet::from([state.runtime.clone()]))
        }));
        for handler in handlers(&states) {
            known.handlers.retain(|other| other.name != handler.name);
            known.handlers.push(handler);
        }
    }
    all
}

/// What a node says of the runtimes that it was told to have, and in which revision it has them.
fn told(node: &SandboxNode) -> impl Iterator<Item = (&str, &Revision, &RuntimeState)> {
    node.spec.runtimes.iter().filter_map(|assigned| {
        let states = &node.status.as_ref()?.runtimes;
        let state = states.iter().find(|state| state.name == assigned.name)?;
        let revision = state.installed.as_ref().unwrap_or(&state.revision);
        let known = [Some(&assigned.target), assigned.fallback.as_ref()];
        let is_told = known.into_iter().flatten().any(|package| package.revision == *revision);
        is_told.then_some((assigned.name.as_str(), revision, state))
    })
}

fn handlers(states: &[&RuntimeState]) -> Vec<HandlerState> {
    let names = believed(states, |state| {
        let names: BTreeSet<String> = state.handlers.iter().map(|handler| handler.name.clone()).collect();
        (!names.is_empty()).then_some(names)
    });
    let overhead = |name: &str| {
        let costs = believed(states, |state| {
            let handler = state.handlers.iter().find(|handler| handler.name == name)?;
            Some(handler.overhead.iter().map(costs).collect())
        });
        costs.into_iter().next().map(|(cpu, memory)| Overhead { cpu, memory })
    };
    let handler = |name: String| HandlerState {
        overhead: overhead(&name),
        name,
        proven: false,
        reason: String::new(),
        message: String::new(),
    };
    names.into_iter().map(handler).collect()
}

fn costs(overhead: &Overhead) -> (Option<String>, Option<String>) {
    (overhead.cpu.clone(), overhead.memory.clone())
}

/// Of what `says` gives for each state what enough of them say, the most frequent first. `None`: that one says nothing at all.
fn believed<T: Ord>(states: &[&RuntimeState], says: impl Fn(&RuntimeState) -> Option<BTreeSet<T>>) -> Vec<T> {
    let said: Vec<BTreeSet<T>> = states.iter().filter_map(|state| says(state)).collect();
    let enough = ENOUGH.min(said.len());
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for one in said.into_iter().flatten() {
        *counts.entry(one).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count >= enough).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().map(|(one, _)| one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use serde_json::{Value, json};

    fn package(revision: &str) -> Value {
        json!({ "revision": revision, "package": { "source": { "directory": "/srv" } } })
    }

    /// A SandboxRuntime's name, a revision, the runtime's own name, and handlers with their memory.
    type Says<'s> = (&'s str, &'s str, &'s str, &'s [(&'s str, &'s str)]);

    /// A node that was told `told` (name and revision), and says `says`.
    fn node(told: &[(&str, &str)], says: &[Says<'_>]) -> Arc<SandboxNode> {
        let assigned = told
            .iter()
            .map(|(name, revision)| json!({ "name": name, "sequence": 1, "target": package(revision) }));
        let states = says.iter().map(|(name, revision, own, handlers)| {
            let handlers = handlers.iter().map(
                |(name, memory)| json!({ "name": name, "proven": true, "overhead": { "memory": memory } }),
            );
            json!({
                "name": name, "revision": revision, "installed": revision, "state": "Proven", "runtime": own,
                "handlers": handlers.collect::<Vec<_>>(),
            })
        });
        let object = json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxNode", "metadata": { "name": "n" },
            "spec": { "nodeUID": "u", "runtimes": assigned.collect::<Vec<_>>() },
            "status": { "runtimes": states.collect::<Vec<_>>() },
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    /// Own names and handlers with their memory, of the SandboxRuntime `name`.
    fn of(nodes: &[Arc<SandboxNode>], name: &str) -> (Vec<String>, Vec<(String, String)>) {
        let named = nodes.iter().enumerate().map(|(n, node)| (format!("n{n}"), Arc::clone(node))).collect();
        let Reported { handlers, names } = reported(&named).remove(name).unwrap_or_default();
        let memory = |state: &HandlerState| state.overhead.as_ref().and_then(|o| o.memory.clone());
        let handlers = handlers.iter().map(|state| (state.name.clone(), memory(state).unwrap_or_default()));
        (names.into_iter().collect(), handlers.collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
    }

    #[test]
    fn one_liar_decides_nothing_beside_others() {
        let honest = node(&[("kata", "r1")], &[("kata", "r1", "kata", &[("kata-qemu", "160Mi")])]);
        let liars = [
            // Other handlers, costs and names.
            node(&[("kata", "r1")], &[("kata", "r1", "gvisor", &[("kata-qemu", "900Gi"), ("runsc", "1Mi")])]),
            // The same, often.
            node(
                &[("kata", "r1")],
                &[("kata", "r1", "kata", &[("runsc", "1Mi"), ("runsc", "1Mi"), ("runsc", "1Mi")])],
            ),
            // A revision that nobody told it.
            node(&[("kata", "r1")], &[("kata", "r9", "gvisor", &[("runsc", "1Mi")])]),
            // A runtime that nobody told it.
            node(&[], &[("kata", "r1", "gvisor", &[("runsc", "1Mi")])]),
        ];
        for (n, liar) in liars.into_iter().enumerate() {
            let fleet = [Arc::clone(&honest), liar, Arc::clone(&honest)];
            let expected = (vec!["kata".to_owned()], pairs(&[("kata-qemu", "160Mi")]));
            assert_eq!(of(&fleet, "kata"), expected, "liar {n}");
        }
        let foreign = node(&[("kata", "r1")], &[("other", "r1", "other", &[("runsc", "1Mi")])]);
        assert_eq!(of(&[foreign], "other"), (vec![], vec![]));
    }

    #[test]
    fn a_canary_is_believed_and_what_most_have_counts_where_revisions_differ() {
        let old = node(&[("kata", "r1")], &[("kata", "r1", "kata", &[("kata-qemu", "160Mi")])]);
        let new = node(
            &[("kata", "r2")],
            &[("kata", "r2", "kata", &[("kata-qemu", "200Mi"), ("kata-clh", "1Mi")])],
        );
        assert_eq!(of(&[Arc::clone(&new)], "kata").1, pairs(&[("kata-clh", "1Mi"), ("kata-qemu", "200Mi")]));
        let fleet = [Arc::clone(&old), Arc::clone(&old), new];
        assert_eq!(of(&fleet, "kata").1, pairs(&[("kata-clh", "1Mi"), ("kata-qemu", "160Mi")]));
        // Two kinds of machines: the package of one has more.
        let more = node(
            &[("kata", "r1")],
            &[("kata", "r1", "kata", &[("kata-qemu", "160Mi"), ("kata-clh", "1Mi")])],
        );
        let fleet = [Arc::clone(&old), old, Arc::clone(&more), more];
        assert_eq!(of(&fleet, "kata").1, pairs(&[("kata-qemu", "160Mi"), ("kata-clh", "1Mi")]));
    }
}
