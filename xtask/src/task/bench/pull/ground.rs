//! Where the measured programs write: a file system that is made anew before each of them.
//!
//! On one that is used again and again, what the run before deleted slows the next one down: an ext4 without a journal
//! looks at the inodes that were deleted in the last minutes one by one before it takes another. A node has a journal, and
//! nobody who deletes a runtime each few seconds.

use crate::testbed::command::Command;
use crate::testbed::packages;
use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How many bytes it has: a few times the runtime.
const SIZE: usize = 8 << 30;

/// An ext4 in a file, by a loop device that does not go through the page cache a second time.
#[derive(Debug)]
pub(super) struct Ground {
    /// Where it is mounted.
    pub(super) folder: PathBuf,
    image: PathBuf,
    device: PathBuf,
}

impl Ground {
    /// In `folder`. Its file has all its blocks from the start: whoever comes first would have to wait for them.
    pub(super) fn prepare(folder: &Path) -> Result<Self> {
        packages::ensure(&["e2fsprogs", "mount"])?;
        let image = folder.join("ground.img");
        let mut file = File::create(&image).with_context(|| format!("cannot make {}", image.display()))?;
        let zeros = vec![0; 4 << 20];
        for _ in 0..SIZE / zeros.len() {
            file.write_all(&zeros).with_context(|| format!("cannot write {}", image.display()))?;
        }
        file.sync_all()?;
        let losetup = Command::new("losetup").args(["--find", "--show", "--direct-io=on"]);
        let device = PathBuf::from(losetup.arg(&image).ok()?.stdout.trim());
        let ground = Self { folder: folder.join("ground"), image, device };
        std::fs::create_dir_all(&ground.folder)?;
        ground.make()?;
        Ok(ground)
    }

    /// Makes the file system anew, empty.
    pub(super) fn anew(&self) -> Result<()> {
        unmount(&self.folder, UnmountFlags::empty())
            .with_context(|| format!("cannot unmount {}", self.folder.display()))?;
        self.make()
    }

    fn make(&self) -> Result<()> {
        // All of its tables at once: else the kernel writes them while somebody is measured.
        let now = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        let mkfs = Command::new("mkfs.ext4").args(["-q", "-F", "-N", "100000", "-E", now]);
        mkfs.arg(&self.device).ok()?;
        mount(&self.device, &self.folder, "ext4", MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {}", self.device.display()))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).run();
        let _ = std::fs::remove_file(&self.image);
    }
}
