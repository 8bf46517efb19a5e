//! One round over everything: view, decide, write.

use super::cache::Snapshot;
use super::claims::Claims;
use super::fault::{self, Fault};
use super::marks::Marks;
use super::package;
use super::truth;
use super::view::View;
use super::write::Writer;
use crate::api::{PackageRevision, SandboxRuntime, SandboxRuntimeStatus, names};
use crate::metrics::ControllerMetrics;
use cofferdam_core::rollout::{Decision, Phase, Time, decide};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// One round.
pub(super) struct Pass<'a> {
    pub(super) writer: &'a Writer,
    pub(super) recorder: &'a Recorder,
    pub(super) metrics: &'a ControllerMetrics,
    pub(super) snapshot: Snapshot,
    pub(super) marks: BTreeMap<String, Marks>,
    next_wake: Option<Time>,
    /// A write failed: the round is due again soon.
    failed: AtomicBool,
    /// A SandboxRuntime with compatibility labels was not announced in this round.
    pub(super) keep_compatibility: bool,
    /// SandboxRuntimes of which nothing is left but labels and taints.
    removed: Vec<Arc<SandboxRuntime>>,
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
            failed: AtomicBool::new(false),
            keep_compatibility: false,
            removed: Vec::new(),
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
        match (self.failed.into_inner(), self.next_wake) {
            (true, _) => Wake::Soon,
            (false, Some(time)) => Wake::At(time),
            (false, None) => Wake::Never,
        }
    }

    /// Notes whether a write worked. A conflict only means that the next round will see more.
    pub(super) fn wrote<T>(&self, what: &str, name: &str, result: kube::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.metrics.wrote(what);
                Some(value)
            }
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
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

    /// One SandboxRuntime. Gives whether its nodes' marks were collected.
    async fn reconcile(&mut self, runtime: &Arc<SandboxRuntime>, claims: &Claims) -> bool {
        let name = runtime.name_any();
        let leaving = runtime.metadata.deletion_timestamp.is_some();
        let Some(runtime) = self.guarded(runtime, leaving).await else { return false };
        let handlers = claims.handlers(&name);
        let begun = Instant::now();
        let mut view = View::of(&runtime, handlers, claims.runtime(&name), &self.snapshot);
        if let (Some(rival), false) = (claims.rival(&name), leaving) {
            // What it has on nodes already stays; what is said of the nodes follows them.
            view.policy.paused = true;
            let decision = decide(&view.request(self.snapshot.moment));
            let status = truth::conflict(&runtime, rival, &decision, &crate::now());
            self.metrics.nodes(&name, &status.nodes);
            self.publish(&runtime, status).await;
            self.wake_for(&decision);
            self.announce(&runtime, &claims.undisputed(&name), &view.fleet, &decision);
            return view.is_heard();
        }
        let decision = decide(&view.request(self.snapshot.moment));
        self.metrics.decided(begun.elapsed().as_secs_f64());
        let record = decision.remember.as_ref().unwrap_or(&view.record);
        let target = PackageRevision::of(&runtime.spec.package, &runtime.spec.skip_checks).revision;
        let faults = if leaving {
            Vec::new()
        } else {
            let classes = self.snapshot.classes.iter().map(AsRef::as_ref);
            let heartbeat = self.snapshot.heartbeat;
            fault::faults(&runtime, handlers, claims.reported(&name), &decision.phase, classes, heartbeat)
        };
        let known = truth::Known {
            target: &target,
            image: package::most_have(&self.snapshot.sandbox_nodes, &name, &target),
            packages: &view.packages,
            handlers,
            runtime: claims.runtime(&name),
            faults: &faults,
            sandbox_nodes: &self.snapshot.sandbox_nodes,
            now: &crate::now(),
        };
        let status = truth::status(&runtime, &decision, record, &known);
        self.metrics.nodes(&name, &status.nodes);
        // What is remembered is written before it is done: whoever reads it knows every node that may be changing.
        let Some(runtime) = self.publish(&runtime, status).await else { return false };
        // The API server would refuse it each time.
        if leaving || !faults.iter().any(|fault| matches!(fault, Fault::InvalidOverhead { .. })) {
            self.classes(&runtime, &fault::offered(claims.told(&name), &faults)).await;
        }
        self.act(&runtime, claims, &view, &decision).await;
        self.announce(&runtime, handlers, &view.fleet, &decision);
        self.wake_for(&decision);
        if decision.phase == Phase::Removed && leaving {
            self.removed.push(Arc::clone(&runtime));
        }
        view.is_heard()
    }

    /// The next round is to be no later than this decision asks.
    fn wake_for(&mut self, decision: &Decision) {
        if let Some(wake) = decision.next_wake {
            self.next_wake = Some(self.next_wake.map_or(wake, |other| other.min(wake)));
        }
    }

    /// The SandboxRuntime with our finalizer on it; none if it could not be written, or has gone without one.
    async fn guarded(&self, runtime: &Arc<SandboxRuntime>, leaving: bool) -> Option<Arc<SandboxRuntime>> {
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

    /// Writes the status if it says something new, and tells of it. Gives the SandboxRuntime as it is then; none if it
    /// could not be written.
    async fn publish(
        &self,
        runtime: &Arc<SandboxRuntime>,
        status: SandboxRuntimeStatus,
    ) -> Option<Arc<SandboxRuntime>> {
        if runtime.status.as_ref() == Some(&status) {
            return Some(Arc::clone(runtime));
        }
        let written = self.writer.status(runtime, &status).await;
        let written = self.wrote("status", &runtime.name_any(), written)?;
        self.tell(runtime, &status).await;
        Some(Arc::new(written))
    }

    /// Events for a new phase, for what is degraded whatever the phase, and for each node that failed.
    async fn tell(&self, runtime: &SandboxRuntime, status: &SandboxRuntimeStatus) {
        let before = runtime.status.clone().unwrap_or_default();
        let reference = runtime.object_ref(&());
        if before.phase != status.phase {
            let bad = matches!(status.phase.as_str(), "Halted" | "Degraded" | "Conflict" | "Unknown");
            self.event(&reference, None, bad, (&status.phase, &status.message)).await;
        }
        let trouble = |status: &SandboxRuntimeStatus| {
            let degraded = status.conditions.iter().find(|condition| condition.type_ == names::DEGRADED);
            degraded.filter(|c| c.status == "True" && c.reason != status.phase).cloned()
        };
        if let Some(now) = trouble(status)
            && trouble(&before).is_none_or(|then| then.reason != now.reason)
        {
            self.event(&reference, None, true, (&now.reason, &now.message)).await;
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

    /// The last node is done: the SandboxRuntime may go.
    async fn finish(&self, runtime: &SandboxRuntime) {
        let mut finalizers = runtime.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != names::FINALIZER);
        let written = self.writer.finalizers(runtime, &finalizers).await;
        self.wrote("sandboxruntime", &runtime.name_any(), written);
        self.metrics.forget(&runtime.name_any());
    }
}
