//! What this host's engines are told of registries: mirrors, certificates, headers. What they can pull, we can pull.
//!
//! ```text
//! hosts_toml       containerd's certs.d/*/hosts.toml, as text
//! registries_conf  CRI-O's and Podman's registries.conf, as text
//! read             both from this host, and folders with certificates; who is asked, and in which order
//! ```

mod hosts_toml;
mod read;
mod registries_conf;

pub use read::HostSettings;
pub(super) use read::trusting;
