//! What the watches have brought.

use crate::api::{SandboxNode, SandboxRuntime, names};
use cofferdam_core::rollout::{Moment, Time};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{Lookup, Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

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
    unreadable_runtimes: Unreadable,
    unreadable_nodes: Unreadable,
    /// Signalled at every change.
    pub(super) changed: Arc<Notify>,
    hearing: Arc<Hearing>,
}

/// All objects, as they were at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) moment: Moment,
    pub(super) runtimes: Vec<Arc<SandboxRuntime>>,
    /// By name.
    pub(super) sandbox_nodes: BTreeMap<String, Arc<SandboxNode>>,
    /// By name.
    pub(super) nodes: BTreeMap<String, Arc<Node>>,
    pub(super) classes: Vec<Arc<RuntimeClass>>,
    /// SandboxRuntimes that are there and cannot be read.
    pub(super) unreadable_runtimes: BTreeSet<String>,
    /// SandboxNodes that are there and cannot be read.
    pub(super) unreadable_nodes: BTreeSet<String>,
}

/// The names of objects that are there and do not parse: a newer version may have written them. What cannot be read is
/// not the same as nothing.
#[derive(Clone, Debug, Default)]
struct Unreadable(Arc<Mutex<BTreeSet<String>>>);

impl Unreadable {
    fn names(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeSet<String>) -> T) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
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
    /// Starts the watches; they run as tasks of the present runtime until it ends.
    pub(super) fn start(client: &Client) -> Self {
        let changed = Arc::new(Notify::new());
        let hearing = Arc::new(Hearing::new());
        let gap = {
            let hearing = Arc::clone(&hearing);
            move || hearing.restart()
        };
        let (unreadable_runtimes, unreadable_nodes) = (Unreadable::default(), Unreadable::default());
        let runtimes = |runtime: &mut SandboxRuntime| prune(runtime);
        Self {
            runtimes: guarded(client, &changed, &unreadable_runtimes, runtimes, || {}),
            sandbox_nodes: guarded(client, &changed, &unreadable_nodes, keep_heard, gap),
            unreadable_runtimes,
            unreadable_nodes,
            nodes: plain(client, &changed, watcher::Config::default(), trim),
            classes: plain(client, &changed, watcher::Config::default(), |class: &mut RuntimeClass| {
                prune(class)
            }),
            changed,
            hearing,
        }
    }

    /// Waits until every list was read once.
    pub(super) async fn ready(&self) {
        let _ = tokio::join!(
            self.runtimes.wait_until_ready(),
            self.sandbox_nodes.wait_until_ready(),
            self.nodes.wait_until_ready(),
            self.classes.wait_until_ready()
        );
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let (unreadable_runtimes, unreadable_nodes) =
            (self.unreadable_runtimes.names(), self.unreadable_nodes.names());
        let mut runtimes = self.runtimes.state();
        runtimes.retain(|runtime| !unreadable_runtimes.contains(&runtime.name_any()));
        // The older claims a handler.
        runtimes.sort_by_key(|runtime| (runtime.creation_timestamp().map(|time| time.0), runtime.name_any()));
        let sandbox_nodes = self.sandbox_nodes.state().into_iter();
        Snapshot {
            moment: self.hearing.moment(),
            runtimes,
            sandbox_nodes: sandbox_nodes
                .map(|node| (node.name_any(), node))
                .filter(|(name, _)| !unreadable_nodes.contains(name))
                .collect(),
            unreadable_runtimes,
            unreadable_nodes,
            nodes: self.nodes.state().into_iter().map(|node| (node.name_any(), node)).collect(),
            classes: self.classes.state(),
        }
    }
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
    // Which labels are ours.
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

/// A watch of objects of our own kinds: one that does not parse is reported, and does no harm to the others.
fn guarded<K>(
    client: &Client,
    changed: &Arc<Notify>,
    unreadable: &Unreadable,
    prune: impl Fn(&mut K) + Send + Sync + 'static,
    gap: impl Fn() + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()>
        + Lookup<DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let (unreadable, notify) = (unreadable.clone(), Arc::clone(changed));
    let events = watcher(api, watcher::Config::default().page_size(PAGE)).filter_map(move |event| {
        if event.is_err() {
            gap();
        }
        let event = parsed(event, &unreadable);
        if event.is_none() {
            notify.notify_one();
        }
        std::future::ready(event)
    });
    keep(events, changed, prune)
}

fn parsed<K: Resource<DynamicType = ()>>(
    event: watcher::Result<watcher::Event<DeserializeGuard<K>>>,
    unreadable: &Unreadable,
) -> Option<watcher::Result<watcher::Event<K>>> {
    let parse = |guard: DeserializeGuard<K>| {
        let name = guard.name_any();
        match guard.0 {
            Ok(object) => {
                unreadable.change(|names| names.remove(&name));
                Some(object)
            }
            Err(error) => {
                tracing::error!(kind = %K::kind(&()), name, %error, "an object does not parse: it is left as it is");
                unreadable.change(|names| names.insert(name));
                None
            }
        }
    };
    Some(match event {
        Err(error) => Err(error),
        Ok(watcher::Event::Init) => {
            unreadable.change(BTreeSet::clear);
            Ok(watcher::Event::Init)
        }
        Ok(watcher::Event::InitDone) => Ok(watcher::Event::InitDone),
        Ok(watcher::Event::InitApply(object)) => Ok(watcher::Event::InitApply(parse(object)?)),
        Ok(watcher::Event::Apply(object)) => Ok(watcher::Event::Apply(parse(object)?)),
        Ok(watcher::Event::Delete(object)) => {
            let name = object.name_any();
            let gone = parse(object);
            unreadable.change(|names| names.remove(&name));
            Ok(watcher::Event::Delete(gone?))
        }
    })
}

fn plain<K>(
    client: &Client,
    changed: &Arc<Notify>,
    config: watcher::Config,
    prune: impl Fn(&mut K) + Send + Sync + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()>
        + Lookup<DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    keep(watcher(Api::all(client.clone()), config.page_size(PAGE)), changed, prune)
}

/// Keeps the objects of a watch, and waits out what breaks it.
fn keep<K>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    changed: &Arc<Notify>,
    prune: impl Fn(&mut K) + Send + Sync + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let changed = Arc::clone(changed);
    let stream = events
        .default_backoff()
        .inspect_err(|error| tracing::warn!(kind = %<K as Resource>::kind(&()), %error, "watching"))
        .modify(move |object| prune(object))
        .reflect(writer);
    tokio::spawn(async move {
        let mut stream = pin!(stream);
        while stream.next().await.is_some() {
            changed.notify_one();
        }
    });
    reader
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn guard(value: serde_json::Value) -> DeserializeGuard<SandboxNode> {
        serde_json::from_value(value).unwrap()
    }

    fn node(state: &str) -> DeserializeGuard<SandboxNode> {
        let runtime = json!({ "name": "gv", "revision": "r", "state": state });
        guard(json!({
            "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxNode", "metadata": { "name": "n1" },
            "spec": { "nodeUID": "u", "runtimes": [] }, "status": { "runtimes": [runtime] },
        }))
    }

    #[test]
    fn what_a_newer_version_wrote_is_remembered_until_it_can_be_read_or_goes() {
        let unreadable = Unreadable::default();
        let known = || unreadable.names().into_iter().collect::<Vec<_>>();
        assert!(parsed(Ok(watcher::Event::Apply(node("Proven"))), &unreadable).is_some());
        assert!(known().is_empty());
        assert!(parsed(Ok(watcher::Event::Apply(node("Hibernating"))), &unreadable).is_none());
        assert_eq!(known(), ["n1"]);
        assert!(parsed(Ok(watcher::Event::Apply(node("Proven"))), &unreadable).is_some());
        assert!(known().is_empty());
        assert!(parsed(Ok(watcher::Event::InitApply(node("Hibernating"))), &unreadable).is_none());
        assert_eq!(known(), ["n1"]);
        parsed(Ok(watcher::Event::Delete(node("Hibernating"))), &unreadable);
        assert!(known().is_empty());
    }
}
