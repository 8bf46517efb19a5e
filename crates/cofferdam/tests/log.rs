//! `cofferdam log`: what was done on a tree, whatever became of it.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::Value;
use support::Bench;

const LOG: &str = "/var/lib/cofferdam/log";

fn entries(bench: &Bench) -> Vec<Value> {
    bench.run(&["log", "--json"]).expect(0).json()["entries"].as_array().unwrap().clone()
}

fn told(bench: &Bench) -> Vec<String> {
    let tell = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        format!("{}: {} {} -> {}", text("change"), text("result"), entry["before"], entry["after"])
    };
    entries(bench).iter().map(tell).collect()
}

#[test]
fn each_end_is_told_and_the_last_removal_takes_the_log_away() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let before = bench.snapshot();
    bench.run(&["log"]).expect(0).says("the log is empty");
    bench.run(&["install", &bench.package("one")]).expect(0);
    bench.run(&["install", &bench.package("one")]).expect(0).says("nothing to do");
    bench.run(&["install", &bench.package("two")]).expect(0);
    bench.run(&["remove", "one"]).expect(0);
    bench.run(&["remove", "one"]).expect(2);
    assert_eq!(
        told(&bench),
        [
            "install one 1.0: committed 0 -> 1",
            "install two 1.0: committed 1 -> 2",
            "remove one: committed 2 -> 3"
        ]
    );
    let last = bench.run(&["log", "-n", "1", "--json"]).expect(0).json();
    assert_eq!(last["entries"].as_array().unwrap().len(), 1);
    assert_eq!(last["entries"][0]["change"], "remove one");
    let first = &entries(&bench)[0];
    assert_eq!(first["verdict"]["verdict"], "offline");
    assert_eq!(first["by"]["through"], "command");
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(first["by"]["uid"], uid);
    let time = first["time"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z') && time.starts_with("20"), "{time}");
    bench.run(&["remove", "two"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "all removed");
}

#[test]
fn who_called_sudo_is_told() {
    let bench = Bench::new("containerd@2.4");
    let mut command = bench.command();
    command.env("SUDO_USER", "ann").args(["install", &bench.package("toy"), "--engine", "containerd@2.4"]);
    command.args(["--no-systemd", "--root"]).arg(bench.at("/"));
    support::finish(command).expect(0);
    assert_eq!(entries(&bench)[0]["by"]["sudo_user"], "ann");
    bench.run(&["log"]).expect(0).says("by ann (sudo)");
}

#[test]
fn a_torn_line_is_no_entry() {
    let bench = Bench::new("containerd@2.4");
    bench.run(&["install", &bench.package("one")]).expect(0);
    let log = bench.read(LOG);
    bench.write(LOG, &format!("{log}{{\"id\":\"to"));
    assert_eq!(told(&bench), ["install one 1.0: committed 0 -> 1"]);
    bench.run(&["install", &bench.package("two")]).expect(0);
    assert!(bench.read(LOG).starts_with(&log) && !bench.read(LOG).contains("\"to\""));
    assert_eq!(told(&bench).len(), 2);
}

#[cfg(feature = "failpoints")]
#[test]
fn what_failed_or_was_interrupted_is_told_once() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    bench.run(&["install", &bench.package("one")]).expect(0);
    bench.run_with(Some("fail:write-file:1"), &["install", &bench.package("two")]);
    assert_eq!(told(&bench)[1], "install two 1.0: rolled-back 1 -> 1");

    bench.run_with(Some("kill:after:write-file:1"), &["install", &bench.package("two")]).expect_killed();
    bench.run(&["recover"]).expect(7);
    assert_eq!(told(&bench)[2..], ["install two 1.0: rolled-back 1 -> 1"]);
    assert_eq!(entries(&bench)[2]["message"], "install two 1.0: taken back: it was interrupted");

    // Whatever change the end is interrupted at: one line, or one that says that the rest was finished later.
    let mut seen = Vec::new();
    for n in 1.. {
        let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
        bench.run(&["install", &bench.package("one")]).expect(0);
        let fault = format!("kill:change:{n}");
        if bench.run_with(Some(&fault), &["install", &bench.package("two")]).signal.is_none() {
            break;
        }
        bench.run(&["recover"]);
        let told = told(&bench)[1..].to_vec();
        let begun = bench.run(&["status", "--json"]).json()["generation"] == 2;
        match told.as_slice() {
            // Killed before the journal was there: nothing had begun.
            [] => assert!(!begun && seen.is_empty(), "{fault}"),
            [one] => {
                let end = if begun {
                    "install two 1.0: committed 1 -> 2"
                } else {
                    "install two 1.0: rolled-back 1 -> 1"
                };
                assert_eq!(one, end, "{fault}");
                seen.push(begun);
            }
            more => panic!("{fault}: {more:?}"),
        }
    }
    assert!(seen.contains(&true) && seen.contains(&false) && seen.len() > 10, "{seen:?}");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_conflict_is_told_until_it_is_settled() {
    let bench = Bench::new("containerd@1.7").with_config("version = 2\n");
    bench.run(&["install", &bench.package("one")]).expect(0);
    bench.run_with(Some("kill:after:write-file:1"), &["install", &bench.package("two")]).expect_killed();
    let edited = bench.read(support::CONFIG).replace("/two.toml\"", "/theirs.toml\"");
    bench.write(support::CONFIG, &edited);
    bench.run(&["recover"]).expect(4);
    bench.run(&["recover", "--keep-theirs"]);
    let told: Vec<String> = told(&bench)[1..].to_vec();
    assert_eq!(told, ["install two 1.0: conflict 1 -> 1", "install two 1.0: rolled-back 1 -> 1"]);
    let conflict = &entries(&bench)[1];
    assert_eq!(conflict["class"], "conflict");
    assert!(conflict["message"].as_str().unwrap().contains(support::CONFIG), "{conflict}");
}
