//! Announcements as labels and taints of nodes.

#![allow(clippy::indexing_slicing)] // of objects that json! made in the same function

use crate::api::{SandboxRuntime, names};
use crate::runtime_class::KnownHandler;
use cofferdam_core::rollout::Label;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a node should be marked with, by all SandboxRuntimes that concern it. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Labels: their value, or none if they are to go.
    labels: BTreeMap<String, Option<String>>,
    /// Our taints, by key: whether they belong there.
    taints: BTreeMap<String, bool>,
}

impl Marks {
    /// Adds what one SandboxRuntime's announcement asks for.
    pub(super) fn add(&mut self, runtime: &SandboxRuntime, handlers: &[KnownHandler], label: Label) {
        self.add_labels(runtime, handlers, label);
        let announced = match label {
            Label::Put => true,
            Label::Take => false,
            Label::Keep => return,
        };
        if let Some(taint) = &runtime.spec.scheduling.startup_taint {
            // Several runtimes may share one: it goes when all of them are proven.
            let tainted = self.taints.entry(taint.clone()).or_default();
            *tainted |= !announced;
        }
    }

    /// Takes the labels of handlers that the node does not have.
    pub(super) fn take_handlers(&mut self, handlers: &[KnownHandler]) {
        for handler in handlers {
            self.label(format!("{}{}", names::HANDLER_LABEL_PREFIX, handler.name), names::PROVEN, false);
        }
    }

    /// The same without its taint.
    pub(super) fn add_labels(&mut self, runtime: &SandboxRuntime, handlers: &[KnownHandler], label: Label) {
        let announced = match label {
            Label::Put => true,
            Label::Take => false,
            Label::Keep => return,
        };
        for handler in handlers {
            self.label(format!("{}{}", names::HANDLER_LABEL_PREFIX, handler.name), names::PROVEN, announced);
        }
        if runtime.spec.compatibility_labels {
            self.label(names::KATA_RUNTIME_LABEL.to_owned(), "true", announced);
            self.label(names::OLD_KATA_RUNTIME_LABEL.to_owned(), "true", announced);
            self.label(names::OLD_ENGINE_LABEL.to_owned(), "containerd", announced);
        }
    }

    /// Lifts a runtime's taint although it is not there (any more): it is not to be waited for.
    pub(super) fn release(&mut self, runtime: &SandboxRuntime) {
        if let Some(taint) = &runtime.spec.scheduling.startup_taint {
            self.taints.entry(taint.clone()).or_default();
        }
    }

    /// One that another runtime wants there stays.
    fn label(&mut self, key: String, value: &str, announced: bool) {
        let entry = self.labels.entry(key).or_default();
        if announced {
            *entry = Some(value.to_owned());
        }
    }

    /// The patch that brings `node` there; none if it is as it should be.
    pub(super) fn patch(&self, node: &Node) -> Option<Value> {
        let present = node.labels();
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .filter(|(key, value)| present.get(*key) != value.as_ref())
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        let taints = self.changed_taints(node);
        if labels.is_empty() && taints.is_none() {
            return None;
        }
        // Only if nobody changed the node meanwhile: taints are replaced as a whole, and old facts are no facts.
        let mut patch = json!({ "metadata": { "resourceVersion": node.resource_version() } });
        if !labels.is_empty() {
            patch["metadata"]["labels"] = Value::Object(labels);
        }
        if let Some(taints) = taints {
            patch["spec"] = json!({ "taints": taints });
        }
        Some(patch)
    }

    fn changed_taints(&self, node: &Node) -> Option<Vec<Taint>> {
        let present = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let mut taints = present.clone();
        for (key, wanted) in &self.taints {
            if !wanted {
                taints.retain(|taint| taint.key != *key);
            } else if !taints.iter().any(|taint| taint.key == *key) {
                taints.push(Taint { key: key.clone(), effect: "NoSchedule".to_owned(), ..Taint::default() });
            }
        }
        (taints != present).then_some(taints)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::api::{PackageSpec, SandboxRuntimeSpec, SourceSpec};

    fn runtime(taint: Option<&str>, compatible: bool) -> SandboxRuntime {
        let source = SourceSpec { directory: Some("/p".to_owned()), oci: None };
        let mut spec: SandboxRuntimeSpec = serde_json::from_value(json!({
            "package": PackageSpec { source, preset: None, version: None, descriptor: None },
        }))
        .unwrap();
        spec.scheduling.startup_taint = taint.map(str::to_owned);
        spec.compatibility_labels = compatible;
        SandboxRuntime::new("gv", spec)
    }

    fn handlers() -> Vec<KnownHandler> {
        vec![KnownHandler { name: "runsc".to_owned(), class: "runsc".to_owned(), overhead: None }]
    }

    fn node(labels: &[(&str, &str)], taints: &[&str]) -> Node {
        let taints: Vec<Value> =
            taints.iter().map(|key| json!({ "key": key, "effect": "NoSchedule" })).collect();
        serde_json::from_value(json!({
            "metadata": { "name": "n", "resourceVersion": "7", "labels": labels.iter().copied().collect::<BTreeMap<_, _>>() },
            "spec": { "taints": taints },
        }))
        .unwrap()
    }

    const LABEL: &str = "cofferdam.node-restriction.kubernetes.io/runsc";

    #[test]
    fn a_proven_handler_gets_its_label_and_loses_the_taint() {
        let mut marks = Marks::default();
        marks.add(&runtime(Some("cofferdam.dev/gv"), false), &handlers(), Label::Put);
        let patch = marks.patch(&node(&[("other", "x")], &["theirs", "cofferdam.dev/gv"])).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({ LABEL: "true" }));
        assert_eq!(patch["spec"]["taints"], json!([{ "key": "theirs", "effect": "NoSchedule" }]));
        assert_eq!(patch["metadata"]["resourceVersion"], json!("7"));
        assert_eq!(marks.patch(&node(&[(LABEL, "true")], &["theirs"])), None);
    }

    #[test]
    fn a_lost_proof_takes_the_label_and_brings_the_taint() {
        let mut marks = Marks::default();
        marks.add(&runtime(Some("cofferdam.dev/gv"), false), &handlers(), Label::Take);
        let patch = marks.patch(&node(&[(LABEL, "true")], &[])).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({ LABEL: null }));
        assert_eq!(patch["spec"]["taints"][0]["key"], "cofferdam.dev/gv");
    }

    #[test]
    fn what_nobody_can_tell_stays() {
        let mut marks = Marks::default();
        marks.add(&runtime(Some("cofferdam.dev/gv"), true), &handlers(), Label::Keep);
        assert_eq!(marks, Marks::default());
    }

    #[test]
    fn a_shared_taint_and_a_shared_label_wait_for_nobody_and_for_all() {
        let (one, other) = (runtime(Some("cofferdam.dev/t"), true), runtime(Some("cofferdam.dev/t"), true));
        let mut marks = Marks::default();
        marks.add(&one, &handlers(), Label::Put);
        marks.add(&other, &[], Label::Take);
        let patch = marks.patch(&node(&[], &[])).unwrap();
        assert_eq!(patch["metadata"]["labels"][names::KATA_RUNTIME_LABEL], "true");
        assert_eq!(patch["spec"]["taints"][0]["key"], "cofferdam.dev/t");
    }
}
