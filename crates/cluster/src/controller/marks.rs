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
    labels: BTreeMap<String, Wish>,
    /// Our taints, by key: whether they belong there.
    taints: BTreeMap<String, bool>,
}

/// What is to become of a label; the strongest of several wishes last.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    #[default]
    Take,
    Keep,
    Put(String),
}

const COMPATIBILITY: [(&str, &str); 3] = [
    (names::KATA_RUNTIME_LABEL, "true"),
    (names::OLD_KATA_RUNTIME_LABEL, "true"),
    (names::OLD_ENGINE_LABEL, "containerd"),
];

impl Marks {
    /// Adds what one SandboxRuntime's announcement asks for. `stays`: the node is to have it; one that is not does not wait
    /// behind its taint.
    pub(super) fn add(
        &mut self,
        runtime: &SandboxRuntime,
        handlers: &[KnownHandler],
        label: Label,
        stays: bool,
    ) {
        self.add_labels(runtime, handlers, label);
        let waits = match label {
            Label::Put => false,
            Label::Take => stays,
            Label::Keep => return,
        };
        if let Some(taint) = &runtime.spec.scheduling.startup_taint {
            // Several runtimes may share one: it goes when all of them are proven.
            let tainted = self.taints.entry(taint.clone()).or_default();
            *tainted |= waits;
        }
    }

    /// Takes the labels of handlers that the node does not have.
    pub(super) fn take_handlers(&mut self, handlers: &[KnownHandler]) {
        for handler in handlers {
            self.label(&format!("{}{}", names::HANDLER_LABEL_PREFIX, handler.name), Wish::Take);
        }
    }

    /// Adds its labels alone: the taint stays as it is, unless another SandboxRuntime has a wish.
    pub(super) fn add_labels(&mut self, runtime: &SandboxRuntime, handlers: &[KnownHandler], label: Label) {
        let wish = |value: &str| match label {
            Label::Put => Wish::Put(value.to_owned()),
            Label::Take => Wish::Take,
            Label::Keep => Wish::Keep,
        };
        for handler in handlers {
            self.label(&format!("{}{}", names::HANDLER_LABEL_PREFIX, handler.name), wish(names::PROVEN));
        }
        if runtime.spec.compatibility_labels {
            COMPATIBILITY.iter().for_each(|(key, value)| self.label(key, wish(value)));
        }
    }

    /// Leaves the compatibility labels as they are, if nobody says more: somebody could not be asked.
    pub(super) fn keep_compatibility(&mut self) {
        COMPATIBILITY.iter().for_each(|(key, _)| self.label(key, Wish::Keep));
    }

    /// Takes what was left behind when a spec was changed: labels of handlers that are nobody's, and compatibility labels
    /// that we put there and nobody asks for.
    pub(super) fn take_leftovers(&mut self, node: &Node, is_free: impl Fn(&str) -> bool) {
        for key in node.labels().keys() {
            let free = match key.strip_prefix(names::HANDLER_LABEL_PREFIX) {
                Some(handler) => is_free(handler),
                None => COMPATIBILITY.iter().any(|(own, _)| own == key) && is_ours(node, key),
            };
            if free {
                self.label(key, Wish::Take);
            }
        }
    }

    /// One that another runtime wants there stays.
    fn label(&mut self, key: &str, wish: Wish) {
        let entry = self.labels.entry(key.to_owned()).or_default();
        if *entry < wish {
            *entry = wish;
        }
    }

    /// The patch that brings `node` there; none if it is as it should be.
    pub(super) fn patch(&self, node: &Node) -> Option<Value> {
        let present = node.labels();
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .filter_map(|(key, wish)| match (wish, present.get(key)) {
                (Wish::Take, Some(_)) => Some((key.clone(), Value::Null)),
                (Wish::Put(value), there) if there != Some(value) => Some((key.clone(), json!(value))),
                _ => None,
            })
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

/// Whether the API server knows this label as one that the controller set.
fn is_ours(node: &Node, label: &str) -> bool {
    let entries = node.metadata.managed_fields.iter().flatten();
    let mut fields = entries
        .filter(|entry| entry.manager.as_deref() == Some(names::CONTROLLER))
        .filter_map(|entry| entry.fields_v1.as_ref());
    fields.any(|fields| fields.0["f:metadata"]["f:labels"].get(format!("f:{label}")).is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::api::{PackageSpec, SandboxRuntimeSpec, SourceSpec};

    fn runtime(taint: Option<&str>, compatible: bool) -> SandboxRuntime {
        let source = SourceSpec { directory: Some("/p".to_owned()), ..SourceSpec::default() };
        let mut spec: SandboxRuntimeSpec = serde_json::from_value(json!({
            "package": PackageSpec { source, preset: None, version: None, descriptor: None, verify: None, limits: None },
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
        marks.add(&runtime(Some("cofferdam.dev/gv"), false), &handlers(), Label::Put, true);
        let patch = marks.patch(&node(&[("other", "x")], &["theirs", "cofferdam.dev/gv"])).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({ LABEL: "true" }));
        assert_eq!(patch["spec"]["taints"], json!([{ "key": "theirs", "effect": "NoSchedule" }]));
        assert_eq!(patch["metadata"]["resourceVersion"], json!("7"));
        assert_eq!(marks.patch(&node(&[(LABEL, "true")], &["theirs"])), None);
    }

    #[test]
    fn a_lost_proof_takes_the_label_and_brings_the_taint() {
        let mut marks = Marks::default();
        marks.add(&runtime(Some("cofferdam.dev/gv"), false), &handlers(), Label::Take, true);
        let patch = marks.patch(&node(&[(LABEL, "true")], &[])).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({ LABEL: null }));
        assert_eq!(patch["spec"]["taints"][0]["key"], "cofferdam.dev/gv");
    }

    #[test]
    fn what_nobody_can_tell_stays() {
        let mut marks = Marks::default();
        for stays in [true, false] {
            marks.add(&runtime(Some("cofferdam.dev/gv"), true), &handlers(), Label::Keep, stays);
            let there = [(LABEL, "true"), (names::KATA_RUNTIME_LABEL, "true")];
            assert_eq!(marks.patch(&node(&there, &["cofferdam.dev/gv"])), None);
            assert_eq!(marks.patch(&node(&[], &[])), None);
        }
    }

    #[test]
    fn a_node_that_is_not_to_have_it_does_not_wait_for_it() {
        let mut marks = Marks::default();
        marks.add(&runtime(Some("cofferdam.dev/gv"), false), &handlers(), Label::Take, false);
        let patch = marks.patch(&node(&[(LABEL, "true")], &["cofferdam.dev/gv"])).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({ LABEL: null }));
        assert_eq!(patch["spec"]["taints"], json!([]));
    }

    #[test]
    fn what_a_changed_spec_left_behind_goes() {
        let there = [(LABEL, "true"), (names::KATA_RUNTIME_LABEL, "true"), ("theirs", "x")];
        let mut node = node(&there, &[]);
        let leftovers = |node: &Node, free: bool, keep: bool| {
            let mut marks = Marks::default();
            if keep {
                marks.keep_compatibility();
            }
            marks.take_leftovers(node, |_| free);
            marks.patch(node).map(|patch| patch["metadata"]["labels"].clone())
        };
        assert_eq!(
            leftovers(&node, true, false),
            Some(json!({ LABEL: null })),
            "kata-deploy's own labels stay"
        );
        assert_eq!(leftovers(&node, false, false), None);
        let field = format!("f:{}", names::KATA_RUNTIME_LABEL);
        node.metadata.managed_fields = serde_json::from_value(json!([{
            "manager": names::CONTROLLER, "fieldsV1": { "f:metadata": { "f:labels": { field: {} } } },
        }]))
        .unwrap();
        assert_eq!(leftovers(&node, false, false), Some(json!({ names::KATA_RUNTIME_LABEL: null })));
        assert_eq!(leftovers(&node, false, true), None, "somebody could not be asked");
    }

    #[test]
    fn a_shared_taint_and_a_shared_label_wait_for_nobody_and_for_all() {
        let (one, other) = (runtime(Some("cofferdam.dev/t"), true), runtime(Some("cofferdam.dev/t"), true));
        let mut marks = Marks::default();
        marks.add(&one, &handlers(), Label::Put, true);
        marks.add(&other, &[], Label::Take, true);
        let patch = marks.patch(&node(&[], &[])).unwrap();
        assert_eq!(patch["metadata"]["labels"][names::KATA_RUNTIME_LABEL], "true");
        assert_eq!(patch["spec"]["taints"][0]["key"], "cofferdam.dev/t");
    }
}
