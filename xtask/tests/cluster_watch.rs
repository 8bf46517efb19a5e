//! The real API server forgets what a watch was about: events still arrive, and nothing is removed.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_cluster::agent::simulated::{self, Simulation};
use serde_json::{Value, json};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use xtask::task::build::workspace;
use xtask::testbed::ClusterSpec;
use xtask::testbed::cluster::{Cluster, Component, OutsideSpec};
use xtask::testbed::fleet::{LABEL, NAMESPACE};
use xtask::testbed::trial::{binary, wait_for};

const LIMIT: Duration = Duration::from_secs(300);
const NODES: usize = 3;

/// Between the controller and the API server: a wire that can be cut.
struct Wire {
    port: u16,
    whole: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (whole, streams) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
        let wire = Self { port, whole: Arc::clone(&whole), streams: Arc::clone(&streams) };
        thread::spawn(move || {
            for near in listener.incoming().map(Result::unwrap) {
                if !whole.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&address) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                streams.lock().unwrap().extend([near, far]);
            }
        });
        wire
    }

    fn cut(&self) {
        self.whole.store(false, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.whole.store(true, Ordering::SeqCst);
    }
}

fn runtime(version: u32) -> String {
    json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "SandboxRuntime", "metadata": { "name": "gvisor" },
        "spec": {
            "package": {
                "preset": "gvisor-oci",
                "source": { "oci": { "reference": format!("registry.test/gvisor@sha256:{version:064x}") } },
            },
            "rollout": { "maxUnavailable": "100%", "canary": 0 },
        },
    })
    .to_string()
}

fn wait_complete(cluster: &Cluster, generation: u32) {
    let complete = |object: &Value| {
        object["status"]["phase"] == "Complete"
            && object["metadata"]["generation"] == generation
            && object["status"]["observedGeneration"] == generation
            && object["status"]["nodes"]["ready"] == NODES
    };
    cluster.wait_until(&["sandboxruntime", "gvisor"], LIMIT, complete).unwrap();
    cluster
        .wait_until(&["nodes"], LIMIT, |list| {
            let nodes = list["items"].as_array().unwrap();
            nodes.len() == NODES && nodes.iter().all(|node| node["metadata"]["labels"][LABEL] == "true")
        })
        .unwrap();
}

/// Every SandboxNode's UID.
fn identities(cluster: &Cluster) -> Vec<Value> {
    let list = cluster.get_json(&["sandboxnodes"]).unwrap().unwrap();
    list["items"].as_array().unwrap().iter().map(|own| own["metadata"]["uid"].clone()).collect()
}

#[test]
fn a_watch_whose_past_is_compacted_is_begun_anew() {
    // Without its cache the API server asks etcd for each watch, as it does when its cache is too short.
    let mut cluster = Cluster::boot(ClusterSpec::without_nodes().api_arg("--watch-cache=false")).unwrap();
    for file in ["crds.yaml", "cofferdam.yaml"] {
        cluster
            .apply(&std::fs::read_to_string(workspace().join("deploy/manifests").join(file)).unwrap())
            .unwrap();
    }
    // No kubelet speaks for these nodes.
    cluster.stop(Component::ControllerManager).unwrap();
    cluster.stop(Component::Scheduler).unwrap();
    let simulation = Simulation {
        kubeconfig: cluster.almighty("agents").unwrap(),
        nodes: (1..=NODES).map(|number| format!("n{number}")).collect(),
        connections: 1,
        work: Duration::from_millis(500),
        heartbeat: Duration::from_secs(300),
        spread: Duration::ZERO,
    };
    let node = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    simulated::make_nodes(&simulation, &serde_json::from_value(node).unwrap()).unwrap();
    let _agents = simulated::start(simulation).unwrap();
    let wire = Wire::to(format!("{}:6443", cluster.address()));
    let args =
        ["controller", "--namespace", NAMESPACE, "--identity", "one", "--metrics-address", "127.0.0.1:0"];
    let mut controller = cluster
        .start_outside(&OutsideSpec {
            name: "controller".to_owned(),
            program: binary().unwrap(),
            args: args.map(str::to_owned).to_vec(),
            namespace: NAMESPACE.to_owned(),
            account: "cofferdam-controller".to_owned(),
            server: Some(("127.0.0.1".to_owned(), wire.port)),
        })
        .unwrap();
    cluster.apply(&runtime(1)).unwrap();
    wait_complete(&cluster, 1);
    let before = identities(&cluster);

    wire.cut();
    cluster.apply(&runtime(2)).unwrap();
    cluster.kubectl_ok(&["annotate", "nodes", "--all", "test/passed=by"]).unwrap();
    cluster.kubectl_ok(&["annotate", "sandboxnodes", "--all", "test/passed=by"]).unwrap();
    cluster.compact().unwrap();
    wire.mend();

    wait_complete(&cluster, 2);
    controller.check().unwrap();
    wait_for("the controller to say that its watch is too old", LIMIT, || {
        let log = controller.output().unwrap();
        Ok((log.contains("provided watch is too old")).then_some(()))
    })
    .unwrap();
    assert_eq!(identities(&cluster), before, "SandboxNodes were made anew");
    // It still hears of changes.
    cluster.apply(&runtime(3)).unwrap();
    wait_complete(&cluster, 3);
}
