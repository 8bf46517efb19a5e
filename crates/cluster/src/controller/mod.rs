//! The controller: SandboxRuntimes in; SandboxNode specs, RuntimeClasses, labels and taints of nodes, status and Events out.
//!
//! ```text
//! cache     what the watches have brought: SandboxRuntimes, SandboxNodes, Nodes, RuntimeClasses
//! shelf     the objects of one kind, and those of it that do not parse (pure)
//! reported  what agents report of a runtime, as far as they agree (pure)
//! claims    which SandboxRuntime owns which handler (pure)
//! package   what a node is told of a revision: tags move (pure)
//! view      objects -> what a decision depends on (pure; the decision is cofferdam_core::rollout)
//! marks     announcements -> labels and taints of nodes (pure)
//! forecast  what would be done, told without writing (pure; for `kubectl cofferdam plan`)
//! fault     what of a spec cannot be carried out
//! truth     a decision -> status and conditions (pure)
//! write     every write to the API
//! pass      one round over everything: view, decide, write
//! classes   its part about RuntimeClasses
//! act       its part about SandboxNodes: several nodes at a time
//! announce  its part about labels and taints
//! lease     how long the lead lasts by the own clock
//! run       leader election, and when a pass is due
//! ```
//!
//! One pass looks at everything and writes what differs; it keeps nothing in memory that the next one, or another replica,
//! would need. Every write is conditional on the version of the object that was looked at. Nothing is removed because
//! something was not seen: a SandboxNode goes with its Node (by its owner reference), a label goes because its node's state
//! says so, and an empty list of nodes is no answer.

mod act;
mod announce;
mod cache;
mod claims;
mod classes;
mod fault;
pub(crate) mod forecast;
mod lease;
mod marks;
mod package;
mod pass;
mod reported;
mod run;
mod shelf;
mod truth;
mod view;
mod write;

pub use run::{ControllerError, Options, run};
