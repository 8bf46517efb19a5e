//! Debian packages that this machine needs.

use super::command::Command;
use super::error::{Error, Result};
use std::time::Duration;

/// Fetching and installing may be slow.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// Installs what is missing, after naming it.
///
/// # Errors
/// Not Debian, not root, or apt-get fails.
pub fn ensure(wanted: &[&str]) -> Result<()> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("missing Debian packages, installed now: {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Missing {
            what: format!("Debian packages {}", missing.join(", ")),
            why: "the test bed needs them, and only root can install them".into(),
            next: format!("run as root: apt-get install {}", missing.join(" ")),
        });
    }
    let apt = || Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").limit(INSTALL_LIMIT);
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
