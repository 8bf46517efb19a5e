//! The controller: SandboxRuntimes in; SandboxNode specs, RuntimeClasses, labels and taints of nodes, status and Events out.
//!
//! ```text
//! cache     what the watches have brought: SandboxRuntimes, SandboxNodes, Nodes, RuntimeClasses
//! claims    which SandboxRuntime owns which handler (pure)
//! view      objects -> what a decision depends on (pure; the decision is cofferdam_core::rollout)
//! marks     announcements -> labels and taints of nodes (pure)
//! truth     a decision -> status and conditions (pure)
//! write     every write to the API
//! pass      one round over everything: view, decide, write
//! lease     how long the lead lasts by the own clock
//! run       leader election, and when a pass is due
//! ```
//!
//! One pass looks at everything and writes what differs; it keeps nothing in memory that the next one, or another replica,
//! would need. Every write is conditional on the version of the object that was looked at. Nothing is removed because
//! something was not seen: a SandboxNode goes with its Node (by its owner reference), a label goes because its node's state
//! says so, and an empty list of nodes is no answer.

mod cache;
mod claims;
mod lease;
mod marks;
mod pass;
mod run;
mod truth;
mod view;
mod write;

pub use run::{ControllerError, Options, run};
