//! The declarative file: what is read, and what each mistake is told like.

// Helpers fail their test by panicking.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_cluster::file::{Form, parse};
use std::collections::BTreeMap;

const GOOD: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: SandboxRuntime
metadata:
  name: gvisor
  labels: {team: a}
spec:
  package:
    source:
      oci:
        reference: registry.example/gvisor:1
        pullSecret: login
    preset: gvisor
    version: \"1\"
  nodeSelector:
    pool: sandboxes
  rollout:
    maxUnavailable: 10%
    paused: false
";

/// Each finding as `LINE:COLUMN: text`.
#[track_caller]
fn findings(text: &str) -> Vec<String> {
    let told = parse("f.yaml", text).unwrap_err().to_string();
    let lines = told.lines().filter_map(|line| line.strip_prefix("f.yaml:"));
    lines.map(|line| line.trim_start().to_owned()).collect()
}

/// GOOD with a line replaced.
fn but(line: &str, by: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replacen(line, by, 1)
}

#[test]
fn sandbox_runtimes_are_read_as_the_api_takes_them() {
    let other = GOOD.replace("name: gvisor", "name: other");
    let file = parse("f.yaml", &format!("{GOOD}---\n{other}---\n")).unwrap();
    assert_eq!(file.form, Form::Own);
    let [first, second] = file.runtimes.as_slice() else { panic!("{file:?}") };
    assert_eq!((first.name.as_str(), second.name.as_str()), ("gvisor", "other"));
    let oci = first.spec.package.source.oci.as_ref().unwrap();
    assert_eq!(oci.reference, "registry.example/gvisor:1");
    assert_eq!(oci.pull_secret.as_deref(), Some("login"));
    assert_eq!(first.spec.package.version.as_deref(), Some("1"));
    let labels = |value: &str| BTreeMap::from([("pool".to_owned(), value.to_owned())]);
    assert!(first.selects(&labels("sandboxes")));
    assert!(!first.selects(&labels("x")) && !first.selects(&BTreeMap::new()));
}

#[test]
fn each_mistake_is_told_with_its_place() {
    for (text, expected) in [
        (but("    preset: gvisor", "    presett: gvisor"), "12:5: `spec.package` has no key `presett`"),
        (but("\"1\"", "1"), "13:14: `spec.package.version` takes a text, not a number"),
        (but("10%", "0"), "17:21: `spec.rollout.maxUnavailable` takes a number from 1"),
        (but("10%", "101%"), "17:21: `spec.rollout.maxUnavailable`"),
        (but("paused: false", "paused: no"), "18:13: `spec.rollout.paused` takes true or false, not a text"),
        (but("paused: false", "failureBudget: 101"), "18:20: `spec.rollout.failureBudget` is more than 100"),
        (but("paused: false", "canary: -1"), "18:13: `spec.rollout.canary` is less than 0"),
        (but("preset: gvisor", "preset: gvisr"), "12:13: `spec.package.preset`: there is no preset `gvisr`"),
        (but("name: gvisor", "name: GVisor"), "4:9: `metadata.name`"),
        (but("kind: SandboxRuntime", "kind: Pod"), "2:7: `kind` is not SandboxRuntime"),
        (but("v1alpha1", "v1"), "1:13: `apiVersion` is not cofferdam.dev/v1alpha1"),
        (but("reference: registry.example/gvisor:1", "reference: \"a b\""), "10:20: "),
        (
            but("        reference: registry.example/gvisor:1\n", ""),
            "`spec.package.source.oci` lacks the key",
        ),
        (
            but("      oci:\n", "      directory: /x\n      oci:\n"),
            "exactly one of `oci`, `layout`, `tar` and `directory`",
        ),
        (
            but("    preset: gvisor", "    verify: {keys: [\"no key\"]}\n    preset: gvisor"),
            "12:13: spec.package.verify.keys[0]: ",
        ),
        (
            but("    preset: gvisor", "    verify: {keys: []}\n    preset: gvisor"),
            "12:20: `spec.package.verify.keys` is empty",
        ),
        (
            but("    preset: gvisor", "    verify: {}\n    preset: gvisor"),
            "12:13: spec.package.verify: give exactly one of keys and keyless",
        ),
        (
            but(
                "    preset: gvisor",
                "    verify: {keyless: {signers: [], trustRoot: x}}\n    preset: gvisor",
            ),
            "`spec.package.verify.keyless.signers` is empty",
        ),
        (
            but(
                "    preset: gvisor",
                "    verify: {keyless: {signers: [{identity: a, issuer: b}], trustRoot: x}}\n    preset: gvisor",
            ),
            "spec.package.verify.keyless.trustRoot: ",
        ),
        (
            but(
                "      oci:\n        reference: registry.example/gvisor:1\n        pullSecret: login\n",
                "      directory: /x\n    verify: {keys: [x]}\n",
            ),
            "`spec.package.verify` goes with `source.oci`",
        ),
        (but("pool: sandboxes", "pool: true"), "15:11: `spec.nodeSelector.pool` takes a text"),
        (format!("{GOOD}---\n{GOOD}"), "20:1: the SandboxRuntime `gvisor` stands here and in line 1"),
        ("a: [1, 2\n".to_owned(), "this is not YAML"),
        ("a: 1\na: 2\n".to_owned(), "2:1: this is not YAML"),
        ("- 1\n".to_owned(), "1:1: a SandboxRuntime is a map, not a list"),
        (String::new(), "there is no SandboxRuntime in it"),
    ] {
        let found = findings(&text);
        assert!(
            found.iter().any(|line| line.contains(expected)),
            "{expected:?} is not among {found:#?}\n{text}"
        );
    }
}

#[test]
fn every_finding_has_its_line() {
    let found = findings(&GOOD.replace("    preset", "    persit").replace("paused: false", "paused: 1"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("12:5:") && found[1].starts_with("18:13:"), "{found:#?}");
}

#[test]
fn k8s_kata_managers_schema_is_known_by_its_keys() {
    let text = "\
artifactsDir: /opt/x
runtimeClasses:
- name: kata-qemu
  nodeSelector: {gpu: \"true\"}
  artifacts: {url: \"registry.example/kata:1\", pullSecret: mine}
- name: kata-snp
  artifacts: {url: \"registry.example/snp:1\", pullSecret: \"\"}
";
    let file = parse("f.yaml", text).unwrap();
    assert_eq!(file.form, Form::KataManager);
    let [first, second] = file.runtimes.as_slice() else { panic!("{file:?}") };
    let oci = first.spec.package.source.oci.as_ref().unwrap();
    assert_eq!(
        (oci.reference.as_str(), oci.pull_secret.as_deref()),
        ("registry.example/kata:1", Some("mine"))
    );
    assert_eq!(first.spec.node_selector["gpu"], "true");
    assert_eq!(first.spec.handlers[0].name, "kata-qemu");
    assert_eq!(second.spec.package.source.oci.as_ref().unwrap().pull_secret, None);
    let [note] = file.notes.as_slice() else { panic!("{file:?}") };
    assert!(note.starts_with("f.yaml:1:15: `artifactsDir` is not used"), "{note}");
    let empty = parse("f.yaml", "runtimeClasses: []\n").unwrap();
    assert!(empty.runtimes.is_empty() && empty.notes.is_empty(), "nothing, said so");
}

#[test]
fn what_the_original_skipped_silently_is_an_error_with_its_index() {
    let text = "\
runtimeClasses:
- name: a
  artifacts: {url: \"registry.example/a:1\"}
- artifacts: {url: \"registry.example/b:1\"}
- name: c
- name: d
  artifacts: {pullSecret: x}
- name: a
  artifact: {}
  artifacts: {url: \"registry.example/a:1\"}
- name: e
  artifacts: {url: \"registry.example/e:1\", pullSecret: 123}
- name: 7
  artifacts: {url: [x]}
";
    let found = findings(text).join("\n");
    for expected in [
        "4:3: `runtimeClasses[1]` has no `name`",
        "5:3: `runtimeClasses[2]` has no `artifacts`",
        "`runtimeClasses[3].artifacts` has no `url`",
        "9:3: `runtimeClasses[4]` has no key `artifact`",
        "the runtime class `a` stands here and in line 2",
        "`runtimeClasses[5].artifacts.pullSecret` takes a text, not a number",
        "`runtimeClasses[6].name` takes a text, not a number",
        "`runtimeClasses[6].artifacts.url` takes a text, not a list",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in\n{found}");
    }
}
