//! `cargo xtask image`: the container image, without a container engine.
//!
//! ```text
//! <out>/oci-layout, index.json, blobs/   an OCI layout with one image of one layer with one file
//! <out>/sbom.cdx.json                    what is in it (CycloneDX)
//! ```
//!
//! The same sources give the same digest: no time, no user, no path of this machine is in it.

#![allow(clippy::indexing_slicing)] // of JSON objects: reading what is not there gives null

use crate::task::build::Release;
use crate::task::sbom;
use crate::testbed::{host, oci};
use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Builds the container image as an OCI layout, with its bill of materials beside it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write; what an earlier image left there is replaced.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    out: PathBuf,
    /// Take this program instead of a release build.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// What is in a folder that this task wrote.
const PARTS: [&str; 4] = ["blobs", "index.json", "oci-layout", "sbom.cdx.json"];

/// Runs the task.
///
/// # Errors
/// The program does not build, or the folder cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => Release::reproducible()?,
    };
    let digest = build(&binary, &args.out)?;
    println!("{digest} {}", args.out.display());
    Ok(())
}

/// Writes the image of `binary` to `out`, and returns its digest (`sha256:...`).
///
/// # Errors
/// The program is not one that runs alone, or the folder cannot be written or holds something else.
pub fn build(binary: &Path, out: &Path) -> Result<String> {
    let program = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    clear(out)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let rootfs = scratch.path().join("rootfs");
    host::write(&rootfs.join("cofferdam"), &program, 0o755)?;
    let file = scratch.path().join("layer.tar");
    oci::tar(&rootfs, &file)?;
    let layer = fs::read(&file)?;
    let mut packed = GzBuilder::new().write(Vec::new(), Compression::new(6));
    packed.write_all(&layer)?;
    let packed = packed.finish()?;

    let version = env!("CARGO_PKG_VERSION");
    let labels = json!({
        "org.opencontainers.image.title": "cofferdam",
        "org.opencontainers.image.description": "Puts sandboxed container runtimes on nodes",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": version,
    });
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/cofferdam"], "User": "0:0", "WorkingDir": "/", "Labels": labels},
        "history": [{"created_by": "cargo xtask image"}],
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", oci::hex(&layer))]},
    });
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": oci::blob(out, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?,
        "layers": [oci::blob(out, "application/vnd.oci.image.layer.v1.tar+gzip", &packed)?],
        "annotations": labels,
    });
    let mut descriptor = oci::blob(out, kind, manifest.to_string().as_bytes())?;
    descriptor["platform"] = json!({"os": "linux", "architecture": "amd64"});
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": version});
    let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
    oci::finish(out, &[descriptor])?;
    host::write(&out.join("sbom.cdx.json"), sbom::document(&digest)?, 0o644)?;
    Ok(digest)
}

/// Removes an earlier image; a folder with anything else in it is refused.
fn clear(out: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(out) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name();
        if !PARTS.iter().any(|part| name.as_os_str() == *part) {
            bail!(
                "{} holds {}, which is no part of an image; next: give another folder",
                out.display(),
                name.display()
            );
        }
    }
    for part in PARTS {
        host::remove_tree(&out.join(part))?;
    }
    Ok(())
}
