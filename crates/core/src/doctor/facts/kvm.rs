//! Hardware virtualization: the processor, /dev/kvm and the modules behind it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The flags that checks ask for: virtualization on Intel and AMD, 64 bits, SSE 4.1, and whether this is a virtual
/// machine itself.
const FLAGS: [&str; 5] = ["vmx", "svm", "lm", "sse4_1", "hypervisor"];

/// The processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// `GenuineIntel`, `AuthenticAMD`.
    pub vendor: String,
    /// Those of its flags that checks ask for.
    pub flags: BTreeSet<String>,
}

impl Cpu {
    /// Reads /proc/cpuinfo; its first processor stands for all. None if it has no flags (other architectures).
    pub fn parse(cpuinfo: &str) -> Option<Self> {
        let value = |key: &str| {
            cpuinfo.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                (name.trim() == key).then(|| value.trim())
            })
        };
        let flags = value("flags")?.split(' ').filter(|flag| FLAGS.contains(flag)).map(str::to_owned);
        Some(Self { vendor: value("vendor_id").unwrap_or_default().to_owned(), flags: flags.collect() })
    }

    /// Whether it has `flag`.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }
}

/// What opening /dev/kvm for reading and writing gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Kvm {
    /// There is no such file.
    Absent,
    /// It cannot be opened.
    Refused {
        /// Why.
        reason: String,
    },
    /// It is open, and answers `KVM_GET_API_VERSION`.
    Open {
        /// The answer.
        api_version: i32,
    },
}

/// Parameters of `kvm_intel` and `kvm_amd`. None: that module is not loaded, or has no such parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvmParameters {
    /// Whether virtual machines of this node may have virtual machines.
    pub nested: Option<bool>,
    /// Intel: whether a guest may run in real mode.
    pub unrestricted_guest: Option<bool>,
    /// AMD: encrypted virtual machines.
    pub sev_snp: Option<bool>,
    /// Intel: encrypted virtual machines.
    pub tdx: Option<bool>,
}

impl KvmParameters {
    /// A module's parameter as /sys shows it.
    pub fn flag(text: &str) -> Option<bool> {
        match text.trim() {
            "Y" | "y" | "1" => Some(true),
            "N" | "n" | "0" => Some(false),
            _ => None,
        }
    }
}
