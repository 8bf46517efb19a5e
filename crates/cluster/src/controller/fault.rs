//! What of a SandboxRuntime's spec cannot be carried out, whatever its rollout does.

use crate::api::{RuntimeClasses, SandboxRuntime, names};
use crate::runtime_class::{self, KnownHandler};
use cofferdam_core::rollout::Phase;
use k8s_openapi::api::node::v1::RuntimeClass;
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

/// All of a SandboxRuntime's that stays. `reported`: the handlers that agents say it has; `classes`: those of the cluster.
pub(super) fn faults<'a>(
    runtime: &SandboxRuntime,
    handlers: &[KnownHandler],
    reported: &[String],
    phase: &Phase,
    classes: impl Iterator<Item = &'a RuntimeClass>,
) -> Vec<Fault> {
    let overhead = runtime_class::bad_overhead(handlers).map(Fault::InvalidOverhead);
    let unknown = unknown_handlers(runtime, reported, phase);
    overhead.into_iter().chain(unknown).chain(taken_classes(runtime, handlers, classes)).collect()
}

fn unknown_handlers(runtime: &SandboxRuntime, reported: &[String], phase: &Phase) -> Vec<Fault> {
    let mut known: Vec<String> = match runtime_class::packaged(&runtime.spec.package) {
        Some(packaged) => packaged.into_iter().map(|(name, _)| name).collect(),
        // What nodes have may be another revision until they all have this one.
        None if *phase == Phase::Complete => reported.to_vec(),
        None => Vec::new(),
    };
    if known.is_empty() {
        return Vec::new();
    }
    known.sort();
    let listed = runtime.spec.handlers.iter().map(|handler| &handler.name);
    let unknown = listed.filter(|name| !known.contains(name));
    unknown.map(|name| Fault::UnknownHandler { handler: name.clone(), known: known.clone() }).collect()
}

fn taken_classes<'a>(
    runtime: &SandboxRuntime,
    handlers: &[KnownHandler],
    classes: impl Iterator<Item = &'a RuntimeClass>,
) -> Vec<Fault> {
    if runtime.spec.runtime_classes == RuntimeClasses::Unmanaged {
        return Vec::new();
    }
    let name = runtime.name_any();
    let others = classes.filter(|class| {
        let class_name = class.name_any();
        handlers.iter().any(|handler| handler.class == class_name)
            && class.labels().get(names::OWNER_LABEL) != Some(&name)
    });
    others.map(|class| Fault::RuntimeClassTaken(class.name_any())).collect()
}
