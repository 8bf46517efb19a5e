//! Which SandboxRuntime owns which handler: the older one.

use crate::api::{HandlerState, SandboxNode, SandboxRuntime};
use crate::runtime_class::{self, KnownHandler};
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A handler, RuntimeClass or runtime that an older SandboxRuntime has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rival {
    /// What both want.
    pub(super) what: String,
    /// Who has it.
    pub(super) owner: String,
}

/// What each SandboxRuntime may call its own.
#[derive(Debug, Default)]
pub(super) struct Claims {
    handlers: BTreeMap<String, Vec<KnownHandler>>,
    rivals: BTreeMap<String, Rival>,
}

impl Claims {
    /// `runtimes`: the oldest first.
    pub(super) fn of(
        runtimes: &[Arc<SandboxRuntime>],
        sandbox_nodes: &BTreeMap<String, Arc<SandboxNode>>,
    ) -> Self {
        let mut reported = reported(sandbox_nodes);
        let mut claims = Self::default();
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        for runtime in runtimes {
            let name = runtime.name_any();
            let (states, installed) = reported.remove(&name).unwrap_or_default();
            let handlers = runtime_class::handlers(&runtime.spec, &states);
            let wants = handlers
                .iter()
                .flat_map(|h| [format!("handler {}", h.name), format!("RuntimeClass {}", h.class)])
                .chain(
                    runtime
                        .spec
                        .package
                        .preset
                        .iter()
                        .chain(&installed)
                        .map(|name| format!("runtime {name}")),
                )
                .collect::<BTreeSet<_>>();
            let rival = wants.iter().find_map(|what| {
                let owner = taken.get(what)?.clone();
                Some(Rival { what: what.clone(), owner })
            });
            claims.handlers.insert(name.clone(), handlers);
            match rival {
                Some(rival) => {
                    claims.rivals.insert(name, rival);
                }
                None => taken.extend(wants.into_iter().map(|what| (what, name.clone()))),
            }
        }
        claims
    }

    /// Its handlers.
    pub(super) fn handlers(&self, name: &str) -> &[KnownHandler] {
        self.handlers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Who stands in its way.
    pub(super) fn rival(&self, name: &str) -> Option<&Rival> {
        self.rivals.get(name)
    }
}

type Reported = BTreeMap<String, (Vec<HandlerState>, BTreeSet<String>)>;

/// By SandboxRuntime: the handlers that agents found, and the runtimes' own names.
fn reported(sandbox_nodes: &BTreeMap<String, Arc<SandboxNode>>) -> Reported {
    let mut reported = Reported::new();
    for state in sandbox_nodes.values().filter_map(|node| node.status.as_ref()).flat_map(|s| &s.runtimes) {
        let (handlers, names) = reported.entry(state.name.clone()).or_default();
        for handler in &state.handlers {
            if !handlers.iter().any(|known| known.name == handler.name) {
                handlers.push(handler.clone());
            }
        }
        if !state.runtime.is_empty() {
            names.insert(state.runtime.clone());
        }
    }
    reported
}
