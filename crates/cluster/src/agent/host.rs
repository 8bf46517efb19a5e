//! What an agent needs of its machine.

use super::run::AgentError;
use super::state::Done;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_host::error::HostError;
use cofferdam_host::event::{Event, Outcome, Sink};
use cofferdam_host::outpost::Outpost;
use cofferdam_host::report::{Depth, Report};
use cofferdam_host::worker::Job;
use std::future::Future;

/// The machine of an agent.
pub(super) trait Host: Clone + Send + Sync + 'static {
    /// The engine's unit.
    fn unit(&self) -> &str;

    /// Waits for the end of a change that is under way. If an agent began it: its errand, and what came of it.
    fn follow_running(
        &self,
    ) -> impl Future<Output = Result<Result<Option<(String, Done)>, HostError>, AgentError>> + Send;

    /// Looks at it.
    fn report(
        &self,
        depth: Depth,
    ) -> impl Future<Output = Result<Result<Report, HostError>, AgentError>> + Send;

    /// Changes it.
    fn carry_out(&self, job: Job) -> impl Future<Output = Result<Done, AgentError>> + Send;
}

impl Host for Outpost {
    fn unit(&self) -> &str {
        Self::unit(self)
    }

    async fn follow_running(&self) -> Result<Result<Option<(String, Done)>, HostError>, AgentError> {
        let outpost = self.clone();
        blocking(move || {
            let Some(running) = outpost.running()? else { return Ok(None) };
            let errand = running.errand();
            let done = Done::of(|sink| running.follow(sink));
            Ok(errand.map(|errand| (errand, done)))
        })
        .await
    }

    async fn report(&self, depth: Depth) -> Result<Result<Report, HostError>, AgentError> {
        let outpost = self.clone();
        blocking(move || Self::report(&outpost, depth)).await
    }

    async fn carry_out(&self, job: Job) -> Result<Done, AgentError> {
        let outpost = self.clone();
        blocking(move || Done::of(|sink| Self::carry_out(&outpost, &job, sink))).await
    }
}

impl Done {
    /// What came of `work`, which tells its events.
    fn of(work: impl FnOnce(&mut dyn Sink) -> Result<Outcome, HostError>) -> Self {
        let mut descriptor: Option<Descriptor> = None;
        let mut sink = |event: Event| {
            if let Event::Read { package } = event {
                descriptor = Some(*package);
            }
        };
        let result = work(&mut sink);
        Self { result, descriptor }
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AgentError> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
