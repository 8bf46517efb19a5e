//! The agent's loop.

mod begin;
mod job;

use super::api::{self, Seen};
use super::host::Host;
use super::state::{self, Done, Known, Looked};
use super::task;
use crate::agent::task::Task;
use crate::api::{SandboxNode, SandboxNodeStatus};
use crate::client::ClientError;
use crate::metrics::AgentMetrics;
use crate::now;
use crate::serve::Ready;
use cofferdam_core::class::Class;
use cofferdam_host::error::HostError;
use cofferdam_host::event::{Ending, Outcome};
use cofferdam_host::net::Proxies;
use cofferdam_host::report::{Depth, Report};
use futures::StreamExt;
use kube::Client;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// A change that takes longer is shown as such while it runs. Most end before: each write is one of thousands in a fleet.
const SHOWN_AFTER: Duration = Duration::from_secs(20);

/// The wait between two tries of a write.
const RETRY: Duration = Duration::from_secs(2);

/// The longest of these waits.
const RETRY_MOST: Duration = Duration::from_secs(30);

/// After so many looks that failed in a row the node counts as one that cannot be looked at.
const LOOKS: u32 = 3;

/// When such a node is looked at again, unless a heartbeat comes first: what is in the way is often gone soon.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How the agent is to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name.
    pub node: String,
    /// The engine's unit.
    pub unit: String,
    /// Where pull secrets are mounted.
    pub pull_secrets: PathBuf,
    /// What stands between the node and registries.
    pub proxies: Proxies,
    /// How often it says that it lives, with a quick look at the node.
    pub heartbeat: Duration,
    /// How often every file of the installed trees is looked at.
    pub verify: Duration,
}

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The host cannot be reached from this pod.
    #[error("{}", .0.chain())]
    Host(#[from] HostError),
    /// A thread of ours died.
    #[error("the agent's work broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
    /// The watch ended, which it never does.
    #[error("the watch of the SandboxNode ended")]
    WatchEnded,
}

/// Runs until it is cancelled.
///
/// # Errors
/// If the host cannot be reached from here; a silent API server is waited for.
pub async fn run(
    client: Client,
    options: Options,
    metrics: AgentMetrics,
    ready: Ready,
) -> Result<(), AgentError> {
    let (send, mut seen) = watch::channel(Seen::Nothing);
    let watching = {
        let (client, name, ready) = (client.clone(), options.node.clone(), ready.clone());
        async move {
            let mut stream = pin!(api::watch(&client, &name, ready));
            while let Some(news) = stream.next().await {
                send.send_replace(news);
            }
        }
    };
    let working = async move {
        let outpost = begin::outpost(&client, &options, &mut seen).await?;
        // The host is reached. Its SandboxNode is known, or that there is none, once the watch has listed it.
        let listed = seen.wait_for(|seen| !matches!(seen, Seen::Nothing)).await.map(drop);
        listed.map_err(|_| AgentError::WatchEnded)?;
        ready.set();
        work(client, outpost, options, metrics, seen).await
    };
    tokio::select! {
        () = watching => Err(AgentError::WatchEnded),
        result = working => result,
    }
}

/// Does what `seen` says, on `host`, and tells of it.
pub(super) async fn work(
    client: Client,
    host: impl Host,
    options: Options,
    metrics: AgentMetrics,
    seen: watch::Receiver<Seen>,
) -> Result<(), AgentError> {
    let mut agent = Agent {
        client,
        host,
        options,
        metrics,
        seen,
        known: Known::default(),
        report: None,
        unseen: None,
        written: SandboxNodeStatus::default(),
        full_due: Instant::now(),
    };
    agent.work().await
}

/// The present SandboxNode, once there is one.
async fn object(seen: &mut watch::Receiver<Seen>) -> Result<Arc<SandboxNode>, AgentError> {
    loop {
        if let Seen::Object(object) = &*seen.borrow_and_update() {
            return Ok(Arc::clone(object));
        }
        seen.changed().await.map_err(|_| AgentError::WatchEnded)?;
    }
}

/// A part of a tenth of `period`, another one each time: agents that began together, or waited together for the API, do
/// not go on together.
fn jitter(period: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1000;
    period / 10_000 * u32::try_from(random).unwrap_or(0)
}

struct Agent<H> {
    client: Client,
    host: H,
    options: Options,
    metrics: AgentMetrics,
    seen: watch::Receiver<Seen>,
    known: Known,
    report: Option<Report>,
    /// Why the host could not be looked at.
    unseen: Option<String>,
    /// The status as it was written last.
    written: SandboxNodeStatus,
    full_due: Instant,
}

impl<H: Host> Agent<H> {
    async fn work(&mut self) -> Result<(), AgentError> {
        let first = object(&mut self.seen).await?;
        self.known = Known::of(first.status.as_ref().unwrap_or(&SandboxNodeStatus::default()));
        self.written = first.status.clone().unwrap_or_default();
        self.follow_running(&first).await?;
        self.look().await?;
        loop {
            let object = object(&mut self.seen).await?;
            self.known.keep_only(&object.spec.runtimes);
            if let Some(task) = task::next(&object.spec.runtimes, &self.known) {
                self.carry_out(&object, task).await?;
                self.look().await?;
            }
            // What could not be written is written in the next round, with the news that came in between.
            if self.tell(&object).await && task::next(&object.spec.runtimes, &self.known).is_none() {
                self.rest(&object).await?;
            }
        }
    }

    /// Sleeps until the spec changes or it is time for a look.
    async fn rest(&mut self, object: &SandboxNode) -> Result<(), AgentError> {
        let heartbeat = self.options.heartbeat;
        let period = if self.unseen.is_some() { LOOK_AGAIN.min(heartbeat) } else { heartbeat };
        let due = Instant::now() + period - jitter(period);
        let uid = object.metadata.uid.as_ref();
        let generation = self.written.observed_generation;
        loop {
            tokio::select! {
                changed = self.seen.changed() => {
                    changed.map_err(|_| AgentError::WatchEnded)?;
                    let seen = self.seen.borrow_and_update().clone();
                    // Our own status comes back as a change, too.
                    if let Seen::Object(object) = seen
                        && (object.metadata.uid.as_ref() != uid
                            || object.metadata.generation.unwrap_or_default() != generation)
                    {
                        return Ok(());
                    }
                }
                () = sleep_until(due) => return self.look().await,
            }
        }
    }

    /// Another agent's work may still be going on, or have ended unheard.
    async fn follow_running(&mut self, object: &SandboxNode) -> Result<(), AgentError> {
        let host = self.host.clone();
        match self.telling(object, async move { host.follow_running().await }).await? {
            Ok(Some((errand, done))) => {
                tracing::info!(errand, "a change from before ended");
                let mut tasks = object.spec.runtimes.iter().map(Task::of);
                if let Some(task) = tasks.find(|task| task.errand() == errand) {
                    let removal = matches!(task, Task::Remove(_));
                    self.known.end(task.assigned(), removal, &done, &now());
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = error.chain(), "following the change from before"),
        }
        Ok(())
    }

    /// Looks at the host. What cannot be looked at is not vouched for.
    async fn look(&mut self) -> Result<(), AgentError> {
        for failed in 1.. {
            let Err(error) = self.look_once().await? else { break };
            if failed == LOOKS {
                tracing::error!(error = error.chain(), "the node cannot be looked at");
                self.known.see_no_more(&error.chain(), &now());
                self.unseen = Some(error.chain());
                break;
            }
            tracing::warn!(error = error.chain(), "looking at the node");
            sleep(RETRY).await;
        }
        Ok(())
    }

    async fn look_once(&mut self) -> Result<Result<(), HostError>, AgentError> {
        // A quick look does not see all that may differ: it does not clear anybody.
        let thorough = Instant::now() >= self.full_due || self.known.has_drift();
        let depth = if thorough { Depth::Full } else { Depth::Quick };
        match self.host.report(depth).await? {
            Ok(report) => {
                if depth == Depth::Full && report.not_compared.is_none() {
                    self.full_due = Instant::now() + self.options.verify;
                }
                self.known.see(&report, &now());
                self.report = Some(report);
                self.unseen = None;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Waits for the end of `work`, and says meanwhile that it lives.
    async fn telling<T>(&mut self, object: &SandboxNode, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut pause = SHOWN_AFTER;
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(pause) => {
                    pause = if self.tell_once(object).await { self.options.heartbeat } else { RETRY };
                }
            }
        }
    }

    async fn carry_out(&mut self, object: &SandboxNode, task: Task) -> Result<(), AgentError> {
        let assigned = task.assigned().clone();
        tracing::info!(
            runtime = assigned.name,
            revision = %assigned.target.revision,
            wanted = ?assigned.wanted,
            sequence = assigned.sequence,
            "begins"
        );
        self.known.begin(&assigned, &now());
        let job = self.job(&task);
        let host = self.host.clone();
        let working = async move {
            let result = match job {
                Ok(Some(job)) => return host.carry_out(job).await,
                Ok(None) => Ok(Outcome::new(Ending::Unchanged, 0, "it is not there")),
                Err(error) => Err(error),
            };
            Ok::<_, AgentError>(Done { result, descriptor: None })
        };
        let done = self.telling(object, working).await?;
        let removal = matches!(task, Task::Remove(_));
        let word = if removal { "remove" } else { "install" };
        match &done.result {
            Ok(outcome) => {
                let result = outcome.result.as_str();
                self.metrics.ended(word, result);
                let class = outcome.class.map(Class::as_str);
                tracing::info!(runtime = assigned.name, result, class, message = outcome.message, "ended");
            }
            Err(error) => {
                self.metrics.ended(word, error.class().as_str());
                tracing::warn!(runtime = assigned.name, error = error.chain(), "failed");
            }
        }
        self.known.end(&assigned, removal, &done, &now());
        Ok(())
    }

    fn status(&self, object: &SandboxNode) -> SandboxNodeStatus {
        let generation = object.metadata.generation.unwrap_or_default();
        state::status(&self.known, self.looked(), &self.written, generation, &now())
    }

    /// What the last look gave.
    fn looked(&self) -> Looked<'_> {
        match (&self.unseen, &self.report) {
            (Some(why), _) => Looked::Failed(why),
            (None, Some(report)) => Looked::Saw(report),
            (None, None) => Looked::NotYet,
        }
    }

    async fn tell_once(&mut self, object: &SandboxNode) -> bool {
        let status = self.status(object);
        match api::patch(&self.client, &self.options.node, &status).await {
            Ok(()) => {
                self.metrics.patched(true);
                self.metrics.states(&status.runtimes);
                self.written = status;
                true
            }
            Err(error) => {
                self.metrics.patched(false);
                tracing::warn!(%error, "patching the status");
                false
            }
        }
    }

    /// Patches the status until it is written, or there is something new to do: it is all in memory.
    async fn tell(&mut self, object: &SandboxNode) -> bool {
        let mut wait = RETRY;
        // Not rarer than heartbeats: an agent that comes back with the API server must not count as silent.
        let most = RETRY_MOST.min(self.options.heartbeat.max(RETRY));
        while !self.tell_once(object).await {
            tokio::select! {
                () = sleep(wait) => wait = (wait * 2).min(most),
                _ = self.seen.changed() => return false,
            }
        }
        true
    }
}
