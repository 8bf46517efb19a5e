//! Time as the rollout sees it: passed in, comparable, and never trusted further than a span.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Seconds since 1970 in UTC: what Kubernetes' `Time` can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// `self` and `span`; the end of time if that is too much.
    #[must_use]
    pub const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// How long ago `earlier` was; nothing if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// When a decision is made, and since when its maker has been able to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The present time.
    pub now: Time,
    /// Since when the controller has received what agents report without a gap: its start, the end of the last
    /// outage of the API server, or the moment at which it saw its own clock jump (wall clock against monotonic clock),
    /// whichever is latest. Nobody is called silent for a time in which nobody listened. It makes decisions later, never
    /// bolder, so a restarted controller may begin with its start.
    pub hearing_since: Time,
}

impl Moment {
    /// When something that began at `start` and lasts `span` is over; none if it is. A start that lies further ahead than
    /// `span` cannot be meant: a clock was set back since. It counts as over, so that no wait is longer than twice `span`.
    pub(super) fn pending(self, start: Time, span: Duration) -> Option<Time> {
        let end = start.plus(span);
        (self.now < end && start <= self.now.plus(span)).then_some(end)
    }
}
