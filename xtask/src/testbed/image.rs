//! A node's root tree: Debian with real systemd, containerd, and the runtimes that Debian has.

use super::cache::{Cache, Entry, Recipe};
use super::command::Command;
use super::error::{Error, Result};
use super::{host, packages};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// A tree that a node boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Image {
    /// Debian 13: systemd 257, containerd 1.7, runc, crun, gVisor's runsc.
    #[default]
    Trixie,
}

impl Image {
    /// Debian's name for the release.
    pub const fn suite(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
        }
    }
}

/// Slow mirrors exist.
const DEBOOTSTRAP_LIMIT: Duration = Duration::from_secs(1800);

/// Needed on this machine to build an image.
const HOST_PACKAGES: &[&str] = &["debootstrap", "debian-archive-keyring"];

/// Beside `Essential: yes`.
const NODE_PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "containerd",
    "runc",
    "crun",
    "runsc",
    "iproute2",
    "iptables",
    "ca-certificates",
    "kmod",
    "procps",
    "containernetworking-plugins",
    // Static: the layer of the pause and busybox images is made of it.
    "busybox-static",
];

/// What slows a boot down or acts on its own while a test runs.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
    "getty.target",
    "console-getty.service",
    "ldconfig.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-firstboot.service",
    "systemd-hibernate-clear.service",
    "systemd-journal-catalog-update.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-networkd-wait-online.service",
    "systemd-pcrmachine.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-tpm2-setup.service",
    "systemd-tpm2-setup-early.service",
    "systemd-update-done.service",
];

/// systemd runs all of its generators at each boot and each `daemon-reload`. They make units of a machine's disks, consoles and
/// command line, of which a node has none.
const MASKED_GENERATORS: &[&str] = &[
    "systemd-debug-generator",
    "systemd-fstab-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-tpm2-generator",
];

/// Files of the test bed in the tree: path, content, mode.
const FILES: &[(&str, &str, u32)] = &[
    (
        "etc/systemd/system/testbed-node.service",
        include_str!("../../assets/image/testbed-node.service"),
        0o644,
    ),
    ("usr/local/lib/testbed/prepare", include_str!("../../assets/image/prepare"), 0o755),
    ("etc/cni/net.d/10-testbed.conflist", include_str!("../../assets/image/10-testbed.conflist"), 0o644),
    ("etc/systemd/system.conf.d/testbed.conf", include_str!("../../assets/image/system.conf"), 0o644),
];

/// The image's tree, built if the cache does not have it.
///
/// # Errors
/// A package or the mirror is not to be had, or debootstrap fails.
pub fn tree(cache: &Cache, image: Image) -> Result<Entry> {
    let mut recipe = Recipe::new("image-trixie")
        .with("suite", image.suite())
        .with("packages", NODE_PACKAGES.join(" "))
        .with("masked", MASKED.join(" "))
        .with("masked generators", MASKED_GENERATORS.join(" "));
    for (path, content, mode) in FILES {
        recipe = recipe.with(&format!("{path} {mode:o}"), content);
    }
    cache.entry(&recipe, |dir| build(cache, image, dir))
}

fn build(cache: &Cache, image: Image, dir: &Path) -> Result<()> {
    packages::need_root()?;
    packages::ensure(HOST_PACKAGES)?;
    let mirror = mirror()?;
    Command::new("debootstrap")
        .args(["--variant=minbase", "--merged-usr"])
        .arg(format!("--include={}", NODE_PACKAGES.join(",")))
        .arg(format!("--cache-dir={}", cache.debs().display()))
        .args([image.suite()])
        .arg(dir)
        .arg(mirror)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .limit(DEBOOTSTRAP_LIMIT)
        .ok()?;
    adapt(dir)
}

fn adapt(dir: &Path) -> Result<()> {
    for (path, content, mode) in FILES {
        host::write(&dir.join(path), content, *mode)?;
    }
    let units = dir.join("etc/systemd/system");
    for unit in MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    let generators = dir.join("etc/systemd/system-generators");
    fs::create_dir_all(&generators).map_err(Error::io("create", &generators))?;
    for generator in MASKED_GENERATORS {
        link("/dev/null", &generators.join(generator))?;
    }
    let wants = units.join("sysinit.target.wants");
    fs::create_dir_all(&wants).map_err(Error::io("create", &wants))?;
    link("../testbed-node.service", &wants.join("testbed-node.service"))?;
    // A journal that outlives a reboot tells what went wrong before it.
    let journal = dir.join("var/log/journal");
    fs::create_dir_all(&journal).map_err(Error::io("create", &journal))?;
    for archive in host::children(&dir.join("var/cache/apt/archives"))? {
        if archive.extension().is_some_and(|e| e == "deb") {
            host::remove_tree(&archive)?;
        }
    }
    Ok(())
}

fn link(target: &str, path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        host::remove_tree(path)?;
    }
    symlink(target, path).map_err(Error::io("create the link", path))
}

/// The Debian mirror that this machine's apt uses.
pub(super) fn mirror() -> Result<String> {
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(LABEL)"])
        .ok()?;
    pick_mirror(&targets.stdout).ok_or_else(|| Error::Missing {
        what: "a Debian mirror".into(),
        why: "apt's sources name no archive with Debian's main component".into(),
        next: "add one to /etc/apt/sources.list.d, so that `apt-get indextargets` shows it".into(),
    })
}

/// Lines of `URI RELEASE COMPONENT LABEL`; the label is known only after an `apt-get update`.
fn pick_mirror(targets: &str) -> Option<String> {
    let candidates: Vec<(&str, bool)> = targets
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (uri, release, component) = (words.next()?, words.next()?, words.next()?);
            let label = words.next().unwrap_or_default();
            // `bookworm-updates`, `-security` and `-backports` are not whole archives.
            let whole = component == "main" && !release.contains(['-', '/']);
            whole.then_some((uri, label == "Debian"))
        })
        .collect();
    let labelled = candidates.iter().find(|(_, labelled)| *labelled);
    let named = || candidates.iter().find(|(uri, _)| uri.trim_end_matches('/').ends_with("/debian"));
    labelled.or_else(named).map(|(uri, _)| (*uri).to_owned())
}

#[cfg(test)]
mod tests {
    use super::pick_mirror;

    #[test]
    fn mirror_is_the_whole_debian_archive_of_apt() {
        let targets = "\
http://sec.example/debian-security/ bookworm-security main Debian-Security
http://vendor.example/linux/ stable main Vendor
http://m.example/debian/ bookworm-updates main Debian
http://m.example/debian/ bookworm main Debian
";
        assert_eq!(pick_mirror(targets).as_deref(), Some("http://m.example/debian/"));
    }

    #[test]
    fn mirror_is_found_before_the_first_apt_update() {
        let targets = "http://sec.example/debian-security/ bookworm-security main \nhttp://m.example/debian/ bookworm main \n";
        assert_eq!(pick_mirror(targets).as_deref(), Some("http://m.example/debian/"));
        assert_eq!(pick_mirror("http://vendor.example/apt/ stable main \n"), None);
    }
}
