//! Acting on a machine from within a container on it: an agent's pod, or the one-shot one without a token.
//!
//! The container sees two folders of its host: `/run/cofferdam` and the one with systemd's socket. It places its own
//! program in the first, and has systemd run that: the reports and the workers are processes of the host, with its files,
//! its processes and its engine, and outlive the container.
//!
//! ```text
//! /run/cofferdam/bin/cofferdam-<digest12>   this program; older ones go once nothing runs them
//! ```

use crate::error::{HostError, Result};
use crate::event::{Outcome, Sink};
use crate::hashing::{Sha256, digest_of};
use crate::report::{self, Depth, Report};
use crate::systemd::Manager;
use crate::worker::{self, Job, RUN, Submitted};
use cofferdam_core::class::Class;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PREFIX: &str = "cofferdam-";

/// A mount takes milliseconds.
const MOUNT_LIMIT: Duration = Duration::from_secs(20);

/// A place on the host from which this program's work is started.
#[derive(Clone, Debug)]
pub struct Outpost {
    program: PathBuf,
    unit: String,
}

impl Outpost {
    /// Places this program on the host whose `/run/cofferdam` is mounted here, for the engine that runs under `unit`.
    ///
    /// # Errors
    /// If systemd does not answer, or the program cannot be placed; the message says which mount is missing.
    pub fn establish(unit: &str) -> Result<Self> {
        let mount = "mount the host's folder at the same path (docs/security.md lists what the agent needs)";
        let mut manager = Manager::connect().map_err(|error| {
            HostError::new(Class::Unsupported, format!("the host's systemd cannot be reached: {error}"))
                .with_hint(format!("/run/dbus or /run/systemd: {mount}"))
        })?;
        if !Path::new(RUN).is_dir() {
            let text = format!("{RUN} is not there");
            return Err(HostError::new(Class::Unsupported, text).with_hint(format!("{RUN}: {mount}")));
        }
        // A kubelet that makes the folder for a mount lets everybody look into it.
        fs::set_permissions(RUN, Permissions::from_mode(0o700))
            .map_err(|error| HostError::std_io("protect", RUN, error))?;
        let bin = Path::new(RUN).join("bin");
        make_runnable(&mut manager, &bin)?;
        Ok(Self { program: place(&bin)?, unit: unit.to_owned() })
    }

    /// The engine's unit.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// What the host has.
    ///
    /// # Errors
    /// Those of [`report::ask`].
    pub fn report(&self, depth: Depth) -> Result<Report> {
        self.place_again()?;
        report::ask(&self.program, &self.unit, depth)
    }

    /// Has the host's worker carry out `job`, and waits for its end.
    ///
    /// # Errors
    /// If another change is under way, or the worker ends without an outcome.
    pub fn carry_out(&self, job: &Job, sink: &mut dyn Sink) -> Result<Outcome> {
        self.place_again()?;
        worker::submit_with(&self.program, job, &[])?.follow(sink)
    }

    /// The change that is under way on the host, whoever asked for it; else one with an errand whose outcome nobody has
    /// heard.
    ///
    /// # Errors
    /// If systemd does not answer.
    pub fn running(&self) -> Result<Option<Submitted>> {
        match worker::running()? {
            Some(running) => Ok(Some(running)),
            None => worker::unheard(),
        }
    }

    /// A pod of another version takes this one's program for an old one.
    fn place_again(&self) -> Result<()> {
        match self.program.parent() {
            Some(bin) if !self.program.exists() => place(bin).map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// Makes the folder for the program. Where /run is mounted noexec (initramfs-tools does that), it gets a tmpfs of its own,
/// which goes with the next boot, as all of /run does.
fn make_runnable(manager: &mut Manager, bin: &Path) -> Result<()> {
    let fail = |error| HostError::std_io("make", bin.display(), error);
    DirBuilder::new().recursive(true).mode(0o700).create(bin).map_err(fail)?;
    if !is_noexec(bin)? {
        return Ok(());
    }
    manager.mount_programs(&bin.display().to_string(), MOUNT_LIMIT)?;
    if is_noexec(bin)? {
        let text = format!("no program can be run from {}: it is mounted noexec", bin.display());
        return Err(HostError::new(Class::Unsupported, text).with_hint(
            "a mount was made there, and this pod does not see it: its mount of /run/cofferdam needs \
             mountPropagation: HostToContainer",
        ));
    }
    Ok(())
}

fn is_noexec(folder: &Path) -> Result<bool> {
    let stat =
        rustix::fs::statvfs(folder).map_err(|errno| HostError::io("look at", folder.display(), errno))?;
    Ok(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

/// Copies this program into `bin`, unless it is there, and deletes those that nothing runs.
fn place(bin: &Path) -> Result<PathBuf> {
    let fail = |error| HostError::std_io("look into", bin.display(), error);
    let own = Path::new("/proc/self/exe");
    let read = |error| HostError::std_io("read", own.display(), error);
    let digest = digest_of::<Sha256>(File::open(own).map_err(read)?).map_err(read)?;
    let name = format!("{PREFIX}{}", digest.short());
    let target = bin.join(&name);
    if !is_same(&target, own) {
        copy(own, &target)?;
    }
    for entry in fs::read_dir(bin).map_err(fail)?.flatten() {
        let other = entry.file_name();
        // A running program keeps its inode: deleting the name does it no harm, and a worker is started only by name.
        if other.to_string_lossy().starts_with(PREFIX) && other.to_string_lossy() != name {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(target)
}

fn is_same(target: &Path, own: &Path) -> bool {
    let digest = |path: &Path| File::open(path).ok().and_then(|file| digest_of::<Sha256>(file).ok());
    digest(target).is_some_and(|there| Some(there) == digest(own))
}

fn copy(own: &Path, target: &Path) -> Result<()> {
    // Two pods on one node may do this at the same time, and each is process 1.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let partial = target.with_file_name(format!(".partial-{now:x}"));
    let fail = |error| HostError::std_io("write", target.display(), error);
    let mut source = File::open(own).map_err(|error| HostError::std_io("read", own.display(), error))?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o700).open(&partial).map_err(fail)?;
    let written = std::io::copy(&mut source, &mut file).and_then(|_| file.sync_all());
    drop(file);
    written.and_then(|()| fs::rename(&partial, target)).map_err(|error| {
        let _ = fs::remove_file(&partial);
        fail(error)
    })
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn the_program_is_placed_once_and_older_ones_go() {
        let run = tempfile::tempdir().unwrap();
        let first = place(run.path()).unwrap();
        let old = run.path().join("cofferdam-000000000000");
        std::fs::write(&old, "old").unwrap();
        let before = std::fs::metadata(&first).unwrap().modified().unwrap();
        assert_eq!(place(run.path()).unwrap(), first);
        assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), before, "not written again");
        assert!(!old.exists());
        std::fs::write(&first, "damaged").unwrap();
        place(run.path()).unwrap();
        assert!(std::fs::metadata(&first).unwrap().len() > 1000, "a damaged copy is replaced");
    }
}
