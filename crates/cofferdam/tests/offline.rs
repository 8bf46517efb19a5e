//! Installing on and removing from offline trees with the real binary: nothing is left, nothing is written twice, and
//! each refusal has its exit code and says what to do.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use support::{Bench, CONFIG, SAMPLES, assert_same, differences, mark, small_program, stamps};

/// Install, install again (no-op), remove: the tree is as before.
fn there_and_back(bench: &Bench, context: &str) {
    let package = bench.package("toy");
    let before = bench.snapshot();
    let done = bench.run(&["install", &package]).expect(0);
    let changed = differences(&before, &bench.snapshot());
    let in_etc = changed.iter().filter(|line| line.starts_with("/etc/containerd")).count();
    assert!(in_etc > 0, "{context}: {changed:?}");
    assert!(done.out.contains("install toy 1.0: done"), "{done}");

    let installed = bench.snapshot();
    let written = stamps(&bench.at("/"));
    bench.run(&["install", &package]).expect(0).says("nothing to do");
    assert_same(&installed, &bench.snapshot(), &format!("{context}: installed twice"));
    assert_eq!(written, stamps(&bench.at("/")), "{context}: a second installation wrote something");

    bench.run(&["remove", "toy"]).expect(0).says("remove toy: done");
    assert_same(&before, &bench.snapshot(), context);
}

#[test]
fn a_tree_without_containerd_is_left_as_it_was() {
    for engine in ["containerd", "containerd@1.7", "containerd@2.4"] {
        let bench = Bench::new(engine);
        there_and_back(&bench, engine);
        assert!(!bench.at("/etc/containerd").exists());
    }
}

#[test]
fn an_empty_configuration_is_left_as_it_was() {
    for engine in ["containerd@1.7", "containerd@2.4"] {
        for text in ["", "\n", "# nothing yet", "version = 2\n"] {
            let bench = Bench::new(engine).with_config(text);
            there_and_back(&bench, &format!("{engine} with {text:?}"));
        }
    }
}

#[test]
fn configurations_of_distributions_are_left_as_they_were() {
    for (name, engine, text) in SAMPLES {
        let bench = Bench::new(engine).with_config(text);
        there_and_back(&bench, name);
    }
    println!("{} samples", SAMPLES.len());
}

#[test]
fn a_linked_configuration_stays_a_link() {
    for target in ["/etc/site/containerd.toml", "../site/containerd.toml"] {
        let bench = Bench::new("containerd@2.4");
        bench.write("/etc/site/containerd.toml", "version = 3\n# theirs\n");
        std::fs::create_dir_all(bench.at("/etc/containerd")).unwrap();
        symlink(target, bench.at(CONFIG)).unwrap();
        let package = bench.package("toy");
        let before = bench.snapshot();
        bench.run(&["install", &package]).expect(0);
        assert_eq!(std::fs::read_link(bench.at(CONFIG)).unwrap().to_str(), Some(target));
        let text = bench.read("/etc/site/containerd.toml");
        assert!(text.contains("cofferdam.d") && text.contains("# theirs"), "{text}");
        bench.run(&["remove", "toy"]).expect(0);
        assert_same(&before, &bench.snapshot(), target);
    }
}

#[test]
fn mode_owner_and_attributes_stay() {
    let bench = Bench::new("containerd@1.7").with_config("version = 2\n");
    let file = bench.at(CONFIG);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
        println!("trusted attribute: {}", mark(&file, "trusted.cofferdam-test", b"kept"));
    }
    println!("user attribute: {}", mark(&file, "user.cofferdam-test", b"kept"));
    let package = bench.package("toy");
    let before = bench.snapshot();
    bench.run(&["install", &package]).expect(0);
    let (then, now) =
        (&before["/etc/containerd/config.toml"], &bench.snapshot()["/etc/containerd/config.toml"]);
    assert_ne!(then.content, now.content);
    assert_eq!((then.mode, then.owner, &then.attributes), (now.mode, now.owner, &now.attributes));
    bench.run(&["remove", "toy"]).expect(0);
    assert_same(&before, &bench.snapshot(), "mode, owner, attributes");
}

#[test]
fn two_runtimes_go_in_either_order() {
    for order in [["one", "two"], ["two", "one"]] {
        let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
        let before = bench.snapshot();
        let (one, two) = (bench.package("one"), bench.package("two"));
        bench.run(&["install", &one]).expect(0);
        bench.run(&["install", &two]).expect(0);
        bench.run(&["remove", order[0]]).expect(0);
        let status = bench.run(&["status", "--json"]).expect(0).json();
        assert_eq!(status["runtimes"][0]["name"], order[1]);
        assert_eq!(status["runtimes"].as_array().map(Vec::len), Some(1));
        bench.run(&["remove", order[1]]).expect(0);
        assert_same(&before, &bench.snapshot(), &order.join(", then "));
    }
}

#[test]
fn the_recovery_unit_comes_and_goes_with_the_runtimes() {
    let folder = support::scratch();
    let bench = Bench::new("containerd@2.4").with_systemd(&small_program(folder.path()));
    there_and_back(&bench, "with systemd");
    let package = bench.package("toy");
    bench.run(&["install", &package]).expect(0);
    let unit = bench.read(support::UNIT);
    assert!(unit.contains("ExecStart=/opt/cofferdam/bin/cofferdam recover --boot"), "{unit}");
    let link = bench.at("/etc/systemd/system/multi-user.target.wants/cofferdam-recover.service");
    assert_eq!(std::fs::read_link(link).unwrap().to_str(), Some(support::UNIT));
    let mode = std::fs::metadata(bench.at("/opt/cofferdam/bin/cofferdam")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn another_prefix_is_kept_for_later_runs() {
    let bench = Bench::new("containerd@2.4");
    let (one, two) = (bench.package("one"), bench.package("two"));
    let before = bench.snapshot();
    bench.run(&["install", &one, "--prefix", "/srv/sandboxes"]).expect(0);
    bench.run(&["install", &two]).expect(0);
    assert!(bench.at("/srv/sandboxes/runtimes/two").is_dir() && !bench.at("/opt").exists());
    bench.run(&["remove", "one"]).expect(0);
    bench.run(&["remove", "two"]).expect(0);
    assert_same(&before, &bench.snapshot(), "with --prefix");
}

#[test]
fn folders_that_others_use_by_then_stay() {
    let bench = Bench::new("containerd@2.4");
    let package = bench.package("toy");
    bench.run(&["install", &package]).expect(0);
    bench.write("/opt/cofferdam/theirs", "x");
    bench.write("/etc/containerd/theirs.toml", "y");
    bench.run(&["remove", "toy"]).expect(0);
    assert_eq!(bench.read("/opt/cofferdam/theirs"), "x");
    assert_eq!(bench.read("/etc/containerd/theirs.toml"), "y");
    assert!(!bench.at("/etc/containerd/cofferdam.d").exists() && !bench.at("/var").exists());
}

/// Runs what must be refused: this exit code, these words, the class in JSON, and an untouched tree.
fn refused(bench: &Bench, args: &[&str], class: &str, code: i32, words: &[&str]) {
    let before = bench.snapshot();
    let written = stamps(&bench.at("/"));
    let mut ran = bench.run(args).expect(code);
    for word in words {
        ran = ran.says(word);
    }
    assert!(ran.err.starts_with("error: "), "{ran}");
    let json: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let outcome = bench.run(&json).expect(code).json();
    assert_eq!((&outcome["result"], &outcome["class"]), (&"refused".into(), &class.into()), "{outcome}");
    assert_same(&before, &bench.snapshot(), &args.join(" "));
    assert_eq!(written, stamps(&bench.at("/")), "{args:?} wrote something");
}

#[test]
fn packages_that_are_none_are_invalid() {
    let bench = Bench::new("containerd@2.4");
    let none = format!("dir:{}", bench.beside("nowhere").display());
    let ran = bench.run(&["install", &none]);
    assert!(ran.code.is_some_and(|code| code != 0), "{ran}");
    ran.says("could not open the package").says("nowhere");

    let empty = bench.beside("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let empty = format!("dir:{}", empty.display());
    refused(&bench, &["install", &empty], "invalid", 2, &["has no runtime.toml", "hint: ", "--preset"]);
    refused(&bench, &["install", &empty, "--preset", "nonesuch"], "invalid", 2, &["no preset `nonesuch`"]);

    let bad = bench.beside("bad");
    support::make_package(&bad, "schema = 1\nname = \"toy\"\nversion = \"1\"\ncolour = \"red\"\n", "toy");
    let bad = format!("dir:{}", bad.display());
    refused(&bench, &["install", &bad], "invalid", 2, &["runtime.toml:4", "colour"]);

    let bare = bench.beside("bare");
    support::make_package(
        &bare,
        "schema = 1\nname = \"toy\"\nversion = \"1\"\n[[handler]]\nname = \"toy\"\nshim = \"bin/absent\"\n",
        "toy",
    );
    refused(&bench, &["install", &format!("dir:{}", bare.display())], "invalid", 2, &["bin/absent"]);

    let leaving = bench.package("leaving");
    symlink("/etc/passwd", bench.beside("packages/leaving-1.0/etc/out")).unwrap();
    refused(&bench, &["install", &leaving], "invalid", 2, &["etc/out", "leaves the package"]);
}

#[test]
fn what_is_not_installed_cannot_be_removed() {
    let bench = Bench::new("containerd@2.4");
    refused(&bench, &["remove", "toy"], "invalid", 2, &["toy is not installed", "cofferdam status"]);
}

#[test]
fn what_is_taken_is_a_conflict() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let package = bench.package("toy");
    bench.run(&["install", &package]).expect(0);

    let other = bench.package_with("other", "1.0", &["other", "toy"]);
    let words = ["handler toy belongs to the installed runtime toy", "cofferdam remove toy"];
    refused(&bench, &["install", &other], "conflict", 4, &words);
}

#[test]
fn a_handler_that_others_registered_is_a_conflict() {
    let text = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.toy]\n  \
                runtime_type = 'io.containerd.runc.v2'\n";
    let bench = Bench::new("containerd@2.4").with_config(text);
    let package = bench.package("toy");
    refused(&bench, &["install", &package], "conflict", 4, &["/etc/containerd/config.toml:2", "toy"]);
}

#[test]
fn an_engine_without_cri_is_unsupported() {
    let bench = Bench::new("containerd@1.7").with_config("version = 2\ndisabled_plugins = [\"cri\"]\n");
    let package = bench.package("toy");
    refused(
        &bench,
        &["install", &package],
        "unsupported",
        3,
        &["/etc/containerd/config.toml:2", "disabled_plugins"],
    );
}

#[test]
fn what_containerd_cannot_read_is_not_edited() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n[plugins\n");
    let package = bench.package("toy");
    let before = bench.snapshot();
    let ran = bench.run(&["install", &package]).says("/etc/containerd/config.toml:2").says("mend the file");
    assert!(ran.code.is_some_and(|code| code != 0), "{ran}");
    assert_same(&before, &bench.snapshot(), "not TOML");
}

#[test]
fn something_in_the_way_is_a_conflict() {
    let file = Bench::new("containerd@2.4");
    file.write("/opt", "a file");
    let package = file.package("toy");
    refused(&file, &["install", &package], "conflict", 4, &["/opt is a file", "move /opt away"]);

    let drop_in = Bench::new("containerd@2.4").with_config("version = 3\n");
    drop_in.write("/etc/containerd/cofferdam.d/toy.toml", "version = 3\n");
    let package = drop_in.package("toy");
    let words = ["/etc/containerd/cofferdam.d/toy.toml is a file that is not ours"];
    refused(&drop_in, &["install", &package], "conflict", 4, &words);
}

#[test]
fn our_files_changed_by_others_are_a_conflict() {
    let bench = Bench::new("containerd@2.4").with_config("version = 3\n");
    let package = bench.package("toy");
    bench.run(&["install", &package]).expect(0);
    let path = "/etc/containerd/cofferdam.d/toy.toml";
    bench.write(path, &format!("{}# theirs\n", bench.read(path)));
    refused(&bench, &["remove", "toy"], "conflict", 4, &[path, "changed by someone else", "hint: "]);
}

#[test]
fn a_tree_must_be_named_with_its_engine() {
    let bench = Bench::new("containerd@2.4");
    let package = bench.package("toy");
    let run = |args: &[&str]| {
        let mut command = bench.command();
        command.args(["install", &package]).args(args);
        support::finish(command)
    };
    let root = bench.at("/").display().to_string();
    run(&["--root", &root]).expect(2).says("--engine");
    run(&["--engine", "containerd"]).expect(2).says("--root");
    run(&["--no-systemd"]).expect(2).says("--root");
    run(&["--root", &root, "--engine", "podman"]).expect(2).says("only containerd is supported");
    run(&["--root", &root, "--engine", "containerd@new"]).expect(2).says("is not a release");
    let nowhere = format!("{root}/nowhere");
    let ran = run(&["--root", &nowhere, "--engine", "containerd", "--no-systemd"]).says("nowhere");
    assert!(ran.code.is_some_and(|code| code != 0) && ran.err.contains("cause: No such file"), "{ran}");
    run(&["--root", &format!("{root}/../packages/toy-1.0/runtime.toml"), "--engine", "containerd"])
        .says("could not open");
}
