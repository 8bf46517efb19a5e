//! Others edit what is ours, after a crash and before recovery, or later: what is theirs stays, and there is a way out.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use cofferdam_core::testing::peers;
use support::{Bench, CONFIG, assert_same};

const THEIRS: &str = "version = 3\n# theirs\n";
const APPENDED: &str = "\n[debug]\n  level = \"debug\"\n";

/// A tree on which an installation died right before its commit.
fn died() -> Bench {
    let bench = Bench::new("containerd@2.4").with_config(THEIRS);
    let package = bench.package("toy");
    bench.run_with(Some("kill:before:commit:1"), &["install", &package]).expect_killed();
    assert_ne!(bench.read(CONFIG), THEIRS);
    bench
}

/// An installation works, and its removal leaves `config`.
fn works(bench: &Bench, config: &str) {
    let package = bench.package("toy");
    bench.run(&["install", &package]).expect(0);
    bench.run(&["remove", "toy"]).expect(0);
    assert_eq!(bench.read(CONFIG), config);
    assert!(!bench.at("/var").exists() && !bench.at("/opt").exists());
}

#[test]
fn an_edit_beside_our_part_stays_and_ours_goes() {
    let bench = died();
    bench.write(CONFIG, &format!("{}{APPENDED}", bench.read(CONFIG)));
    bench.run(&["recover"]).expect(7);
    assert_eq!(bench.read(CONFIG), format!("{THEIRS}{APPENDED}"));
    bench.run(&["recover"]).expect(0).says("nothing to recover");
    works(&bench, &format!("{THEIRS}{APPENDED}"));
}

#[test]
fn the_next_installation_keeps_an_edit_too() {
    let bench = died();
    bench.write(CONFIG, &format!("{}{APPENDED}", bench.read(CONFIG)));
    let package = bench.package("toy");
    bench.run(&["install", &package]).expect(0);
    bench.run(&["remove", "toy"]).expect(0);
    assert_eq!(bench.read(CONFIG), format!("{THEIRS}{APPENDED}"));
}

#[test]
fn an_edit_around_our_part_stays_and_ours_goes() {
    let bench = died();
    let text = bench.read(CONFIG);
    let edited = text.replace("cofferdam.d/*.toml", "cofferdam.d/*.toml\", \"/etc/site/*.toml");
    assert_ne!(text, edited);
    bench.write(CONFIG, &edited);
    bench.run(&["recover"]).expect(7);
    let left = "version = 3\nimports = [\"/etc/site/*.toml\"]\n# theirs\n";
    assert_eq!(bench.read(CONFIG), left);
    works(&bench, left);
}

#[test]
fn an_edit_of_our_entry_is_a_conflict_with_two_ways_out() {
    for keep_theirs in [false, true] {
        // containerd 1.7 merges no drop-ins into its runtimes: the entry stands in the file itself.
        let text = "version = 2\n# theirs\n";
        let bench = Bench::new("containerd@1.7").with_config(text);
        let package = bench.package("toy");
        bench.run_with(Some("kill:before:commit:1"), &["install", &package]).expect_killed();
        let written = bench.read(CONFIG);
        let edited = written.replace("    ConfigPath", "    Debug = true\n    ConfigPath");
        assert_ne!(written, edited);
        bench.write(CONFIG, &edited);
        let before = bench.snapshot();
        let ran = bench.run(&["recover"]).expect(4);
        ran.says(CONFIG).says("changed by someone else").says("recover --keep-theirs");
        bench.run(&["install", &package]).expect(4).says("recover --keep-theirs");
        let mut now = bench.snapshot();
        // The journal says more than before; nothing else differs.
        let journal = "/var/lib/cofferdam/journal.json";
        now.insert(journal.to_owned(), before[journal].clone());
        assert_same(&before, &now, "conflict");
        if keep_theirs {
            bench.run(&["recover", "--keep-theirs"]).expect(7);
            assert_eq!(bench.read(CONFIG), edited);
            // It is their handler now.
            bench.run(&["install", &package]).expect(4).says("toy");
            let other = bench.package("other");
            bench.run(&["install", &other]).expect(0);
            bench.run(&["remove", "other"]).expect(0);
            assert_eq!(bench.read(CONFIG), edited);
        } else {
            bench.write(CONFIG, &written);
            bench.run(&["recover"]).expect(7);
            works(&bench, text);
        }
        bench.run(&["recover"]).expect(0).says("nothing to recover");
    }
}

#[test]
fn a_file_that_is_wholly_ours_and_was_edited_is_a_conflict() {
    let bench = died();
    let drop_in = "/etc/containerd/cofferdam.d/toy.toml";
    bench.write(drop_in, "version = 3\n# somebody was here\n");
    bench.run(&["recover"]).expect(4).says(drop_in).says("recover --keep-theirs");
    assert_eq!(bench.read(drop_in), "version = 3\n# somebody was here\n");
    // The way out: put the file right (here: away) and recover.
    std::fs::remove_file(bench.at(drop_in)).unwrap();
    bench.run(&["recover"]).expect(7);
    works(&bench, THEIRS);
}

const IMPORT: &str = "/etc/containerd/cofferdam.d/*.toml";
const BY_NAME: &str = "/etc/containerd/cofferdam.d/toy.toml";

#[test]
fn an_import_by_name_after_a_crash_keeps_our_file() {
    let bench = died();
    bench.write(CONFIG, &bench.read(CONFIG).replace(IMPORT, BY_NAME));
    let ran = bench.run(&["recover"]).expect(4);
    ran.says(CONFIG).says("take that line out").says("recover --keep-theirs");
    assert!(bench.at(BY_NAME).exists(), "containerd would not start without it");
    // What it names is there, too.
    let text = bench.read(BY_NAME);
    let shim = text.split('"').find(|part| part.contains("/bin/containerd-shim-toy")).unwrap();
    assert!(bench.at(shim).exists(), "{shim}");
    // The way out.
    bench.write(CONFIG, THEIRS);
    bench.run(&["recover"]).expect(7);
    assert!(!bench.at(BY_NAME).exists());
    works(&bench, THEIRS);
}

/// A tree on which `toy` is installed.
fn installed(engine: &str, config: &str) -> Bench {
    let bench = Bench::new(engine).with_config(config);
    bench.run(&["install", &bench.package("toy")]).expect(0);
    bench.run(&["verify"]).expect(0);
    bench
}

#[test]
fn our_import_comes_back_if_someone_deleted_it() {
    let bench = installed("containerd@2.4", THEIRS);
    let ours = bench.read(CONFIG);
    bench.write(CONFIG, THEIRS);
    bench.run(&["verify"]).expect(4).says("toy");
    bench.run(&["repair"]).expect(0);
    assert_eq!(bench.read(CONFIG), ours);
    // A removal finds our file without it, too.
    bench.write(CONFIG, THEIRS);
    bench.run(&["remove", "toy"]).expect(0);
    assert_eq!(bench.read(CONFIG), THEIRS);
    assert!(!bench.at("/etc/containerd/cofferdam.d").exists());
}

const OLD: &str = include_str!("../../../xtask/assets/node/config-1.toml");

#[test]
fn a_copy_of_our_handler_by_another_tool_does_not_outlive_its_files() {
    let copy = "/etc/containerd/conf.d/99-nvidia.toml";
    let config = OLD.replacen("version = 2", "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]", 1);
    let bench = installed("containerd@1.7", &config);
    bench.write(copy, &peers::nvidia_copy(&bench.read(CONFIG)).unwrap());
    assert!(bench.read(copy).contains("runtimes.toy]"));
    // It is the file that counts on 1.x: a second runtime goes there, and stays when the first goes.
    let other = bench.package("other");
    bench.run(&["install", &other]).expect(0);
    bench.run(&["remove", "toy"]).expect(0);
    assert!(bench.read(copy).contains("runtimes.other]") && !bench.read(copy).contains("toy"));
    bench.run(&["remove", "other"]).expect(0);
    assert_eq!(bench.read(CONFIG), config);
    assert_eq!(solid(&bench.read(copy)), solid(&peers::nvidia_copy(&config).unwrap()));
}

/// Without blank lines: those around a table that was edited stay.
fn solid(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.trim().is_empty()).collect()
}

#[test]
fn a_backup_that_another_tool_puts_back_takes_ours_away_or_brings_it_back() {
    let backup = format!("{CONFIG}.bak");
    // Made before us, put back while we are installed.
    let bench = Bench::new("containerd@1.7").with_config(OLD);
    bench.write(&backup, OLD);
    bench.run(&["install", &bench.package("toy")]).expect(0);
    let ours = bench.read(CONFIG);
    bench.write(CONFIG, &bench.read(&backup));
    bench.run(&["verify"]).expect(4).says(CONFIG);
    bench.run(&["repair"]).expect(0);
    assert_eq!(bench.read(CONFIG), ours);
    bench.run(&["verify"]).expect(0);
    // Made while we are installed, put back after our removal.
    bench.write(&backup, &ours);
    bench.run(&["remove", "toy"]).expect(0);
    assert_eq!(bench.read(CONFIG), OLD);
    bench.write(CONFIG, &bench.read(&backup));
    bench.run(&["install", &bench.package("toy")]).expect(4).says("already exists").says(CONFIG);
    // The way out.
    bench.write(CONFIG, OLD);
    bench.run(&["install", &bench.package("toy")]).expect(0);
    bench.run(&["remove", "toy"]).expect(0);
    assert_eq!(bench.read(CONFIG), OLD);
}

#[test]
fn an_edit_of_ours_after_the_commit_is_named_and_has_ways_out() {
    let edits: [(&str, &str, &str, &str); 2] = [
        ("containerd@1.7", OLD, CONFIG, "          ConfigPath"),
        ("containerd@2.4", THEIRS, BY_NAME, "    ConfigPath"),
    ];
    for (engine, config, file, line) in edits {
        for overwrite in [false, true] {
            let bench = installed(engine, config);
            let written = bench.read(file);
            let edited = written.replacen(line, &format!("{line}2 = \"x\"\n{line}"), 1);
            assert_ne!(written, edited, "{written}");
            bench.write(file, &edited);
            let before = bench.snapshot();
            bench.run(&["verify"]).expect(4);
            bench.run(&["remove", "toy"]).expect(4).says(file);
            bench.run(&["repair"]).expect(4).says(file);
            assert_same(&before, &bench.snapshot(), "nothing was changed");
            if overwrite {
                bench.run(&["repair", "--overwrite"]).expect(0);
                assert_eq!(solid(&bench.read(file)), solid(&written));
            } else {
                bench.write(file, &written);
            }
            bench.run(&["verify"]).expect(0);
            bench.run(&["remove", "toy"]).expect(0);
            assert_eq!(solid(&bench.read(CONFIG)), solid(config));
        }
    }
}

/// An upgrade dies, and ours is edited: both ways out lead to a node that verifies.
#[test]
fn an_edit_of_our_entry_in_an_upgrade_is_a_conflict_with_two_ways_out() {
    for keep_theirs in [false, true] {
        let bench = installed("containerd@1.7", OLD);
        let second = bench.package_with("toy", "2.0", &["toy"]);
        bench.run_with(Some("kill:before:commit:1"), &["upgrade", &second]).expect_killed();
        let written = bench.read(CONFIG);
        let edited =
            written.replacen("          ConfigPath", "          Debug = true\n          ConfigPath", 1);
        assert_ne!(written, edited, "{written}");
        bench.write(CONFIG, &edited);
        bench.run(&["recover"]).expect(4).says(CONFIG).says("recover --keep-theirs");
        if keep_theirs {
            bench.run(&["recover", "--keep-theirs"]).expect(7);
            assert_eq!(bench.read(CONFIG), edited);
            bench.run(&["verify"]).expect(4);
            bench.run(&["repair", "--overwrite"]).expect(0);
        } else {
            bench.write(CONFIG, &written);
            bench.run(&["recover"]).expect(7);
        }
        bench.run(&["verify"]).expect(0).says("no drift");
        assert!(bench.read(CONFIG).contains("/1.0-") && !bench.read(CONFIG).contains("/2.0-"));
        bench.run(&["remove", "toy"]).expect(0);
        assert_eq!(solid(&bench.read(CONFIG)), solid(OLD));
        let left: Vec<_> = bench.snapshot().into_keys().filter(|path| path.contains("cofferdam")).collect();
        assert!(left.is_empty() || keep_theirs, "{left:?}");
    }
}
