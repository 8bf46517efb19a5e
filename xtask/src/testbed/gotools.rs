//! Programs that Debian does not have (in that version), built from Go modules in modules of their own.
//!
//! Each entry is a tree that is laid over a node's root, or a directory of binaries. The versions stand in
//! `assets/gotools/<name>/go.mod`, every module's hash in `go.sum` beside it.

use super::cache::{Cache, Entry, Recipe};
use super::command::Command;
use super::error::{Error, Result};
use super::{host, packages};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A cold build of the control plane takes minutes on two cores.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// The version of [`gvisor`]: the date of the commit that `assets/gotools/gvisor/go.mod` names.
pub const GVISOR_VERSION: &str = "20250205.0";

/// A set of programs.
struct Tools {
    name: &'static str,
    why: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// Module path, symbol and value for the linker.
    stamp: &'static str,
    cgo: bool,
    /// A program of the module itself, instead of those that go.mod names as its tools.
    program: Option<&'static str>,
    /// Files in the vendor directory, each with what takes its place.
    replaced: &'static [(&'static str, &'static str)],
    /// Directory of the entry that gets the binaries.
    bin: &'static str,
    /// Names that `go build` gives, and better ones.
    renamed: &'static [(&'static str, &'static str)],
}

const CONTAINERD_21: Tools = Tools {
    name: "containerd-2.1",
    why: "containerd 2.1 is built from source",
    go_mod: include_str!("../../assets/gotools/containerd-2.1/go.mod"),
    go_sum: include_str!("../../assets/gotools/containerd-2.1/go.sum"),
    stamp: "-X github.com/containerd/containerd/v2/version.Version=2.1.9",
    cgo: true,
    program: None,
    replaced: &[],
    // Where distributions have it, below the image's own unit.
    bin: "usr/bin",
    renamed: &[],
};

const CONTAINERD_24: Tools = Tools {
    name: "containerd-2.4",
    why: "containerd 2.4 is built from source",
    go_mod: include_str!("../../assets/gotools/containerd-2.4/go.mod"),
    go_sum: include_str!("../../assets/gotools/containerd-2.4/go.sum"),
    stamp: "-X github.com/containerd/containerd/v2/version.Version=v2.4.2",
    // Upstream's releases are built with cgo as well.
    cgo: true,
    program: None,
    replaced: &[],
    bin: "usr/local/bin",
    renamed: &[],
};

const GVISOR: Tools = Tools {
    name: "gvisor",
    why: "gVisor's shim is built from source",
    go_mod: include_str!("../../assets/gotools/gvisor/go.mod"),
    go_sum: include_str!("../../assets/gotools/gvisor/go.sum"),
    stamp: "-X gvisor.dev/gvisor/runsc/version.version=release-20250205.0",
    cgo: false,
    program: None,
    replaced: &[
        // The shim gives up when it may not lower its OOM score, which needs CAP_SYS_RESOURCE.
        (
            "github.com/containerd/containerd/sys/oom_linux.go",
            include_str!("../../assets/gotools/gvisor/oom_linux.go"),
        ),
        // This gVisor is older than Go 1.25: without it one sandbox in six dies at its start.
        ("gvisor.dev/gvisor/pkg/goid/goid.go", include_str!("../../assets/gotools/gvisor/goid.go")),
    ],
    bin: "bin",
    renamed: &[("shim", "containerd-shim-runsc-v1")],
};

const CONTROL_PLANE: Tools = Tools {
    name: "control-plane",
    why: "the Kubernetes control plane is built from source",
    go_mod: include_str!("../../assets/gotools/control-plane/go.mod"),
    go_sum: include_str!("../../assets/gotools/control-plane/go.sum"),
    stamp: "-X k8s.io/component-base/version.gitVersion=v1.34.2",
    cgo: false,
    program: None,
    replaced: &[],
    bin: "bin",
    renamed: &[],
};

const HELM: Tools = Tools {
    name: "helm",
    why: "helm is built from source",
    go_mod: include_str!("../../assets/gotools/helm/go.mod"),
    go_sum: include_str!("../../assets/gotools/helm/go.sum"),
    stamp: "-X helm.sh/helm/v3/internal/version.version=v3.22.0",
    cgo: false,
    program: None,
    replaced: &[],
    bin: "bin",
    renamed: &[],
};

const DISTRIBUTION: Tools = Tools {
    name: "distribution",
    why: "distribution 3, a registry, is built from source",
    go_mod: include_str!("../../assets/gotools/distribution/go.mod"),
    go_sum: include_str!("../../assets/gotools/distribution/go.sum"),
    stamp: "-X github.com/distribution/distribution/v3/version.version=v3.1.2",
    cgo: false,
    program: Some(include_str!("../../assets/gotools/distribution/main.go.txt")),
    replaced: &[],
    bin: "bin",
    renamed: &[],
};

const UMOCI: Tools = Tools {
    name: "umoci",
    why: "umoci, with which Cofferdam is compared, is built from source",
    go_mod: include_str!("../../assets/gotools/umoci/go.mod"),
    go_sum: include_str!("../../assets/gotools/umoci/go.sum"),
    // It has its version in a file.
    stamp: "",
    cgo: false,
    program: None,
    replaced: &[],
    bin: "bin",
    renamed: &[],
};

const KUBECONFORM: Tools = Tools {
    name: "kubeconform",
    why: "kubeconform is built from source",
    go_mod: include_str!("../../assets/gotools/kubeconform/go.mod"),
    go_sum: include_str!("../../assets/gotools/kubeconform/go.sum"),
    stamp: "-X main.version=v0.8.0",
    cgo: false,
    program: None,
    replaced: &[],
    bin: "bin",
    renamed: &[],
};

/// containerd 2.1 in the place of the image's own: `usr/bin/{containerd,containerd-shim-runc-v2,ctr}`, as a tree to
/// lay over a node's root. Not from Debian: the release that has it now will move on to later ones.
///
/// # Errors
/// Go is missing, a module is not to be had, or the build fails.
pub fn containerd_21(cache: &Cache) -> Result<Entry> {
    cache.entry(&CONTAINERD_21.recipe(), |dir| CONTAINERD_21.build(dir))
}

/// containerd 2.4 as its release archive lays it out: `usr/local/bin/{containerd,containerd-shim-runc-v2,ctr}`
/// and its unit, as a tree to lay over a node's root.
///
/// # Errors
/// Go is missing, a module is not to be had, or the build fails.
pub fn containerd_24(cache: &Cache) -> Result<Entry> {
    const UNIT: &str = include_str!("../../assets/node/containerd.service");
    let recipe = CONTAINERD_24.recipe().with("unit", UNIT);
    cache.entry(&recipe, |dir| {
        CONTAINERD_24.build(dir)?;
        host::write(&dir.join("etc/systemd/system/containerd.service"), UNIT, 0o644)
    })
}

/// gVisor: `bin/{runsc,containerd-shim-runsc-v1}`.
///
/// # Errors
/// Go is missing, a module is not to be had, or the build fails.
pub fn gvisor(cache: &Cache) -> Result<Entry> {
    cache.entry(&GVISOR.recipe(), |dir| GVISOR.build(dir))
}

/// A Kubernetes control plane, what runs on its nodes, and its command:
/// `bin/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}`.
///
/// # Errors
/// Go is missing, a module is not to be had, or the build fails.
pub fn control_plane(cache: &Cache) -> Result<Entry> {
    cache.entry(&CONTROL_PLANE.recipe(), |dir| CONTROL_PLANE.build(dir))
}

/// `bin/helm`.
///
/// # Errors
/// Go is missing, a module is not to be had, or the build fails.
pub fn helm(cache: &Cache) -> Result<Entry> {
    cache.entry(&HELM.recipe(), |dir| HELM.build(dir))
}

/// `bin/registry`: distribution 3.
///
/// # Errors
/// Go is missing, a module is not to be had, or the build fails.
pub fn distribution(cache: &Cache) -> Result<Entry> {
    cache.entry(&DISTRIBUTION.recipe(), |dir| DISTRIBUTION.build(dir))
}

/// `bin/umoci`. Debian's is too old for zstd.
///
/// # Errors
/// Go is missing, a module is not to be had, or the build fails.
pub fn umoci(cache: &Cache) -> Result<Entry> {
    cache.entry(&UMOCI.recipe(), |dir| UMOCI.build(dir))
}

/// `bin/kubeconform`.
///
/// # Errors
/// Go is missing, a module is not to be had, or the build fails.
pub fn kubeconform(cache: &Cache) -> Result<Entry> {
    cache.entry(&KUBECONFORM.recipe(), |dir| KUBECONFORM.build(dir))
}

impl Tools {
    fn recipe(&self) -> Recipe {
        let recipe = Recipe::new(self.name)
            .with("go.mod", self.go_mod)
            .with("go.sum", self.go_sum)
            .with("stamp", self.stamp)
            .with("cgo", if self.cgo { "1" } else { "0" })
            .with("bin", self.bin);
        let recipe = self.program.iter().fold(recipe, |recipe, text| recipe.with("main.go", text));
        self.replaced.iter().fold(recipe, |recipe, (path, content)| recipe.with(path, content))
    }

    fn build(&self, dir: &Path) -> Result<()> {
        packages::need_go(self.why)?;
        if self.cgo {
            packages::ensure(&["gcc", "libc6-dev"])?;
        }
        let module = dir.join("module");
        host::write(&module.join("go.mod"), self.go_mod, 0o644)?;
        host::write(&module.join("go.sum"), self.go_sum, 0o644)?;
        if let Some(text) = self.program {
            host::write(&module.join("main.go"), text, 0o644)?;
        }
        let mut mode = "-mod=readonly";
        if !self.replaced.is_empty() {
            // Go's -overlay refuses files of the module cache, so the modules are copied.
            self.go(&module).args(["mod", "vendor"]).ok()?;
            for (path, content) in self.replaced {
                host::write(&module.join("vendor").join(path), content, 0o644)?;
            }
            mode = "-mod=vendor";
        }
        let bin = dir.join(self.bin);
        fs::create_dir_all(&bin).map_err(Error::io("create", &bin))?;
        self.go(&module)
            .args([
                "build",
                mode,
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                &format!("-s -w {}", self.stamp),
                "-o",
            ])
            .arg(&bin)
            // Mostly go.mod names the programs as its tools.
            .arg(if self.program.is_some() { "." } else { "tool" })
            .ok()?;
        for (from, to) in self.renamed {
            let (from, to) = (bin.join(from), bin.join(to));
            fs::rename(&from, &to).map_err(Error::io("rename", &from))?;
        }
        host::remove_tree(&module)
    }

    fn go(&self, module: &Path) -> Command {
        let cgo = if self.cgo { "1" } else { "0" };
        Command::new("go").dir(module).env("CGO_ENABLED", cgo).env("GOWORK", "off").limit(BUILD_LIMIT)
    }
}
