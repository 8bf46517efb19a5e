//! One machine: observe, stage, transact, verify, recover.

pub mod cri;
pub mod process;
pub mod systemd;
