//! What of a SandboxRuntime's spec cannot be carried out, whatever its rollout does.

use crate::api::{RuntimeClasses, SandboxRuntime, names};
use crate::facts::least_silence;
use crate::runtime_class::{self, KnownHandler};
use cofferdam_core::rollout::Phase;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::ResourceExt;
use std::time::Duration;

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
    /// Every agent would count as silent between two signs of life.
    SilenceTooShort {
        /// The seconds that are asked for.
        asked: u32,
        /// How often agents say that they live.
        heartbeat: Duration,
    },
}

impl Fault {
    /// The condition's reason.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::InvalidOverhead(_) => "InvalidOverhead",
            Self::UnknownHandler { .. } => "UnknownHandler",
            Self::RuntimeClassTaken(_) => "RuntimeClassTaken",
            Self::SilenceTooShort { .. } => "SilenceTooShort",
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
            Self::SilenceTooShort { asked, heartbeat } => {
                let (every, least) = (heartbeat.as_secs(), least_silence(*heartbeat).as_secs());
                write!(
                    f,
                    "agents say every {every} seconds that they live: they count as silent after {least} seconds, and not after \
                     the {asked} of spec.rollout.agentSilentSeconds; next: set that to {least} or more, or have agents say it \
                     more often (the chart's value agent.heartbeatSeconds)"
                )
            }
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

/// All of a SandboxRuntime's that stays. `reported`: the handlers that agents say it has; `classes`: those of the cluster;
/// `heartbeat`: how often agents say that they live.
pub(super) fn faults<'a>(
    runtime: &SandboxRuntime,
    handlers: &[KnownHandler],
    reported: &[String],
    phase: &Phase,
    classes: impl Iterator<Item = &'a RuntimeClass>,
    heartbeat: Duration,
) -> Vec<Fault> {
    let asked = runtime.spec.rollout.agent_silent_seconds;
    let short = Duration::from_secs(asked.into()) < least_silence(heartbeat);
    let silence = short.then_some(Fault::SilenceTooShort { asked, heartbeat });
    let overhead = runtime_class::bad_overhead(handlers).map(Fault::InvalidOverhead);
    let unknown = unknown_handlers(runtime, reported, phase);
    let taken = taken_classes(runtime, handlers, classes);
    overhead.into_iter().chain(unknown).chain(taken).chain(silence).collect()
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_may_be_silent_for_longer_than_between_two_signs_of_life() {
        let found = |asked: u32, heartbeat| {
            let runtime: SandboxRuntime = serde_json::from_value(json!({
                "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxRuntime", "metadata": { "name": "gvisor" },
                "spec": {
                    "package": { "source": { "directory": "/srv" } }, "rollout": { "agentSilentSeconds": asked },
                },
            }))
            .unwrap();
            let heartbeat = Duration::from_secs(heartbeat);
            faults(&runtime, &[], &[], &Phase::Complete, std::iter::empty(), heartbeat)
        };
        assert_eq!(found(900, 300), []);
        assert_eq!(found(600, 300), []);
        assert_eq!(found(10, 0), [], "nobody knows it");
        let short = found(599, 300);
        let [fault] = short.as_slice() else { unreachable!("{short:?}") };
        assert_eq!(fault.reason(), "SilenceTooShort");
        assert!(fault.to_string().contains("after 600 seconds, and not after the 599 of"), "{fault}");
    }
}
