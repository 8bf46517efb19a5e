//! The agent: brings one node to what its SandboxNode says, and says there what the node has.
//!
//! ```text
//! task      spec and what was done before -> the next thing to do, or none (pure)
//! state     what was done, and what the host reports -> status (pure)
//! secrets   pull secrets, as mounted files
//! api       watching the own SandboxNode, patching its status: the only two calls
//! host      what it needs of its machine
//! run       the loop between them;  begin: reaching the host;  job: a task, for the host's worker
//! simulated agents of machines that are not there, for benchmarks and tests
//! ```
//!
//! The agent decides nothing: each assignment has a sequence number, is tried once, and its result is reported; whether and
//! when it is tried again is the controller's business. The work is done by the host's worker ([`cofferdam_host::outpost`]),
//! which does not notice if the agent dies. What is not in the spec is left alone: an empty or missing spec removes nothing.

mod api;
mod host;
mod run;
pub(crate) mod secrets;
#[cfg(feature = "testing")]
pub mod simulated;
mod state;
mod task;

pub use run::{AgentError, Options, run};
