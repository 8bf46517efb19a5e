//! What people use instead.

use super::measure::{Sample, empty, peak_of, run, run_and_read};
use crate::testbed::cache::{Cache, Entry};
use crate::testbed::image::{self, Image};
use crate::testbed::{Containerd, gotools, packages};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Whether a program is installed.
pub(super) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// A line of shell.
pub(super) fn shell(line: &str) -> Result<Sample> {
    Ok(Sample { peak: None, ..run(Command::new("sh").args(["-c", line]))? })
}

/// skopeo, which is Debian's, and umoci, built from source.
#[derive(Debug)]
pub(super) struct Skopeo {
    umoci: Entry,
    /// What they call themselves.
    pub(super) name: String,
}

impl Skopeo {
    pub(super) fn get(cache: &Cache) -> Result<Self> {
        packages::ensure(&["skopeo"])?;
        let umoci = gotools::umoci(cache)?;
        let version = |program: &mut Command| -> Result<String> {
            let text = run_and_read(program.arg("--version"))?.1;
            let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            Ok(word.unwrap_or_default().to_owned())
        };
        let name = format!(
            "skopeo {} + umoci {}",
            version(&mut Command::new("skopeo"))?,
            version(&mut Command::new(umoci.path().join("bin/umoci")))?
        );
        Ok(Self { umoci, name })
    }

    /// `skopeo copy` to a layout, `umoci unpack` from it.
    pub(super) fn pull(&self, folder: &Path, reference: &str) -> Result<Sample> {
        let folder = empty(folder, "skopeo")?;
        let (layout, bundle) = (folder.join("layout"), folder.join("bundle"));
        let copied = run(Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
            .arg(format!("docker://{reference}"))
            .arg(format!("oci:{}:bench", layout.display())))?;
        let unpacked = run(Command::new(self.umoci.path().join("bin/umoci"))
            .args(["unpack", "--image"])
            .arg(format!("{}:bench", layout.display()))
            .arg(&bundle))?;
        Ok(copied.then(unpacked))
    }
}

/// A containerd of the test bed, run on this machine.
#[derive(Debug)]
pub(super) struct Engine {
    /// What it calls itself.
    pub(super) name: String,
    programs: PathBuf,
    /// The image that has the libraries that it needs.
    image: Entry,
    _layer: Option<Entry>,
}

impl Engine {
    pub(super) fn get(cache: &Cache, containerd: Containerd) -> Result<Self> {
        let image = image::tree(cache, Image::default())?;
        let layer = containerd.layer(cache)?;
        let tree = layer.as_ref().unwrap_or(&image).path();
        let programs = tree.join(containerd.directory().trim_start_matches('/'));
        let mut engine = Self { name: String::new(), programs, image, _layer: layer };
        let text = run_and_read(engine.command("containerd").arg("--version"))?.1;
        engine.name = format!("ctr of containerd {}", text.split_whitespace().nth(2).unwrap_or_default());
        Ok(engine)
    }

    /// One of its programs, with the libraries of the test bed's image.
    fn command(&self, program: &str) -> Command {
        let libraries = self.image.path().join(LIBRARIES);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(self.programs.join(program));
        command
    }

    /// `ctr images pull`, with a daemon of its own that has nothing yet.
    pub(super) fn pull(&self, folder: &Path, reference: &str) -> Result<Sample> {
        let folder = empty(folder, "containerd")?;
        let socket = folder.join("sock");
        let daemon = self.start(&folder)?;
        let ctr = || {
            let mut command = self.command("ctr");
            command.arg("--address").arg(&socket);
            command
        };
        let begun = Instant::now();
        while let Err(error) = run(ctr().arg("version")) {
            let log = folder.join("log");
            ensure!(
                begun.elapsed() < PATIENCE,
                "containerd does not answer ({error:#}); see {}",
                log.display()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let sample = run(ctr().args(["images", "pull", "--plain-http", reference]))?;
        Ok(Sample { peak: sample.peak.max(peak_of(&daemon.0)), ..sample })
    }

    fn start(&self, folder: &Path) -> Result<Daemon> {
        let config = folder.join("config.toml");
        let text = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
             \"io.containerd.cri.v1.runtime\", \"io.containerd.nri.v1.nri\"]\n\
             [grpc]\naddress = \"{0}/sock\"\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{0}/opt\"\n",
            folder.display()
        );
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(folder.join("log"))?;
        let child = self
            .command("containerd")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.programs.display()))?;
        Ok(Daemon(child))
    }
}

/// A daemon that ends with this.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
