//! One round over everything: view, decide, write.

use super::cache::Snapshot;
use super::claims::Claims;
use super::marks::Marks;
use super::truth;
use super::view::View;
use super::write::Writer;
use crate::api::{
    Assigned, PackageRevision, Revision, SandboxNode, SandboxRuntime, SandboxRuntimeStatus, Wanted, names,
};
use crate::metrics::ControllerMetrics;
use crate::runtime_class::{self, KnownHandler};
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{self, Action, Assignment, Decision, Fleet, Label, Phase, Time, decide};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// One round.
pub(super) struct Pass<'a> {
    pub(super) writer: &'a Writer,
    pub(super) recorder: &'a Recorder,
    pub(super) metrics: &'a ControllerMetrics,
    pub(super) snapshot: Snapshot,
    marks: BTreeMap<String, Marks>,
    next_wake: Option<Time>,
    /// A write failed: the round is due again soon.
    failed: bool,
    /// A SandboxRuntime with compatibility labels was not announced in this round.
    keep_compatibility: bool,
    /// SandboxRuntimes of which nothing is left but labels and taints.
    removed: Vec<Arc<SandboxRuntime>>,
    /// The present SandboxRuntime came into another phase.
    told: bool,
}

/// When the next round is due, if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Soon: something could not be written.
    Soon,
    /// Then.
    At(Time),
    /// Nothing is waited for.
    Never,
}

impl<'a> Pass<'a> {
    pub(super) const fn new(
        writer: &'a Writer,
        recorder: &'a Recorder,
        metrics: &'a ControllerMetrics,
        snapshot: Snapshot,
    ) -> Self {
        Self {
            writer,
            recorder,
            metrics,
            snapshot,
            marks: BTreeMap::new(),
            next_wake: None,
            failed: false,
            keep_compatibility: false,
            removed: Vec::new(),
            told: false,
        }
    }

    pub(super) async fn run(mut self) -> Wake {
        let unreadable = &self.snapshot.unreadable;
        self.metrics.unreadable("SandboxRuntime", unreadable.runtimes.len());
        self.metrics.unreadable("SandboxNode", unreadable.sandbox_nodes.len());
        self.metrics.unreadable("Node", unreadable.nodes.len());
        self.metrics.unreadable("RuntimeClass", unreadable.classes.len());
        self.make_sandbox_nodes().await;
        let Snapshot { runtimes, unreadable, sandbox_nodes, .. } = &self.snapshot;
        let claims = Claims::of(runtimes, &unreadable.runtimes, sandbox_nodes);
        self.keep_compatibility = !unreadable.runtimes.is_empty();
        for runtime in self.snapshot.runtimes.clone() {
            let announced = self.reconcile(&runtime, &claims).await;
            self.keep_compatibility |= !announced && runtime.spec.compatibility_labels;
        }
        self.take_leftovers(&claims);
        // Labels and taints first: without the SandboxRuntime nobody would take them away.
        if self.mark().await {
            for runtime in std::mem::take(&mut self.removed) {
                self.finish(&runtime).await;
            }
        }
        match (self.failed, self.next_wake) {
            (true, _) => Wake::Soon,
            (false, Some(time)) => Wake::At(time),
            (false, None) => Wake::Never,
        }
    }

    /// Notes whether a write worked. A conflict only means that the next round will see more.
    fn wrote<T>(&mut self, what: &str, name: &str, result: kube::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.metrics.wrote(what);
                Some(value)
            }
            Err(error) => {
                self.failed = true;
                self.metrics.failed(what);
                match &error {
                    kube::Error::Api(status) if status.code == 409 => {
                        tracing::debug!(what, name, %error, "somebody was faster");
                    }
                    _ => tracing::warn!(what, name, %error, "writing"),
                }
                None
            }
        }
    }

    /// Every node has a SandboxNode: its agent reports there what stands in the way, before anything is installed.
    async fn make_sandbox_nodes(&mut self) {
        for (name, node) in self.snapshot.nodes.clone() {
            // One of a node that is gone goes with it; until then its name is taken.
            if node.metadata.deletion_timestamp.is_some()
                || self.snapshot.sandbox_nodes.contains_key(&name)
                || self.snapshot.unreadable.sandbox_nodes.contains_key(&name)
            {
                continue;
            }
            let created = self.writer.create_sandbox_node(&node).await;
            if let Some(own) = self.wrote("sandboxnode", &name, created) {
                self.snapshot.sandbox_nodes.insert(name, Arc::new(own));
            }
        }
    }

    /// One SandboxRuntime. Gives whether its nodes' marks were collected.
    async fn reconcile(&mut self, runtime: &Arc<SandboxRuntime>, claims: &Claims) -> bool {
        let name = runtime.name_any();
        let leaving = runtime.metadata.deletion_timestamp.is_some();
        let Some(runtime) = self.guarded(runtime, leaving).await else { return false };
        if let (Some(rival), false) = (claims.rival(&name), leaving) {
            let status = truth::conflict(&runtime, rival, &crate::now());
            self.publish(&runtime, status).await;
            return false;
        }
        let handlers = claims.handlers(&name);
        let begun = Instant::now();
        let view = View::of(&runtime, handlers, claims.runtime(&name), &self.snapshot);
        let decision = decide(&view.request(self.snapshot.moment));
        self.metrics.decided(begun.elapsed().as_secs_f64());
        let record = decision.remember.as_ref().unwrap_or(&view.record);
        let target = PackageRevision::of(&runtime.spec.package, &runtime.spec.skip_checks).revision;
        let fault = runtime_class::bad_overhead(handlers);
        let known = truth::Known {
            target: &target,
            packages: &view.packages,
            handlers,
            runtime: claims.runtime(&name),
            fault: fault.as_deref(),
            sandbox_nodes: &self.snapshot.sandbox_nodes,
            now: &crate::now(),
        };
        let status = truth::status(&runtime, &decision, record, &known);
        self.metrics.nodes(&name, &status.nodes);
        // What is remembered is written before it is done: whoever reads it knows every node that may be changing.
        if !self.publish(&runtime, status).await {
            return false;
        }
        // The API server would refuse it each time.
        if fault.is_none() || leaving {
            self.classes(&runtime, handlers, &decision).await;
        }
        self.act(&runtime, claims, &view, &decision).await;
        self.announce(&runtime, handlers, &view.fleet, &decision);
        if let Some(wake) = decision.next_wake {
            self.next_wake = Some(self.next_wake.map_or(wake, |other| other.min(wake)));
        }
        if decision.phase == Phase::Removed && leaving {
            self.removed.push(Arc::clone(&runtime));
        }
        matches!(view.fleet, Fleet::Nodes(_) | Fleet::ConfirmedEmpty)
    }

    /// Labels that an earlier spec asked for, on whichever node.
    fn take_leftovers(&mut self, claims: &Claims) {
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

    /// The SandboxRuntime with our finalizer on it; none if it could not be written, or has gone without one.
    async fn guarded(&mut self, runtime: &Arc<SandboxRuntime>, leaving: bool) -> Option<Arc<SandboxRuntime>> {
        let has = runtime.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER);
        match (has, leaving) {
            (true, _) => Some(Arc::clone(runtime)),
            (false, true) => None,
            (false, false) => {
                let mut finalizers = runtime.finalizers().to_vec();
                finalizers.push(names::FINALIZER.to_owned());
                let written = self.writer.finalizers(runtime, &finalizers).await;
                self.wrote("sandboxruntime", &runtime.name_any(), written).map(Arc::new)
            }
        }
    }

    /// Writes the status if it says something new, and tells of it. False: it could not be written.
    async fn publish(&mut self, runtime: &Arc<SandboxRuntime>, status: SandboxRuntimeStatus) -> bool {
        self.told = false;
        if runtime.status.as_ref() == Some(&status) {
            return true;
        }
        let written = self.writer.status(runtime, &status).await;
        if self.wrote("status", &runtime.name_any(), written).is_none() {
            return false;
        }
        self.tell(runtime, &status).await;
        true
    }

    /// Events for a new phase and for each node that failed.
    async fn tell(&mut self, runtime: &SandboxRuntime, status: &SandboxRuntimeStatus) {
        let before = runtime.status.clone().unwrap_or_default();
        let reference = runtime.object_ref(&());
        if before.phase != status.phase {
            self.told = true;
            let bad = matches!(status.phase.as_str(), "Halted" | "Degraded" | "Conflict" | "Unknown");
            self.event(&reference, None, bad, (&status.phase, &status.message)).await;
        }
        let known: BTreeSet<_> = before.failures.iter().map(|f| (&f.node, &f.at)).collect();
        for failure in status.failures.iter().filter(|failure| !known.contains(&(&failure.node, &failure.at)))
        {
            let text = format!("{}: {}", failure.node, failure.message);
            // Else the recorder takes those of several nodes for one.
            let node = self.snapshot.nodes.get(&failure.node).map(|node| node.object_ref(&()));
            self.event(&reference, node, true, ("NodeFailed", &text)).await;
        }
    }

    async fn event(
        &self,
        reference: &ObjectReference,
        secondary: Option<ObjectReference>,
        bad: bool,
        (reason, text): (&str, &str),
    ) {
        let event = Event {
            type_: if bad { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            // The API's limit is 1024 bytes.
            note: Some(text.chars().take(250).collect()),
            action: "Rollout".to_owned(),
            secondary,
        };
        if let Err(error) = self.recorder.publish(&event, reference).await {
            tracing::debug!(%error, "an Event is lost");
        }
    }

    /// RuntimeClasses as they should be. Those of a runtime that goes, go first: no new sandbox starts.
    async fn classes(&mut self, runtime: &SandboxRuntime, handlers: &[KnownHandler], decision: &Decision) {
        let name = runtime.name_any();
        let leaving = matches!(decision.phase, Phase::Removing | Phase::Removed);
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
                Some(present) if !ours(&present) => {
                    // Said with each new phase, not in each round.
                    if self.told {
                        let text =
                            format!("the RuntimeClass {class_name} is someone else's: it is left as it is");
                        self.event(&runtime.object_ref(&()), None, true, ("RuntimeClassTaken", &text)).await;
                    }
                    continue;
                }
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

    /// Carries the actions out, in their order; after a failed one the node is left alone until the next round.
    async fn act(&mut self, runtime: &SandboxRuntime, claims: &Claims, view: &View, decision: &Decision) {
        let name = runtime.name_any();
        let mut given_up: BTreeSet<&NodeName> = BTreeSet::new();
        for action in &decision.actions {
            let node = action.node();
            if given_up.contains(node) {
                continue;
            }
            let done = match action {
                Action::Withdraw { node, .. } => {
                    let mut marks = Marks::default();
                    marks.add(runtime, claims.handlers(&name), Label::Take);
                    self.mark_node(node.as_str(), &marks).await
                }
                Action::Assign { node, assignment, why, .. } => {
                    tracing::info!(
                        runtime = name,
                        %node,
                        revision = %assignment.revision,
                        wanted = ?assignment.wanted,
                        ?why,
                        "assigned"
                    );
                    self.assign(runtime, claims.runtime(&name), node, assignment, &view.packages).await
                }
                Action::Forget { node, .. } => self.forget(runtime, node).await,
            };
            if !done {
                given_up.insert(node);
            }
        }
    }

    async fn assign(
        &mut self,
        runtime: &SandboxRuntime,
        own_name: &str,
        node: &NodeName,
        assignment: &Assignment,
        packages: &BTreeMap<Revision, PackageRevision>,
    ) -> bool {
        let package = |revision: &rollout::Revision| packages.get(&Revision(revision.0.clone())).cloned();
        let Some(target) = package(&assignment.revision) else {
            tracing::error!(revision = %assignment.revision, "nobody knows what this revision is made of");
            return false;
        };
        let Some(own) = self.snapshot.sandbox_nodes.get(node.as_str()).cloned() else { return false };
        let assigned = Assigned {
            name: runtime.name_any(),
            wanted: match assignment.wanted {
                rollout::Wanted::Present => Wanted::Present,
                rollout::Wanted::Absent => Wanted::Absent,
            },
            sequence: assignment.sequence,
            attempt: assignment.attempt,
            since: assignment.since.0,
            runtime: own_name.to_owned(),
            target,
            fallback: assignment.fallback.as_ref().and_then(package),
        };
        let mut runtimes = own.spec.runtimes.clone();
        match runtimes.iter_mut().find(|present| present.name == assigned.name) {
            Some(present) => *present = assigned,
            None => runtimes.push(assigned),
        }
        self.tell_node(node, &own, &runtimes).await
    }

    async fn forget(&mut self, runtime: &SandboxRuntime, node: &NodeName) -> bool {
        let Some(own) = self.snapshot.sandbox_nodes.get(node.as_str()).cloned() else { return true };
        let mut runtimes = own.spec.runtimes.clone();
        runtimes.retain(|assigned| assigned.name != runtime.name_any());
        self.tell_node(node, &own, &runtimes).await
    }

    async fn tell_node(&mut self, node: &NodeName, own: &SandboxNode, runtimes: &[Assigned]) -> bool {
        let written = self.writer.assign(own, runtimes).await;
        match self.wrote("sandboxnode", node.as_str(), written) {
            Some(own) => {
                // The next runtime of this round writes on top of it.
                self.snapshot.sandbox_nodes.insert(node.to_string(), Arc::new(own));
                true
            }
            None => false,
        }
    }

    /// Collects the marks that the decision's announcements ask for.
    fn announce(
        &mut self,
        runtime: &SandboxRuntime,
        handlers: &[KnownHandler],
        fleet: &Fleet,
        decision: &Decision,
    ) {
        let Fleet::Nodes(views) = fleet else { return };
        let leaving = matches!(decision.phase, Phase::Removing | Phase::Removed);
        // The reports are in the order of the views.
        for (view, report) in views.iter().zip(&decision.nodes) {
            // The node may have a revision with other handlers than the one that is wanted.
            let (proven, others): (Vec<_>, Vec<_>) = match report.announcement.label {
                Label::Put => handlers.iter().cloned().partition(|h| self.proves(runtime, &report.name, h)),
                Label::Take | Label::Keep => (handlers.to_vec(), Vec::new()),
            };
            let marks = self.marks.entry(report.name.to_string()).or_default();
            marks.take_handlers(&others);
            let handlers = &proven;
            if view.matches && !leaving {
                marks.add(runtime, handlers, report.announcement.label);
            } else {
                // A node that is to lose it must not wait behind its taint for ever.
                marks.add_labels(runtime, handlers, report.announcement.label);
                marks.release(runtime);
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

    /// Writes the marks that were collected. False: one could not be written.
    async fn mark(&mut self) -> bool {
        let mut all = true;
        for (node, marks) in std::mem::take(&mut self.marks) {
            all &= self.mark_node(&node, &marks).await;
        }
        all
    }

    async fn mark_node(&mut self, name: &str, marks: &Marks) -> bool {
        let node = self.snapshot.nodes.get(name);
        let Some(patch) = node.and_then(|node| marks.patch(node)) else { return true };
        let written = self.writer.mark(name, &patch).await;
        match self.wrote("node", name, written) {
            Some(node) => {
                self.snapshot.nodes.insert(name.to_owned(), Arc::new(node));
                true
            }
            None => false,
        }
    }

    /// The last node is done: the SandboxRuntime may go.
    async fn finish(&mut self, runtime: &SandboxRuntime) {
        let mut finalizers = runtime.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != names::FINALIZER);
        let written = self.writer.finalizers(runtime, &finalizers).await;
        self.wrote("sandboxruntime", &runtime.name_any(), written);
        self.metrics.forget(&runtime.name_any());
    }
}

fn is_same(present: &RuntimeClass, wanted: &RuntimeClass) -> bool {
    let labels = wanted.labels().iter().all(|(key, value)| present.labels().get(key) == Some(value));
    present.handler == wanted.handler
        && runtime_class::costs_the_same(present, wanted)
        && present.scheduling == wanted.scheduling
        && labels
}
