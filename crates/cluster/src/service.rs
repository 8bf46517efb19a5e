//! Agent and controller as processes: logs, signals, health, and the event loop.

use crate::agent::{self, AgentError};
use crate::client::{self, ClientError};
use crate::controller::{self, ControllerError};
use crate::metrics::{AgentMetrics, ControllerMetrics, Scrape};
use crate::serve::{self, Ready};
use std::future::Future;
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The variable that says what is logged, e.g. `debug` or `cofferdam_cluster=debug,info`.
const LOG_VARIABLE: &str = "COFFERDAM_LOG";

/// Why the process ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The agent ended.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The controller ended.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// No client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody can listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The operating system gives no event loop or signals.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// If it cannot go on; a silent API server is waited for.
pub fn run_agent(options: agent::Options, address: SocketAddr) -> Result<(), ServiceError> {
    let metrics = AgentMetrics::default();
    let ready = Ready::default();
    run(address, ready.clone(), metrics.clone(), async move {
        agent::run(client::in_cluster()?, options, metrics, ready).await.map_err(ServiceError::from)
    })
}

/// Runs the controller until it is told to stop, or loses the lead.
///
/// # Errors
/// If it cannot go on.
pub fn run_controller(options: controller::Options, address: SocketAddr) -> Result<(), ServiceError> {
    let metrics = ControllerMetrics::default();
    let ready = Ready::default();
    run(address, ready.clone(), metrics.clone(), async move {
        controller::run(client::in_cluster()?, options, metrics, ready).await.map_err(ServiceError::from)
    })
}

fn run(
    address: SocketAddr,
    ready: Ready,
    metrics: impl Scrape,
    work: impl Future<Output = Result<(), ServiceError>>,
) -> Result<(), ServiceError> {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call, in a test, finds the first one's.
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServiceError::Start)?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            error = serve::serve(address, ready, metrics) => {
                error.map_err(|source| ServiceError::Listen { address, source })
            }
            stopped = stopped() => stopped.map_err(ServiceError::Start),
        }
    });
    // A blocking look at the host may still go on: it ends with the process.
    runtime.shutdown_background();
    result
}

/// SIGTERM or SIGINT came.
async fn stopped() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to stop");
    Ok(())
}
