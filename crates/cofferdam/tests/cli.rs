//! What the program prints: golden files in `tests/cli`. `COFFERDAM_UPDATE=1 cargo test -p cofferdam --test cli` writes
//! them anew, to be read in the diff.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use support::{Bench, CONFIG, Ran};

/// Compares what was printed with the golden file `name`; what differs between two runs is left out.
#[track_caller]
fn golden(bench: &Bench, name: &str, ran: &Ran) {
    let code = ran.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    let mut shown = format!("exit code {code}\n--- output\n{}--- errors\n{}", ran.out, ran.err);
    let tree = bench.at("/").display().to_string();
    for path in [tree.trim_end_matches('/'), bench.beside("").to_str().unwrap().trim_end_matches('/')] {
        shown = shown.replace(path, if path.ends_with("root") { "[TREE]" } else { "[FOLDER]" });
    }
    let shown: String = shown.lines().map(|line| format!("{}\n", steady(line))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(format!("{name}.txt"));
    if std::env::var_os("COFFERDAM_UPDATE").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == expected, "{name}: printed\n{shown}\n--- instead of\n{expected}");
}

/// A line without durations, times, ids, who runs the tests, and how much room this machine has.
fn steady(line: &str) -> String {
    let blank = line.len() - line.trim_start().len();
    let (indent, text) = line.split_at(blank);
    let steady = match text {
        _ if text.ends_with(" MiB free") => {
            let (before, _) = text.trim_end_matches(" MiB free").rsplit_once(' ').unwrap();
            format!("{before} [SPACE] MiB free")
        }
        _ if text.contains(" MiB and ") && text.contains(" inodes free for ") => {
            let (before, _) = text.split_once(" MiB and ").unwrap().0.rsplit_once(' ').unwrap();
            let (_, place) = text.split_once(" inodes free for ").unwrap();
            format!("{before} [SPACE] MiB free for {place}")
        }
        _ if text.starts_with("by ") && text.contains(", id ") => {
            let generation = text.split(", ").find(|part| part.starts_with("generation")).unwrap();
            format!("by [WHO], [SECONDS] s, {generation}, id [ID]")
        }
        _ if text.get(10..11) == Some("T") && text.get(19..20) == Some("Z") => {
            format!("[TIME]{}", &text[20..])
        }
        _ if text.starts_with("{\"event\"") => {
            let mut event: serde_json::Value = serde_json::from_str(text).unwrap();
            let object = event.as_object_mut().unwrap();
            for changing in ["id", "millis"] {
                object.entry(changing).and_modify(|value| *value = "[VARIES]".into());
            }
            event.to_string()
        }
        _ => text.to_owned(),
    };
    format!("{indent}{steady}")
}

fn plain(bench: &Bench, args: &[&str]) -> Ran {
    let mut command = bench.command();
    command.args(args).env("COLUMNS", "100");
    support::finish(command)
}

/// Every command that the help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter(|line| !line.starts_with("     "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn help() {
    let bench = Bench::new("containerd");
    let help = plain(&bench, &["--help"]).expect(0);
    golden(&bench, "help", &help);
    let commands = commands(&help.out);
    assert!(commands.len() > 15, "{commands:?}");
    for name in commands.iter().filter(|name| *name != "help") {
        let ran = plain(&bench, &[name, "--help"]).expect(0);
        assert!(ran.out.contains(&format!("\nExamples:\n  cofferdam {name}")), "{name} has no example");
        golden(&bench, &format!("help-{name}"), &ran);
    }
    let version = plain(&bench, &["--version"]).expect(0);
    assert_eq!(version.out, concat!("cofferdam ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// What kubectl runs as its plugin: the program by another name.
fn plugin(bench: &Bench, args: &[&str]) -> Ran {
    let mut command = bench.command();
    command.arg0("/usr/local/bin/kubectl-cofferdam").args(args).env("COLUMNS", "100");
    support::finish(command)
}

#[test]
fn the_plugins_help() {
    let bench = Bench::new("containerd");
    let help = plugin(&bench, &["--help"]).expect(0);
    golden(&bench, "kubectl-help", &help);
    let commands = commands(&help.out);
    assert!(commands.len() > 8, "{commands:?}");
    for name in commands.iter().filter(|name| *name != "help") {
        let ran = plugin(&bench, &[name, "--help"]).expect(0);
        golden(&bench, &format!("kubectl-help-{name}"), &ran);
        // The same commands without kubectl.
        plain(&bench, &["cluster", name, "--help"]).expect(0);
    }
    let absent = bench.beside("absent/kubeconfig");
    let ran = plugin(&bench, &["status", "--kubeconfig", absent.to_str().unwrap()]).expect(2);
    golden(&bench, "kubectl-no-config", &ran);
}

#[test]
fn files_are_rendered_without_a_cluster() {
    let bench = Bench::new("containerd");
    let path = bench.beside("runtimes.yaml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, include_str!("../../../docs/examples/runtimes.yaml")).unwrap();
    golden(&bench, "render", &plugin(&bench, &["render", file]).expect(0));
    let with =
        ["render", file, "--no-api", "--image", "registry.example/cofferdam:1", "--namespace", "sandboxes"];
    golden(&bench, "render-no-api", &plugin(&bench, &with).expect(0));
    std::fs::write(&path, include_str!("../../../docs/examples/kata-manager.yaml")).unwrap();
    golden(
        &bench,
        "render-kata-manager",
        &plugin(&bench, &["render", file, "--no-api", "--prune"]).expect(0),
    );
    std::fs::write(&path, "kind: Pod\n").unwrap();
    golden(&bench, "render-wrong", &plugin(&bench, &["render", file]).expect(2));
}

#[test]
fn completions_and_manual_name_every_command() {
    let bench = Bench::new("containerd");
    let commands = commands(&plain(&bench, &["--help"]).out);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = plain(&bench, &["completions", shell]).expect(0).out;
        for name in &commands {
            assert!(script.contains(name), "{name} is not in the script for {shell}");
        }
        assert!(!script.contains("rehearse-child"), "{shell} completes what is hidden");
    }
    let folder = bench.beside("man/man1");
    plain(&bench, &["man", "--out", folder.to_str().unwrap()]).expect(0);
    for name in commands.iter().filter(|name| *name != "help") {
        let page = std::fs::read_to_string(folder.join(format!("cofferdam-{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{page}");
    }
    let first = std::fs::read_to_string(folder.join("cofferdam.1")).unwrap();
    assert_eq!(first, plain(&bench, &["man"]).expect(0).out);
    assert!(!folder.join("cofferdam-worker.1").exists());
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
    assert_eq!(names, ["gvisor", "gvisor-oci", "kata", "crun"]);
    golden(&bench, "catalog-show-json", &plain(&bench, &["catalog", "show", "crun", "--json"]));
}

#[test]
fn a_life() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n\n[grpc]\n  uid = 0\n");
    let package = bench.package("toy");
    golden(&bench, "plan", &bench.run(&["plan", &package]));
    golden(&bench, "plan-json", &bench.run(&["plan", &package, "--json"]));
    golden(&bench, "log-empty", &bench.run(&["log"]));
    golden(&bench, "install", &bench.run(&["install", &package]));
    golden(&bench, "install-again", &bench.run(&["install", &package]));
    golden(&bench, "plan-nothing", &bench.run(&["plan", &package]));
    golden(&bench, "status", &bench.run(&["status"]));
    golden(&bench, "verify", &bench.run(&["verify"]));
    golden(&bench, "recover-nothing", &bench.run(&["recover"]));
    golden(&bench, "remove-dry-run", &bench.run(&["remove", "toy", "--dry-run"]));

    let newer = bench.package_with("toy", "2.0", &["toy"]);
    golden(&bench, "upgrade", &bench.run(&["upgrade", &newer]));
    golden(&bench, "status-upgraded", &bench.run(&["status"]));
    golden(&bench, "rollback-dry-run", &bench.run(&["rollback", "toy", "--dry-run"]));
    golden(&bench, "rollback-quiet", &bench.run(&["rollback", "toy", "--quiet"]));
    golden(&bench, "gc-dry-run", &bench.run(&["gc", "--all", "--dry-run"]));
    golden(&bench, "gc", &bench.run(&["gc", "--all"]));

    golden(&bench, "error-no-rollback", &bench.run(&["rollback", "toy"]).expect(2));

    let theirs = bench.read(CONFIG).replace("imports", "# imports");
    let ours = bench.read(CONFIG);
    bench.write(CONFIG, &theirs);
    golden(&bench, "verify-drift", &bench.run(&["verify"]).expect(4));
    golden(&bench, "repair-dry-run", &bench.run(&["repair", "--dry-run"]));
    golden(&bench, "repair", &bench.run(&["repair"]));
    let edited = bench.read("/etc/containerd/cofferdam.d/toy.toml");
    bench.write("/etc/containerd/cofferdam.d/toy.toml", "version = 3\n");
    golden(&bench, "repair-refused", &bench.run(&["repair"]).expect(4));
    bench.write("/etc/containerd/cofferdam.d/toy.toml", &edited);
    bench.write(CONFIG, &ours);
    golden(&bench, "log", &bench.run(&["log"]));
    golden(&bench, "remove-json", &bench.run(&["remove", "toy", "--json"]));
}

#[test]
fn events_tell_a_change_from_its_begin_to_its_outcome() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let ran = bench.run(&["install", &bench.package("toy"), "--json"]).expect(0);
    let events = ran.events();
    assert_eq!(ran.out.lines().count(), events.len(), "one event per line");
    assert_eq!(ran.err, "");
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[1], kinds[kinds.len() - 1]), ("read", "started", "finished"));
    let steps = usize::try_from(events[1]["steps"].as_u64().unwrap()).unwrap();
    assert_eq!(kinds.iter().filter(|kind| **kind == "step").count(), steps);
    assert!(kinds.contains(&"staged"));
    let last = &events[events.len() - 1];
    assert_eq!((&last["result"], &last["generation"]), (&"committed".into(), &1.into()));
}

#[test]
fn quiet_says_what_went_wrong_and_nothing_else() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let package = bench.package("toy");
    let silent = |ran: Ran| assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    silent(bench.run(&["install", &package, "-q"]).expect(0));
    silent(bench.run(&["-q", "install", &package]).expect(0));
    bench.run(&["-q", "status"]).expect(0).says("runtime     toy");
    bench.run(&["-q", "remove", "nonesuch"]).expect(2).says("error: nonesuch is not installed");
    let verbose = bench.run(&["-v", "remove", "toy"]).expect(0);
    assert!(verbose.out.lines().filter(|line| line.trim_end().ends_with(" ms")).count() > 5, "{verbose}");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let package = bench.package("toy");
    let is_coloured = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = bench.command();
        command.args(["plan", &package, "--engine", "containerd@2.4", "--no-systemd", "--root"]);
        command.arg(bench.at("/")).args(args);
        command.envs(variables.iter().copied());
        support::finish(command).expect(0).out.contains("\u{1b}[")
    };
    assert!(!is_coloured(&[], &[]), "this is no terminal");
    assert!(is_coloured(&[("CLICOLOR_FORCE", "1")], &[]));
    assert!(!is_coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[]));
    assert!(is_coloured(&[("NO_COLOR", "1")], &["--color", "always"]));
    assert!(!is_coloured(&[("CLICOLOR_FORCE", "1")], &["--color", "never"]));
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
    bench.run(&["doctor", &kata]).expect(0).says("kata-deploy (/opt/kata)");
    let table = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.kata-qemu]";
    let entry = "runtime_type = \"/opt/kata/bin/containerd-shim-kata-v2\"";
    bench.write(CONFIG, &format!("version = 2\n{table}\n{entry}\n"));
    let report = bench.run(&["doctor", &kata, "--json"]).expect(3).json();
    assert_eq!(report["runtimes"][0]["verdict"], "not-ready", "{report:#}");
    assert_eq!(report["runtimes"][0]["because"], serde_json::json!(["other-installers"]), "{report:#}");
    bench.run(&["doctor", "gvisor"]).expect(0).says("kata-deploy (/etc/containerd/config.toml)");
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
    golden(&bench, "error-descriptor", &bench.run(&["install", &bad]).expect(2));
    golden(&bench, "error-not-installed", &bench.run(&["remove", "toy"]).expect(2));
    golden(&bench, "error-not-installed-json", &bench.run(&["remove", "toy", "--json"]).expect(2));
    golden(&bench, "error-upgrade", &bench.run(&["upgrade", &bench.package("toy")]).expect(2));
    golden(&bench, "error-rollback", &bench.run(&["rollback", "toy"]).expect(2));

    let absent = format!("dir:{}", bench.beside("nowhere").display());
    golden(&bench, "error-no-folder", &bench.run(&["install", &absent]).expect(2));
    let empty = bench.beside("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let empty = format!("dir:{}", empty.display());
    golden(&bench, "error-no-descriptor", &bench.run(&["install", &empty]).expect(2));
    golden(&bench, "error-preset", &bench.run(&["install", &empty, "--preset", "gvisr"]).expect(2));

    let toy = bench.package("toy");
    bench.write(CONFIG, "version = 3\nroot = [\n");
    golden(&bench, "error-config", &bench.run(&["install", &toy]).expect(2));
    bench.write(CONFIG, "version = 3\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.toy]\n");
    golden(&bench, "error-handler-taken", &bench.run(&["install", &toy]).expect(4));
    bench.write("/var/lib/cofferdam/ledger.json", "{\"schema\": 9}");
    golden(&bench, "error-newer-ledger", &bench.run(&["status"]).expect(3));
}

#[test]
fn errors_of_usage() {
    let bench = Bench::new("containerd@2.4");
    let tree = bench.at("/");
    let tree = tree.to_str().unwrap();
    for (name, args) in [
        ("missing", &["install"][..]),
        ("source", &["install", "toy"]),
        ("name", &["remove", "Toy_1"]),
        ("command", &["instal"]),
        ("option", &["install", "dir:x", "--perset", "gvisor"]),
        ("conflict", &["remove", "toy", "--wait", "1m", "--force"]),
        ("duration", &["remove", "toy", "--wait", "1d"]),
        ("color", &["status", "--color", "blue"]),
        ("json", &["remove", "Toy_1", "--json"]),
        ("no-engine", &["status", "--root", tree]),
        ("no-root", &["status", "--engine", "containerd"]),
        ("engine", &["status", "--root", tree, "--engine", "docker"]),
        ("release", &["status", "--root", tree, "--engine", "containerd@new"]),
        ("live-root", &["status", "--root", "/", "--engine", "containerd"]),
        ("absent-root", &["status", "--root", "/nowhere/at/all", "--engine", "containerd"]),
    ] {
        let ran = plain(&bench, args).expect(2);
        assert_ne!(ran.err.starts_with("error: "), args.contains(&"--json"), "{ran}");
        golden(&bench, &format!("usage-{name}"), &ran);
    }
}

#[test]
fn who_is_not_root_is_told_so() {
    let bench = Bench::new("containerd");
    let folder = bench.beside("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = std::process::Command::new(support::small_program(&folder));
    if rustix::process::geteuid().is_root() {
        // Others may pass the folder of this test, which is ours alone otherwise.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bench.beside(""), open).unwrap();
        command = std::process::Command::new(folder.join("cofferdam"));
        command.uid(65534).gid(65534);
    }
    command.arg("status");
    golden(&bench, "error-not-root", &support::finish(command).expect(3));
}
