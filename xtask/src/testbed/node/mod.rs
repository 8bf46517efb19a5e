//! A booted node: a container with systemd as its PID 1, on an overlay over a cached tree.
//!
//! ```text
//! <cache>/nodes/<number>/root         the merged tree; nspawn's root
//!                        upper, work  overlay
//!                        containerd   bound to /var/lib/containerd: overlay on overlay fails
//!                        console.log  what nspawn and systemd printed
//! /run/cofferdam-testbed/<number>     who owns the number (see `claim`)
//! ```
//!
//! Node *number* has the machine name `cfd-<number>`, 10.99.*number*.2 inside and 10.99.*number*.1 on the host.

mod boot;
mod cgroups;
mod claim;
mod files;
mod run;
mod swap;

use super::cache::{Cache, Entry};
use super::engine::{CONFIG_PATH, Config, Containerd, SOCKET_PATH};
use super::error::{Error, Result};
use super::image::{self, Image};
use super::{oci, packages};
use boot::Booted;
use claim::Claim;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Needed on this machine to run a node.
const HOST_PACKAGES: &[&str] = &["systemd-container", "iproute2"];

/// A node may be slow on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(90);

/// Clears up after nodes whose owners died.
///
/// # Errors
/// Something cannot be removed.
pub fn clear_leftovers() -> Result<()> {
    claim::clear_leftovers()
}

/// What a node should be.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The host name.
    pub name: String,
    /// The root tree.
    pub image: Image,
    /// The engine.
    pub containerd: Containerd,
    /// Its configuration at the first start.
    pub config: Config,
    /// Files that are there before the first boot: path, content, mode.
    pub files: Vec<(String, Vec<u8>, u32)>,
    /// Whether to load the pause and busybox images once containerd runs.
    pub images: bool,
}

impl NodeSpec {
    /// A node with working CRI.
    pub fn new(containerd: Containerd) -> Self {
        Self {
            name: "node".into(),
            image: Image::default(),
            containerd,
            config: Config::default(),
            files: Vec::new(),
            images: true,
        }
    }

    /// Sets the host name.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets containerd's configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds a file.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push((path.to_owned(), content.into(), mode));
        self
    }

    /// Leaves the images out: no pod can run until they are loaded.
    pub const fn without_images(mut self) -> Self {
        self.images = false;
        self
    }
}

/// A running node. Dropping it ends every process in it and removes every trace of it from this machine.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    // Fields are dropped in this order: processes, then files and mounts, then the number.
    booted: Option<Booted>,
    disk: boot::Disk,
    claim: Claim,
    _lower: Vec<Entry>,
    images: Entry,
}

impl Drop for Node {
    /// A test that failed shows what its node said last: afterwards the node is gone.
    fn drop(&mut self) {
        if std::thread::panicking() && self.booted.is_some() {
            let journal =
                ["journalctl", "--no-pager", "--no-hostname", "--output=short-precise", "--lines=150"];
            match self.ok(&journal) {
                Ok(text) => {
                    eprintln!("\nthe end of the journal of {}:", self.machine());
                    text.lines().for_each(|line| eprintln!("{}", line.chars().take(300).collect::<String>()));
                }
                Err(e) => eprintln!("\nthe journal of {} cannot be read: {e}", self.machine()),
            }
        }
    }
}

impl Node {
    /// Boots a node, and waits until systemd has started what it should.
    ///
    /// # Errors
    /// Something is missing on this machine, cannot be built, or the node does not come up.
    pub fn boot(spec: NodeSpec) -> Result<Self> {
        Self::boot_in(&Cache::open()?, spec)
    }

    /// [`Node::boot`] with a cache at hand.
    ///
    /// # Errors
    /// Those of [`Node::boot`].
    pub fn boot_in(cache: &Cache, spec: NodeSpec) -> Result<Self> {
        packages::need_root()?;
        packages::ensure(HOST_PACKAGES)?;
        let image = image::tree(cache, spec.image)?;
        let images = oci::images(cache, image.path())?;
        let mut lower = Vec::from_iter(spec.containerd.layer(cache)?);
        lower.push(image);
        let claim = Claim::take(&cache.nodes())?;
        let disk = boot::Disk::make(&claim, &lower)?;
        let mut node = Self { spec, booted: None, disk, claim, _lower: lower, images };
        node.furnish()?;
        node.start()?;
        if node.spec.images {
            node.load_images()?;
        }
        Ok(node)
    }

    /// Its name on this machine, unique while it lives.
    pub fn machine(&self) -> String {
        self.claim.machine()
    }

    /// What it was asked to be.
    pub const fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.claim.node_address()
    }

    /// This machine's address on the way to it.
    pub fn host_address(&self) -> String {
        self.claim.host_address()
    }

    /// Addresses for pods that no other running node has; this machine sends what goes there to the node.
    pub fn pod_network(&self) -> String {
        self.claim.pod_network()
    }

    /// Its root as this machine sees it: with its mounts (`/run`, `/var/lib/containerd`) while it runs.
    pub fn root(&self) -> PathBuf {
        self.booted.as_ref().map_or_else(|| self.disk.root().to_owned(), Booted::root)
    }

    /// containerd's socket as this machine sees it.
    pub fn socket(&self) -> PathBuf {
        self.root().join(SOCKET_PATH.trim_start_matches('/'))
    }

    /// The process id of its systemd on this machine, while it runs.
    pub fn leader(&self) -> Option<u32> {
        self.booted.as_ref().map(Booted::leader)
    }

    /// What nspawn and systemd printed since the first boot.
    pub fn console(&self) -> String {
        self.disk.console()
    }

    /// Shuts down in good order and boots again from the same disk: `/run` is fresh afterwards.
    ///
    /// # Errors
    /// It does not go down or does not come up.
    pub fn reboot(&mut self) -> Result<()> {
        self.power_off()?;
        self.power_on()
    }

    /// Kills every process at once and boots again from the same disk: `/run` is fresh afterwards. What was
    /// written but not synced is still there, unlike after a real power cut.
    ///
    /// # Errors
    /// It does not come up.
    pub fn power_cut(&mut self) -> Result<()> {
        self.pull_the_plug()?;
        self.power_on()
    }

    /// Shuts down in good order. The disk stays, [`Node::root`] shows it.
    ///
    /// # Errors
    /// It does not go down.
    pub fn power_off(&mut self) -> Result<()> {
        // The answer may be lost with the bus that carries it.
        let _ = self.run(&["systemctl", "poweroff", "--no-block"])?;
        let Some(mut booted) = self.booted.take() else { return Ok(()) };
        if booted.wait(BOOT_LIMIT)? {
            return Ok(());
        }
        Err(self.failed("power off", format!("it still ran after {BOOT_LIMIT:?}:\n{}", self.console())))
    }

    /// Kills every process at once. The disk stays, [`Node::root`] shows it.
    ///
    /// # Errors
    /// The processes do not end.
    pub fn pull_the_plug(&mut self) -> Result<()> {
        let Some(mut booted) = self.booted.take() else { return Ok(()) };
        if booted.kill()? {
            return Ok(());
        }
        Err(self.failed("kill it", "its processes did not end".into()))
    }

    /// Boots after [`Node::power_off`] or [`Node::pull_the_plug`].
    ///
    /// # Errors
    /// It does not come up.
    pub fn power_on(&mut self) -> Result<()> {
        if self.booted.is_some() {
            return Err(self.failed("power on", "it runs already".into()));
        }
        self.start()
    }

    fn start(&mut self) -> Result<()> {
        let begun = Instant::now();
        self.booted = Some(Booted::start(&mut self.claim, &self.disk, &self.spec.name, BOOT_LIMIT)?);
        // multi-user.target wants every service and waits for each of them, failed or not.
        let up = "until systemctl is-active --quiet multi-user.target; do sleep 0.05; done";
        let left = BOOT_LIMIT.saturating_sub(begun.elapsed());
        if let Err(e) = self.run_for(left, &["sh", "-c", up]) {
            return Err(self.failed("boot", format!("{e}\nconsole:\n{}", self.console())));
        }
        Ok(())
    }

    fn furnish(&self) -> Result<()> {
        self.put("/etc/hostname", format!("{}\n", self.spec.name), 0o644)?;
        let network = format!("ADDRESS={}/24\nGATEWAY={}\n", self.address(), self.host_address());
        self.put("/etc/default/testbed-node", network, 0o644)?;
        self.put("/etc/machine-id", format!("{}\n", self.claim.machine_id()), 0o444)?;
        match &self.spec.config {
            Config::Admin => self.put(CONFIG_PATH, self.spec.containerd.admin_config(), 0o644)?,
            Config::Text(text) => self.put(CONFIG_PATH, text, 0o644)?,
            Config::Absent => self.remove(CONFIG_PATH)?,
        }
        for (path, content, mode) in &self.spec.files {
            self.put(path, content, *mode)?;
        }
        Ok(())
    }

    /// Loads the pause and busybox images, for a node that was booted without them.
    ///
    /// # Errors
    /// containerd does not take them.
    pub fn load_images(&self) -> Result<()> {
        let tar = self.images.path().join("images.tar");
        self.import(std::fs::read(&tar).map_err(Error::io("read", &tar))?)
    }

    /// Loads the image of an OCI layout for pods, under this name (`example.org/name:tag`).
    ///
    /// # Errors
    /// It is not a layout with one image, or containerd does not take it.
    pub fn load_image(&self, layout: &Path, name: &str) -> Result<()> {
        self.import(oci::archive(layout, name)?)
    }

    fn import(&self, archive: Vec<u8>) -> Result<()> {
        self.command(&["ctr", "--namespace", "k8s.io", "images", "import", "-"]).input(archive).ok()?;
        Ok(())
    }

    fn failed(&self, what: &str, why: String) -> Error {
        Error::Node { node: format!("{} ({})", self.spec.name, self.claim.machine()), what: what.into(), why }
    }

    /// The directory of its disk on this machine.
    pub fn disk(&self) -> &Path {
        self.disk.dir()
    }
}
