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
    /// The runtimes' own names.
    runtimes: BTreeMap<String, String>,
    /// Handlers, as far as their names, from before.
    remembered: BTreeMap<String, Vec<KnownHandler>>,
    /// Who has which handler, RuntimeClass or runtime.
    taken: BTreeMap<String, String>,
}

impl Claims {
    /// `runtimes`: the oldest first; `unreadable`: those that are there, too, and of which only agents tell.
    pub(super) fn of(
        runtimes: &[Arc<SandboxRuntime>],
        unreadable: &BTreeMap<String, String>,
        sandbox_nodes: &BTreeMap<String, Arc<SandboxNode>>,
    ) -> Self {
        let mut reported = reported(sandbox_nodes);
        let mut claims = Self::default();
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        for name in unreadable.keys() {
            let (states, installed) = reported.remove(name).unwrap_or_default();
            let handlers = states.iter().map(|state| format!("handler {}", state.name));
            let names = installed.iter().map(|runtime| format!("runtime {runtime}"));
            taken.extend(handlers.chain(names).map(|what| (what, name.clone())));
        }
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
            let remembered = || runtime.status.as_ref().map(|status| status.runtime.clone());
            let own = runtime_class::runtime_name(&runtime.spec.package)
                .or_else(|| installed.first().cloned())
                .or_else(remembered);
            claims.runtimes.insert(name.clone(), own.unwrap_or_default());
            claims.handlers.insert(name.clone(), handlers);
            claims.remembered.insert(name.clone(), remembered_handlers(runtime));
            match rival {
                Some(rival) => {
                    claims.rivals.insert(name, rival);
                }
                None => taken.extend(wants.into_iter().map(|what| (what, name.clone()))),
            }
        }
        claims.taken = taken;
        claims
    }

    /// Its handlers; those that its status remembers, if nobody tells of any.
    pub(super) fn handlers(&self, name: &str) -> &[KnownHandler] {
        match self.told(name) {
            [] => self.remembered.get(name).map_or(&[], Vec::as_slice),
            told => told,
        }
    }

    /// Its handlers by its spec, its package or its nodes.
    pub(super) fn told(&self, name: &str) -> &[KnownHandler] {
        self.handlers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Those of its handlers that no older one has.
    pub(super) fn undisputed(&self, name: &str) -> Vec<KnownHandler> {
        let taken = |handler: &KnownHandler| self.taken.get(&format!("handler {}", handler.name));
        let own =
            self.handlers(name).iter().filter(|handler| taken(handler).is_none_or(|owner| owner == name));
        own.cloned().collect()
    }

    /// Its own name on nodes; empty if nobody knows it.
    pub(super) fn runtime(&self, name: &str) -> &str {
        self.runtimes.get(name).map_or("", String::as_str)
    }

    /// Whether a handler is somebody's; nobody can tell while those of one are not known.
    pub(super) fn is_free(&self, handler: &str) -> bool {
        let known = !self.handlers.is_empty() && self.handlers.values().all(|handlers| !handlers.is_empty());
        known && !self.handlers.values().flatten().any(|known| known.name == handler)
    }

    /// Who stands in its way.
    pub(super) fn rival(&self, name: &str) -> Option<&Rival> {
        self.rivals.get(name)
    }
}

fn remembered_handlers(runtime: &SandboxRuntime) -> Vec<KnownHandler> {
    let names = runtime.status.iter().flat_map(|status| &status.handlers);
    let known = |name: &String| KnownHandler { name: name.clone(), class: name.clone(), overhead: None };
    names.map(known).collect()
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
