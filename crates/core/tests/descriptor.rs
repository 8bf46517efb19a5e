//! Descriptors as a package's author meets them: every kind of mistake against its golden text, and proof that no text
//! brings the parser down. `UPDATE_GOLDEN=1 cargo test -p cofferdam-core --test descriptor` writes the texts anew.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::class::Class;
use cofferdam_core::descriptor::{
    Call, Descriptor, FileKind, FindingKind, Findings, PackageFiles, Requirement, check_files, parse,
};
use cofferdam_core::engine::Value;
use cofferdam_core::name::PackagePath;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const FULL: &str = include_str!("descriptor/full.toml");

/// Reads a text as a package's descriptor, against the files that its `#!` comments list, if there are any.
fn read(text: &str) -> Result<Descriptor, Findings> {
    let descriptor = parse("runtime.toml", text)?;
    let files = listed_files(text);
    if !files.is_empty() {
        Findings::check(check_files(&descriptor, "runtime.toml", text, &files))?;
    }
    Ok(descriptor)
}

fn listed_files(text: &str) -> PackageFiles {
    text.lines()
        .filter_map(|line| line.strip_prefix("#! ")?.split_once(' '))
        .map(|(kind, path)| {
            let kind = match kind {
                "file" => FileKind::File { executable: false },
                "exec" => FileKind::File { executable: true },
                "link" => FileKind::Link,
                "folder" => FileKind::Folder,
                other => panic!("{other}"),
            };
            (PackagePath::new(path).unwrap(), kind)
        })
        .collect()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/descriptor/errors");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_mistake_is_explained_as_recorded() {
    let mut differences = Vec::new();
    for case in cases() {
        let text = std::fs::read_to_string(&case).unwrap();
        let Err(findings) = read(&text) else { panic!("{} is accepted", case.display()) };
        assert_eq!(findings.class(), Class::Invalid);
        let shown = format!("{findings}\n");
        let golden = case.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &shown).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            differences.push(format!("{}:\n{shown}", golden.display()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_kind_of_finding_has_a_case() {
    let mut kinds = BTreeSet::new();
    for case in cases() {
        let findings = read(&std::fs::read_to_string(&case).unwrap()).unwrap_err();
        kinds.extend(findings.into_iter().map(|finding| format!("{:?}", finding.kind)));
    }
    // A text of a mebibyte has no place among the files.
    let big = "#".repeat((1 << 20) + 1);
    kinds.extend(
        parse("runtime.toml", &big).unwrap_err().into_iter().map(|finding| format!("{:?}", finding.kind)),
    );
    let all = [
        FindingKind::Syntax,
        FindingKind::TooLarge,
        FindingKind::Schema,
        FindingKind::UnknownKey,
        FindingKind::MissingKey,
        FindingKind::WrongType,
        FindingKind::BadName,
        FindingKind::LeavesPackage,
        FindingKind::BadQuantity,
        FindingKind::BadValue,
        FindingKind::Duplicate,
        FindingKind::Contradiction,
        FindingKind::NotSupported,
        FindingKind::MissingFile,
        FindingKind::NotExecutable,
        FindingKind::NotAFile,
        FindingKind::NoMatch,
    ];
    let missing: Vec<String> = all.iter().map(|k| format!("{k:?}")).filter(|k| !kinds.contains(k)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_full_descriptor_is_read_whole() {
    let descriptor = read(FULL).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!((descriptor.name.as_str(), descriptor.version.as_str()), ("kata", "3.26.0"));
    assert_eq!(descriptor.base.as_ref().unwrap().as_str(), "kata-artifacts");
    let relocate = descriptor.relocate.as_ref().unwrap();
    assert_eq!(relocate.from.as_str(), "/opt/kata");
    let selected = |path: &str| relocate.selects(&PackagePath::new(path).unwrap());
    assert!(selected("share/defaults/kata-containers/configuration-qemu.toml"));
    assert!(!selected("share/defaults/kata-containers/runtime-rs/configuration-qemu.toml"));
    let [qemu, runsc] = descriptor.handlers.as_slice() else { panic!("{:?}", descriptor.handlers) };
    assert_eq!(qemu.name.as_str(), "kata-qemu");
    assert_eq!(qemu.call, Call::Shim(PackagePath::new("bin/containerd-shim-kata-v2").unwrap()));
    let config = "share/defaults/kata-containers/configuration-qemu.toml";
    assert_eq!(qemu.config.as_ref().unwrap().as_str(), config);
    assert_eq!(qemu.pod_annotations, ["io.katacontainers.*"]);
    assert!(qemu.privileged_without_host_devices && qemu.container_annotations.is_empty());
    assert_eq!(qemu.snapshotter.as_deref(), Some("devmapper"));
    let overhead = qemu.overhead.as_ref().unwrap();
    assert_eq!((overhead.cpu.as_deref(), overhead.memory.as_deref()), (Some("250m"), Some("320Mi")));
    assert_eq!(qemu.requires, [Requirement::Kvm, Requirement::VhostVsock]);
    assert_eq!(qemu.containerd.runtime_type.as_deref(), Some("io.containerd.kata-qemu.v2"));
    assert_eq!(qemu.containerd.config_type_url.as_deref(), Some("io.containerd.kata.v2.options"));
    assert_eq!(qemu.containerd.entry["sandboxer"], Value::Text("shim".into()));
    assert_eq!(qemu.containerd.entry["cni_max_conf_num"], Value::Integer(2));
    assert_eq!(qemu.containerd.options["Debug"], Value::Bool(true));
    assert_eq!(qemu.containerd.options["Paths"], Value::List(vec!["a".into(), "b".into()]));
    assert_eq!(runsc.call, Call::OciRuntime(PackagePath::new("bin/runsc").unwrap()));
}

#[test]
fn places_are_those_of_an_editor() {
    let text = "\u{feff}schema = 1\r\nname = \"é\"\r\nversion = \"1\"\r\n[[handler]]\r\nname = \"a\"\r\nshim = \"b\"\r\n";
    let findings = parse("x/runtime.toml", text).unwrap_err();
    let [finding] = findings.as_slice() else { panic!("{findings}") };
    let place = finding.place.as_ref().unwrap();
    assert_eq!((finding.file.as_str(), place.line, place.column, place.length), ("x/runtime.toml", 2, 8, 3));
    assert_eq!(place.text, "name = \"é\"");
}

#[test]
fn files_are_checked_without_a_matching_text() {
    // The caller may hold a descriptor without its text: the findings stay, their places go.
    let descriptor = parse("runtime.toml", FULL).unwrap();
    let findings = check_files(&descriptor, "inline", "not toml [", &PackageFiles::new());
    assert_eq!(findings.len(), 4, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.place.is_none() && finding.file == "inline"));
}

/// Every finding must be showable, and point into the text.
fn survives(text: &str) {
    if let Err(findings) = read_any(text) {
        let shown = findings.to_string();
        assert!(!shown.is_empty());
        for place in findings.into_iter().filter_map(|finding| finding.place) {
            let lines = text.matches('\n').count() + 1;
            let width = place.text.chars().count();
            assert!(place.line >= 1 && place.line <= lines, "{place:?}");
            assert!(place.column >= 1 && place.column <= width + 1, "{place:?}");
        }
    }
}

fn read_any(text: &str) -> Result<(), Findings> {
    let descriptor = parse("runtime.toml", text)?;
    Findings::check(check_files(&descriptor, "runtime.toml", text, &PackageFiles::new()))
}

proptest! {
    #[test]
    fn no_text_brings_the_parser_down(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn nor_do_words_of_the_format(words in prop::collection::vec(prop::sample::select(vec![
        "schema", "name", "handler", "shim", "engine", "containerd", "relocate", "files", " = ", "1", "\"a\"", "[", "]",
        "[[", "]]", "{", "}", ".", ",", "\n", "\r\n", "#", "'''", "\"\"\"", "é", "\u{feff}", "true", "1.5", "2026-01-01",
    ]), 0..40)) {
        survives(&words.concat());
    }

    #[test]
    fn nor_does_a_damaged_descriptor(
        at in 0usize..FULL.len(), remove in 0usize..12, insert in "[a-z0-9\"'=\\[\\]{}.,#\n\r\té\u{0}-]{0,6}",
    ) {
        let start = (0..=at).rev().find(|i| FULL.is_char_boundary(*i)).unwrap();
        let end = (start + remove..).find(|i| *i >= FULL.len() || FULL.is_char_boundary(*i)).unwrap();
        let damaged = format!("{}{insert}{}", &FULL[..start], FULL.get(end..).unwrap_or_default());
        survives(&damaged);
    }

    #[test]
    fn line_ends_do_not_matter(crlf in any::<bool>(), bom in any::<bool>()) {
        let text = if crlf { FULL.replace('\n', "\r\n") } else { FULL.to_owned() };
        let text = if bom { format!("\u{feff}{text}") } else { text };
        prop_assert_eq!(parse("runtime.toml", &text).unwrap(), parse("runtime.toml", FULL).unwrap());
    }
}

#[test]
fn the_reference_is_true() {
    let reference = include_str!("../../../docs/descriptor.md");
    let sample = reference.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let descriptor = parse("docs/descriptor.md", sample).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(descriptor.handlers.len(), 1);
    // Every key of the full descriptor has its row, every preset its own.
    for line in FULL.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !["Debug", "Paths"].contains(key)) {
            assert!(reference.contains(&format!("| `{key}` |")), "docs/descriptor.md has no row for `{key}`");
        }
    }
    for preset in cofferdam_core::preset::ALL {
        assert!(reference.contains(&format!("| `{}` |", preset.name)), "no row for preset {}", preset.name);
    }
}
