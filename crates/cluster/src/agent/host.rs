//! What an agent needs of its machine.

use super::run::AgentError;
use super::state::Done;
use cofferdam_core::descriptor::Descriptor;
use cofferdam_host::error::HostError;
use cofferdam_host::event::{Event, Outcome};
use cofferdam_host::outpost::Outpost;
use cofferdam_host::report::{Depth, Report};
use cofferdam_host::worker::Job;
use std::future::Future;

/// The machine of an agent.
pub(super) trait Host: Clone + Send + Sync + 'static {
    /// The engine's unit.
    fn unit(&self) -> &str;

    /// Waits for the end of a change that an agent of before began.
    fn follow_running(
        &self,
    ) -> impl Future<Output = Result<Result<Option<Outcome>, HostError>, AgentError>> + Send;

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

    async fn follow_running(&self) -> Result<Result<Option<Outcome>, HostError>, AgentError> {
        let outpost = self.clone();
        blocking(move || {
            let running = outpost.running()?;
            running.map(|submitted| submitted.follow(&mut |_: Event| {})).transpose()
        })
        .await
    }

    async fn report(&self, depth: Depth) -> Result<Result<Report, HostError>, AgentError> {
        let outpost = self.clone();
        blocking(move || Self::report(&outpost, depth)).await
    }

    async fn carry_out(&self, job: Job) -> Result<Done, AgentError> {
        let outpost = self.clone();
        blocking(move || {
            let mut descriptor: Option<Descriptor> = None;
            let mut sink = |event: Event| {
                if let Event::Read { package } = event {
                    descriptor = Some(*package);
                }
            };
            let result = Self::carry_out(&outpost, &job, &mut sink);
            Done { result, descriptor }
        })
        .await
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AgentError> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
