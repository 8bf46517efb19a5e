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

/// Debian's runsc behind the runc shim: `bin/runsc`, the adapter `bin/runsc-pod`, `runtime.toml`.
///
/// # Errors
/// The image cannot be built, or a file cannot be written.
pub fn gvisor_oci(cache: &Cache, dest: &Path) -> Result<()> {
    let tree = image::tree(cache, Image::Trixie)?;
    program(&tree.path().join("usr/bin/runsc"), &dest.join("bin/runsc"))?;
    describe("gvisor-oci", &debian_version(tree.path(), "runsc")?, dest)
}

/// gVisor with its own shim: `bin/runsc`, `bin/containerd-shim-runsc-v1`, `etc/runsc.toml`, `runtime.toml`.
///
/// # Errors
/// Go is missing, it cannot be built, or a file cannot be written.
pub fn gvisor_shim(cache: &Cache, dest: &Path) -> Result<()> {
    let tools = gotools::gvisor(cache)?;
    for name in ["runsc", "containerd-shim-runsc-v1"] {
        program(&tools.path().join("bin").join(name), &dest.join("bin").join(name))?;
    }
    host::write(&dest.join("etc/runsc.toml"), RUNSC_TOML, 0o644)?;
    describe("gvisor", gotools::GVISOR_VERSION, dest)
}

/// Debian's crun: `bin/crun`, `runtime.toml`. It needs the libraries of a node of the same image.
///
/// # Errors
/// The image cannot be built, or a file cannot be written.
pub fn crun(cache: &Cache, dest: &Path) -> Result<()> {
    let tree = image::tree(cache, Image::Trixie)?;
    program(&tree.path().join("usr/bin/crun"), &dest.join("bin/crun"))?;
    describe("crun", &debian_version(tree.path(), "crun")?, dest)
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
