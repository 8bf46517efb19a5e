//! How an agent begins: it reaches its host, or says in the API why it cannot.

use super::{AgentError, LOOKS, Options, RETRY, object};
use crate::agent::api::{self, Seen};
use crate::agent::host::blocking;
use crate::agent::state::{self, Known, Looked};
use crate::now;
use cofferdam_host::outpost::Outpost;
use kube::Client;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// So long it tries to say why it cannot begin. The next start tries again.
const TELLING: Duration = Duration::from_secs(30);

/// The way to the host.
pub(super) async fn outpost(
    client: &Client,
    options: &Options,
    seen: &mut watch::Receiver<Seen>,
) -> Result<Outpost, AgentError> {
    let mut failed = 0;
    loop {
        let unit = options.unit.clone();
        let error = match blocking(move || Outpost::establish(&unit)).await? {
            Ok(outpost) => return Ok(outpost),
            Err(error) => error,
        };
        failed += 1;
        let why = error.chain();
        tracing::warn!(error = why, "reaching the host");
        if failed == LOOKS {
            if timeout(TELLING, tell(client, &options.node, &why, seen)).await.is_err() {
                tracing::warn!("there is no SandboxNode, or no API server, to say so to");
            }
            return Err(error.into());
        }
        sleep(RETRY).await;
    }
}

/// Writes into the status that the host cannot be looked at, and `why`: this agent vouches for nothing on it.
async fn tell(client: &Client, node: &str, why: &str, seen: &mut watch::Receiver<Seen>) {
    let Ok(object) = object(seen).await else { return };
    let before = object.status.clone().unwrap_or_default();
    let mut known = Known::of(&before);
    known.see_no_more(why, &now());
    // Nothing of a newer spec was done.
    let generation = before.observed_generation;
    let status = state::status(&known, Looked::Failed(why), &before, generation, &now());
    if let Err(error) = api::patch(client, node, &status).await {
        tracing::warn!(%error, "patching the status");
    }
}
