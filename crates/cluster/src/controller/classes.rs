//! RuntimeClasses.

use super::pass::Pass;
use crate::api::{SandboxRuntime, names};
use crate::runtime_class::{self, KnownHandler};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::ResourceExt;
use std::collections::BTreeSet;

impl Pass<'_> {
    /// RuntimeClasses as they should be. Those of a runtime that goes, go first: no new sandbox starts.
    pub(super) async fn classes(&self, runtime: &SandboxRuntime, handlers: &[KnownHandler]) {
        let name = runtime.name_any();
        let leaving = runtime.metadata.deletion_timestamp.is_some();
        let wanted = if leaving { Vec::new() } else { runtime_class::of(&name, &runtime.spec, handlers) };
        let ours = |class: &RuntimeClass| class.labels().get(names::OWNER_LABEL) == Some(&name);
        for class in &wanted {
            let class_name = class.name_any();
            if self.snapshot.unreadable.classes.contains_key(&class_name) {
                continue;
            }
            let present = self.snapshot.classes.iter().find(|c| c.name_any() == class_name).cloned();
            let written = match present {
                None => self.writer.create_class(class).await,
                // Status says so (fault).
                Some(present) if !ours(&present) => continue,
                Some(present) if is_same(&present, class) => continue,
                // The handler of a RuntimeClass cannot be changed: the next round makes it anew.
                Some(present) if present.handler != class.handler => self.writer.delete_class(&present).await,
                Some(present) => self.writer.change_class(&present, class).await,
            };
            self.wrote("runtimeclass", &class_name, written);
        }
        // Handlers are what nodes report: one that cannot be read may have more.
        let all_heard = self.snapshot.nodes.keys().all(|name| self.snapshot.sandbox_nodes.contains_key(name));
        let known = leaving || !handlers.is_empty() && all_heard;
        let kept: BTreeSet<String> = wanted.iter().map(ResourceExt::name_any).collect();
        for class in self.snapshot.classes.clone() {
            if known && ours(&class) && !kept.contains(&class.name_any()) {
                let deleted = self.writer.delete_class(&class).await;
                self.wrote("runtimeclass", &class.name_any(), deleted);
            }
        }
    }
}

fn is_same(present: &RuntimeClass, wanted: &RuntimeClass) -> bool {
    let labels = wanted.labels().iter().all(|(key, value)| present.labels().get(key) == Some(value));
    present.handler == wanted.handler
        && runtime_class::costs_the_same(present, wanted)
        && present.scheduling == wanted.scheduling
        && labels
}
