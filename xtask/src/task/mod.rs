//! One module per task: its arguments and what it does.

pub mod bench;
pub mod build;
pub mod cluster;
pub mod demo;
pub mod fuzz;
pub mod generate;
pub mod image;
pub mod node;
pub mod sbom;
pub mod screen;
pub mod test;
pub mod testbed;
pub mod tour;
