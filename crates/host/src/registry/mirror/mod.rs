//! What this host's engines are told of registries: mirrors, certificates, logins, headers. What they can pull, we can pull.
//!
//! ```text
//! containerd_toml  containerd's configuration: where those folders are, and mirrors as it lists them itself, as text
//! hosts_toml       containerd's certs.d/*/hosts.toml, as text
//! registries_conf  CRI-O's and Podman's registries.conf, as text
//! read             all of them from this host, and folders with certificates; who is asked, and in which order
//! ```

mod containerd_toml;
mod hosts_toml;
mod read;
mod registries_conf;

pub use read::HostSettings;
pub(super) use read::trusting;
