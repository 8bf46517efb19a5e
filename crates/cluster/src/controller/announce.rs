//! What nodes are marked with, collected over a round and written at its end.

use super::act::together;
use super::claims::Claims;
use super::marks::Marks;
use super::pass::Pass;
use crate::api::SandboxRuntime;
use crate::runtime_class::KnownHandler;
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{Decision, Fleet, Label, Phase, Wanted};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use std::sync::Arc;

impl Pass<'_> {
    /// Collects the marks that the decision's announcements ask for.
    pub(super) fn announce(
        &mut self,
        runtime: &SandboxRuntime,
        handlers: &[KnownHandler],
        fleet: &Fleet,
        decision: &Decision,
    ) {
        let Fleet::Nodes(views) = fleet else { return };
        let leaving = runtime.metadata.deletion_timestamp.is_some();
        // The selector matches nothing, rather by mistake: no taint is lifted for that.
        let unsure = matches!(decision.phase, Phase::Unknown { .. });
        // The reports are in the order of the views.
        for (view, report) in views.iter().zip(&decision.nodes) {
            // The node may have a revision with other handlers than the one that is wanted.
            let (proven, others): (Vec<_>, Vec<_>) = match report.announcement.label {
                Label::Put => handlers.iter().cloned().partition(|h| self.proves(runtime, &report.name, h)),
                Label::Take | Label::Keep => (handlers.to_vec(), Vec::new()),
            };
            let marks = self.marks.entry(report.name.to_string()).or_default();
            marks.take_handlers(&others);
            let label = report.announcement.label;
            let told = view.assigned.as_ref().is_some_and(|assigned| assigned.wanted == Wanted::Present);
            if unsure && !told {
                marks.add_labels(runtime, &proven, label);
            } else {
                marks.add(runtime, &proven, label, (view.matches || unsure) && !leaving);
            }
        }
    }

    /// Whether the node's agent says that this handler is proven there now.
    fn proves(&self, runtime: &SandboxRuntime, node: &NodeName, handler: &KnownHandler) -> bool {
        let own = self.snapshot.sandbox_nodes.get(node.as_str());
        let states = own.and_then(|own| own.status.as_ref()).into_iter().flat_map(|status| &status.runtimes);
        let name = runtime.name_any();
        states
            .filter(|state| state.name == name)
            .flat_map(|state| &state.handlers)
            .any(|known| known.name == handler.name && known.proven)
    }

    /// Labels that an earlier spec asked for, on whichever node.
    pub(super) fn take_leftovers(&mut self, claims: &Claims) {
        if self.snapshot.runtimes.is_empty() {
            return;
        }
        let is_known = self.snapshot.unreadable.runtimes.is_empty();
        for (name, node) in &self.snapshot.nodes {
            let marks = self.marks.entry(name.clone()).or_default();
            if self.keep_compatibility {
                marks.keep_compatibility();
            }
            // What a node reports that cannot be read is claimed perhaps.
            let is_known = is_known && self.snapshot.sandbox_nodes.contains_key(name);
            marks.take_leftovers(node, |handler| is_known && claims.is_free(handler));
        }
    }

    /// Writes the marks that were collected. False: one could not be written.
    pub(super) async fn mark(&mut self) -> bool {
        let marks = std::mem::take(&mut self.marks);
        let this = &*self;
        let work = marks.iter().filter_map(|(name, marks)| {
            let mut node = Arc::clone(this.snapshot.nodes.get(name)?);
            Some(async move { this.mark_node(&mut node, marks).await })
        });
        together(work.collect()).await.into_iter().all(|done| done)
    }

    pub(super) async fn mark_node(&self, node: &mut Arc<Node>, marks: &Marks) -> bool {
        let Some(patch) = marks.patch(node) else { return true };
        let name = node.name_any();
        let written = self.writer.mark(&name, &patch).await;
        let written = self.wrote("node", &name, written);
        written.map(|changed| *node = Arc::new(changed)).is_some()
    }
}
