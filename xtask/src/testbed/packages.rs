//! Debian packages that this machine needs.

use super::claim;
use super::command::Command;
use super::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::time::Duration;

/// Fetching and installing may be slow.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// Installs what is missing, after naming it.
///
/// # Errors
/// Not Debian, not root, or apt-get fails.
pub fn ensure(wanted: &[&str]) -> Result<()> {
    let lacked = missing(wanted)?;
    if lacked.is_empty() {
        return Ok(());
    }
    need_root().map_err(|_| Error::Missing {
        what: format!("Debian packages {}", lacked.join(", ")),
        why: "the test bed needs them, and only root can install them".into(),
        next: format!("run as root: apt-get install {}", lacked.join(" ")),
    })?;
    // apt does not wait for its own locks, and another test may want the same.
    let path = claim::folder()?.join("packages.lock");
    let lock = File::create(&path).map_err(Error::io("create", &path))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(Error::io("lock", &path))?;
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("missing Debian packages, installed now: {}", missing.join(" "));
    let apt = || {
        // The machine itself may be installing something.
        let apt = Command::new("apt-get").args(["-o", "DPkg::Lock::Timeout=300"]);
        apt.env("DEBIAN_FRONTEND", "noninteractive").limit(INSTALL_LIMIT)
    };
    apt().args(["-qq", "update"]).ok()?;
    apt().args(["-qq", "--yes", "--no-install-recommends", "install"]).args(&missing).ok()?;
    Ok(())
}

fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query fails when one of the names is unknown to it, which is an answer here.
    let known =
        Command::new("dpkg-query").args(["-W", "-f", "${Package} ${db:Status-Abbrev}\n"]).args(wanted).run();
    let known = known.map_err(|e| Error::Missing {
        what: "dpkg-query".into(),
        why: format!("the test bed runs on Debian 12 and later only ({e})"),
        next: "run it on a Debian machine".into(),
    })?;
    let installed = |name: &str| known.stdout.lines().any(|line| line.trim_end() == format!("{name} ii"));
    Ok(wanted.iter().copied().filter(|name| !installed(name)).collect())
}

/// Fails unless Go is there; `why` names what needs it.
///
/// # Errors
/// [`Error::Missing`].
pub fn need_go(why: &str) -> Result<()> {
    match Command::new("go").arg("version").run() {
        Ok(output) if output.success() => Ok(()),
        _ => Err(Error::Missing {
            what: "Go".into(),
            why: why.into(),
            next: "install Go 1.26 or later, so that `go version` runs".into(),
        }),
    }
}

/// Fails unless we are root.
///
/// # Errors
/// [`Error::Missing`].
pub fn need_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::Missing {
        what: "root".into(),
        why: "nodes need mounts, namespaces and network interfaces".into(),
        next: "run the same command as root".into(),
    })
}
