//! What of a SandboxRuntime's spec cannot be carried out, whatever its rollout does.

use super::pass::Pass;
use crate::api::{RuntimeClasses, SandboxRuntime, names};
use crate::runtime_class::{self, KnownHandler};
use cofferdam_core::rollout::{Decision, Phase};
use kube::ResourceExt;

/// One such thing. It makes the SandboxRuntime Degraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An overhead is no quantity.
    InvalidOverhead(String),
    /// The package has no such handler.
    UnknownHandler {
        /// The one that is listed.
        handler: String,
        /// Those that the package has.
        known: Vec<String>,
    },
    /// The RuntimeClass of a handler is there, and not ours.
    RuntimeClassTaken(String),
}

impl Fault {
    /// The condition's reason.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::InvalidOverhead(_) => "InvalidOverhead",
            Self::UnknownHandler { .. } => "UnknownHandler",
            Self::RuntimeClassTaken(_) => "RuntimeClassTaken",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InvalidOverhead(text) => f.write_str(text),
            Self::UnknownHandler { handler, known } => write!(
                f,
                "the package has no handler {handler}, only {}; next: correct spec.handlers",
                known.join(", ")
            ),
            Self::RuntimeClassTaken(class) => write!(
                f,
                "the RuntimeClass {class} is someone else's and is left as it is; next: delete it, or give another \
                 runtimeClassName in spec.handlers"
            ),
        }
    }
}

/// The handlers that the package has, as far as anybody knows.
pub(super) fn offered(handlers: &[KnownHandler], faults: &[Fault]) -> Vec<KnownHandler> {
    let unknown = |name: &str| {
        faults.iter().any(|fault| matches!(fault, Fault::UnknownHandler { handler, .. } if handler == name))
    };
    handlers.iter().filter(|handler| !unknown(&handler.name)).cloned().collect()
}

impl Pass<'_> {
    /// All of a SandboxRuntime's.
    pub(super) fn faults(
        &self,
        runtime: &SandboxRuntime,
        handlers: &[KnownHandler],
        decision: &Decision,
    ) -> Vec<Fault> {
        if runtime.metadata.deletion_timestamp.is_some() {
            return Vec::new();
        }
        let overhead = runtime_class::bad_overhead(handlers).map(Fault::InvalidOverhead);
        let unknown = self.unknown_handlers(runtime, decision);
        overhead.into_iter().chain(unknown).chain(self.taken_classes(runtime, handlers)).collect()
    }

    fn unknown_handlers(&self, runtime: &SandboxRuntime, decision: &Decision) -> Vec<Fault> {
        let known = match runtime_class::packaged(&runtime.spec.package) {
            Some(packaged) => packaged.into_iter().map(|(name, _)| name).collect(),
            // What nodes have may be another revision until they all have this one.
            None if decision.phase == Phase::Complete => self.reported_handlers(&runtime.name_any()),
            None => Vec::new(),
        };
        if known.is_empty() {
            return Vec::new();
        }
        let listed = runtime.spec.handlers.iter().map(|handler| &handler.name);
        let unknown = listed.filter(|name| !known.contains(name));
        unknown.map(|name| Fault::UnknownHandler { handler: name.clone(), known: known.clone() }).collect()
    }

    /// The handlers that agents say this SandboxRuntime has.
    fn reported_handlers(&self, name: &str) -> Vec<String> {
        let statuses = self.snapshot.sandbox_nodes.values().filter_map(|own| own.status.as_ref());
        let states = statuses.flat_map(|status| &status.runtimes).filter(|state| state.name == name);
        let mut names: Vec<String> = states.flat_map(|s| &s.handlers).map(|h| h.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn taken_classes(&self, runtime: &SandboxRuntime, handlers: &[KnownHandler]) -> Vec<Fault> {
        if runtime.spec.runtime_classes == RuntimeClasses::Unmanaged {
            return Vec::new();
        }
        let name = runtime.name_any();
        let others = self.snapshot.classes.iter().filter(|class| {
            let class_name = class.name_any();
            handlers.iter().any(|handler| handler.class == class_name)
                && class.labels().get(names::OWNER_LABEL) != Some(&name)
        });
        others.map(|class| Fault::RuntimeClassTaken(class.name_any())).collect()
    }
}
