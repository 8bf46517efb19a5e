//! Versions side by side, drift and its mend, on offline trees through the command line.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Bench, CONFIG, UNIT, assert_same, scratch, small_program};

const V2: &str = "version = 2\n";

/// A tree with `toy` 1.0 and 2.0, of which the second is registered.
fn upgraded(bench: &Bench) -> (String, String) {
    let (old, new) = (bench.package_with("toy", "1.0", &["toy"]), bench.package_with("toy", "2.0", &["toy"]));
    bench.run(&["install", &old]).expect(0).says("install toy 1.0: done");
    bench.run(&["upgrade", &new]).expect(0).says("upgrade toy 1.0 to 2.0: done");
    (old, new)
}

fn trees(bench: &Bench) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(bench.at("/opt/cofferdam/runtimes/toy")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn tree(bench: &Bench, version: &str) -> PathBuf {
    let name = trees(bench).into_iter().find(|name| name.starts_with(version)).unwrap();
    bench.at("/opt/cofferdam/runtimes/toy").join(name)
}

fn drift(bench: &Bench, code: i32) -> Vec<Value> {
    bench.run(&["verify", "--json"]).expect(code).json()["drift"].as_array().unwrap().clone()
}

#[test]
fn versions_stand_side_by_side_and_each_goes_when_nothing_needs_it() {
    for engine in ["containerd@1.7", "containerd@2.4"] {
        let bench = Bench::new(engine).with_config(V2);
        let before = bench.snapshot();
        upgraded(&bench);
        assert_eq!(trees(&bench).len(), 2);
        assert!(config(&bench).contains("/2.0-"), "{}", config(&bench));
        bench.run(&["gc"]).expect(0).says("rollback would bring toy 1.0 back").says("nothing to do");
        bench.run(&["rollback", "toy"]).expect(0).says("roll toy back from 2.0 to 1.0: done");
        assert!(config(&bench).contains("/1.0-") && !config(&bench).contains("/2.0-"));
        bench.run(&["rollback", "toy"]).expect(0);
        let third = bench.package_with("toy", "3.0", &["toy"]);
        bench.run(&["install", &third]).expect(0).says("upgrade toy 2.0 to 3.0: done");
        assert_eq!(trees(&bench).len(), 2, "1.0 went with the commit: {:?}", trees(&bench));
        bench.run(&["gc", "--all", "--dry-run"]).expect(0).says("delete /opt/cofferdam/runtimes/toy/2.0-");
        bench.run(&["gc", "--all"]).expect(0);
        assert_eq!(trees(&bench).len(), 1);
        bench.run(&["rollback", "toy"]).expect(2).says("no earlier version of toy");
        bench.run(&["remove", "toy"]).expect(0);
        assert_same(&before, &bench.snapshot(), engine);
    }
}

/// All of the configuration, with drop-ins.
fn config(bench: &Bench) -> String {
    let folder = bench.at("/etc/containerd/cofferdam.d");
    let files = std::fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path());
    let texts = files.map(|path| std::fs::read_to_string(path).unwrap());
    texts.fold(bench.read(CONFIG), |all, text| all + &text)
}

#[test]
fn a_removal_takes_every_version() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let before = bench.snapshot();
    upgraded(&bench);
    bench.run(&["remove", "toy"]).expect(0);
    assert_same(&before, &bench.snapshot(), "both versions");
}

#[test]
fn upgrade_needs_something_to_upgrade() {
    let bench = Bench::new("containerd@2.4");
    let before = bench.snapshot();
    let package = bench.package("toy");
    bench.run(&["upgrade", &package]).expect(2).says("toy is not installed");
    bench.run(&["rollback", "toy"]).expect(2).says("toy is not installed");
    bench.run(&["gc"]).expect(0).says("nothing to do");
    bench.run(&["verify"]).expect(0).says("no drift");
    bench.run(&["repair"]).expect(0).says("nothing to do");
    assert_same(&before, &bench.snapshot(), "nothing was done");
}

/// One way to spoil a tree, and what `verify` calls it.
type Spoil = (&'static str, &'static str, fn(&Path));

const SPOILS: &[Spoil] = &[
    ("bin/containerd-shim-toy-v1", "changed", |tree| {
        std::fs::write(tree.join("bin/containerd-shim-toy-v1"), "#!/bin/sh\nexit 1\n").unwrap();
    }),
    ("etc/toy.toml", "changed", |tree| {
        let all = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(tree.join("etc/toy.toml"), all).unwrap();
    }),
    ("etc/toy.toml", "changed", |tree| {
        std::fs::remove_file(tree.join("etc/toy.toml")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.join("etc/toy.toml")).unwrap();
    }),
    ("etc/toy.toml", "missing", |tree| std::fs::remove_file(tree.join("etc/toy.toml")).unwrap()),
    ("bin/extra", "additional", |tree| std::fs::write(tree.join("bin/extra"), "").unwrap()),
    (".cofferdam.json", "unrecorded", |tree| std::fs::write(tree.join(".cofferdam.json"), "{}").unwrap()),
];

#[test]
fn each_change_in_a_tree_is_named_and_the_tree_replaced() {
    for (path, kind, spoil) in SPOILS {
        let bench = Bench::new("containerd@2.4");
        let package = bench.package("toy");
        bench.run(&["install", &package]).expect(0);
        let sound = bench.snapshot();
        assert_eq!(drift(&bench, 0), Vec::<Value>::new());
        spoil(&tree(&bench, "1.0"));
        let found = drift(&bench, 4);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["drift"], "tree-damaged");
        let damage = &found[0]["damage"].as_array().unwrap()[..];
        assert!(damage.iter().any(|d| d["path"] == *path && d["kind"] == *kind), "{path} {kind}: {damage:?}");
        bench.run(&["repair"]).expect(0).says("repair the files of toy 1.0: done");
        assert_eq!(drift(&bench, 0), Vec::<Value>::new(), "{path} {kind}");
        assert_same_but_records(&sound, &bench, path);
    }
}

/// As it was, but for the ledger's generation.
fn assert_same_but_records(before: &support::Snapshot, bench: &Bench, context: &str) {
    let without = |snapshot: &support::Snapshot| {
        let mut snapshot = snapshot.clone();
        snapshot.retain(|path, _| !path.starts_with("/var/lib/cofferdam/"));
        snapshot
    };
    assert_same(&without(before), &without(&bench.snapshot()), context);
}

#[test]
fn a_tree_that_is_gone_comes_back_from_a_package_of_the_same_digest_only() {
    let bench = Bench::new("containerd@2.4");
    let package = bench.package("toy");
    bench.run(&["install", &package]).expect(0);
    std::fs::remove_dir_all(tree(&bench, "1.0")).unwrap();
    assert_eq!(drift(&bench, 4)[0]["drift"], "tree-missing");
    let folder = package.strip_prefix("dir:").unwrap().to_owned();
    let moved = bench.beside("elsewhere");
    std::fs::rename(&folder, &moved).unwrap();
    bench.run(&["repair"]).expect(2).says("cannot be read again").says("--from dir:FOLDER");
    let other = bench.package_with("toy", "2.0", &["toy"]);
    bench.run(&["repair", "toy", "--from", &other]).expect(4).says("is not the package that toy 1.0");
    bench.run(&["repair", "toy", "--from", &format!("dir:{}", moved.display())]).expect(0);
    assert_eq!(drift(&bench, 0), Vec::<Value>::new());
    // An installation of the same package mends as well.
    std::fs::remove_dir_all(tree(&bench, "1.0")).unwrap();
    bench.run(&["install", &format!("dir:{}", moved.display())]).expect(0);
    assert_eq!(drift(&bench, 0), Vec::<Value>::new());
}

#[test]
fn registrations_and_units_that_drifted_come_back() {
    let folder = scratch();
    let program = small_program(folder.path());
    let link = "/etc/systemd/system/multi-user.target.wants/cofferdam-recover.service";
    let drop_in = "/etc/containerd/cofferdam.d/toy.toml";
    for gone in [UNIT, link, drop_in, "/opt/cofferdam/bin/cofferdam", CONFIG] {
        let bench = Bench::new("containerd@2.4").with_systemd(&program).with_config("version = 3\n");
        let package = bench.package("toy");
        bench.run(&["install", &package]).expect(0);
        let sound = bench.snapshot();
        std::fs::remove_file(bench.at(gone)).unwrap();
        let found = drift(&bench, 4);
        let named = found.iter().any(|d| match gone {
            CONFIG => d["drift"] == "registration",
            _ if gone == drop_in => d["flaw"] == "missing" && d["place"]["file"] == gone,
            _ => d["path"] == gone && d["what"] == "missing",
        });
        assert!(named, "{gone}: {found:?}");
        bench.run(&["repair"]).expect(0);
        assert_eq!(drift(&bench, 0), Vec::<Value>::new(), "{gone}");
        // A root file is others'; a new one of ours holds what is needed and no more.
        if gone != CONFIG {
            assert_same_but_records(&sound, &bench, gone);
        }
        bench.run(&["remove", "toy"]).expect(0);
    }
}

#[test]
fn an_edited_unit_is_replaced_only_when_told_to() {
    let folder = scratch();
    let bench = Bench::new("containerd@2.4").with_systemd(&small_program(folder.path()));
    let package = bench.package("toy");
    bench.run(&["install", &package]).expect(0);
    let text = bench.read(UNIT);
    bench.write(UNIT, &format!("{text}# mine\n"));
    assert_eq!(drift(&bench, 4)[0]["what"], "changed");
    bench.run(&["repair"]).expect(4).says("--overwrite");
    assert!(bench.read(UNIT).ends_with("# mine\n"));
    bench.run(&["repair", "--overwrite"]).expect(0);
    assert_eq!(bench.read(UNIT), text);
}

#[test]
fn versions_share_equal_files_and_no_damage() {
    const SHIM: &str = "bin/containerd-shim-toy-v1";
    let bench = Bench::new("containerd@2.4");
    upgraded(&bench);
    let shim = |version: &str| tree(&bench, version).join(SHIM);
    let inode = |version: &str| std::fs::metadata(shim(version)).unwrap().ino();
    // Where blocks are shared, files need not be.
    let mut copy = Command::new("cp");
    copy.arg("--reflink=always").arg(shim("1.0")).arg(bench.beside("copy"));
    let reflinks = copy.output().unwrap().status.success();
    assert_eq!(inode("1.0") == inode("2.0"), !reflinks);
    let usage = bench.run(&["store", "du", "--json"]).expect(0).json();
    let size = |at: usize, of: &str| usage["trees"][at][of].as_u64().unwrap();
    assert!(reflinks || size(0, "shared") > 0 && size(0, "shared") == size(1, "shared"), "{usage:#}");
    assert_eq!(usage["disk"].as_u64().unwrap(), size(0, "alone") + size(1, "alone") + size(0, "shared"));
    let listed = bench.run(&["store", "ls", "--json"]).expect(0).json();
    assert_eq!([&listed[0]["kept"], &listed[1]["kept"]], ["registered", "rollback"]);
    bench.run(&["store", "verify"]).expect(0).says("toy 2.0: as it was installed");
    let right = std::fs::read(shim("2.0")).unwrap();
    std::fs::write(shim("2.0"), "#!/bin/sh\nexit 1\n").unwrap();
    bench.run(&["store", "verify"]).expect(4).says("bin/containerd-shim-toy-v1 was changed");
    let third = bench.package_with("toy", "3.0", &["toy"]);
    bench.run(&["upgrade", &third]).expect(0);
    assert_eq!(std::fs::read(shim("3.0")).unwrap(), right, "what was damaged is not taken over");
    bench.run(&["repair"]).expect(0);
    assert_eq!(drift(&bench, 0), Vec::<Value>::new());
    assert_eq!(std::fs::read(shim("2.0")).unwrap(), right);
    assert_eq!(inode("3.0") == inode("2.0"), !reflinks, "the mended tree shares again");
}

/// A change by its name: prepares a tree, and gives the arguments.
type Prepared = (&'static str, fn(&Bench) -> Vec<String>);

/// Killed between any two changes of an upgrade, a rollback or a repair: old or new, and the same command finishes.
#[test]
fn killed_anywhere_the_outcome_is_old_or_new() {
    let changes: [Prepared; 3] = [
        ("upgrade", |bench| {
            let (old, new) =
                (bench.package_with("toy", "1.0", &["toy"]), bench.package_with("toy", "2.0", &["toy"]));
            bench.run(&["install", &old]).expect(0);
            vec!["upgrade".to_owned(), new]
        }),
        ("rollback", |bench| {
            upgraded(bench);
            vec!["rollback".to_owned(), "toy".to_owned()]
        }),
        ("repair", |bench| {
            upgraded(bench);
            std::fs::write(tree(bench, "2.0").join("etc/toy.toml"), "spoilt").unwrap();
            std::fs::write(bench.at(CONFIG), V2).unwrap();
            vec!["repair".to_owned()]
        }),
    ];
    for (name, prepare) in changes {
        let mut points = 0;
        for n in 1.. {
            let bench = Bench::new("containerd@1.7").with_config(V2);
            let args = prepare(&bench);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let ran = bench.run_with(Some(&format!("kill:change:{n}")), &args);
            if ran.signal.is_none() {
                ran.expect(0);
                break;
            }
            points += 1;
            bench.run(&["recover"]).expect_one_of(&[0, 7]);
            let text = config(&bench);
            assert!(!bench.at("/var/lib/cofferdam/journal.json").exists(), "{name} {n}");
            let named = trees(&bench).into_iter().find(|tree| text.contains(&format!("/{tree}/")));
            assert!(named.is_some() || name == "repair", "{name} {n}: {text}");
            assert!(!trees(&bench).iter().any(|tree| tree.starts_with('.')), "{name} {n}");
            bench.run(&args).expect(0);
            assert_eq!(drift(&bench, 0), Vec::<Value>::new(), "{name} {n}");
        }
        assert!(points > 10, "{name}: {points} points");
        println!("{name}: {points} points");
    }
}
