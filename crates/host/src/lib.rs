//! One machine: observe, stage, transact, verify, recover.
