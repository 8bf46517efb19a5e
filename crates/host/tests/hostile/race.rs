//! Somebody else changes the folder while it is unpacked into.

use super::canary::Canary;
use super::tar::{Tar, tar};
use super::{Case, Class, Expected, told};
use cofferdam_host::archive::{Limits, Lookup, Options, Unpacking};
use rustix::fs::{CWD, RenameFlags};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FOLDERS: usize = 8;

/// Folders, and files in them, links and hard links among them.
fn archive() -> Vec<u8> {
    let folders = (0..FOLDERS).fold(tar(), |tar, n| tar.folder(&format!("d{n}")));
    (0..FOLDERS * 8)
        .fold(folders, |tar, n| {
            let folder = format!("d{}", n % FOLDERS);
            tar.file(&format!("{folder}/f{n}"), "evil")
                .link(&format!("{folder}/l{n}"), "x")
                .hard(&format!("{folder}/h{n}"), &format!("{folder}/f{n}"))
                .folder(&format!("{folder}/e{n}"))
        })
        .end()
}

/// Unpacks until `hits` runs failed since a folder had become a link, or time is over; how many did.
fn unpack_again_and_again(canary: &Canary, lookup: Lookup, hits: usize) -> usize {
    let limits = Limits { entries: 1000, ..Limits::NORMAL };
    let begun = Instant::now();
    let mut failed = 0;
    while failed < hits && begun.elapsed() < Duration::from_secs(10) {
        let mut unpacking = Unpacking::new(canary.inside(), Options { limits, lookup, ..Options::default() });
        if let Err(error) = unpacking.layer(archive().as_slice()) {
            assert!(told(&error).contains("could not"), "{}", told(&error));
            failed += 1;
        }
        assert_eq!(canary.change(), None);
        let _ = std::fs::read_dir(canary.path()).unwrap().try_for_each(|entry| {
            let path = entry?.path();
            // Whatever it is just now.
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
            std::io::Result::Ok(())
        });
    }
    failed
}

/// Exchanges the folders for links to the outside and back, as fast as it can.
fn swap(stage: &Path, aside: &Path, stop: &AtomicBool) {
    let link = aside.join("link");
    while !stop.load(Ordering::Relaxed) {
        // A folder was taken away before it could be put back.
        if !link.is_symlink() {
            let _ = std::fs::remove_dir_all(&link);
            symlink("../../outside", &link).unwrap();
        }
        for n in 0..FOLDERS {
            let folder = stage.join(format!("d{n}"));
            for _ in 0..2 {
                let _ = rustix::fs::renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE);
            }
        }
    }
}

/// Ends the other thread.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends its child.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn by_a_thread(lookup: Lookup) {
    let canary = Canary::new();
    let aside = tempfile::tempdir_in(canary.path().parent().unwrap().parent().unwrap()).unwrap();
    // It lies beside the canaries, and is no canary itself.
    let canary = canary.seen_now_except(aside.path());
    let stop = AtomicBool::new(false);
    let hits = std::thread::scope(|scope| {
        scope.spawn(|| swap(&canary.path(), aside.path(), &stop));
        // Also if this panics.
        let _stop = Stop(&stop);
        unpack_again_and_again(&canary, lookup, 100)
    });
    assert!(hits > 0, "{lookup:?}: nothing was ever swapped in time, so nothing was proven");
}

fn by_a_process(lookup: Lookup) {
    let canary = Canary::new();
    let script = "cd \"$0\" || exit 1
while :; do for n in 0 1 2 3 4 5 6 7; do
rm -rf d$n; ln -sn ../outside d$n 2>/dev/null; rm -f d$n; ln -sn ../../outside d$n 2>/dev/null; done; done";
    let child = Command::new("sh").args(["-c", script]).arg(canary.path()).stderr(Stdio::null()).spawn();
    let _child = Ended(child.unwrap());
    let hits = unpack_again_and_again(&canary, lookup, 20);
    assert!(hits > 0, "{lookup:?}: nothing was ever swapped in time, so nothing was proven");
}

/// With a link already there, to `target`.
fn planted(what: &str, name: &'static str, target: &'static str, archive: Tar) -> Case {
    let check = move |canary: &Canary, lookup: Lookup| {
        symlink(target, canary.path().join(name)).unwrap();
        let options = Options { lookup, ..Options::default() };
        let archive = archive.clone().end();
        Unpacking::new(canary.inside(), options).layer(archive.as_slice()).map_err(|error| told(&error))
    };
    Case { check: Some(Box::new(check)), ..Case::of(what, Vec::new(), Expected::Refused("could not")) }
}

pub fn classes() -> Vec<Class> {
    let swapped = |name: &str, run: fn(Lookup)| {
        let check = move |_: &Canary, lookup: Lookup| {
            run(lookup);
            Ok(())
        };
        Case { check: Some(Box::new(check)), ..Case::of(name, Vec::new(), Expected::Unpacked(Vec::new())) }
    };
    vec![
        Class {
            name: "folders that become links meanwhile",
            source: "libpathrs: CVE-2018-15664, CVE-2021-30465, CVE-2024-45310 (swapped in a race)",
            cases: vec![
                swapped("exchanged by a thread", by_a_thread),
                swapped("deleted and replaced by another process", by_a_process),
            ],
        },
        Class {
            name: "links that somebody put there before",
            source: "libpathrs: CVE-2017-1002101, CVE-2019-16884, CVE-2025-52881 (/proc)",
            cases: vec![
                planted("a file below", "a", "../beside", tar().file("a/evil", "evil")),
                planted("a folder below", "a", "../beside", tar().folder("a/evil")),
                planted("a link below", "a", "../beside", tar().link("a/evil", "x")),
                planted("a hard link below", "a", "../beside", tar().file("f", "x").hard("a/evil", "f")),
                planted("a file there", "a", "../secret", tar().file("a", "evil")),
                planted("a folder there", "a", "../beside", tar().folder("a")),
                planted("a link there", "a", "../beside", tar().link("a", "b")),
                planted("a hard link there", "a", "../secret", tar().file("f", "x").hard("a", "f")),
                planted(
                    "to the root",
                    "b",
                    "/proc/self/root",
                    tar().file("b/tmp/cofferdam-hostile-archive", "evil"),
                ),
                planted("to a process' folder", "b", "/proc/self/cwd", tar().file("b/evil", "evil")),
                planted("to nothing", "b", "../new", tar().file("b", "evil")),
            ],
        },
    ]
}

#[test]
fn a_mount_in_the_folder_is_not_gone_into() {
    // Needs the right to mount, in a namespace of this thread alone.
    let canary = Canary::new();
    std::thread::scope(|scope| {
        let result = scope.spawn(|| {
            use rustix::mount::{MountPropagationFlags, mount_bind, mount_change, unmount};
            // The thread only.
            #[allow(deprecated)]
            #[allow(
                deprecated,
                reason = "the other one is unsafe; what it warns of is shared files, and they stay"
            )]
            let alone = rustix::thread::unshare(
                rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS,
            );
            if alone.is_err() {
                return;
            }
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).unwrap();
            let at = canary.path().join("a");
            std::fs::create_dir(&at).unwrap();
            mount_bind(canary.path().join("../beside"), &at).unwrap();
            let archive = tar().file("a/evil", "evil").end();
            let error =
                Unpacking::new(canary.inside(), Options::default()).layer(archive.as_slice()).unwrap_err();
            assert!(told(&error).contains("could not"), "{}", told(&error));
            unmount(&at, rustix::mount::UnmountFlags::DETACH).unwrap();
        });
        result.join().unwrap();
    });
    assert_eq!(canary.change(), None);
}
