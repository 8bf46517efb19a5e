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
        .map(|line| match line.split_once(" MiB ") {
            Some((before, after)) => {
                let before = before.trim_end_matches(|c: char| c.is_ascii_digit());
                // Beside it the doctor says how many inodes, or that there is no limit.
                let after = after.split_once("free").map_or(after, |(_, after)| after);
                format!("{before}[SPACE] MiB free{after}\n")
            }
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
fn doctor() {
    let bench = Bench::new("containerd@1.7").with_config("version = 2\n");
    bench.write("/etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian 13\"\n");
    golden(&bench, "doctor", &bench.run(&["doctor"]));
    golden(&bench, "doctor-preset", &bench.run(&["doctor", "gvisor", "crun"]));
    golden(&bench, "doctor-preset-unknown", &bench.run(&["doctor", "gvisr"]));
    // A package that asks for hardware, which a tree cannot show.
    let kata = requiring(&bench, "kvm");
    golden(&bench, "doctor-package", &bench.run(&["doctor", &kata]));
    let report = bench.run(&["doctor", &kata, "--json"]).expect(0).json();
    assert_eq!(report["runtimes"][0]["verdict"], "cannot-tell", "{report:#}");
    assert_eq!(report["facts"]["os"]["Ok"]["id"], "debian", "{report:#}");

    // Another installer of the same runtime, and a system that takes no change.
    bench.write("/opt/kata/bin/containerd-shim-kata-v2", "");
    let report = bench.run(&["doctor", &kata, "--json"]).expect(3).json();
    assert_eq!(report["runtimes"][0]["verdict"], "not-ready", "{report:#}");
    assert_eq!(report["runtimes"][0]["because"], serde_json::json!(["other-installers"]), "{report:#}");
    bench.run(&["doctor", "gvisor"]).expect(0).says("kata-deploy (/opt/kata)");
    bench.write("/etc/os-release", "ID=talos\nPRETTY_NAME=\"Talos (v1.9)\"\n");
    golden(&bench, "doctor-immutable", &bench.run(&["doctor"]));
}

#[test]
fn the_plan_refuses_what_the_doctor_refuses() {
    let bench = Bench::new("containerd@1.7").with_config("version = 2\nimports = [\"/etc/gone.toml\"]\n");
    let package = bench.package("toy");
    let before = bench.snapshot();
    golden(&bench, "unfit-plan", &bench.run(&["plan", &package]));
    golden(&bench, "unfit-install-json", &bench.run(&["install", &package, "--json"]));
    support::assert_same(&before, &bench.snapshot(), "nothing was written");
    golden(&bench, "unfit-skip-unknown", &plain(&bench, &["plan", &package, "--skip-check", "cnii"]));
    golden(&bench, "unfit-skip-closed", &plain(&bench, &["plan", &package, "--skip-check", "unit"]));
    let skip = ["--skip-check", "engine-imports", "--skip-check", "cni"];
    let planned = bench.run(&[&["plan", &package, "--json"], &skip[..]].concat()).expect(0).json();
    assert_eq!(planned["overridden"][0]["check"], "engine-imports", "{planned:#}");
    golden(&bench, "unfit-skipped", &bench.run(&[&["install", &package], &skip[..]].concat()));
    // What is there already needs no fit node; what goes asks no doctor.
    bench.run(&["install", &package]).expect(0).says("nothing to do");
    bench.run(&["remove", "toy"]).expect(0);
    support::assert_same(&before, &bench.snapshot(), "all is gone");
}

/// A package of the name kata that requires `what`.
fn requiring(bench: &Bench, what: &str) -> String {
    let folder = bench.beside("kata");
    let text = format!(
        "schema = 1\nname = \"kata\"\nversion = \"1\"\n[[handler]]\nname = \"kata\"\n\
         shim = \"bin/containerd-shim-kata-v1\"\nrequires = [\"{what}\"]\n"
    );
    support::make_package(&folder, &text, "kata");
    format!("dir:{}", folder.display())
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
