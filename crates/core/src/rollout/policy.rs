//! What a SandboxRuntime says about how it is rolled out.

use std::time::Duration;

/// How nodes get a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many nodes may be without a proven runtime at a time.
    pub max_unavailable: MaxUnavailable,
    /// How many nodes prove a new revision before the others get it. 0: none does, all are equal.
    pub canary: u32,
    /// How long a canary must have been proven before it counts.
    pub soak: Duration,
    /// Nothing is assigned or taken away, on no node, for no reason. Announcements go on: they are facts.
    pub paused: bool,
    /// How many failed nodes are tolerated. One more halts. 0: the first failure halts. No more than
    /// [`Policy::MOST_FAILURES`], whatever is asked for.
    pub failure_budget: u32,
    /// How *unavailable* failures are tried again.
    pub retry: Backoff,
    /// After how long without a word from its agent a node counts as unknown.
    pub silent_after: Duration,
    /// Whether a failed node goes back to the revision that worked.
    pub auto_rollback: bool,
}

impl Policy {
    /// The largest failure budget: failed nodes are remembered by name in one object's status, which is bounded.
    pub const MOST_FAILURES: u32 = 100;
    /// The most drifted and unproven nodes that are remembered, for the same reason. Further ones wait until one of these
    /// is mended.
    pub const MOST_DRIFTED: usize = 100;
    /// The most nodes that change at a time, whatever `max_unavailable` allows, for the same reason.
    pub const MOST_CHANGING: usize = 250;
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_unavailable: MaxUnavailable::Percent(10),
            canary: 1,
            soak: Duration::from_secs(30),
            paused: false,
            failure_budget: 0,
            retry: Backoff::default(),
            silent_after: Duration::from_secs(300),
            auto_rollback: true,
        }
    }
}

/// How many nodes may be unavailable at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxUnavailable {
    /// So many. 0: nothing is ever begun.
    Count(u32),
    /// So many of a hundred of the matching nodes, rounded down, but at least one if it is not 0.
    Percent(u8),
}

impl MaxUnavailable {
    /// How many of `nodes` that is.
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(0) => 0,
            Self::Percent(percent) => (nodes.saturating_mul(usize::from(percent.min(100))) / 100).max(1),
        }
    }
}

/// Growing delays between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay; each further one is twice as long.
    pub base: Duration,
    /// The longest.
    pub max: Duration,
    /// How many attempts there are in all. When the last one fails, the node has failed.
    pub attempts: u32,
}

impl Backoff {
    /// The delay after the failed attempt number `attempt`, counted from 1.
    pub fn after(self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        self.base.saturating_mul(1 << doublings).min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(10), max: Duration::from_secs(600), attempts: 6 }
    }
}
