//! Which SandboxRuntime owns which handler: the older one.

use super::reported::{Reported, reported};
use crate::api::{SandboxNode, SandboxRuntime};
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
    by_name: BTreeMap<String, Claim>,
    /// Who has which handler, RuntimeClass or runtime.
    taken: BTreeMap<String, String>,
}

/// What is known of one SandboxRuntime.
#[derive(Debug)]
struct Claim {
    /// Its own name on nodes; empty if nobody knows it.
    runtime: String,
    /// By its spec, its package or its nodes.
    handlers: Vec<KnownHandler>,
    /// As far as their names, from before.
    remembered: Vec<KnownHandler>,
    /// Those that its agents agree upon.
    reported: Vec<String>,
    rival: Option<Rival>,
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
        for name in unreadable.keys() {
            let Reported { handlers, names } = reported.remove(name).unwrap_or_default();
            let handlers = handlers.iter().map(|handler| format!("handler {}", handler.name));
            let names = names.iter().map(|runtime| format!("runtime {runtime}"));
            claims.taken.extend(handlers.chain(names).map(|what| (what, name.clone())));
        }
        for runtime in runtimes {
            claims.add(runtime, &reported.remove(&runtime.name_any()).unwrap_or_default());
        }
        claims
    }

    fn add(&mut self, runtime: &SandboxRuntime, reported: &Reported) {
        let name = runtime.name_any();
        let package = &runtime.spec.package;
        let handlers = runtime_class::handlers(&runtime.spec, &reported.handlers);
        let own = handlers
            .iter()
            .flat_map(|h| [format!("handler {}", h.name), format!("RuntimeClass {}", h.class)]);
        // Where the spec says it nobody else is asked.
        let told = match runtime_class::runtime_name(package) {
            Some(name) => BTreeSet::from([name]),
            None => reported.names.clone(),
        };
        let names = package.preset.iter().chain(&told).map(|name| format!("runtime {name}"));
        let wants: BTreeSet<_> = own.chain(names).collect();
        let rival = wants.iter().find_map(|what| {
            let owner = self.taken.get(what)?.clone();
            Some(Rival { what: what.clone(), owner })
        });
        if rival.is_none() {
            self.taken.extend(wants.into_iter().map(|what| (what, name.clone())));
        }
        let remembered = || runtime.status.as_ref().map(|status| status.runtime.clone());
        let claim = Claim {
            runtime: told.first().cloned().or_else(remembered).unwrap_or_default(),
            handlers,
            remembered: remembered_handlers(runtime),
            reported: reported.handlers.iter().map(|handler| handler.name.clone()).collect(),
            rival,
        };
        self.by_name.insert(name, claim);
    }

    /// Its handlers; those that its status remembers, if nobody tells of any.
    pub(super) fn handlers(&self, name: &str) -> &[KnownHandler] {
        match self.told(name) {
            [] => self.by_name.get(name).map_or(&[], |claim| &claim.remembered),
            told => told,
        }
    }

    /// Its handlers by its spec, its package or its nodes.
    pub(super) fn told(&self, name: &str) -> &[KnownHandler] {
        self.by_name.get(name).map_or(&[], |claim| &claim.handlers)
    }

    /// The handlers that agents say it has.
    pub(super) fn reported(&self, name: &str) -> &[String] {
        self.by_name.get(name).map_or(&[], |claim| &claim.reported)
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
        self.by_name.get(name).map_or("", |claim| &claim.runtime)
    }

    /// Whether a handler is nobody's; nobody can tell while those of one are not known.
    pub(super) fn is_free(&self, handler: &str) -> bool {
        let mut claims = self.by_name.values().map(|claim| &claim.handlers);
        let known = !self.by_name.is_empty() && claims.all(|handlers| !handlers.is_empty());
        known && !self.by_name.values().flat_map(|claim| &claim.handlers).any(|known| known.name == handler)
    }

    /// Who stands in its way.
    pub(super) fn rival(&self, name: &str) -> Option<&Rival> {
        self.by_name.get(name)?.rival.as_ref()
    }
}

fn remembered_handlers(runtime: &SandboxRuntime) -> Vec<KnownHandler> {
    let names = runtime.status.iter().flat_map(|status| &status.handlers);
    let known = |name: &String| KnownHandler { name: name.clone(), class: name.clone(), overhead: None };
    names.map(known).collect()
}
