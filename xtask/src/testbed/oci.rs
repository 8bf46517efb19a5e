//! The images that nodes start with, made without a registry: one layer with a static busybox.

use super::cache::{Cache, Entry, Recipe};
use super::command::Command;
use super::error::{Error, Result};
use super::host;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The sandbox image: waits, and ends at SIGTERM.
pub const PAUSE: &str = "cofferdam.test/pause:1";

/// The image for containers: a shell and what busybox has.
pub const BUSYBOX: &str = "cofferdam.test/busybox:1";

/// PID 1 of a container ignores signals that it does not handle, so a plain `sleep` would take a SIGKILL to end.
pub(crate) const WAIT: &str = "trap 'exit 0' TERM INT; sleep 2147483647 & wait";

/// Commands that tests use; busybox answers to each.
const APPLETS: &[&str] = &[
    "sh", "sleep", "uname", "cat", "echo", "ls", "dmesg", "true", "false", "id", "ps", "test", "kill", "env",
];

/// `images.tar`, an OCI layout with both images, for `ctr images import`. `node_tree` is a node's root tree.
///
/// # Errors
/// The tree has no busybox, or tar fails.
pub fn images(cache: &Cache, node_tree: &Path) -> Result<Entry> {
    let busybox = node_tree.join("usr/bin/busybox");
    let bytes = fs::read(&busybox).map_err(Error::io("read", &busybox))?;
    let recipe = Recipe::new("images")
        .with("busybox", hex(&bytes))
        .with("names", format!("{PAUSE} {BUSYBOX}"))
        .with("wait", WAIT)
        .with("applets", APPLETS.join(" "));
    cache.entry(&recipe, |dir| build(dir, &bytes))
}

/// An OCI layout with one image in it, as an archive that containerd imports under this name.
///
/// # Errors
/// It is no such layout, or tar fails.
pub(super) fn archive(layout: &Path, name: &str) -> Result<Vec<u8>> {
    let path = layout.join("index.json");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let index = named(&text, name).ok_or_else(|| Error::Unexpected {
        what: path.display().to_string(),
        why: "it does not list exactly one image".into(),
        next: "give an OCI layout with one image, such as `cargo xtask image` writes".into(),
    })?;
    let dir = tempfile::tempdir().map_err(Error::io("create a folder in", &std::env::temp_dir()))?;
    host::write(&dir.path().join("index.json"), index.to_string(), 0o644)?;
    let file = dir.path().join("image.tar");
    let tar = Command::new("tar").arg("--create").arg("--file").arg(&file);
    tar.arg("--directory")
        .arg(layout)
        .args(["oci-layout", "blobs"])
        .arg("--directory")
        .arg(dir.path())
        .arg("index.json")
        .ok()?;
    fs::read(&file).map_err(Error::io("read", &file))
}

/// The index with another name for its only image.
fn named(index: &str, name: &str) -> Option<Value> {
    let mut index: Value = serde_json::from_str(index).ok()?;
    let [manifest] = index.get_mut("manifests")?.as_array_mut()?.as_mut_slice() else { return None };
    manifest.as_object_mut()?.insert("annotations".into(), json!({"io.containerd.image.name": name}));
    Some(index)
}

fn build(dir: &Path, busybox: &[u8]) -> Result<()> {
    let (rootfs, layout) = (dir.join("rootfs"), dir.join("layout"));
    host::write(&rootfs.join("bin/busybox"), busybox, 0o755)?;
    for applet in APPLETS {
        let path = rootfs.join("bin").join(applet);
        symlink("busybox", &path).map_err(Error::io("create the link", &path))?;
    }
    for empty in ["proc", "sys", "dev", "etc", "tmp"] {
        let path = rootfs.join(empty);
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
    }
    let layer = dir.join("layer.tar");
    tar(&rootfs, &layer)?;
    let layer = fs::read(&layer).map_err(Error::io("read", &layer))?;
    let manifests = [
        manifest(&layout, &layer, PAUSE, &["/bin/sh", "-c", WAIT])?,
        manifest(&layout, &layer, BUSYBOX, &["/bin/sh"])?,
    ];
    finish(&layout, &manifests)?;
    tar(&layout, &dir.join("images.tar"))?;
    for scratch in [rootfs, layout, dir.join("layer.tar")] {
        host::remove_tree(&scratch)?;
    }
    Ok(())
}

/// Makes a folder with blobs a layout with these manifests.
pub(crate) fn finish(layout: &Path, manifests: &[Value]) -> Result<()> {
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    host::write(&layout.join("index.json"), index.to_string(), 0o644)?;
    host::write(&layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string(), 0o644)
}

fn manifest(layout: &Path, layer: &[u8], name: &str, command: &[&str]) -> Result<Value> {
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(layer))]},
    });
    let config = blob(layout, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
    let layer = blob(layout, "application/vnd.oci.image.layer.v1.tar", layer)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let text =
        json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}).to_string();
    let mut descriptor = blob(layout, kind, text.as_bytes())?;
    if let Some(fields) = descriptor.as_object_mut() {
        fields.insert("platform".into(), json!({"os": "linux", "architecture": "amd64"}));
        // The first is the one that containerd takes for the image's whole name.
        fields.insert(
            "annotations".into(),
            json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1"}),
        );
    }
    Ok(descriptor)
}

/// Writes a blob into a layout, and gives its descriptor.
pub(crate) fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = hex(bytes);
    host::write(&layout.join("blobs/sha256").join(&digest), bytes, 0o644)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
}

/// The same input gives the same bytes, whatever the umask.
pub(crate) fn tar(dir: &Path, file: &Path) -> Result<()> {
    Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar"])
        .arg("--mode=u=rwX,go=rX")
        .arg("--directory")
        .arg(dir)
        .arg("--create")
        .arg("--file")
        .arg(file)
        .arg(".")
        .ok()?;
    Ok(())
}

/// A SHA-256 in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
