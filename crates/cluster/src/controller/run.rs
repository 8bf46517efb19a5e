//! Leader election, and when a pass is due.

use super::cache::Cache;
use super::lease;
use super::pass::{Pass, Wake};
use super::write::Writer;
use crate::api::names;
use crate::metrics::ControllerMetrics;
use crate::serve::Ready;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use kube_lease_manager::LeaseManagerBuilder;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::sleep;

/// Changes that come together are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(250);

/// How long a sign of life, and nothing else, may wait.
const BEAT: Duration = Duration::from_secs(5);

/// The wait after a write that failed.
const SOON: Duration = Duration::from_secs(2);

/// A pass is made at least that often, whatever was missed.
const AT_LEAST: Duration = Duration::from_secs(300);

/// How long a leader that says nothing is waited for.
const LEASE_SECONDS: u64 = 15;

/// How long before its end the lease is renewed.
const GRACE_SECONDS: u64 = 5;

/// How the controller is to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the lease is.
    pub namespace: String,
    /// The lease's name.
    pub lease: String,
    /// This replica's name.
    pub identity: String,
    /// How often agents say that they live.
    pub heartbeat: Duration,
}

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Another replica leads now: this one begins anew.
    #[error("another replica leads now")]
    LostLead,
}

/// Waits until this replica leads, then works until it does no more.
///
/// # Errors
/// If the lead is lost; whoever runs this begins anew then, with nothing in memory.
pub async fn run(
    client: Client,
    options: Options,
    metrics: ControllerMetrics,
    ready: Ready,
) -> Result<(), ControllerError> {
    let lease = loop {
        let builder = LeaseManagerBuilder::new(client.clone(), options.lease.clone())
            .with_namespace(options.namespace.clone())
            .with_identity(options.identity.clone())
            .with_duration(LEASE_SECONDS)
            .with_grace(GRACE_SECONDS);
        match builder.build().await {
            Ok(lease) => break lease,
            // A silent API server is waited for: ending would only make the next start later.
            Err(error) => tracing::warn!(%error, "the lease cannot be used yet"),
        }
        sleep(SOON).await;
    };
    // A replica that waits for the lead is as ready as it can be.
    ready.set();
    let (mut leads, _task) = lease.watch().await;
    while !*leads.borrow_and_update() {
        leads.changed().await.map_err(|_| ControllerError::LostLead)?;
    }
    tracing::info!(identity = options.identity, "leads");
    metrics.lead(true);
    let lost = async {
        while *leads.borrow_and_update() {
            if leads.changed().await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = lost => Err(ControllerError::LostLead),
        () = lease::run_out(&client, &options.namespace, &options.lease, &options.identity) => {
            tracing::warn!("the lease could not be renewed in time");
            Err(ControllerError::LostLead)
        }
        () = work(client.clone(), &options, &metrics, &ready) => Ok(()),
    }
}

async fn work(client: Client, options: &Options, metrics: &ControllerMetrics, ready: &Ready) {
    let cache = Cache::start(&client, ready, options.heartbeat);
    cache.ready().await;
    let writer = Writer::new(client.clone());
    let reporter =
        Reporter { controller: names::CONTROLLER.to_owned(), instance: Some(options.identity.clone()) };
    let recorder = Recorder::new(client, reporter);
    loop {
        let begun = Instant::now();
        let wake = Pass::new(&writer, &recorder, metrics, cache.snapshot()).run().await;
        metrics.passed(begun.elapsed().as_secs_f64());
        tokio::select! {
            () = cache.wakes.changed.notified() => {}
            () = cache.wakes.heard.notified() => {
                // In a large fleet somebody always says that he lives: that alone is no reason for a round each time.
                tokio::select! {
                    () = cache.wakes.changed.notified() => {}
                    () = sleep(wait(wake).min(BEAT)) => {}
                }
            }
            () = sleep(wait(wake)) => {}
        }
        sleep(DEBOUNCE).await;
    }
}

fn wait(wake: Wake) -> Duration {
    match wake {
        Wake::Soon => SOON,
        Wake::Never => AT_LEAST,
        Wake::At(time) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Duration::from_secs(time.0).saturating_sub(now).clamp(DEBOUNCE, AT_LEAST)
        }
    }
}
