//! One machine: observe, stage, transact, verify, recover.

pub mod cri;
