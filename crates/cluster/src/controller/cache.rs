//! What the watches have brought.

use super::shelf::{News, Shelf};
use crate::api::{SandboxNode, SandboxNodeStatus, SandboxRuntime, names};
use crate::serve::Ready;
use crate::watch::events;
use cofferdam_core::rollout::{Moment, Time};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, watch};

/// A difference between the two clocks that is more than their drift.
const JUMP: Duration = Duration::from_secs(5);

/// How many objects a page of a list has.
const PAGE: u32 = 500;

/// What the watches have brought, and since when without a gap.
#[derive(Debug)]
pub(super) struct Cache {
    runtimes: Store<SandboxRuntime>,
    sandbox_nodes: Store<SandboxNode>,
    nodes: Store<Node>,
    classes: Store<RuntimeClass>,
    pub(super) wakes: Wakes,
    hearing: Arc<Hearing>,
    heartbeat: Duration,
}

/// What a round is made for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wakes {
    /// Signalled at every change.
    pub(super) changed: Arc<Notify>,
    /// Signalled when an agent said that it lives, and nothing else: that can wait a little.
    pub(super) heard: Arc<Notify>,
}

/// All objects, as they were at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) moment: Moment,
    /// How often agents say that they live.
    pub(super) heartbeat: Duration,
    pub(super) runtimes: Vec<Arc<SandboxRuntime>>,
    /// By name.
    pub(super) sandbox_nodes: BTreeMap<String, Arc<SandboxNode>>,
    /// By name.
    pub(super) nodes: BTreeMap<String, Arc<Node>>,
    pub(super) classes: Vec<Arc<RuntimeClass>>,
    /// SandboxRuntimes, SandboxNodes, Nodes and RuntimeClasses that do not parse, and why.
    pub(super) unreadable: Unreadable,
}

/// Objects that do not parse, by name, and why.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    pub(super) runtimes: BTreeMap<String, String>,
    pub(super) sandbox_nodes: BTreeMap<String, String>,
    pub(super) nodes: BTreeMap<String, String>,
    pub(super) classes: BTreeMap<String, String>,
}

impl Snapshot {
    /// The older claims a handler.
    pub(super) fn in_order(runtimes: &mut [Arc<SandboxRuntime>]) {
        runtimes.sort_by_key(|runtime| (runtime.creation_timestamp().map(|time| time.0), runtime.name_any()));
    }
}

/// Since when agents' reports have come without a gap.
#[derive(Debug)]
struct Hearing {
    since: AtomicU64,
    /// The two clocks, read together at the start.
    started: (SystemTime, Instant),
    /// Their difference when it was looked at last, in seconds (wall clock minus monotonic clock, plus a bias).
    offset: AtomicU64,
}

impl Hearing {
    fn new() -> Self {
        let started = (SystemTime::now(), Instant::now());
        let hearing = Self { since: AtomicU64::new(0), started, offset: AtomicU64::new(0) };
        hearing.offset.store(hearing.measure(), Ordering::Relaxed);
        hearing.restart();
        hearing
    }

    fn restart(&self) {
        self.since.store(seconds(SystemTime::now()), Ordering::Relaxed);
    }

    /// The wall clock's reading at the monotonic clock's zero: it changes only if the wall clock is set.
    fn measure(&self) -> u64 {
        let elapsed = self.started.1.elapsed();
        seconds(SystemTime::now()).saturating_sub(elapsed.as_secs())
    }

    fn moment(&self) -> Moment {
        let offset = self.measure();
        if offset.abs_diff(self.offset.swap(offset, Ordering::Relaxed)) > JUMP.as_secs() {
            tracing::warn!("the clock was set: agents are given time to report again");
            self.restart();
        }
        Moment {
            now: Time(seconds(SystemTime::now())),
            hearing_since: Time(self.since.load(Ordering::Relaxed)),
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Cache {
    /// Starts the watches; they run as tasks of the present runtime until it ends. `ready` learns whether they fail.
    pub(super) fn start(client: &Client, ready: &Ready, heartbeat: Duration) -> Self {
        let wakes = Wakes::default();
        let hearing = Arc::new(Hearing::new());
        let gap = {
            let hearing = Arc::clone(&hearing);
            move || hearing.restart()
        };
        Self {
            runtimes: keep((client, ready), &wakes, Handling { prune, same: differs }, || {}),
            sandbox_nodes: keep(
                (client, ready),
                &wakes,
                Handling { prune: keep_heard, same: only_heard },
                gap,
            ),
            nodes: keep((client, ready), &wakes, Handling { prune: trim, same: alike }, || {}),
            classes: keep((client, ready), &wakes, Handling { prune, same: differs }, || {}),
            wakes,
            hearing,
            heartbeat,
        }
    }

    /// Waits until every list was read once.
    pub(super) async fn ready(&self) {
        let _ = tokio::join!(
            self.runtimes.wait_until_listed(),
            self.sandbox_nodes.wait_until_listed(),
            self.nodes.wait_until_listed(),
            self.classes.wait_until_listed()
        );
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let (mut runtimes, unreadable_runtimes) = self.runtimes.read();
        Snapshot::in_order(&mut runtimes);
        let (sandbox_nodes, unreadable_sandbox_nodes) = self.sandbox_nodes.read();
        let (nodes, unreadable_nodes) = self.nodes.read();
        let (classes, unreadable_classes) = self.classes.read();
        Snapshot {
            moment: self.hearing.moment(),
            heartbeat: self.heartbeat,
            runtimes,
            sandbox_nodes: by_name(sandbox_nodes),
            nodes: by_name(nodes),
            classes,
            unreadable: Unreadable {
                runtimes: unreadable_runtimes,
                sandbox_nodes: unreadable_sandbox_nodes,
                nodes: unreadable_nodes,
                classes: unreadable_classes,
            },
        }
    }
}

fn by_name<K: Resource<DynamicType = ()>>(objects: Vec<Arc<K>>) -> BTreeMap<String, Arc<K>> {
    objects.into_iter().map(|object| (object.name_any(), object)).collect()
}

/// Every event of a kind without signs of life is a change.
const fn differs<K>(_: &K, _: &K) -> bool {
    false
}

/// A kubelet writes its Node's status every few minutes: what was trimmed away makes no difference, nor does the version.
fn alike(before: &Node, after: &Node) -> bool {
    let old = |node: &Node| {
        let mut node = node.clone();
        node.metadata.resource_version = None;
        for condition in node.status.iter_mut().flat_map(|status| &mut status.conditions).flatten() {
            condition.last_heartbeat_time = None;
        }
        node
    };
    old(before) == old(after)
}

fn prune<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Keeps of managedFields only when the API server saw the agent's last report.
fn keep_heard(node: &mut SandboxNode) {
    for entry in node.managed_fields_mut() {
        entry.fields_v1 = None;
    }
    node.managed_fields_mut().retain(|entry| entry.manager.as_deref() == Some(names::AGENT));
}

/// Keeps what a decision needs of a node: a node object is 10 KB and more, mostly images.
fn trim(node: &mut Node) {
    // Of managedFields: which labels are ours.
    node.managed_fields_mut().retain(|entry| entry.manager.as_deref() == Some(names::CONTROLLER));
    node.metadata.annotations = None;
    node.metadata.owner_references = None;
    node.spec = node.spec.take().map(|spec| NodeSpec {
        taints: spec.taints,
        unschedulable: spec.unschedulable,
        ..NodeSpec::default()
    });
    node.status = node.status.take().map(|status| NodeStatus {
        conditions: status.conditions.map(|conditions| {
            conditions.into_iter().filter(|condition| condition.type_ == "Ready").collect()
        }),
        ..NodeStatus::default()
    });
}

/// Whether the second object differs from the first only in when its agent was heard.
fn only_heard(before: &SandboxNode, after: &SandboxNode) -> bool {
    let told = |status: &SandboxNodeStatus| SandboxNodeStatus { heartbeat: None, ..status.clone() };
    let meta = |object: &SandboxNode| {
        let meta = &object.metadata;
        (meta.uid.clone(), meta.generation, meta.annotations.clone(), meta.deletion_timestamp.clone())
    };
    before.spec == after.spec
        && before.status.as_ref().map(told) == after.status.as_ref().map(told)
        && meta(before) == meta(after)
}

/// A kind's objects, as others see them.
#[derive(Debug)]
struct Store<K> {
    shelf: Arc<Mutex<Shelf<K>>>,
    listed: watch::Receiver<bool>,
}

impl<K: Resource<DynamicType = ()>> Store<K> {
    /// What there is, and what does not parse. The lock is held for this call only.
    fn read(&self) -> (Vec<Arc<K>>, BTreeMap<String, String>) {
        let shelf = lock(&self.shelf);
        (shelf.all(), shelf.unreadable().clone())
    }

    async fn wait_until_listed(&self) {
        // The watch never ends; if it does, nothing is known, and nothing is done.
        let _ = self.listed.clone().wait_for(|listed| *listed).await;
    }
}

fn lock<K>(shelf: &Mutex<Shelf<K>>) -> MutexGuard<'_, Shelf<K>> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is done with the objects of a kind.
struct Handling<K> {
    /// Takes away what nobody needs.
    prune: fn(&mut K),
    /// Whether the second differs from the first only by a sign of life.
    same: fn(&K, &K) -> bool,
}

/// Keeps the objects of a kind, and waits out what breaks the watch. One that does not parse does no harm to the others.
fn keep<K>(
    (client, ready): (&Client, &Ready),
    wakes: &Wakes,
    handling: Handling<K>,
    gap: impl Fn() + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    let (done, listed) = watch::channel(false);
    let store = Store { shelf: Arc::clone(&shelf), listed };
    let wakes = wakes.clone();
    let stream = events(api, watcher::Config::default().page_size(PAGE), ready.clone());
    tokio::spawn(async move {
        let mut stream = pin!(stream);
        while let Some(event) = stream.next().await {
            let Ok(event) = event else {
                gap();
                continue;
            };
            let (news, listed) = {
                let mut shelf = lock(&shelf);
                (shelf.take(event, handling.prune, handling.same), shelf.is_listed())
            };
            done.send_if_modified(|before| std::mem::replace(before, listed) != listed);
            match news {
                News::None => {}
                News::Beat => wakes.heard.notify_one(),
                News::Change => wakes.changed.notify_one(),
            }
        }
    });
    store
}
