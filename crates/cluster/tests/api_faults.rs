//! Controller and agents while the API server is in trouble: they wait as they are told, run in no circles, and nothing is
//! removed because something was not seen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod api_server;

use api_server::{Answer, ApiServer};
use cofferdam_cluster::agent::simulated::{self, Running, Simulation};
use cofferdam_cluster::metrics::{ControllerMetrics, Scrape};
use cofferdam_cluster::serve::Ready;
use cofferdam_cluster::{client, controller};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const LABEL: &str = "cofferdam.node-restriction.kubernetes.io/runsc-oci";
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const LIMIT: Duration = Duration::from_secs(60);

/// A controller, three nodes with simulated agents, and a server that can fail.
struct World {
    api: ApiServer,
    kubeconfig: NamedTempFile,
    metrics: ControllerMetrics,
    controller: JoinHandle<()>,
    _agents: Running,
}

impl World {
    /// With a runtime that is proven on every node.
    async fn complete() -> Self {
        let api = ApiServer::start().await;
        for name in NODES {
            api.put("nodes", node(name));
        }
        api.put("sandboxruntimes", runtime(1));
        let kubeconfig = NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), api.kubeconfig()).unwrap();
        let simulation = Simulation {
            kubeconfig: kubeconfig.path().to_owned(),
            nodes: NODES.map(str::to_owned).to_vec(),
            connections: 1,
            work: Duration::from_millis(100),
            heartbeat: Duration::from_secs(300),
            spread: Duration::ZERO,
        };
        let agents = tokio::task::spawn_blocking(|| simulated::start(simulation)).await.unwrap().unwrap();
        let metrics = ControllerMetrics::default();
        let controller = control(&kubeconfig, &metrics);
        let world = Self { api, kubeconfig, metrics, controller, _agents: agents };
        world.wait_proven(1, &NODES).await;
        world
    }

    /// Another controller, as after a crash: it knows nothing.
    fn restart_controller(&mut self) {
        self.controller.abort();
        // Nobody holds the lease any more.
        self.api.put("leases", json!({ "metadata": { "name": "cofferdam-controller" }, "spec": {} }));
        self.controller = control(&self.kubeconfig, &self.metrics);
    }

    async fn wait(&self, what: &str, done: impl Fn(&ApiServer) -> bool) {
        let begun = Instant::now();
        while !done(&self.api) {
            assert!(begun.elapsed() < LIMIT, "no {what}: {:#?}", self.api.all());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until these nodes have this version, and the label for it.
    async fn wait_proven(&self, version: u32, nodes: &[&str]) {
        self.wait(&format!("version {version} on {nodes:?}"), |api| {
            nodes.iter().all(|name| has(api, name, version) && labelled(api, name))
        })
        .await;
    }

    /// Nobody removed anything, and no node lost its label.
    fn nothing_is_removed(&self) {
        for name in NODES {
            assert!(labelled(&self.api, name), "{name} lost its label");
            assert!(self.api.get("sandboxnodes", name).is_some(), "{name} lost its SandboxNode");
        }
        let kinds = ["nodes", "sandboxnodes", "sandboxruntimes", "runtimeclasses"];
        let deleted: Vec<_> = kinds.iter().flat_map(|kind| self.api.asked("delete", kind)).collect();
        assert!(deleted.is_empty(), "{deleted:?}");
        assert_eq!(self.api.get("runtimeclasses", "runsc-oci").unwrap()["handler"], "runsc-oci");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.controller.abort();
    }
}

fn control(kubeconfig: &NamedTempFile, metrics: &ControllerMetrics) -> JoinHandle<()> {
    let (path, metrics) = (kubeconfig.path().to_owned(), metrics.clone());
    tokio::spawn(async move {
        let client = client::from_kubeconfig(Some(&path), None).await.unwrap();
        let options = controller::Options {
            namespace: "cofferdam-system".to_owned(),
            lease: "cofferdam-controller".to_owned(),
            identity: "test".to_owned(),
            heartbeat: Duration::from_secs(300),
        };
        loop {
            let ended =
                controller::run(client.clone(), options.clone(), metrics.clone(), Ready::default()).await;
            eprintln!("the controller ended: {ended:?}");
            sleep(Duration::from_secs(1)).await;
        }
    })
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
        "spec": {}, "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

fn runtime(version: u32) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxRuntime",
        "metadata": { "name": "gvisor", "generation": version, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": {
            "package": {
                "preset": "gvisor-oci",
                "source": { "oci": { "reference": format!("registry.test/gvisor@sha256:{version:064x}") } },
            },
            "rollout": { "maxUnavailable": "100%", "canary": 0, "agentSilentSeconds": 3600 },
        },
    })
}

/// Asks for another version.
fn upgrade(api: &ApiServer, version: u32) {
    let mut object = api.get("sandboxruntimes", "gvisor").unwrap();
    object["spec"] = runtime(version)["spec"].clone();
    object["metadata"]["generation"] = json!(version);
    api.put("sandboxruntimes", object);
}

fn has(api: &ApiServer, node: &str, version: u32) -> bool {
    let Some(own) = api.get("sandboxnodes", node) else { return false };
    let wanted = format!("registry.test/gvisor@sha256:{version:064x}");
    let (told, state) = (&own["spec"]["runtimes"][0], &own["status"]["runtimes"][0]);
    told["target"]["package"]["source"]["oci"]["reference"] == wanted.as_str()
        && state["state"] == "Proven"
        && state["sequence"] == told["sequence"]
}

fn labelled(api: &ApiServer, node: &str) -> bool {
    api.get("nodes", node).unwrap()["metadata"]["labels"][LABEL] == "true"
}

/// A state that only a newer version knows.
fn make_unreadable(api: &ApiServer, node: &str) {
    let mut own = api.get("sandboxnodes", node).unwrap();
    own["status"]["runtimes"][0]["state"] = json!("Levitating");
    api.put("sandboxnodes", own);
}

#[tokio::test]
async fn a_server_that_asks_for_patience_gets_it() {
    let mut world = World::complete().await;
    let before = world.api.asked("list", "nodes").len();
    world.api.fail("list", "nodes", Answer::Status(429, Some(2)), 1);
    world.api.fail("patch", "sandboxnodes", Answer::Status(429, Some(2)), 1);
    world.restart_controller();
    upgrade(&world.api, 2);
    world.wait_proven(2, &NODES).await;
    for (verb, kind, from) in [("list", "nodes", before), ("patch", "sandboxnodes", 0)] {
        let asked = world.api.asked(verb, kind);
        let at = from + asked[from..].iter().position(|asked| asked.code == 429).unwrap();
        let again = asked[at + 1..].iter().find(|next| next.name == asked[at].name).unwrap();
        let waited = again.at - asked[at].at;
        assert!(waited >= Duration::from_millis(1950), "{verb} {kind} was repeated after {waited:?}");
        assert!(waited < Duration::from_secs(10), "{verb} {kind} was repeated only after {waited:?}");
    }
    world.nothing_is_removed();
}

#[tokio::test]
async fn a_server_that_fails_is_not_flooded() {
    let world = World::complete().await;
    upgrade(&world.api, 2);
    for code in [500, 503] {
        world.api.fail("*", "*", Answer::Status(code, None), u32::MAX);
        world.api.cut();
        let before = world.api.count();
        sleep(Duration::from_secs(6)).await;
        let asked = world.api.count() - before;
        // Five watches, and whoever wanted to write.
        assert!((3..=80).contains(&asked), "{asked} requests in 6 s at {code}");
        world.api.mend();
    }
    world.wait_proven(2, &NODES).await;
    world.nothing_is_removed();
}

#[tokio::test]
async fn lists_that_are_refused_are_asked_for_less_and_less() {
    let mut world = World::complete().await;
    world.api.fail("list", "*", Answer::Status(403, None), u32::MAX);
    let before = world.api.asked("list", "nodes").len();
    let refused = |api: &ApiServer| api.asked("list", "nodes").len() - before;
    world.restart_controller();
    world.wait("list", |api| refused(api) > 0).await;
    sleep(Duration::from_secs(10)).await;
    // The pauses are of 1, 2, 4 and 8 seconds, more or less. If they did not grow, it would be asked seven times.
    let asked = refused(&world.api);
    assert!((2..=5).contains(&asked), "{asked} lists of nodes in 10 s");
    world.api.mend();
    upgrade(&world.api, 2);
    world.wait_proven(2, &NODES).await;
    world.nothing_is_removed();
}

#[tokio::test]
async fn watches_that_end_at_once_are_not_begun_in_circles() {
    let world = World::complete().await;
    world.api.fail("watch", "*", Answer::End, u32::MAX);
    world.api.cut();
    let before = world.api.count();
    sleep(Duration::from_secs(4)).await;
    let asked = world.api.count() - before;
    assert!((3..=40).contains(&asked), "{asked} requests in 4 s");
    world.api.mend();
    upgrade(&world.api, 2);
    world.wait_proven(2, &NODES).await;
    world.nothing_is_removed();
}

#[tokio::test]
async fn an_expired_watch_is_begun_anew() {
    let world = World::complete().await;
    let kinds = ["nodes", "sandboxnodes", "sandboxruntimes", "runtimeclasses"];
    let lists = |world: &World| kinds.map(|kind| world.api.asked("list", kind).len());
    let before = lists(&world);
    // By a watch's first event, and by the status of its answer.
    for (answer, version) in [(Answer::Expired, 2), (Answer::Status(410, None), 3)] {
        for kind in kinds {
            world.api.fail("watch", kind, answer, 1);
        }
        world.api.cut();
        upgrade(&world.api, version);
        world.wait_proven(version, &NODES).await;
    }
    world.wait("new lists", |_| lists(&world).iter().zip(before).all(|(now, before)| *now > before)).await;
    world.nothing_is_removed();
}

#[tokio::test]
async fn an_empty_list_removes_nothing() {
    let mut world = World::complete().await;
    for kind in ["nodes", "sandboxnodes", "runtimeclasses"] {
        for emptied in [&[kind][..], &["nodes", "sandboxnodes"]] {
            for kind in emptied.iter().copied() {
                let kind = NAMES.iter().find(|name| **name == kind).unwrap();
                world.api.fail("list", kind, Answer::EmptyList, 1);
            }
            let written = world.api.asked("patch", "sandboxnodes").len();
            world.restart_controller();
            sleep(Duration::from_secs(2)).await;
            world.nothing_is_removed();
            assert_eq!(
                world.api.asked("patch", "sandboxnodes").len(),
                written,
                "somebody was told something"
            );
            world.api.mend();
        }
    }
}

const NAMES: [&str; 3] = ["nodes", "sandboxnodes", "runtimeclasses"];

#[tokio::test]
async fn one_that_does_not_parse_in_a_list_harms_nobody() {
    let mut world = World::complete().await;
    make_unreadable(&world.api, "n2");
    let told = world.api.get("sandboxnodes", "n2").unwrap();
    world.restart_controller();
    upgrade(&world.api, 2);
    world.wait_proven(2, &["n1", "n3"]).await;
    harmless(&world, "n2", &told).await;
}

#[tokio::test]
async fn one_that_does_not_parse_in_a_watch_harms_nobody() {
    let world = World::complete().await;
    make_unreadable(&world.api, "n3");
    let told = world.api.get("sandboxnodes", "n3").unwrap();
    upgrade(&world.api, 2);
    world.wait_proven(2, &["n1", "n2"]).await;
    harmless(&world, "n3", &told).await;
}

/// The object that does not parse is left as it is, is counted, and is tried for in no circles; it counts again when it
/// parses again.
async fn harmless(world: &World, node: &str, told: &Value) {
    let metric =
        |count: u32| format!("cofferdam_controller_unreadable_objects{{kind=\"SandboxNode\"}} {count}\n");
    world.wait("metric", |_| world.metrics.text().contains(&metric(1))).await;
    let created = world.api.asked("create", "sandboxnodes").len();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.api.asked("create", "sandboxnodes").len(), created, "it was made again");
    assert_eq!(world.api.get("sandboxnodes", node).unwrap(), *told);
    world.nothing_is_removed();
    // Whoever deletes the SandboxRuntime now does not lose what is on that node.
    let mut runtime = world.api.get("sandboxruntimes", "gvisor").unwrap();
    runtime["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    world.api.put("sandboxruntimes", runtime);
    world
        .wait("message", |api| {
            let runtime = api.get("sandboxruntimes", "gvisor").unwrap();
            let message = runtime["status"]["message"].as_str().unwrap_or_default().to_owned();
            message.contains(node) && message.contains("cannot be read")
        })
        .await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.api.get("sandboxnodes", node).unwrap(), *told);
    let runtime = world.api.get("sandboxruntimes", "gvisor").unwrap();
    assert_eq!(runtime["metadata"]["finalizers"], json!(["cofferdam.dev/nodes"]));
    let mut own = told.clone();
    own["status"]["runtimes"][0]["state"] = json!("Proven");
    world.api.put("sandboxnodes", own);
    world.wait("metric", |_| world.metrics.text().contains(&metric(0))).await;
}
