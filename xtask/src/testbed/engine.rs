//! The containerd of a node: which one, and the configuration with which it starts.

use super::cache::{Cache, Entry};
use super::error::Result;
use super::{debs, gotools};
use std::str::FromStr;

/// A containerd that a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containerd {
    /// Debian 12's containerd 1.6 with Debian's unit: configuration version 2.
    Debian16,
    /// Debian 13's containerd 1.7 with Debian's unit: configuration version 2.
    Debian17,
    /// containerd 2.1 under /usr with Debian's unit: configuration version 3.
    Upstream21,
    /// containerd 2.4 under /usr/local with upstream's unit: configuration version 3.
    Upstream24,
}

/// What each release brings.
pub const PROGRAMS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];

impl Containerd {
    /// Every one, oldest first.
    pub const ALL: [Self; 4] = [Self::Debian16, Self::Debian17, Self::Upstream21, Self::Upstream24];

    /// One of each major release, where unit, place and form of the configuration differ: for tests in which the
    /// minor release does not matter.
    pub const MAJORS: [Self; 2] = [Self::Debian17, Self::Upstream24];

    /// `1.6`, `1.7`, `2.1` or `2.4`.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Debian16 => "1.6",
            Self::Debian17 => "1.7",
            Self::Upstream21 => "2.1",
            Self::Upstream24 => "2.4",
        }
    }

    /// The directory of the daemon, its shim and `ctr` in the node.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Debian16 | Self::Debian17 | Self::Upstream21 => "/usr/bin",
            Self::Upstream24 => "/usr/local/bin",
        }
    }

    /// The daemon in the node.
    pub fn binary(self) -> String {
        format!("{}/containerd", self.directory())
    }

    /// The configuration that makes its CRI work on a node: commented, as an administrator writes it.
    pub const fn admin_config(self) -> &'static str {
        match self {
            Self::Debian16 | Self::Debian17 => include_str!("../../assets/node/config-1.toml"),
            Self::Upstream21 | Self::Upstream24 => include_str!("../../assets/node/config-2.toml"),
        }
    }

    /// The plugin in whose table the configuration has the runtimes.
    pub const fn cri_plugin(self) -> &'static str {
        match self {
            Self::Debian16 | Self::Debian17 => "io.containerd.grpc.v1.cri",
            Self::Upstream21 | Self::Upstream24 => "io.containerd.cri.v1.runtime",
        }
    }

    /// What is laid over the image's tree; nothing for the containerd that is in the image.
    ///
    /// # Errors
    /// It cannot be fetched or built.
    pub fn layer(self, cache: &Cache) -> Result<Option<Entry>> {
        match self {
            Self::Debian16 => debs::containerd_16(cache).map(Some),
            Self::Debian17 => Ok(None),
            Self::Upstream21 => gotools::containerd_21(cache).map(Some),
            Self::Upstream24 => gotools::containerd_24(cache).map(Some),
        }
    }
}

impl FromStr for Containerd {
    type Err = String;

    fn from_str(version: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|c| c.version() == version);
        found.ok_or_else(|| format!("there are: {}", Self::ALL.map(Self::version).join(", ")))
    }
}

/// What stands in `/etc/containerd/config.toml` when containerd first starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Config {
    /// [`Containerd::admin_config`].
    #[default]
    Admin,
    /// No such file.
    Absent,
    /// This text.
    Text(String),
}

/// containerd's configuration file in a node.
pub const CONFIG_PATH: &str = "/etc/containerd/config.toml";

/// containerd's CRI socket in a node.
pub const SOCKET_PATH: &str = "/run/containerd/containerd.sock";
