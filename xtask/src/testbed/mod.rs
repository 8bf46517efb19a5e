//! Real nodes on one Debian machine: booted systemd, a real containerd, real sandboxes.
//!
//! ```text
//! cache      built things outside the checkout, keyed by the hash of their recipe
//! packages   Debian packages that this machine needs
//! image      a node's root tree, by debootstrap
//! debs       containerd 1.6, from another Debian release
//! gotools    containerd 2.1 and 2.4, gVisor's shim, Kubernetes, helm, built from Go modules
//! oci        the pause and busybox images, made without a registry
//! engine     the containerd of a node and its configuration
//! node       a booted container: commands, files, reboot, power cut, teardown
//! cluster    a control plane with booted nodes
//! registry   a container registry with accounts and TLS;  signer: who signs what is in it
//! reader     a containerd that reads configurations, without a node
//! tree       what lies below some directories, to compare before and after
//! pods       pods on a node, through CRI
//! package    runtimes, packed as package directories, in two releases each
//! trial      cofferdam on a node: install, failpoints, before and after
//! fleet      a cluster with Cofferdam on it, from the chart, and packages in a registry
//! web        pods of a Deployment in sandboxes, and whether they are still the same
//! interrupt  Ctrl-C tears everything down
//! ```
//!
//! Needs root on Debian 12 or later. Everything is torn down when its owner is dropped, and what a killed owner
//! left is cleared away by the next one.

pub mod cache;
mod claim;
pub mod cluster;
pub mod command;
mod daemon;
pub mod debs;
pub mod engine;
pub mod error;
pub mod fleet;
pub mod gotools;
pub(crate) mod host;
pub mod image;
pub mod interrupt;
pub mod node;
pub mod oci;
pub mod package;
pub mod packages;
mod pki;
pub mod pods;
pub mod reader;
pub mod registry;
pub mod signer;
mod site;
pub mod tree;
pub mod trial;
pub mod web;

pub use cluster::{Cluster, ClusterSpec, Component, Member};
pub use command::Output;
pub use engine::{Config, Containerd};
pub use error::{Error, Result};
pub use node::{Node, NodeSpec};
pub use package::{Release, Runtime};
pub use pods::Pod;
pub use registry::{Program, Registry, RegistrySpec, Tokens};
pub use signer::Signer;
pub use tree::Tree;
