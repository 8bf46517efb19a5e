//! What is pulled waits to be installed, and layers that an installed version has are not fetched. With the real binary on
//! offline trees; the images are layouts, of which blobs are missing that nobody may ask for.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod registry;
mod support;

use registry::{Manner, Registry};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::Bench;

const BIG: &str = "share/guest.img";

/// Which layers of what is being fetched came whole.
const NOTES: &str = "/var/lib/cofferdam/tmp/package.layers";

/// The trees of the runtime, by their folders' names.
fn trees(bench: &Bench) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(bench.at("/opt/cofferdam/runtimes/toy")) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn tree(bench: &Bench, version: &str) -> PathBuf {
    let name = trees(bench).into_iter().find(|name| name.starts_with(&format!("{version}-"))).unwrap();
    bench.at("/opt/cofferdam/runtimes/toy").join(name)
}

fn kept(bench: &Bench) -> Vec<String> {
    let listed = bench.run(&["store", "ls", "--json"]).expect(0).json();
    let listed = listed.as_array().unwrap().iter();
    listed
        .map(|tree| format!("{} {}", tree["version"].as_str().unwrap(), tree["kept"].as_str().unwrap()))
        .collect()
}

#[test]
fn what_is_pulled_is_found_by_the_installation() {
    let bench = Bench::new("containerd@2.4");
    let before = bench.snapshot();
    let package = bench.package("toy");
    bench.run(&["pull", &package]).expect(0).says("pull toy 1.0: done");
    assert_eq!(kept(&bench), ["1.0 pulled"]);
    assert!(!bench.at("/etc/containerd").exists(), "nothing is registered");
    bench.run(&["store", "verify"]).expect(0);
    bench.run(&["pull", &package]).expect(0).says("nothing to do");
    bench.run(&["gc"]).expect(0).says("pulled and is not installed yet");
    let plan = bench.run(&["plan", &package, "--json"]).expect(0).json();
    let steps: Vec<_> = plan["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert!(!steps.iter().any(|step| step == "place-tree"), "{steps:?}");
    bench.run(&["install", &package]).expect(0);
    assert_eq!(kept(&bench), ["1.0 registered"]);
    bench.run(&["remove", "toy"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "after the removal");
}

#[test]
fn what_is_pulled_goes_when_it_is_told_to() {
    let bench = Bench::new("containerd@2.4");
    let before = bench.snapshot();
    let (old, new) = (bench.package("toy"), bench.package_with("toy", "2.0", &["toy"]));
    bench.run(&["pull", &old]).expect(0);
    bench.run(&["gc", "--all"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "after gc --all");
    bench.run(&["install", &old]).expect(0);
    bench.run(&["pull", &new]).expect(0);
    assert_eq!(kept(&bench), ["1.0 registered", "2.0 pulled"]);
    bench.run(&["rollback", "toy"]).expect(2).says("no earlier version");
    bench.run(&["remove", "toy"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "after the removal");
}

/// A tree with the folders that every machine has: those that a killed process made are nobody's.
fn machine() -> Bench {
    let bench = Bench::new("containerd@2.4");
    fs::create_dir_all(bench.at("/var/lib")).unwrap();
    bench
}

/// Killed between any two changes: nothing, or all of it; and the same command finishes.
#[test]
fn killed_anywhere_it_is_there_or_not() {
    let mut points = 0;
    let beside = machine();
    let image = layout_of(&beside, "1.0", 1, 3, 300_000);
    let image = image.to_str().unwrap();
    for n in 1.. {
        let bench = machine();
        let before = bench.snapshot();
        let ran = bench.run_with(Some(&format!("kill:change:{n}")), &["pull", image]);
        if ran.signal.is_none() {
            ran.expect(0);
            break;
        }
        points += 1;
        bench.run(&["recover"]).expect_one_of(&[0, 7]);
        if kept_or_nothing(&bench).is_empty() {
            assert_eq!(trees(&bench), BTreeSet::new(), "{n}");
        } else {
            bench.run(&["store", "verify"]).expect(0);
        }
        bench.run(&["pull", image]).expect(0);
        assert_eq!(kept(&bench), ["1.0 pulled"], "{n}");
        bench.run(&["store", "verify"]).expect(0);
        bench.run(&["gc", "--all"]).expect(0);
        support::assert_same(&before, &bench.snapshot(), &format!("killed at {n}"));
    }
    assert!(points > 10, "{points} points");
}

fn kept_or_nothing(bench: &Bench) -> Vec<String> {
    if bench.at("/var/lib/cofferdam/ledger.json").exists() { kept(bench) } else { Vec::new() }
}

/// An image of the runtime, in which `seed` is in one small file.
fn layout(bench: &Bench, version: &str, seed: u8) -> PathBuf {
    layout_of(bench, version, seed, 60, 5 << 20)
}

/// One with so many small files, and a large one of this size.
fn layout_of(bench: &Bench, version: &str, seed: u8, files: u8, size: usize) -> PathBuf {
    let package = bench.package_with("toy", version, &["toy"]);
    let folder = Path::new(package.strip_prefix("dir:").unwrap()).to_owned();
    let put = |name: &str, bytes: Vec<u8>| {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    };
    // Of its own layer, which says nothing of the version.
    put(BIG, vec![7; size]);
    put("share/empty", Vec::new());
    for i in 0..files {
        put(&format!("share/d{}/f{i}", i / 10), vec![i + if i == 31 { seed } else { 0 }; 200_000]);
    }
    let out = bench.beside(&format!("image-{version}"));
    let mut command = bench.command();
    command.args(["pack", folder.to_str().unwrap(), "-o", out.to_str().unwrap()]);
    support::finish(command).expect(0);
    out
}

fn blobs(layout: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn layers_that_are_there_are_not_fetched() {
    let bench = Bench::new("containerd@2.4");
    let (one, two) = (layout(&bench, "1.0", 1), layout(&bench, "2.0", 2));
    bench.run(&["install", one.to_str().unwrap()]).expect(0);
    let common: Vec<_> = blobs(&one).intersection(&blobs(&two)).cloned().collect();
    assert!(common.len() > 3, "{common:?}");
    // Nobody may ask for these.
    for blob in &common {
        fs::rename(two.join("blobs/sha256").join(blob), bench.beside(blob)).unwrap();
    }
    bench.run(&["pull", two.to_str().unwrap()]).expect(0);
    bench.run(&["upgrade", two.to_str().unwrap()]).expect(0).says("upgrade toy 1.0 to 2.0: done");
    bench.run(&["store", "verify"]).expect(0);
    assert!(tree(&bench, "2.0").join("share/empty").exists());

    // What is damaged is fetched after all, and not taken over.
    let three = layout(&bench, "3.0", 3);
    for version in ["1.0", "2.0"] {
        // Not in place: the two may be one.
        let file = tree(&bench, version).join(BIG);
        fs::remove_file(&file).unwrap();
        fs::write(&file, vec![8; 5 << 20]).unwrap();
    }
    let away = bench.beside("away");
    fs::create_dir(&away).unwrap();
    let needed: Vec<_> =
        common.iter().filter(|blob| three.join("blobs/sha256").join(blob).exists()).collect();
    for blob in &needed {
        fs::rename(three.join("blobs/sha256").join(blob), away.join(blob)).unwrap();
    }
    let before = bench.snapshot();
    let refused = bench.run(&["pull", three.to_str().unwrap()]);
    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    support::assert_same(&before, &bench.snapshot(), "a layer could not be had");
    for blob in &needed {
        fs::rename(away.join(blob), three.join("blobs/sha256").join(blob)).unwrap();
    }
    // The file that was looked for in vain counts once.
    bench.run(&["pull", three.to_str().unwrap(), "--max-bytes", "20MiB"]).expect(0);
    assert_eq!(fs::read(tree(&bench, "3.0").join(BIG)).unwrap(), vec![7; 5 << 20]);
}

/// The digests of the layers that came whole.
fn came_whole(bench: &Bench) -> Vec<String> {
    let lines = fs::read_to_string(bench.at(NOTES)).unwrap();
    lines.lines().map(|line| line[9..73].to_owned()).collect()
}

fn delete(image: &Path, blobs: &[String]) {
    for blob in blobs {
        fs::remove_file(image.join("blobs/sha256").join(blob)).unwrap();
    }
}

/// What came whole before it was killed is not asked for again; and `recover` leaves nothing of it.
#[test]
fn what_an_interrupted_pull_had_is_not_fetched_again() {
    let bench = machine();
    let before = bench.snapshot();
    let image = layout(&bench, "1.0", 1);
    let interrupt = |n: usize| {
        let ran = bench.run_with(Some(&format!("kill:change:{n}")), &["pull", image.to_str().unwrap()]);
        ran.expect_killed();
    };
    interrupt(60);
    bench.run(&["recover"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "after a recovery");

    interrupt(60);
    let whole = came_whole(&bench);
    assert!(!whole.is_empty());
    delete(&image, &whole);
    // Cut off in the middle of a line.
    let mut notes = fs::OpenOptions::new().append(true).open(bench.at(NOTES)).unwrap();
    notes.write_all(b"[\"sha256:00").unwrap();
    // Again, before all of that was taken over.
    interrupt(12);
    assert!(came_whole(&bench).len() < whole.len(), "{whole:?}");
    bench.run(&["pull", image.to_str().unwrap()]).expect(0);
    bench.run(&["store", "verify"]).expect(0);
    bench.run(&["gc", "--all"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "after gc");
}

/// The same if the registry goes away in the middle.
#[test]
fn what_a_registry_gave_before_it_went_away_is_not_fetched_again() {
    let bench = machine();
    let before = bench.snapshot();
    let image = layout(&bench, "1.0", 1);
    let left = Arc::new(AtomicUsize::new(0));
    let registry = Registry::serve(&image, Manner::Falters(Arc::clone(&left)));
    let source = format!("oci:{}", registry.reference());
    let pull = |blobs: usize| {
        left.store(blobs, Ordering::SeqCst);
        bench.run(&["pull", &source, "--plain-http", "--tries", "1"])
    };
    pull(4).expect(6).says("`cofferdam recover` deletes it");
    assert!(kept_or_nothing(&bench).is_empty());
    bench.run(&["recover"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "after a recovery");

    pull(4).expect(6);
    let whole = came_whole(&bench);
    assert!(whole.len() > 1, "{whole:?}");
    delete(&image, &whole);
    pull(0).expect(6);
    pull(100).expect(0);
    bench.run(&["store", "verify"]).expect(0);
    bench.run(&["gc", "--all"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "after gc");
}
