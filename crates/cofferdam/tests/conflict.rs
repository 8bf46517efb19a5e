//! Others edit the configuration after a crash and before recovery: what is theirs stays.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

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
