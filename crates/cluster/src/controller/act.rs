//! What a decision asks for on nodes: SandboxNode specs, and labels that go before.

use super::claims::Claims;
use super::marks::Marks;
use super::package;
use super::pass::Pass;
use super::view::View;
use crate::api::{Assigned, PackageRevision, Revision, SandboxNode, SandboxRuntime, Wanted};
use cofferdam_core::name::NodeName;
use cofferdam_core::rollout::{self, Action, Assignment, Decision, Fleet, Label};
use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many nodes are written to at a time: the API server answers others, too.
const AT_ONCE: usize = 16;

/// What all actions of a decision are about.
struct Order<'a> {
    runtime: &'a SandboxRuntime,
    claims: &'a Claims,
    packages: &'a BTreeMap<Revision, PackageRevision>,
    /// Nodes that are to have it.
    staying: BTreeSet<&'a NodeName>,
    /// Whether other SandboxRuntimes have compatibility labels, too.
    shares_compatibility: bool,
}

/// A node's objects after what was written.
struct Touched {
    name: NodeName,
    node: Option<Arc<Node>>,
    own: Option<Arc<SandboxNode>>,
}

/// Does all of `work`, several at a time.
pub(super) async fn together<T>(work: Vec<impl Future<Output = T>>) -> Vec<T> {
    stream::iter(work).buffer_unordered(AT_ONCE).collect().await
}

impl Pass<'_> {
    /// Every node has a SandboxNode: its agent reports there what stands in the way, before anything is installed.
    pub(super) async fn make_sandbox_nodes(&mut self) {
        let this = &*self;
        let snapshot = &this.snapshot;
        // One of a node that is gone goes with it; until then its name is taken.
        let lacking = snapshot.nodes.iter().filter(|(name, node)| {
            node.metadata.deletion_timestamp.is_none()
                && !snapshot.sandbox_nodes.contains_key(*name)
                && !snapshot.unreadable.sandbox_nodes.contains_key(*name)
        });
        let work = lacking.map(|(name, node)| async move {
            let created = this.writer.create_sandbox_node(node).await;
            this.wrote("sandboxnode", name, created).map(|own| (name.clone(), Arc::new(own)))
        });
        let made = together(work.collect()).await;
        self.snapshot.sandbox_nodes.extend(made.into_iter().flatten());
    }

    /// Carries the actions out, those of one node in their order; after a failed one the node is left alone until the
    /// next round.
    pub(super) async fn act(
        &mut self,
        runtime: &SandboxRuntime,
        claims: &Claims,
        view: &View,
        decision: &Decision,
    ) {
        if decision.actions.is_empty() {
            return;
        }
        let views = match &view.fleet {
            Fleet::Nodes(views) if runtime.metadata.deletion_timestamp.is_none() => views.as_slice(),
            _ => &[],
        };
        let others = self.snapshot.runtimes.iter().filter(|other| other.name_any() != runtime.name_any());
        let order = Order {
            runtime,
            claims,
            packages: &view.packages,
            staying: views.iter().filter(|view| view.matches).map(|view| &view.name).collect(),
            shares_compatibility: others.into_iter().any(|other| other.spec.compatibility_labels),
        };
        let mut by_node: BTreeMap<&NodeName, Vec<&Action>> = BTreeMap::new();
        for action in &decision.actions {
            by_node.entry(action.node()).or_default().push(action);
        }
        let this = &*self;
        let work = by_node.into_iter().map(|(node, actions)| this.act_on(&order, node, actions));
        // The next runtime of this round writes on top of it.
        for touched in together(work.collect()).await {
            let name = touched.name.to_string();
            if let Some(node) = touched.node {
                self.snapshot.nodes.insert(name.clone(), node);
            }
            if let Some(own) = touched.own {
                self.snapshot.sandbox_nodes.insert(name, own);
            }
        }
    }

    async fn act_on(&self, order: &Order<'_>, name: &NodeName, actions: Vec<&Action>) -> Touched {
        let mut touched = Touched {
            name: name.clone(),
            node: self.snapshot.nodes.get(name.as_str()).cloned(),
            own: self.snapshot.sandbox_nodes.get(name.as_str()).cloned(),
        };
        for action in actions {
            let done = match action {
                Action::Withdraw { .. } => self.withdraw(order, &mut touched).await,
                Action::Assign { assignment, why, .. } => {
                    tracing::info!(
                        runtime = order.runtime.name_any(),
                        node = %name,
                        revision = %assignment.revision,
                        wanted = ?assignment.wanted,
                        ?why,
                        "assigned"
                    );
                    self.assign(order, assignment, &mut touched).await
                }
                Action::Forget { .. } => self.forget(order, &mut touched).await,
            };
            if !done {
                break;
            }
        }
        touched
    }

    async fn withdraw(&self, order: &Order<'_>, touched: &mut Touched) -> bool {
        let handlers = order.claims.handlers(&order.runtime.name_any());
        let mut marks = Marks::default();
        marks.add(order.runtime, handlers, Label::Take, order.staying.contains(&touched.name));
        // Another runtime may stand for them; the round's end knows.
        if order.shares_compatibility {
            marks.keep_compatibility();
        }
        let Some(node) = &mut touched.node else { return true };
        self.mark_node(node, &marks).await
    }

    async fn assign(&self, order: &Order<'_>, assignment: &Assignment, touched: &mut Touched) -> bool {
        let Some(own) = &mut touched.own else { return false };
        let name = order.runtime.name_any();
        let package = |revision: &rollout::Revision| {
            package::of(own, &name, &Revision(revision.0.clone()), order.packages)
        };
        let Some(target) = package(&assignment.revision) else {
            tracing::error!(revision = %assignment.revision, "nobody knows what this revision is made of");
            return false;
        };
        let fallback = assignment.fallback.as_ref().and_then(package);
        let assigned = Assigned {
            wanted: match assignment.wanted {
                rollout::Wanted::Present => Wanted::Present,
                rollout::Wanted::Absent => Wanted::Absent,
            },
            sequence: assignment.sequence,
            attempt: assignment.attempt,
            since: assignment.since.0,
            runtime: order.claims.runtime(&name).to_owned(),
            target,
            fallback,
            name,
        };
        let mut runtimes = own.spec.runtimes.clone();
        match runtimes.iter_mut().find(|present| present.name == assigned.name) {
            Some(present) => *present = assigned,
            None => runtimes.push(assigned),
        }
        self.tell_node(own, &runtimes).await
    }

    async fn forget(&self, order: &Order<'_>, touched: &mut Touched) -> bool {
        let Some(own) = &mut touched.own else { return true };
        let mut runtimes = own.spec.runtimes.clone();
        runtimes.retain(|assigned| assigned.name != order.runtime.name_any());
        self.tell_node(own, &runtimes).await
    }

    async fn tell_node(&self, own: &mut Arc<SandboxNode>, runtimes: &[Assigned]) -> bool {
        let written = self.writer.assign(own, runtimes).await;
        let written = self.wrote("sandboxnode", &own.name_any(), written);
        written.map(|changed| *own = Arc::new(changed)).is_some()
    }
}
