//! Programs of another Debian release than the node's, from its packages.

use super::cache::{Cache, Entry, Recipe};
use super::command::Command;
use super::error::{Error, Result};
use super::{host, image, packages};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Slow mirrors exist.
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// The release whose containerd is 1.6. It gets security updates only, so that stays.
const SUITE: &str = "bookworm";

/// containerd 1.6 of Debian 12, as `usr/bin/{containerd,containerd-shim*,ctr}`: a tree to lay over a node's root.
/// Debian 13 has the libraries that it needs.
///
/// # Errors
/// The package or the mirror is not to be had.
pub fn containerd_16(cache: &Cache) -> Result<Entry> {
    let recipe = Recipe::new("containerd-1.6").with("suite", SUITE).with("package", "containerd");
    cache.entry(&recipe.with("files", "usr/bin"), |dir| {
        let scratch = dir.join("scratch");
        fetch("containerd", &scratch)?;
        let (from, to) = (scratch.join("tree/usr/bin"), dir.join("usr/bin"));
        fs::create_dir(dir.join("usr")).map_err(Error::io("create", dir))?;
        fs::rename(&from, &to).map_err(Error::io("rename", &from))?;
        host::remove_tree(&scratch)
    })
}

/// Extracts a package into `scratch/tree`, by an apt that knows nothing but the suite.
fn fetch(package: &str, scratch: &Path) -> Result<()> {
    packages::need_root()?;
    packages::ensure(&["debian-archive-keyring"])?;
    let source = format!(
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {} {SUITE} main\n",
        image::mirror()?
    );
    host::write(&scratch.join("sources.list"), source, 0o644)?;
    for dir in ["state/lists/partial", "cache/archives/partial", "tree"] {
        let dir = scratch.join(dir);
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    }
    let apt = || {
        let paths = [
            ("Dir::Etc::SourceList", scratch.join("sources.list")),
            ("Dir::Etc::SourceParts", "-".into()),
            ("Dir::State", scratch.join("state")),
            ("Dir::Cache", scratch.join("cache")),
        ];
        let options = paths.iter().map(|(key, path)| format!("--option={key}={}", path.display()));
        // Its own user could not write below root's home.
        let command = Command::new("apt-get").args(["-qq", "--option=APT::Sandbox::User=root"]);
        command.arg("--option=Acquire::Languages=none").args(options).dir(scratch).limit(FETCH_LIMIT)
    };
    apt().arg("update").ok()?;
    apt().args(["download", package]).ok()?;
    let files = host::children(scratch)?;
    let deb = files.iter().find(|path| path.extension().is_some_and(|e| e == "deb"));
    let deb = deb.ok_or_else(|| Error::Unexpected {
        what: format!("the package {package} of {SUITE}"),
        why: "apt-get left no file".into(),
        next: "look whether the mirror has it".into(),
    })?;
    Command::new("dpkg-deb").arg("--extract").arg(deb).arg(scratch.join("tree")).ok()?;
    Ok(())
}
