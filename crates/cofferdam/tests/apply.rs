//! `cofferdam apply` on offline trees with the real binary.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::{Bench, Ran, assert_same, stamps};

/// A file with one SandboxRuntime for each name and package (`dir:PATH`).
fn file(runtimes: &[(&str, &str)]) -> String {
    let one = |(name, package): &(&str, &str)| {
        let directory = package.strip_prefix("dir:").unwrap();
        format!(
            "apiVersion: cofferdam.dev/v1alpha1\nkind: SandboxRuntime\nmetadata:\n  name: {name}\nspec:\n  package:\n    \
             source:\n      directory: {directory}\n"
        )
    };
    runtimes.iter().map(one).collect::<Vec<_>>().join("---\n")
}

/// What is carried to a machine in one piece: an image in the OCI layout, and an archive with the files.
#[test]
fn layouts_and_archives_are_sources_too() {
    let bench = Bench::new("containerd@2.4");
    let (old, new) = (bench.package_with("toy", "1.0", &["toy"]), bench.package_with("toy", "2.0", &["toy"]));
    let (layout, tar) = (bench.beside("toy.layout"), bench.beside("toy.tar"));
    let mut pack = bench.command();
    support::finish({
        pack.args(["pack", &old, "-o", layout.to_str().unwrap()]);
        pack
    })
    .expect(0);
    let mut builder = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    builder.append_dir_all(".", new.strip_prefix("dir:").unwrap()).unwrap();
    builder.finish().unwrap();
    let from = |key: &str, path: &std::path::Path| {
        let directory = format!("directory: {}", old.strip_prefix("dir:").unwrap());
        file(&[("toy", &old)]).replace(&directory, &format!("{key}: {}", path.display()))
    };
    apply(&bench, &from("layout", &layout), &[]).expect(0).says("install toy 1.0: done");
    apply(&bench, &from("layout", &layout), &[]).expect(0).says("nothing to do");
    apply(&bench, &from("tar", &tar), &[]).expect(0).says("upgrade toy 1.0 to 2.0: done");
    let relative = from("tar", std::path::Path::new("toy.tar"));
    apply(&bench, &relative, &[])
        .expect(2)
        .says("`spec.package.source.tar`: `toy.tar` is not an absolute path");
    let both =
        from("tar", &tar).replace("      tar:", &format!("      layout: {}\n      tar:", layout.display()));
    apply(&bench, &both, &[]).expect(2).says("exactly one of `oci`, `layout`, `tar` and `directory`");
}

/// A file may know that its package is larger than others; who applies it has the last word.
#[test]
fn limits_are_the_files_and_then_the_callers() {
    let bench = Bench::new("containerd@2.4");
    let package = bench.package("toy");
    let tar = bench.beside("toy.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    builder.append_dir_all(".", package.strip_prefix("dir:").unwrap()).unwrap();
    builder.finish().unwrap();
    let directory = format!("directory: {}", package.strip_prefix("dir:").unwrap());
    let text = file(&[("toy", &package)])
        .replace(&directory, &format!("tar: {}", tar.display()))
        .replace("    source:", "    limits: {maxEntries: 2}\n    source:");
    apply(&bench, &text, &[]).expect(2).says("more than 2 entries").says("docs/archives.md");
    apply(&bench, &text, &["--max-entries", "50"]).expect(0).says("install toy 1.0: done");
    let wrong = text.replace("maxEntries: 2", "maxEntries: 0");
    apply(&bench, &wrong, &[]).expect(2).says("limits.maxEntries");
    let unknown = text.replace("maxEntries: 2", "most: 2");
    apply(&bench, &unknown, &[]).expect(2).says("`most`");
}

fn apply(bench: &Bench, text: &str, args: &[&str]) -> Ran {
    let path = bench.beside("runtimes.yaml");
    std::fs::write(&path, text).unwrap();
    bench.run(&[&["apply", "-f", path.to_str().unwrap()], args].concat())
}

fn installed(bench: &Bench) -> Vec<String> {
    let status = bench.run(&["status", "--json"]).expect(0).json();
    let runtimes = status["runtimes"].as_array().unwrap();
    runtimes.iter().map(|runtime| runtime["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_second_time_writes_nothing_and_what_is_gone_goes_only_with_prune() {
    let bench = Bench::new("containerd@2.4");
    let before = bench.snapshot();
    let (one, two) = (bench.package("one"), bench.package("two"));
    let both = file(&[("first", &one), ("second", &two)]);

    apply(&bench, &both, &["--dry-run"]).expect(0).says("install one 1.0:").says("install two 1.0:");
    assert_same(&before, &bench.snapshot(), "a dry run");
    let first = apply(&bench, &both, &[]).expect(0);
    assert!(
        first.out.contains("install one 1.0: done") && first.out.contains("install two 1.0: done"),
        "{first}"
    );
    let there = bench.snapshot();
    let written = stamps(&bench.at("/"));
    apply(&bench, &both, &["--prune"]).expect(0).says("install one 1.0: nothing to do");
    assert_same(&there, &bench.snapshot(), "applied twice");
    assert_eq!(written, stamps(&bench.at("/")), "a second apply wrote something");

    let only = file(&[("first", &one)]);
    apply(&bench, &only, &[]).expect(0);
    assert_same(&there, &bench.snapshot(), "without --prune nothing is removed");
    apply(&bench, &only, &["--prune", "--dry-run"]).expect(0).says("remove two:");
    assert_same(&there, &bench.snapshot(), "a dry run removes nothing");
    apply(&bench, &only, &["--prune"]).expect(0).says("remove two: done");
    assert_eq!(installed(&bench), ["one"]);

    bench.run(&["remove", "one"]).expect(0);
    assert_same(&before, &bench.snapshot(), "all removed");
}

#[test]
fn what_somebody_else_installed_is_not_pruned() {
    let bench = Bench::new("containerd@1.7");
    let (mine, theirs) = (bench.package("mine"), bench.package("theirs"));
    bench.run(&["install", &theirs]).expect(0);
    let file_text = file(&[("mine", &mine)]);
    apply(&bench, &file_text, &["--prune"]).expect(0);
    assert_eq!(installed(&bench), ["mine", "theirs"]);
    // Named once, it still belongs to who installed it.
    apply(&bench, &file(&[("mine", &mine), ("theirs", &theirs)]), &["--prune"]).expect(0);
    apply(&bench, &file_text, &["--prune"]).expect(0);
    assert_eq!(installed(&bench), ["mine", "theirs"]);
}

#[test]
fn another_version_is_an_upgrade() {
    let bench = Bench::new("containerd@2.4");
    let old = bench.package_with("toy", "1.0", &["toy"]);
    let new = bench.package_with("toy", "2.0", &["toy"]);
    apply(&bench, &file(&[("toy", &old)]), &[]).expect(0);
    apply(&bench, &file(&[("toy", &new)]), &["--prune"]).expect(0).says("upgrade toy 1.0 to 2.0: done");
    let twice = file(&[("toy", &new), ("again", &old)]);
    apply(&bench, &twice, &[]).expect(2).says("the runtime toy stands in the file twice");
}

#[test]
fn one_that_fails_stops_neither_the_others_nor_is_anything_pruned_then() {
    let bench = Bench::new("containerd@2.4");
    let (one, two) = (bench.package("one"), bench.package("two"));
    apply(&bench, &file(&[("two", &two)]), &[]).expect(0);
    let broken = file(&[("absent", "dir:/nowhere/at/all"), ("one", &one)]);
    let ran = apply(&bench, &broken, &["--prune", "--json"]).expect(2);
    let whole = ran.json();
    assert_eq!(whole["event"], "applied");
    assert_eq!(whole["class"], "invalid");
    assert_eq!(whole["runtimes"][0]["name"], "absent");
    assert_eq!(whole["runtimes"][0]["result"], "refused");
    assert_eq!(whole["runtimes"][1]["runtime"], "one");
    assert_eq!(whole["runtimes"][1]["result"], "committed");
    assert_eq!(installed(&bench), ["one", "two"], "it is not known whether the first one means two");
}

#[test]
fn node_selectors_are_matched_with_given_labels() {
    let bench = Bench::new("containerd@2.4");
    let toy = bench.package("toy");
    let text = format!("{}  nodeSelector:\n    pool: sandboxes\n", file(&[("toy", &toy)]));
    apply(&bench, &text, &["--node-label", "pool=other"]).expect(0).says("its node selector does not match");
    assert!(installed(&bench).is_empty());
    apply(&bench, &text, &["--node-label", "zone=a", "--node-label", "pool=sandboxes"]).expect(0);
    assert_eq!(installed(&bench), ["toy"]);
    apply(&bench, &text, &[]).expect(0).says("no --node-label is given");
    apply(&bench, &text, &["--prune", "--node-label", "pool=other"]).expect(0);
    assert!(installed(&bench).is_empty(), "what does not match is not to be here");
}

#[test]
fn a_wrong_file_changes_nothing_and_says_where() {
    let bench = Bench::new("containerd@2.4");
    let before = bench.snapshot();
    let toy = bench.package("toy");
    let text = format!("{}  handlrs: []\n", file(&[("toy", &toy)]));
    let ran = apply(&bench, &text, &[]).expect(2).says("`spec` has no key `handlrs`");
    assert!(ran.err.contains("runtimes.yaml:9:3:"), "{ran}");
    assert_same(&before, &bench.snapshot(), "a wrong file");
}

#[test]
fn k8s_kata_managers_file_is_read_and_a_missing_pull_secret_says_what_to_set() {
    let bench = Bench::new("containerd@2.4");
    let text = "artifactsDir: /opt/x\nruntimeClasses:\n- name: kata-qemu\n  artifacts:\n    \
                url: registry.example/kata:1\n    pullSecret: mine\n";
    let ran = apply(&bench, text, &[]).expect(2).says("/etc/cofferdam/pull-secrets/mine/.dockerconfigjson");
    assert!(ran.err.contains(":1:15: `artifactsDir` is not used"), "{ran}");
    let nameless =
        "runtimeClasses:\n- artifacts:\n    url: registry.example/kata:1\n- name: a\n  artifacts: {}\n";
    let ran = apply(&bench, nameless, &[]).expect(2);
    assert!(ran.err.contains(":2:3: `runtimeClasses[0]` has no `name`"), "{ran}");
    assert!(ran.err.contains("`runtimeClasses[1].artifacts` has no `url`"), "{ran}");
}
