//! The agent's loop.

use super::api::{self, Seen};
use super::host::{Host, blocking};
use super::state::{self, Done, Known, Looked};
use super::{secrets, task};
use crate::agent::task::Task;
use crate::api::{Assigned, SandboxNode, SandboxNodeStatus};
use crate::client::ClientError;
use crate::metrics::AgentMetrics;
use crate::now;
use crate::serve::Ready;
use crate::source::source;
use cofferdam_core::class::Class;
use cofferdam_core::doctor::Skip;
use cofferdam_core::history::Through;
use cofferdam_core::plan::Overwrite;
use cofferdam_host::error::HostError;
use cofferdam_host::event::{Ending, Outcome};
use cofferdam_host::history;
use cofferdam_host::net::Proxies;
use cofferdam_host::outpost::Outpost;
use cofferdam_host::report::{Depth, Report};
use cofferdam_host::survey::{EngineChoice, SurveyOptions};
use cofferdam_host::transact::{self, Mend};
use cofferdam_host::worker::{Job, Wish};
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
    let unit = options.unit.clone();
    let outpost = blocking(move || Outpost::establish(&unit)).await??;
    ready.set();
    let (send, seen) = watch::channel(Seen::Nothing);
    let watching = {
        let (client, name) = (client.clone(), options.node.clone());
        async move {
            let mut stream = pin!(api::watch(&client, &name, ready));
            while let Some(news) = stream.next().await {
                send.send_replace(news);
            }
        }
    };
    tokio::select! {
        () = watching => Err(AgentError::WatchEnded),
        result = work(client, outpost, options, metrics, seen) => result,
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
        let first = self.object().await?;
        self.known = Known::of(first.status.as_ref().unwrap_or(&SandboxNodeStatus::default()));
        self.written = first.status.clone().unwrap_or_default();
        self.follow_running(&first).await?;
        self.look().await?;
        loop {
            let object = self.object().await?;
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

    /// The present SandboxNode, once there is one.
    async fn object(&mut self) -> Result<Arc<SandboxNode>, AgentError> {
        loop {
            if let Seen::Object(object) = &*self.seen.borrow_and_update() {
                return Ok(Arc::clone(object));
            }
            self.seen.changed().await.map_err(|_| AgentError::WatchEnded)?;
        }
    }

    /// Sleeps until the spec changes or it is time for a look.
    async fn rest(&mut self, object: &SandboxNode) -> Result<(), AgentError> {
        let heartbeat = Instant::now() + self.options.heartbeat - jitter(self.options.heartbeat);
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
                () = sleep_until(heartbeat) => return self.look().await,
            }
        }
    }

    /// Another agent's work may still be going on, or have ended unheard.
    async fn follow_running(&mut self, object: &SandboxNode) -> Result<(), AgentError> {
        match self.host.follow_running().await? {
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
                if depth == Depth::Full {
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
        let mut working = pin!(working);
        let mut pause = SHOWN_AFTER;
        let done = loop {
            tokio::select! {
                done = &mut working => break done?,
                () = sleep(pause) => {
                    pause = if self.tell_once(object).await { self.options.heartbeat } else { RETRY };
                }
            }
        };
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

    /// What the worker is to do; nothing, if what is to go was never there.
    fn job(&self, task: &Task) -> Result<Option<Job>, HostError> {
        let wish = match task {
            Task::Install(assigned) => {
                let source =
                    source(&assigned.target.package, |name| secrets::read(&self.options.pull_secrets, name))?
                        .through(&self.options.proxies);
                let drifted = self.report.as_ref().is_some_and(|r| self.known.is_drifted(assigned, r));
                match drifted {
                    true => Wish::Repair(Mend {
                        name: self.known.runtime_of(assigned),
                        from: Some(source.place),
                        overwrite: Overwrite::No,
                        policy: source.policy,
                        limits: source.limits,
                    }),
                    false => Wish::Install { source, expect: self.known.expected(assigned) },
                }
            }
            Task::Remove(assigned) => match self.known.runtime_of(assigned) {
                Some(name) if self.is_there(&name) => Wish::Remove { name },
                _ => return Ok(None),
            },
        };
        let survey = SurveyOptions {
            prefix: None,
            engine: EngineChoice::Running { unit: self.host.unit().to_owned() },
            systemd: true,
            skip_checks: match task {
                Task::Install(assigned) => skips(assigned)?,
                // A removal must not fail on what only an installation looks at.
                Task::Remove(_) => Vec::new(),
            },
        };
        let asker = history::asker(Through::Agent);
        let (options, errand) = (transact::Options::default(), Some(task.errand()));
        Ok(Some(Job { wish, survey, options, asker, errand }))
    }

    /// Whether the host has it; yes, if that is not known.
    fn is_there(&self, name: &cofferdam_core::name::RuntimeName) -> bool {
        self.report.as_ref().is_none_or(|report| report.runtimes.contains_key(name))
    }

    fn status(&self, object: &SandboxNode) -> SandboxNodeStatus {
        let generation = object.metadata.generation.unwrap_or_default();
        let looked = match (&self.unseen, &self.report) {
            (Some(why), _) => Looked::Failed(why),
            (None, Some(report)) => Looked::Saw(report),
            (None, None) => Looked::NotYet,
        };
        state::status(&self.known, looked, &self.written, generation, &now())
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

fn skips(assigned: &Assigned) -> Result<Vec<Skip>, HostError> {
    let skip = |name: &String| {
        Skip::new(name)
            .map_err(|error| HostError::new(Class::Invalid, format!("skipChecks: `{name}`: {error}")))
    };
    assigned.target.skip_checks.iter().map(skip).collect()
}
