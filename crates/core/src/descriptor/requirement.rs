//! What a handler may ask of its host. The list is closed: a name without a check behind it would promise nothing.

use super::spelling::nearest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that a host has or lacks. The name (in kebab case) is what a descriptor's `requires` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// Hardware virtualization through /dev/kvm.
    Kvm,
    /// /dev/kvm, or Kontain's /dev/kkm.
    KvmOrKkm,
    /// In-kernel networking for virtual machines: /dev/vhost-net.
    VhostNet,
    /// Sockets between a virtual machine and its host: /dev/vhost-vsock.
    VhostVsock,
    /// Network devices of programs: /dev/net/tun.
    Tun,
    /// The unified cgroup hierarchy.
    CgroupV2,
    /// AMD's encrypted virtual machines.
    SevSnp,
    /// Intel's encrypted virtual machines.
    Tdx,
}

impl Requirement {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Kvm,
        Self::KvmOrKkm,
        Self::VhostNet,
        Self::VhostVsock,
        Self::Tun,
        Self::CgroupV2,
        Self::SevSnp,
        Self::Tdx,
    ];

    /// Its name in a descriptor.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::KvmOrKkm => "kvm-or-kkm",
            Self::VhostNet => "vhost-net",
            Self::VhostVsock => "vhost-vsock",
            Self::Tun => "tun",
            Self::CgroupV2 => "cgroup-v2",
            Self::SevSnp => "sev-snp",
            Self::Tdx => "tdx",
        }
    }

    /// The requirement of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|requirement| requirement.as_str() == name)
    }

    /// What to write instead of a name that is none.
    pub(super) fn hint(name: &str) -> String {
        let names = || Self::ALL.into_iter().map(Self::as_str);
        nearest(name, names()).map_or_else(
            || format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        )
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
