//! The release binary, as users get it.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, setpriority_process};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The target of `.cargo/config.toml`.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The checkout.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A call of the cargo that runs us.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(workspace()).stdin(Stdio::null());
    // What `cargo run` sets for us is not meant for a cargo below us: it would build everything anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from)
        .join(TARGET)
}

/// A build of the release binary that runs beside something else.
#[derive(Debug)]
pub struct Release(Child);

impl Release {
    /// Starts it.
    ///
    /// # Errors
    /// cargo does not start.
    pub fn start() -> Result<Self> {
        let mut command = cargo();
        command.args(["build", "--quiet", "--release", "--package", "cofferdam", "--target", TARGET]);
        let child = command.spawn().context("cannot start cargo")?;
        // It gives way to nodes, and not to what only computes: its last step takes minutes on one processor, and would leave
        // the others idle in the end. If that cannot be, it is only faster.
        let _ = setpriority_process(Some(Pid::from_child(&child)), 5);
        Ok(Self(child))
    }

    /// Builds it so that the same sources give the same bytes wherever the checkout and cargo's home are, and returns
    /// its path. In a folder of its own: it shares nothing with a build that names those places.
    ///
    /// # Errors
    /// It does not build.
    pub fn reproducible() -> Result<PathBuf> {
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
        let mut flags = vec![format!("--remap-path-prefix={}=/cofferdam", workspace().display())];
        flags.extend(home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
        let target = target_dir().join("image");
        let status = cargo()
            .args(["build", "--quiet", "--locked", "--release", "--package", "cofferdam", "--target", TARGET])
            .arg("--target-dir")
            .arg(&target)
            // Joined with the flags of .cargo/config.toml.
            .arg("--config")
            .arg(format!("target.{TARGET}.rustflags={}", serde_json::to_string(&flags)?))
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            bail!("the release binary does not build (see above); next: mend it, then try again");
        }
        Ok(target.join(TARGET).join("release/cofferdam"))
    }

    /// Waits for its end, and returns the binary's path.
    ///
    /// # Errors
    /// It does not build.
    pub fn finish(mut self) -> Result<PathBuf> {
        let status = self.0.wait().context("cannot wait for cargo")?;
        if !status.success() {
            bail!("the release binary does not build (see above); next: mend it, then try again");
        }
        let binary = target_dir().join("release/cofferdam");
        if !binary.is_file() {
            bail!(
                "cargo built no {}; next: look whether CARGO_BUILD_* variables lead elsewhere",
                binary.display()
            );
        }
        Ok(binary)
    }
}
