//! What people use instead.

use super::{Sample, timed};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a program is installed.
pub(super) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// A new, empty folder.
pub(super) fn empty(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).with_context(|| format!("cannot delete {}", path.display()))?;
    }
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    // What was deleted is not the next one's to sync.
    rustix::fs::syncfs(std::fs::File::open(&path)?)?;
    Ok(path)
}

fn done(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A line of shell.
pub(super) fn shell(line: &str) -> Result<Sample> {
    timed(|| done(Command::new("sh").args(["-c", line])))
}

/// `skopeo copy` to a layout, `umoci unpack` from it.
pub(super) fn skopeo_umoci(folder: &Path, reference: &str) -> Result<Sample> {
    let folder = empty(folder, "skopeo")?;
    let (layout, bundle) = (folder.join("layout"), folder.join("bundle"));
    timed(|| {
        done(
            Command::new("skopeo")
                .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
                .arg(format!("docker://{reference}"))
                .arg(format!("oci:{}:bench", layout.display())),
        )?;
        done(
            Command::new("umoci")
                .args(["unpack", "--image"])
                .arg(format!("{}:bench", layout.display()))
                .arg(&bundle),
        )
    })
}

/// A daemon that ends with this.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `ctr images pull` of the containerd in `bin`, started for this alone.
pub(super) fn ctr(bin: &Path, folder: &Path, reference: &str) -> Result<Sample> {
    let folder = empty(folder, "containerd")?;
    let config = folder.join("config.toml");
    let text = format!(
        "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
         \"io.containerd.cri.v1.runtime\"]\n[grpc]\naddress = \"{0}/sock\"\n",
        folder.display()
    );
    std::fs::write(&config, text)?;
    let log = std::fs::File::create(folder.join("log"))?;
    let child = Command::new(bin.join("containerd"))
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start the containerd of {}", bin.display()))?;
    let _daemon = Daemon(child);
    let ctr = || {
        let mut command = Command::new(bin.join("ctr"));
        command.arg("--address").arg(folder.join("sock"));
        command
    };
    let begun = Instant::now();
    while done(ctr().arg("version")).is_err() {
        ensure!(
            begun.elapsed() < PATIENCE,
            "containerd does not answer; see {}",
            folder.join("log").display()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    timed(|| done(ctr().args(["images", "pull", "--plain-http", reference])))
}
