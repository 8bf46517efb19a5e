//! RuntimeClasses: from a SandboxRuntime and what is known of its handlers. The controller applies them, and
//! `kubectl cofferdam render` prints them.

use crate::api::names::{HANDLER_LABEL_PREFIX, OWNER_LABEL, PROVEN};
use crate::api::{HandlerState, Overhead, PackageSpec, RuntimeClasses, SandboxRuntimeSpec};
use cofferdam_core::descriptor::{self, Descriptor};
use cofferdam_core::name::Version;
use cofferdam_core::preset;
use k8s_openapi::api::node::v1::{Overhead as PodOverhead, RuntimeClass, Scheduling};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// A handler of which a SandboxRuntime's RuntimeClass is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHandler {
    /// Its name.
    pub name: String,
    /// The name of its RuntimeClass.
    pub class: String,
    /// What a sandbox costs.
    pub overhead: Option<Overhead>,
}

/// The RuntimeClasses of the SandboxRuntime `name`, in the order of its handlers; none if someone else manages them.
/// `reported`: the handlers that agents found in the package.
pub fn runtime_classes(
    name: &str,
    spec: &SandboxRuntimeSpec,
    reported: &[HandlerState],
) -> Vec<RuntimeClass> {
    of(name, spec, &handlers(spec, reported))
}

/// The same for handlers that are known already.
pub fn of(name: &str, spec: &SandboxRuntimeSpec, handlers: &[KnownHandler]) -> Vec<RuntimeClass> {
    match spec.runtime_classes {
        RuntimeClasses::Unmanaged => Vec::new(),
        RuntimeClasses::Managed => handlers.iter().map(|handler| class(name, spec, handler)).collect(),
    }
}

/// The handlers that pods are offered: those that the spec lists; else those that its preset or descriptor has; else
/// those that agents reported. Overhead is the spec's, else the package's, else the reported one.
pub fn handlers(spec: &SandboxRuntimeSpec, reported: &[HandlerState]) -> Vec<KnownHandler> {
    let reported = reported.iter().map(|state| (state.name.clone(), state.overhead.clone()));
    let packaged = packaged(&spec.package).unwrap_or_default();
    let overhead: BTreeMap<String, Option<Overhead>> =
        reported.clone().chain(packaged.iter().cloned()).collect();
    let listed = spec.handlers.iter().map(|handler| KnownHandler {
        name: handler.name.clone(),
        class: handler.runtime_class_name.clone().unwrap_or_else(|| handler.name.clone()),
        overhead: handler.overhead.clone().or_else(|| overhead.get(&handler.name).cloned().flatten()),
    });
    let known =
        |(name, overhead): (String, Option<Overhead>)| KnownHandler { class: name.clone(), name, overhead };
    if !spec.handlers.is_empty() {
        return listed.collect();
    }
    if !packaged.is_empty() {
        return packaged.into_iter().map(known).collect();
    }
    reported.collect::<BTreeMap<_, _>>().into_iter().map(known).collect()
}

/// The handlers of a package that a preset or an inline descriptor describes; `None` if only its files can tell.
fn packaged(package: &PackageSpec) -> Option<Vec<(String, Option<Overhead>)>> {
    let handlers = described(package)?.handlers.into_iter();
    let overhead = |o: descriptor::Overhead| Overhead { cpu: o.cpu, memory: o.memory };
    Some(handlers.map(|handler| (handler.name.to_string(), handler.overhead.map(overhead))).collect())
}

fn described(package: &PackageSpec) -> Option<Descriptor> {
    match (&package.descriptor, &package.preset) {
        (Some(text), _) => descriptor::parse("descriptor", text).ok(),
        (None, Some(name)) => {
            // Handlers do not depend on the version, which may be known on the nodes only.
            preset::descriptor(preset::find(name).ok()?, &Version::new("0").ok()?).ok()
        }
        (None, None) => None,
    }
}

fn class(name: &str, spec: &SandboxRuntimeSpec, handler: &KnownHandler) -> RuntimeClass {
    let proven = || BTreeMap::from([(format!("{HANDLER_LABEL_PREFIX}{}", handler.name), PROVEN.to_owned())]);
    let selector = match &spec.scheduling.node_selector {
        chosen if chosen.is_empty() => proven(),
        chosen => chosen.clone(),
    };
    let tolerations = &spec.scheduling.tolerations;
    RuntimeClass {
        metadata: ObjectMeta {
            name: Some(handler.class.clone()),
            labels: Some(BTreeMap::from([(OWNER_LABEL.to_owned(), name.to_owned())])),
            ..ObjectMeta::default()
        },
        handler: handler.name.clone(),
        overhead: handler.overhead.as_ref().and_then(pod_overhead),
        scheduling: Some(Scheduling {
            node_selector: Some(selector),
            tolerations: (!tolerations.is_empty()).then(|| tolerations.clone()),
        }),
    }
}

fn pod_overhead(overhead: &Overhead) -> Option<PodOverhead> {
    let parts = [("cpu", &overhead.cpu), ("memory", &overhead.memory)];
    let fixed: BTreeMap<_, _> = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Quantity(value.clone()?))))
        .collect();
    (!fixed.is_empty()).then_some(PodOverhead { pod_fixed: Some(fixed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: serde_json::Value) -> SandboxRuntimeSpec {
        serde_json::from_value(yaml).unwrap()
    }

    fn json(classes: &[RuntimeClass]) -> serde_json::Value {
        serde_json::to_value(classes).unwrap()
    }

    #[test]
    fn of_a_preset_by_default() {
        let spec = spec(serde_json::json!({
            "package": { "source": { "oci": { "reference": "registry.example/gvisor:1" } }, "preset": "gvisor" },
        }));
        let classes = runtime_classes("sandbox", &spec, &[]);
        assert_eq!(
            json(&classes)[0]["metadata"],
            serde_json::json!({ "name": "runsc", "labels": { "cofferdam.dev/sandboxruntime": "sandbox" } })
        );
        assert_eq!(
            json(&classes)[0]["scheduling"],
            serde_json::json!({ "nodeSelector": { "cofferdam.node-restriction.kubernetes.io/runsc": "true" } })
        );
        assert_eq!(classes[0].handler, "runsc");
    }

    #[test]
    fn what_the_spec_says_comes_before_what_the_package_says() {
        let descriptor = "schema = 1\nname = \"toy\"\nversion = \"1\"\n\
             [[handler]]\nname = \"a\"\nshim = \"bin/a\"\noverhead = { cpu = \"100m\", memory = \"64Mi\" }\n\
             [[handler]]\nname = \"b\"\nshim = \"bin/b\"\noverhead = { memory = \"32Mi\" }\n\
             [[handler]]\nname = \"c\"\nshim = \"bin/c\"\n";
        let package = serde_json::json!({ "source": { "directory": "/srv/toy" }, "descriptor": descriptor });
        let all = runtime_classes("toy", &spec(serde_json::json!({ "package": package })), &[]);
        assert_eq!(all.iter().map(|class| class.handler.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(json(&all)[1]["overhead"], serde_json::json!({ "podFixed": { "memory": "32Mi" } }));
        assert!(all[2].overhead.is_none());

        let chosen = spec(serde_json::json!({
            "package": package,
            "handlers": [
                { "name": "b", "runtimeClassName": "sandboxed" },
                { "name": "a", "overhead": { "cpu": "1" } },
            ],
            "scheduling": {
                "nodeSelector": { "pool": "sandboxes" },
                "tolerations": [{ "key": "pool", "operator": "Exists" }],
            },
        }));
        assert_eq!(
            json(&runtime_classes("toy", &chosen, &[])),
            serde_json::json!([
                {
                    "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "b",
                    "metadata": { "name": "sandboxed", "labels": { "cofferdam.dev/sandboxruntime": "toy" } },
                    "overhead": { "podFixed": { "memory": "32Mi" } },
                    "scheduling": {
                        "nodeSelector": { "pool": "sandboxes" },
                        "tolerations": [{ "key": "pool", "operator": "Exists" }],
                    },
                },
                {
                    "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "a",
                    "metadata": { "name": "a", "labels": { "cofferdam.dev/sandboxruntime": "toy" } },
                    "overhead": { "podFixed": { "cpu": "1" } },
                    "scheduling": {
                        "nodeSelector": { "pool": "sandboxes" },
                        "tolerations": [{ "key": "pool", "operator": "Exists" }],
                    },
                },
            ])
        );
    }

    #[test]
    fn agents_tell_what_only_files_can() {
        let mut spec = spec(serde_json::json!({ "package": { "source": { "directory": "/srv/kata" } } }));
        assert!(runtime_classes("kata", &spec, &[]).is_empty(), "nobody looked into the package yet");
        let costs = Overhead { cpu: None, memory: Some("160Mi".to_owned()) };
        let state =
            |name: &str| HandlerState { name: name.to_owned(), proven: true, overhead: Some(costs.clone()) };
        let classes =
            runtime_classes("kata", &spec, &[state("kata-qemu"), state("kata-clh"), state("kata-clh")]);
        assert_eq!(
            classes.iter().map(|class| class.handler.as_str()).collect::<Vec<_>>(),
            ["kata-clh", "kata-qemu"]
        );
        assert!(classes.iter().all(|class| class.overhead.is_some()));
        spec.runtime_classes = RuntimeClasses::Unmanaged;
        assert!(runtime_classes("kata", &spec, &[state("kata-qemu")]).is_empty());
    }
}
