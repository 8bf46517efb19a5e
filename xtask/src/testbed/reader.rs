//! A real containerd as a reader of configurations, run on this machine with the libraries of a node's tree. No node
//! boots.

use super::cache::{Cache, Entry};
use super::command::{Command, Output};
use super::engine::Containerd;
use super::error::Result;
use super::image::{self, Image};
use std::path::{Path, PathBuf};

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Shows the tree `$1` to containerd (`$2`) as its root: with the image's programs (`$3`) and nothing else of this machine.
const IN_TREE: &str = "mount --bind \"$3\" \"$1/usr\"; mount --bind \"$2\" \"$1/usr/bin/containerd\"
tree=$1; shift 3; exec chroot \"$tree\" \"$@\"";

/// A containerd that reads configurations.
#[derive(Debug)]
pub struct Reader {
    image: Entry,
    binary: PathBuf,
    _layer: Option<Entry>,
}

impl Reader {
    /// This release.
    ///
    /// # Errors
    /// It cannot be fetched or built.
    pub fn new(containerd: Containerd) -> Result<Self> {
        let cache = Cache::open()?;
        let image = image::tree(&cache, Image::default())?;
        let layer = containerd.layer(&cache)?;
        let tree = layer.as_ref().unwrap_or(&image).path();
        let binary = tree.join(containerd.binary().trim_start_matches('/'));
        Ok(Self { image, binary, _layer: layer })
    }

    /// Runs it with these arguments, whatever its status.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        let libraries = self.image.path().join(LIBRARIES);
        Command::new(libraries.join("ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(&libraries)
            .arg(&self.binary)
            .args(args)
            .run()
    }

    /// What it makes of the configuration of an offline tree (with a folder `/usr/bin`), whose paths are those of a host.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time. That it refuses the configuration is no error.
    pub fn dump(&self, tree: &Path) -> Result<Output> {
        // Without a file 1.7 dumps nothing; what would run then is the default.
        let what = if tree.join("etc/containerd/config.toml").exists() { "dump" } else { "default" };
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", IN_TREE, "sh"])
            .arg(tree)
            .arg(&self.binary)
            .arg(self.image.path().join("usr"))
            .arg(format!("/{LIBRARIES}/ld-linux-x86-64.so.2"))
            .args(["--library-path", &format!("/{LIBRARIES}"), "/usr/bin/containerd", "config", what])
            .run()
    }
}
