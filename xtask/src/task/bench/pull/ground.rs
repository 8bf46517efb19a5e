//! Where the measured programs write: a file system that is made anew before each of them.
//!
//! On one that is used again and again, what the run before deleted slows the next one down: an ext4 without a journal
//! looks at the inodes that were deleted in the last minutes one by one before it takes another. A node has a journal, and
//! nobody who deletes a runtime each few seconds.

use super::data::Shape;
use crate::testbed::command::Command;
use crate::testbed::packages;
use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// At once there may be a tree, three packed versions of it, and one that is installed and pulled: so many times the
/// runtime, and a rest.
const TIMES: u64 = 6;
const REST: u64 = 1 << 30;

/// An ext4 in a file, by a loop device that does not go through the page cache a second time.
#[derive(Debug)]
pub(super) struct Ground {
    /// Where it is mounted.
    pub(super) folder: PathBuf,
    image: PathBuf,
    device: Option<PathBuf>,
    inodes: u64,
}

impl Ground {
    /// In `folder`. Its file has all its blocks from the start: whoever comes first would have to wait for them.
    pub(super) fn prepare(folder: &Path, shape: Shape) -> Result<Self> {
        packages::ensure(&["e2fsprogs", "mount"])?;
        let (image, mounted) = (folder.join("ground.img"), folder.join("ground"));
        let inodes = u64::from(shape.files) * 4 + 10_000;
        let mut ground = Self { folder: mounted, image, device: None, inodes };
        // What a run left that was killed.
        ground.clear();
        ground.fill(u64::from(shape.megabytes) * 1_000_000 * TIMES + REST)?;
        let losetup = Command::new("losetup").args(["--find", "--show", "--direct-io=on"]);
        let device = losetup.arg(&ground.image).ok()?.stdout;
        ground.device = Some(PathBuf::from(device.trim()));
        std::fs::create_dir_all(&ground.folder)?;
        ground.make()?;
        Ok(ground)
    }

    fn fill(&self, size: u64) -> Result<()> {
        let failed = || format!("cannot write {}", self.image.display());
        let mut file = File::create_new(&self.image).with_context(failed)?;
        let zeros = vec![0; 4 << 20];
        for _ in 0..size.div_ceil(zeros.len() as u64) {
            file.write_all(&zeros).with_context(failed)?;
        }
        file.sync_all().with_context(failed)
    }

    /// Makes the file system anew, empty.
    pub(super) fn anew(&self) -> Result<()> {
        unmount(&self.folder, UnmountFlags::empty())
            .with_context(|| format!("cannot unmount {}", self.folder.display()))?;
        self.make()
    }

    fn make(&self) -> Result<()> {
        let device = self.device.as_deref().context("there is no loop device")?;
        // All of its tables at once: else the kernel writes them while somebody is measured.
        let now = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        let inodes = self.inodes.to_string();
        let mkfs = Command::new("mkfs.ext4").args(["-q", "-F", "-N", &inodes, "-E", now]);
        mkfs.arg(device).ok()?;
        mount(device, &self.folder, "ext4", MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {}", device.display()))
    }

    /// Takes it all away, as far as it is there.
    fn clear(&self) {
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
        let devices = Command::new("losetup").args(["--noheadings", "--output", "NAME", "--associated"]);
        let devices = devices.arg(&self.image).run().map(|output| output.stdout).unwrap_or_default();
        for device in devices.lines() {
            let _ = Command::new("losetup").arg("--detach").arg(device.trim()).run();
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.clear();
    }
}
