//! The hidden `cofferdam pause`: the long-lived container of a pod whose init container did the work.

use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Sleeps until SIGTERM or SIGINT. As a container's first process it must handle them: the kernel sends it none that it
/// does not.
pub(crate) fn run() -> Result<ExitCode> {
    let fail =
        |error: std::io::Error| HostError::new(Class::Internal, format!("waiting for a signal: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(fail)?;
    runtime.block_on(async {
        let mut end = signal(SignalKind::terminate()).map_err(fail)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
        tokio::select! {
            _ = end.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
