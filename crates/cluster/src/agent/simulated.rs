//! Agents of machines that are not there: the agent's own loop on a machine that says yes after a while. For benchmarks and
//! tests of what a fleet does to the API.
//!
//! One watch serves them all, where real agents have one each; what they write is what real ones write.

use super::api::Seen;
use super::host::Host;
use super::run::{self, AgentError};
use super::state::Done;
use crate::api::SandboxNode;
use crate::client::{self, ClientError};
use crate::metrics::AgentMetrics;
use crate::serve::Ready;
use crate::watch::events;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_core::name::{Digest, RuntimeName, Version};
use cofferdam_core::preset;
use cofferdam_core::record::Verdict;
use cofferdam_host::error::HostError;
use cofferdam_host::event::{Ending, Outcome};
use cofferdam_host::net::Proxies;
use cofferdam_host::report::{Depth, Report, RuntimeReport};
use cofferdam_host::worker::{Job, Wish};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

/// What each machine installs, whatever it is told to.
const PRESET: &str = "gvisor-oci";

/// So many Nodes are made at a time.
const AT_ONCE: usize = 32;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// How the API is reached.
    pub kubeconfig: PathBuf,
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// Over how many connections.
    pub connections: usize,
    /// How long a change takes.
    pub work: Duration,
    /// How often an agent says that it lives.
    pub heartbeat: Duration,
    /// In this time they start, one after the other.
    pub spread: Duration,
}

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// No client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No event loop, or no thread.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// A Node cannot be made.
    #[error("making a Node: {0}")]
    Make(#[from] kube::Error),
}

/// Agents that run until this is dropped.
#[derive(Debug)]
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    metrics: AgentMetrics,
}

impl Running {
    /// What all of them counted together.
    pub const fn metrics(&self) -> &AgentMetrics {
        &self.metrics
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts them, on a thread of their own.
///
/// # Errors
/// If the kubeconfig is none.
pub fn start(simulation: Simulation) -> Result<Running, SimulationError> {
    let runtime = event_loop()?;
    let clients = runtime.block_on(clients(&simulation))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let metrics = AgentMetrics::default();
    let counted = metrics.clone();
    let thread = std::thread::Builder::new().name("agents".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = agents(&simulation, &clients, &counted) => {}
                _ = stopped => {}
            }
        });
        runtime.shutdown_background();
    })?;
    Ok(Running { stop: Some(stop), thread: Some(thread), metrics })
}

/// Makes a Node for each name, as a kubelet would, and as large: `like` with another name.
///
/// # Errors
/// If one cannot be made.
pub fn make_nodes(simulation: &Simulation, like: &Node) -> Result<(), SimulationError> {
    let runtime = event_loop()?;
    runtime.block_on(async {
        let clients = clients(simulation).await?;
        let made = clients.iter().cycle().zip(&simulation.nodes).map(|(client, name)| async move {
            let mut node = like.clone();
            node.metadata.name = Some(name.clone());
            Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await
        });
        let mut made = futures::stream::iter(made).buffer_unordered(AT_ONCE);
        while let Some(result) = made.next().await {
            result?;
        }
        Ok(())
    })
}

fn event_loop() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn clients(simulation: &Simulation) -> Result<Vec<Client>, ClientError> {
    let mut clients = Vec::new();
    for _ in 0..simulation.connections.max(1) {
        clients.push(client::from_kubeconfig(Some(&simulation.kubeconfig), None).await?);
    }
    Ok(clients)
}

async fn agents(simulation: &Simulation, clients: &[Client], metrics: &AgentMetrics) {
    let mut senders = HashMap::new();
    let step = simulation.spread / u32::try_from(simulation.nodes.len().max(1)).unwrap_or(u32::MAX);
    for ((number, name), client) in (0_u32..).zip(&simulation.nodes).zip(clients.iter().cycle()) {
        let (send, seen) = watch::channel(Seen::Nothing);
        senders.insert(name.clone(), send);
        let machine = Machine { work: simulation.work, installed: Arc::default() };
        let options = run::Options {
            node: name.clone(),
            unit: "containerd.service".to_owned(),
            pull_secrets: PathBuf::new(),
            proxies: Proxies::default(),
            heartbeat: simulation.heartbeat,
            verify: simulation.heartbeat * 12,
        };
        let (client, metrics) = (client.clone(), metrics.clone());
        tokio::spawn(async move {
            sleep(step * number).await;
            if let Err(error) = run::work(client, machine, options, metrics, seen).await {
                tracing::debug!(%error, "a simulated agent ended");
            }
        });
    }
    let Some(client) = clients.first() else { return };
    let api: Api<SandboxNode> = Api::all(client.clone());
    let config = watcher::Config::default().page_size(500);
    let mut events = pin!(events(api, config, Ready::default()));
    while let Some(event) = events.next().await {
        let Ok(watcher::Event::InitApply(mut node) | watcher::Event::Apply(mut node)) = event else {
            continue;
        };
        node.managed_fields_mut().clear();
        if let Some(send) = senders.get(&node.name_any()) {
            send.send_replace(Seen::Object(Arc::new(node)));
        }
    }
}

/// A machine on which everything works.
#[derive(Clone, Debug)]
struct Machine {
    work: Duration,
    installed: Arc<Mutex<BTreeMap<RuntimeName, RuntimeReport>>>,
}

impl Host for Machine {
    fn unit(&self) -> &'static str {
        "containerd.service"
    }

    async fn follow_running(&self) -> Result<Result<Option<(String, Done)>, HostError>, AgentError> {
        Ok(Ok(None))
    }

    async fn report(&self, depth: Depth) -> Result<Result<Report, HostError>, AgentError> {
        Ok(Ok(Report {
            depth,
            kernel: "6.12.48+deb13-amd64".to_owned(),
            os: "Debian GNU/Linux 13 (trixie)".to_owned(),
            engine_version: "2.1.4".to_owned(),
            engine_error: None,
            generation: 1,
            journal: None,
            runtimes: self.installed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            checks: Vec::new(),
            requirements: Vec::new(),
            not_compared: None,
        }))
    }

    async fn carry_out(&self, job: Job) -> Result<Done, AgentError> {
        sleep(self.work).await;
        let mut installed = self.installed.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match job.wish {
            Wish::Install { source, .. } => descriptor().inspect(|descriptor| {
                let report = RuntimeReport {
                    version: descriptor.version.clone(),
                    digest: Digest::of(source.place.to_string().as_bytes()),
                    image: None,
                    verdict: Verdict::Proven,
                    handlers: descriptor.handlers.iter().map(|h| (h.name.clone(), true)).collect(),
                    drift: Vec::new(),
                    users: Vec::new(),
                    declared: false,
                    verified: None,
                };
                installed.insert(descriptor.name.clone(), report);
            }),
            Wish::Remove { name } => {
                installed.remove(&name);
                None
            }
            _ => None,
        };
        let outcome = Outcome {
            verdict: done.as_ref().map(|_| Verdict::Proven),
            ..Outcome::new(Ending::Committed, 1, "simulated")
        };
        Ok(Done { result: Ok(outcome), descriptor: done })
    }
}

fn descriptor() -> Option<Descriptor> {
    preset::descriptor(preset::find(PRESET).ok()?, &Version::new("20250707.0").ok()?).ok()
}
