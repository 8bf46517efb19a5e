//! What a fleet's nodes fetch for an upgrade: of packages that `cofferdam pack` wrote, pulled where another version is
//! installed.

use super::Setting;
use super::data::Tree;
use super::measure::{Sample, empty, run};
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;
use std::process::Command;

/// One upgrade.
#[derive(Debug, Serialize)]
pub(super) struct Upgrade {
    /// What differs between the versions.
    change: String,
    /// Bytes of all layers of the new version.
    image: u64,
    /// Bytes that the registry gave, manifests included.
    moved: u64,
    seconds: f64,
    peak: Option<u64>,
}

/// Installs one version on an offline tree, and pulls two others that differ from it.
pub(super) fn measure(setting: &Setting<'_>) -> Result<Vec<Upgrade>> {
    setting.ground.anew()?;
    let place = &setting.ground.folder;
    let folder = empty(place, "upgrade")?;
    setting.screen.line("packing three versions of the runtime");
    let tree = Tree::make(folder.join("tree"), setting.shape)?;
    let pack = |tag: &str| -> Result<u64> {
        let out = folder.join(format!("layout-{tag}"));
        run(Command::new(setting.cofferdam).arg("pack").arg(&tree.folder).arg("-o").arg(&out))?;
        setting.server.put_layout(&out, tag)?;
        size_of(&out.join("blobs/sha256"))
    };
    let first = pack("1.0")?;
    let (files, bytes) = tree.change_some()?;
    tree.describe("1.1")?;
    let some = pack("1.1")?;
    tree.change_back()?;
    let guest = tree.change_a_byte()?;
    tree.describe("1.2")?;
    let byte = pack("1.2")?;
    std::fs::remove_dir_all(&tree.folder)?;

    let upgrade = |change: String, tag: Option<&str>, image: u64| -> Result<Upgrade> {
        let root = root(place, "root")?;
        let nothing = setting.server.given();
        let installed = setting.carry_out("install", "1.0", &root)?;
        let before = setting.server.given();
        let (sample, moved) = match tag {
            Some(tag) => (setting.carry_out("pull", tag, &root)?, setting.server.given() - before),
            None => (installed, before - nothing),
        };
        let Sample { seconds, peak } = sample;
        Ok(Upgrade { change, image, moved, seconds, peak })
    };
    let all = setting.shape.files;
    let upgrades = vec![
        upgrade("the first installation".to_owned(), None, first)?,
        upgrade(format!("{files} of {all} files changed, {} together", mb(bytes)), Some("1.1"), some)?,
        upgrade(format!("one byte in the middle of a guest image of {}", mb(guest)), Some("1.2"), byte)?,
    ];
    Ok(upgrades)
}

/// A new offline tree.
pub(super) fn root(folder: &Path, name: &str) -> Result<std::path::PathBuf> {
    let root = empty(folder, name)?;
    for place in ["etc", "usr/bin"] {
        std::fs::create_dir_all(root.join(place))?;
    }
    Ok(root)
}

fn size_of(folder: &Path) -> Result<u64> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let sizes = entries.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum::<std::io::Result<u64>>().context("cannot look at a blob")
}

/// Bytes in megabytes.
pub(super) fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

impl Upgrade {
    /// As a line for people.
    pub(super) fn line(&self) -> String {
        let share = 100.0 * self.moved as f64 / self.image as f64;
        let peak =
            self.peak.map_or_else(String::new, |peak| format!(", peak {:.0} MiB", peak as f64 / 1048576.0));
        format!(
            "  {}: moved {} of {} ({share:.1}%), {:.2} s{peak}",
            self.change,
            mb(self.moved),
            mb(self.image),
            self.seconds
        )
    }
}
