//! One machine: observe, stage, transact, verify, recover.

pub mod cri;
pub mod observe;
pub mod process;
pub mod systemd;
