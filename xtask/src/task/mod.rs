//! One module per task: its arguments and what it does.

pub mod node;
pub mod testbed;
