//! What the program prints: golden files in `tests/cli`. `COFFERDAM_UPDATE=1 cargo test -p cofferdam --test cli` writes
//! them anew, to be read in the diff.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use support::{Bench, Ran};

/// Compares what was printed with the golden file `name`; paths of this run and durations are left out.
fn golden(bench: &Bench, name: &str, ran: &Ran) {
    let code = ran.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    let mut shown = format!("exit code {code}\n--- output\n{}--- errors\n{}", ran.out, ran.err);
    let tree = bench.at("/").display().to_string();
    for path in [tree.trim_end_matches('/'), bench.beside("").to_str().unwrap().trim_end_matches('/')] {
        shown = shown.replace(path, if path.ends_with("root") { "[TREE]" } else { "[FOLDER]" });
    }
    let shown: String = shown
        .lines()
        .map(|line| match line.split_once("\": ") {
            // A duration, in the object `millis`.
            Some((key, value)) if line.starts_with("    \"") && is_number(value) => {
                format!("{key}\": 0{}\n", value.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let shown = without_space(&shown);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(format!("{name}.txt"));
    if std::env::var_os("COFFERDAM_UPDATE").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == expected, "{name}: printed\n{shown}\n--- instead of\n{expected}");
}

/// The text without how much room this machine has.
fn without_space(text: &str) -> String {
    text.lines()
        .map(|line| match line.strip_suffix(" MiB free").and_then(|line| line.rsplit_once(' ')) {
            Some((line, _)) => format!("{line} [SPACE] MiB free\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

fn is_number(text: &str) -> bool {
    let text = text.trim_end_matches(',');
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn plain(bench: &Bench, args: &[&str]) -> Ran {
    let mut command = bench.command();
    command.args(args).env("COLUMNS", "100");
    support::finish(command)
}

#[test]
fn help() {
    let bench = Bench::new("containerd");
    golden(&bench, "help", &plain(&bench, &["--help"]));
    for name in ["catalog", "doctor", "status", "plan", "install", "remove", "recover"] {
        golden(&bench, &format!("help-{name}"), &plain(&bench, &[name, "--help"]));
    }
    let version = plain(&bench, &["--version"]).expect(0);
    assert_eq!(version.out, concat!("cofferdam ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn catalog() {
    let bench = Bench::new("containerd");
    golden(&bench, "catalog", &plain(&bench, &["catalog"]));
    golden(&bench, "catalog-show", &plain(&bench, &["catalog", "show", "crun"]));
    golden(&bench, "catalog-unknown", &plain(&bench, &["catalog", "show", "crum"]));
    let json = plain(&bench, &["catalog", "--json"]).expect(0).json();
    let names: Vec<_> =
        json.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gvisor", "gvisor-oci", "crun"]);
    golden(&bench, "catalog-show-json", &plain(&bench, &["catalog", "show", "crun", "--json"]));
}

#[test]
fn a_life() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n\n[grpc]\n  uid = 0\n");
    let package = bench.package("toy");
    golden(&bench, "plan", &bench.run(&["plan", &package]));
    golden(&bench, "plan-json", &bench.run(&["plan", &package, "--json"]));
    golden(&bench, "install", &bench.run(&["install", &package]));
    golden(&bench, "install-again", &bench.run(&["install", &package]));
    golden(&bench, "plan-nothing", &bench.run(&["plan", &package]));
    golden(&bench, "status", &bench.run(&["status"]));
    golden(&bench, "remove-dry-run", &bench.run(&["remove", "toy", "--dry-run"]));
    golden(&bench, "recover-nothing", &bench.run(&["recover"]));
    let removed = bench.run(&["remove", "toy", "--json"]).expect(0);
    golden(&bench, "remove-json", &Ran { err: String::new(), ..removed });
}

#[test]
fn errors() {
    let bench = Bench::new("containerd@2.4");
    let bad = bench.beside("bad");
    support::make_package(&bad, "schema = 1\nname = \"Toy\"\nversion = \"1\"\ncolor = 3\n", "toy");
    let bad = format!("dir:{}", bad.display());
    golden(&bench, "error-descriptor", &bench.run(&["install", &bad]));
    golden(&bench, "error-not-installed", &bench.run(&["remove", "toy"]));
    golden(&bench, "error-not-installed-json", &bench.run(&["remove", "toy", "--json"]));
    golden(&bench, "error-usage", &plain(&bench, &["install"]));
    golden(&bench, "error-source", &plain(&bench, &["install", "toy"]));
    golden(&bench, "error-root", &plain(&bench, &["status", "--root", "/"]));
}
