//! Another containerd in the place of the one that is there, as a distribution's upgrade does it.

use super::super::cache::Cache;
use super::super::engine::{Containerd, PROGRAMS};
use super::super::error::{Error, Result};
use super::super::image;
use super::Node;

impl Node {
    /// Replaces containerd, its shim and `ctr` where the node has them, each by a rename, and restarts the daemon.
    /// Unit and configuration stay; running shims go on with the program that they have.
    ///
    /// # Errors
    /// The other one cannot be built, a file cannot be written, or the daemon does not come back.
    pub fn swap_containerd(&self, other: Containerd) -> Result<()> {
        let cache = Cache::open()?;
        let layer = match other.layer(&cache)? {
            Some(layer) => layer,
            None => image::tree(&cache, self.spec.image)?,
        };
        let from = layer.path().join(other.directory().trim_start_matches('/'));
        for program in PROGRAMS {
            let path = from.join(program);
            let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
            self.put(&format!("{}/{program}", self.spec.containerd.directory()), bytes, 0o755)?;
        }
        self.restart_containerd()
    }
}
