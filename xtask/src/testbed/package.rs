//! Runtimes packed as package directories: their files and a `runtime.toml`.

use super::cache::Cache;
use super::error::{Error, Result};
use super::image::{self, Image};
use super::{gotools, host};
use cofferdam_core::preset;
use std::fs;
use std::path::Path;

/// What the shim form needs on a node of the test bed: gVisor's own network stack takes the pod's addresses away
/// from the namespace, and the kernel of a small machine may lack what it needs to.
const RUNSC_TOML: &str = "\
# Settings of containerd-shim-runsc-v1. The path follows the installation.
binary_name = \"/opt/gvisor/bin/runsc\"

[runsc_config]
network = \"host\"
";

/// Which of two releases of a runtime. gVisor's programs really differ; crun's are the same, beside another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// gVisor 20240729 (Debian 13's runsc).
    Old,
    /// gVisor 20250205 (built).
    New,
}

/// A runtime that the test bed can pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// gVisor with its own shim.
    Gvisor,
    /// gVisor's runsc behind the runc shim.
    GvisorOci,
    /// Debian's crun.
    Crun,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gvisor, Self::GvisorOci, Self::Crun];

    /// Its handler.
    pub const fn handler(self) -> &'static str {
        match self {
            Self::Gvisor => "runsc",
            Self::GvisorOci => "runsc-oci",
            Self::Crun => "crun",
        }
    }

    /// Name of the package.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gvisor => "gvisor",
            Self::GvisorOci => "gvisor-oci",
            Self::Crun => "crun",
        }
    }

    /// Where [`super::Node::put_package`] puts it, as a source for `cofferdam install`.
    pub fn source(self) -> String {
        self.source_of(self.usual())
    }

    /// Where [`super::Node::put_release`] puts it, as a source for `cofferdam install`.
    pub fn source_of(self, release: Release) -> String {
        format!("dir:{}", self.folder(release))
    }

    /// The release for tests that need no other.
    pub(super) const fn usual(self) -> Release {
        match self {
            Self::GvisorOci | Self::Crun => Release::Old,
            Self::Gvisor => Release::New,
        }
    }

    pub(super) fn folder(self, release: Release) -> String {
        let suffix = match release {
            _ if release == self.usual() => "",
            Release::Old => "-old",
            Release::New => "-new",
        };
        format!("/root/packages/{}{suffix}", self.name())
    }
}

/// Packs a runtime into the folder `dest`.
///
/// # Errors
/// A program cannot be fetched or built, or a file cannot be written.
pub fn pack(cache: &Cache, runtime: Runtime, release: Release, dest: &Path) -> Result<()> {
    match runtime {
        Runtime::Gvisor => gvisor_shim(cache, release, dest),
        Runtime::GvisorOci => gvisor_oci(cache, release, dest),
        Runtime::Crun => crun(cache, release, dest),
    }
}

/// runsc behind the runc shim: `bin/runsc`, the adapter `bin/runsc-pod`, `runtime.toml`.
fn gvisor_oci(cache: &Cache, release: Release, dest: &Path) -> Result<()> {
    let version = runsc(cache, release, dest)?;
    describe("gvisor-oci", &version, dest)
}

/// gVisor with its own shim: `bin/runsc`, `bin/containerd-shim-runsc-v1`, `etc/runsc.toml`, `runtime.toml`. There is
/// one shim only, of the new release.
fn gvisor_shim(cache: &Cache, release: Release, dest: &Path) -> Result<()> {
    const SHIM: &str = "bin/containerd-shim-runsc-v1";
    program(&gotools::gvisor(cache)?.path().join(SHIM), &dest.join(SHIM))?;
    let version = runsc(cache, release, dest)?;
    host::write(&dest.join("etc/runsc.toml"), RUNSC_TOML, 0o644)?;
    describe("gvisor", &version, dest)
}

/// Debian's crun: `bin/crun`, `runtime.toml`. It needs the libraries of a node.
fn crun(cache: &Cache, release: Release, dest: &Path) -> Result<()> {
    let tree = image::tree(cache, Image::Trixie)?;
    program(&tree.path().join("usr/bin/crun"), &dest.join("bin/crun"))?;
    let mut version = debian_version(tree.path(), "crun")?;
    if release == Release::New {
        version.push_str("+1");
        host::write(&dest.join("share/NEWS"), "The same program.\n", 0o644)?;
    }
    describe("crun", &version, dest)
}

/// Puts `bin/runsc`; its version.
fn runsc(cache: &Cache, release: Release, dest: &Path) -> Result<String> {
    let (from, version) = match release {
        Release::Old => {
            let tree = image::tree(cache, Image::Trixie)?;
            (tree.path().join("usr/bin/runsc"), debian_version(tree.path(), "runsc")?)
        }
        Release::New => {
            (gotools::gvisor(cache)?.path().join("bin/runsc"), gotools::GVISOR_VERSION.to_owned())
        }
    };
    program(&from, &dest.join("bin/runsc"))?;
    Ok(version)
}

fn program(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).map_err(Error::io("read", from))?;
    host::write(to, bytes, 0o755)
}

/// Writes the preset's descriptor with a version, and the files that the preset adds.
fn describe(name: &str, version: &str, dest: &Path) -> Result<()> {
    let preset = preset::find(name).map_err(|e| Error::Unexpected {
        what: format!("the preset {name}"),
        why: e.to_string(),
        next: "look at crates/core/presets".into(),
    })?;
    for file in preset.files {
        let path = dest.join(file.path);
        if !path.exists() {
            host::write(&path, file.text, if file.executable { 0o755 } else { 0o644 })?;
        }
    }
    let line = format!("name = \"{name}\"\n");
    let versioned = format!("{line}version = \"{version}\"\n");
    host::write(&dest.join("runtime.toml"), preset.text.replacen(&line, &versioned, 1), 0o644)
}

/// The upstream part of an installed package's version.
fn debian_version(tree: &Path, package: &str) -> Result<String> {
    let path = tree.join("var/lib/dpkg/status");
    let status = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    version_in(&status, package).ok_or_else(|| Error::Unexpected {
        what: format!("the package {package} in {}", path.display()),
        why: "it has no version there".into(),
        next: "clean the cache, so that the image is built anew".into(),
    })
}

fn version_in(status: &str, package: &str) -> Option<String> {
    let head = format!("Package: {package}\n");
    let stanza = status.split("\n\n").find(|s| s.starts_with(&head))?;
    let version = stanza.lines().find_map(|l| l.strip_prefix("Version: "))?;
    // [epoch:]upstream[-revision]; Debian writes 0.0~ before dates, so that a first release counts as newer.
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    let upstream = upstream.rsplit_once('-').map_or(upstream, |(rest, _)| rest);
    let upstream = upstream.strip_prefix("0.0~").unwrap_or(upstream);
    Some(upstream.split(['+', '~']).next().unwrap_or(upstream).to_owned())
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_are_upstreams() {
        let status = "Package: crun\nStatus: install ok installed\nVersion: 1.21-1\n\n\
                      Package: runsc\nVersion: 0.0~20240729.0-4+b7\n\nPackage: runc\nVersion: 1:1.1.15+ds1-2+b4\n";
        assert_eq!(version_in(status, "crun").as_deref(), Some("1.21"));
        assert_eq!(version_in(status, "runsc").as_deref(), Some("20240729.0"));
        assert_eq!(version_in(status, "runc").as_deref(), Some("1.1.15"));
        assert_eq!(version_in(status, "run"), None);
    }
}
