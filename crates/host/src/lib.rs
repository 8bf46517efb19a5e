//! One machine: observe, stage, transact, verify, recover.
//!
//! ```text
//! root, write     the host's root as a capability; the one place that changes files
//! net             the one connector: names, TLS, HTTP
//! process         the one place that runs other programs
//! cri, systemd    clients
//! observe         what is there;  survey: one look at all of it
//! package         a package: fetched, read, checked, staged, packed
//! registry        images: pulled, pushed;  archive: their layers, unpacked and packed
//! signature       who signed an image, as the policy asks
//! tree            whether an installed one is as it was installed;  holdings: what they take up and share
//! rehearse        the engine's own binary on candidate files, isolated
//! store           ledger, journal, backups, lock
//! transact        the transaction engine;  worker: who carries it out
//! outpost         the same host, from within a container on it
//! doctor          what the named checks look at;  report: what an agent tells the cluster
//! ```

pub mod archive;
mod config_files;
pub mod cri;
pub mod doctor;
pub mod error;
pub mod event;
mod fault;
mod hashing;
pub mod history;
pub mod holdings;
pub mod net;
pub mod observe;
pub mod outpost;
pub mod package;
pub mod process;
pub mod registry;
pub mod rehearse;
pub mod report;
pub mod root;
pub mod signature;
pub mod store;
pub mod survey;
pub mod systemd;
pub mod transact;
mod tree;
pub mod worker;
mod write;
