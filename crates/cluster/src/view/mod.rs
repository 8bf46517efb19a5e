//! The API's objects as text for people: `kubectl cofferdam status | nodes | explain | doctor | plan`. Pure: objects and the
//! time in, text out.
//!
//! ```text
//! table     columns
//! lists     SandboxRuntimes, SandboxNodes, what the doctor says
//! explain   why one node is in the state in which it is
//! advice    what to do about a state
//! plan      what a rollout would do
//! ```

mod advice;
mod explain;
mod lists;
mod plan;
mod table;

pub use explain::explain;
pub use lists::{checks, concerns, nodes, runtimes};
pub use plan::{Preview, preview};

use crate::api::{RolloutSpec, SandboxRuntime};
use crate::facts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// How long ago something was, in the form in which kubectl says it.
fn ago(then: &Time, now: &Time) -> String {
    let seconds = now.0.as_second().saturating_sub(then.0.as_second()).max(0);
    span(seconds)
}

fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// For how long an agent may be silent: as the strictest of these asks for; as usual, if there is none. The chart's
/// heartbeat is not known here.
fn silent_after<'r>(runtimes: impl IntoIterator<Item = &'r SandboxRuntime>) -> Duration {
    let asked = runtimes.into_iter().map(|runtime| runtime.spec.rollout.agent_silent_seconds).min();
    let asked = asked.unwrap_or_else(|| RolloutSpec::default().agent_silent_seconds);
    facts::silent_after(asked, facts::USUAL_HEARTBEAT)
}

/// Whether an agent that is heard every few minutes has been silent for too long.
fn is_silent(heard: Option<&Time>, limit: Duration, now: &Time) -> bool {
    heard.is_none_or(|heard| {
        let ago = now.0.as_second().saturating_sub(heard.0.as_second());
        u64::try_from(ago).is_ok_and(|ago| ago > limit.as_secs())
    })
}

/// One line of a message that may have more.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
