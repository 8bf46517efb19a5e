//! The rollout: now and the fleet in, what to do out.
//!
//! ```text
//! policy      what the SandboxRuntime asks for
//! fleet       what was seen of the nodes
//! record      what the rollout remembers: a journal in the SandboxRuntime's status
//! decide      all of these -> ordered actions, a phase, counts, a reason for each node
//! announce    which nodes are labelled as having a working runtime
//! ```
//!
//! A decision depends on its arguments alone, so whoever makes it next (after a crash, on another machine) goes on where
//! the last one stopped. The controller's part: get the arguments, decide, write [`Decision::remember`], carry out the
//! actions, announce. What is promised, and what each reason asks for, is in docs/rollout.md.

mod act;
mod announce;
mod decide;
mod decision;
mod fleet;
mod policy;
mod reason;
mod record;
mod report;
mod standing;
mod survey;
mod time;

pub use announce::{Announcement, Label, Status};
pub use decide::decide;
pub use decision::{Action, Counts, Decision, NodeReport, Phase, Why};
pub use fleet::{
    AgentState, Assignment, Failure, Fleet, NodeReady, NodeUid, NodeView, Observation, Remains, RetryToken,
    Revision, Wanted,
};
pub use policy::{Backoff, MaxUnavailable, Policy};
pub use reason::Reason;
pub use record::{Asked, Canary, FailedNode, Open, Record};
pub use time::{Moment, Time};

/// What the fleet is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// This revision, on every matching node.
    Install(Revision),
    /// Nothing: the runtime is being deleted.
    Remove,
}

/// Everything that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// When.
    pub moment: Moment,
    /// How.
    pub policy: &'a Policy,
    /// What.
    pub goal: &'a Goal,
    /// The SandboxRuntime's retry annotation.
    pub retry: Option<&'a RetryToken>,
    /// The nodes as they were seen. They may have changed since; the writes' resourceVersions tell.
    pub fleet: &'a Fleet,
    /// What was remembered, read together with the resourceVersion under which the next one is written.
    pub record: &'a Record,
}
