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
    // One that the package does not have is nobody's: no engine would serve it.
    let has = |name: &str| packaged.is_empty() || packaged.iter().any(|(known, _)| known == name);
    let listed = spec.handlers.iter().filter(|handler| has(&handler.name)).map(|handler| KnownHandler {
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
pub(crate) fn packaged(package: &PackageSpec) -> Option<Vec<(String, Option<Overhead>)>> {
    let handlers = described(package)?.handlers.into_iter();
    let overhead = |o: descriptor::Overhead| Overhead { cpu: o.cpu, memory: o.memory };
    Some(handlers.map(|handler| (handler.name.to_string(), handler.overhead.map(overhead))).collect())
}

/// The runtime's own name, if a preset or an inline descriptor says it.
pub fn runtime_name(package: &PackageSpec) -> Option<String> {
    Some(described(package)?.name.to_string())
}

/// Whether a sandbox costs the same in both; the API server writes quantities in its own way.
pub fn costs_the_same(one: &RuntimeClass, other: &RuntimeClass) -> bool {
    let costs = |class: &RuntimeClass| {
        let fixed =
            class.overhead.as_ref().and_then(|overhead| overhead.pod_fixed.clone()).unwrap_or_default();
        fixed
            .into_iter()
            .map(|(name, quantity)| (name, amount(&quantity.0).ok_or(quantity.0)))
            .collect::<Vec<_>>()
    };
    costs(one) == costs(other)
}

/// What an overhead says that is not a quantity.
pub fn bad_overhead(handlers: &[KnownHandler]) -> Option<String> {
    let costs = handlers.iter().filter_map(|handler| Some((handler, handler.overhead.as_ref()?)));
    costs
        .flat_map(|(handler, overhead)| [(handler, &overhead.cpu), (handler, &overhead.memory)])
        .filter_map(|(handler, text)| Some((handler, text.as_ref()?)))
        .find(|(_, text)| amount(text).is_none())
        .map(|(handler, text)| {
            format!(
                "the overhead of handler {}: `{text}` is no quantity; next: write it as 250m or 320Mi",
                handler.name
            )
        })
}

/// A Kubernetes quantity in thousandths, rounded up; none if it is none, or negative.
fn amount(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let decimal = |exponent: u32| 10_u128.checked_pow(exponent);
    let (factor, divisor) = match suffix {
        "n" => (1, decimal(6)?),
        "u" => (1, decimal(3)?),
        "m" => (1, 1),
        "" => (decimal(3)?, 1),
        "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => {
            let power = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|known| *known == suffix)?;
            (1000 << (10 * (power + 1)), 1)
        }
        "k" | "M" | "G" | "T" | "P" | "E" => {
            let power = ["k", "M", "G", "T", "P", "E"].iter().position(|known| *known == suffix)?;
            (decimal(3 * u32::try_from(power).ok()? + 6)?, 1)
        }
        _ => match suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()? {
            exponent @ 0..=18 => (decimal(exponent.unsigned_abs() + 3)?, 1),
            exponent @ -18..0 => (decimal(3)?, decimal(exponent.unsigned_abs())?),
            _ => return None,
        },
    };
    Some(digits.checked_mul(factor)?.div_ceil(scale.checked_mul(divisor)?))
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
        let state = |name: &str| HandlerState {
            name: name.to_owned(),
            proven: true,
            reason: String::new(),
            message: String::new(),
            overhead: Some(costs.clone()),
        };
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

    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        for (one, other) in
            [("0.25", "250m"), ("1024Mi", "1Gi"), ("1.5", "1500m"), ("1e3", "1k"), ("1e-3", "1m")]
        {
            assert_eq!(amount(one), amount(other), "{one} {other}");
        }
        assert!(amount("1Gi") != amount("1G") && amount("320Mi") != amount("320M"));
        for text in ["", ".", "1 Gi", "-1", "much", "1GB", "1.2.3", "1e99"] {
            assert_eq!(amount(text), None, "{text}");
        }
        let class = |cpu: &str| {
            let overhead = Overhead { cpu: Some(cpu.to_owned()), memory: None };
            let handler =
                KnownHandler { name: "a".to_owned(), class: "a".to_owned(), overhead: Some(overhead) };
            let package = serde_json::json!({ "source": { "directory": "/srv" } });
            class("x", &spec(serde_json::json!({ "package": package })), &handler)
        };
        assert!(costs_the_same(&class("0.25"), &class("250m")));
        assert!(!costs_the_same(&class("0.25"), &class("251m")));
    }
}
