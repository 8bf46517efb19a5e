//! Traces of other programs that install runtimes on nodes.

use serde::{Deserialize, Serialize};

/// A program that installs runtimes and changes the engine's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Installer {
    /// Kata's own DaemonSet.
    KataDeploy,
    /// NVIDIA's operator for confidential virtual machines.
    K8sKataManager,
    /// nvidia-ctk and its container.
    NvidiaContainerToolkit,
    /// KWasm's operator, and its successor for Spin.
    Spin,
    /// Kontain's DaemonSet.
    Kontain,
    /// `runsc install`.
    RunscInstall,
}

/// Where a trace is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceAt {
    /// Whose trace it is.
    pub installer: Installer,
    /// A file or folder.
    pub path: &'static str,
    /// A text that the file has to hold.
    pub holding: Option<&'static str>,
}

/// A trace that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Whose it is.
    pub installer: Installer,
    /// The file or folder.
    pub path: String,
}

const fn at(installer: Installer, path: &'static str) -> TraceAt {
    TraceAt { installer, path, holding: None }
}

/// Where traces are looked for.
pub const TRACES: &[TraceAt] = &[
    at(Installer::KataDeploy, "/opt/kata"),
    at(Installer::K8sKataManager, "/opt/nvidia-gpu-operator/artifacts/runtimeclasses"),
    at(Installer::NvidiaContainerToolkit, "/etc/nvidia-container-runtime/config.toml"),
    at(Installer::NvidiaContainerToolkit, "/usr/local/nvidia/toolkit"),
    at(Installer::Spin, "/opt/kwasm"),
    at(Installer::Spin, "/opt/rcm"),
    at(Installer::Kontain, "/opt/kontain/bin/krun"),
    TraceAt { installer: Installer::RunscInstall, path: "/etc/docker/daemon.json", holding: Some("runsc") },
];

impl Installer {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KataDeploy => "kata-deploy",
            Self::K8sKataManager => "k8s-kata-manager",
            Self::NvidiaContainerToolkit => "nvidia-container-toolkit",
            Self::Spin => "KWasm or Spin's runtime-class-manager",
            Self::Kontain => "Kontain's installer",
            Self::RunscInstall => "runsc install",
        }
    }

    /// What its presence means for us.
    pub const fn means(self) -> &'static str {
        match self {
            Self::KataDeploy => "it edits containerd's configuration, restarts it, and may do so again",
            Self::K8sKataManager => {
                "it edits containerd's configuration, and takes its part out when its pod ends"
            }
            Self::NvidiaContainerToolkit => {
                "it edits containerd's configuration, and may make nvidia the default"
            }
            Self::Spin => "it adds its shims to containerd's configuration",
            Self::Kontain => "it put krun beside runc, and does not remove it",
            Self::RunscInstall => "it registers runsc with Docker only",
        }
    }

    /// Whether it installs the runtime `name`, too: then each undoes what the other did.
    pub fn manages(self, name: &str) -> bool {
        match self {
            Self::KataDeploy | Self::K8sKataManager => name.starts_with("kata"),
            Self::NvidiaContainerToolkit => name.starts_with("nvidia"),
            Self::Spin => name.starts_with("spin") || name.contains("wasm"),
            Self::Kontain => name.starts_with("kontain") || name == "krun",
            // Docker's handlers and containerd's are apart.
            Self::RunscInstall => false,
        }
    }

    /// What its entries in containerd's configuration have in them.
    const fn marks(self) -> &'static [&'static str] {
        match self {
            Self::KataDeploy => &["kata-deploy", "/opt/kata/"],
            Self::K8sKataManager => &["/nvidia-gpu-operator/artifacts/runtimeclasses"],
            Self::NvidiaContainerToolkit => &["nvidia-container-runtime"],
            Self::Spin => &["containerd-shim-spin", "/opt/kwasm/", "/opt/rcm/"],
            Self::Kontain => &["/opt/kontain/", "io.containerd.krun.v2"],
            Self::RunscInstall => &[],
        }
    }
}

/// Whose entries stand in a configuration of containerd. Comments do not count, nor does what names a path of ours,
/// below `prefix`: their runtimes may come with us.
pub fn registered_by(text: &str, prefix: &str) -> Vec<Installer> {
    use Installer::{K8sKataManager, KataDeploy, Kontain, NvidiaContainerToolkit, Spin};
    let ours = format!("{prefix}/");
    let counts = |line: &&str| !line.trim_start().starts_with('#') && !line.contains(&ours);
    let written = |mark: &&str| text.lines().filter(counts).any(|line| line.contains(*mark));
    [KataDeploy, K8sKataManager, NvidiaContainerToolkit, Spin, Kontain]
        .into_iter()
        .filter(|installer| installer.marks().iter().any(written))
        .collect()
}
