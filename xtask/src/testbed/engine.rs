//! The containerd of a node: which one, and the configuration with which it starts.

/// A containerd that a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containerd {
    /// Debian 13's containerd 1.7 with Debian's unit: configuration version 2.
    Debian17,
    /// containerd 2.4 under /usr/local with upstream's unit: configuration version 3.
    Upstream24,
}

impl Containerd {
    /// Every one, oldest first.
    pub const ALL: [Self; 2] = [Self::Debian17, Self::Upstream24];

    /// `1.7` or `2.4`.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Debian17 => "1.7",
            Self::Upstream24 => "2.4",
        }
    }

    /// The one with this version.
    pub fn from_version(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.version() == version)
    }

    /// The daemon in the node.
    pub const fn binary(self) -> &'static str {
        match self {
            Self::Debian17 => "/usr/bin/containerd",
            Self::Upstream24 => "/usr/local/bin/containerd",
        }
    }

    /// The configuration that makes its CRI work on a node: commented, as an administrator writes it.
    pub const fn admin_config(self) -> &'static str {
        match self {
            Self::Debian17 => include_str!("../../assets/node/config-1.7.toml"),
            Self::Upstream24 => include_str!("../../assets/node/config-2.4.toml"),
        }
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
