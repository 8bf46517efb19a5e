//! Somebody else changes the folder while it is unpacked into.

use super::canary::Canary;
use super::tar::tar;
use super::{Limits, told};
use cofferdam_host::archive::{Lookup, Options, Unpacking};
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
    symlink("../outside", aside.join("link")).unwrap();
    while !stop.load(Ordering::Relaxed) {
        for n in 0..FOLDERS {
            let folder = stage.join(format!("d{n}"));
            for _ in 0..2 {
                let _ =
                    rustix::fs::renameat_with(CWD, &folder, CWD, aside.join("link"), RenameFlags::EXCHANGE);
            }
        }
    }
}

#[test]
fn folders_that_become_links_meanwhile_lead_nowhere() {
    for lookup in [Lookup::Kernel, Lookup::Steps] {
        let canary = Canary::new();
        let aside = tempfile::tempdir_in(canary.path().parent().unwrap().parent().unwrap()).unwrap();
        // It lies beside the canaries, and is no canary itself.
        let canary = canary.seen_now_except(aside.path());
        let stop = AtomicBool::new(false);
        let hits = std::thread::scope(|scope| {
            scope.spawn(|| swap(&canary.path(), aside.path(), &stop));
            let hits = unpack_again_and_again(&canary, lookup, 200);
            stop.store(true, Ordering::Relaxed);
            hits
        });
        assert!(hits > 0, "{lookup:?}: nothing was ever swapped in time, so nothing was proven");
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

#[test]
fn another_process_that_swaps_links_changes_nothing_outside() {
    let canary = Canary::new();
    let script = "cd \"$0\" || exit 1
while :; do for n in 0 1 2 3 4 5 6 7; do
rm -rf d$n; ln -s ../outside d$n 2>/dev/null; rm -f d$n; ln -s ../../outside d$n 2>/dev/null; done; done";
    let child = Command::new("sh").args(["-c", script]).arg(canary.path()).stderr(Stdio::null()).spawn();
    let _child = Ended(child.unwrap());
    for lookup in [Lookup::Kernel, Lookup::Steps] {
        let hits = unpack_again_and_again(&canary, lookup, 30);
        assert!(hits > 0, "{lookup:?}: nothing was ever swapped in time, so nothing was proven");
    }
}

#[test]
fn what_somebody_put_there_before_is_neither_followed_nor_overwritten() {
    for lookup in [Lookup::Kernel, Lookup::Steps] {
        for (planted, target, archive) in [
            ("a", "../beside", tar().file("a/evil", "evil")),
            ("a", "../beside", tar().folder("a/evil")),
            ("a", "../beside", tar().link("a/evil", "x")),
            ("a", "../beside", tar().file("f", "x").hard("a/evil", "f")),
            ("a", "../secret", tar().file("a", "evil")),
            ("a", "../beside", tar().folder("a")),
            ("b", "/proc/self/root", tar().file("b/tmp/cofferdam-hostile-archive", "evil")),
            ("b", "/proc/self/cwd", tar().file("b/evil", "evil")),
        ] {
            let canary = Canary::new();
            symlink(target, canary.path().join(planted)).unwrap();
            let options = Options { lookup, ..Options::default() };
            let error = Unpacking::new(canary.inside(), options).layer(archive.end().as_slice()).unwrap_err();
            assert!(told(&error).contains("could not"), "{target}: {}", told(&error));
            assert_eq!(canary.change(), None, "{target}");
        }
        // A file of somebody else's is not overwritten, and a folder not taken for ours.
        let canary = Canary::new();
        std::fs::write(canary.path().join("a"), "theirs").unwrap();
        let options = Options { lookup, ..Options::default() };
        let archive = tar().file("a", "evil").end();
        let error = Unpacking::new(canary.inside(), options).layer(archive.as_slice()).unwrap_err();
        assert!(told(&error).contains("could not create a"), "{}", told(&error));
        assert_eq!(canary.shown(), ["a 644 theirs"]);
    }
}

#[test]
fn a_mount_in_the_folder_is_not_gone_into() {
    // Needs the right to mount, in a namespace of this thread alone.
    let canary = Canary::new();
    std::thread::scope(|scope| {
        let result = scope.spawn(|| {
            use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, unmount};
            // The thread only.
            #[allow(deprecated)]
            let alone = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS);
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
            let _ = MountFlags::empty();
            unmount(&at, rustix::mount::UnmountFlags::DETACH).unwrap();
        });
        result.join().unwrap();
    });
    assert_eq!(canary.change(), None);
}
