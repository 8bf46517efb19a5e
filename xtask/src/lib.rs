//! The project's own tasks, as a library that the node suites use as well.

pub mod matrix;
pub mod task;
pub mod testbed;
