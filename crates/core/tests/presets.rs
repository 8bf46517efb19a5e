//! Presets: each is a valid descriptor, documented, and complete with the files that it adds.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::class::Class;
use cofferdam_core::descriptor::{Call, FileKind, FindingKind, PackageFiles};
use cofferdam_core::name::{PackagePath, Version};
use cofferdam_core::preset::{self, Preset, PresetError};

fn version() -> Version {
    Version::new("1.2").unwrap()
}

/// A package that holds what the catalog says it needs, and nothing else.
fn bare_package(preset: &Preset) -> PackageFiles {
    let entry = preset::catalog_entry(preset).unwrap();
    entry
        .needs
        .iter()
        .map(|path| (PackagePath::new(path.as_str()).unwrap(), FileKind::File { executable: true }))
        .collect()
}

#[test]
fn every_preset_is_a_descriptor() {
    for preset in preset::ALL {
        let descriptor =
            preset::descriptor(preset, &version()).unwrap_or_else(|e| panic!("{}: {e:?}", preset.name));
        assert_eq!(descriptor.name.as_str(), preset.name);
        assert_eq!(descriptor.version, version());
    }
}

#[test]
fn every_preset_is_documented_for_the_catalog() {
    let catalog = preset::catalog().unwrap();
    assert_eq!(catalog.len(), preset::ALL.len());
    for entry in &catalog {
        assert!(!entry.summary.is_empty() && entry.summary.chars().count() <= 100, "{}", entry.name);
        assert!(entry.description.ends_with('.'), "{}: {}", entry.name, entry.description);
        assert!(!entry.needs.is_empty(), "{}", entry.name);
        // What the package must hold is told in words as well.
        let told =
            |path: &String| entry.description.contains(path.as_str()) || entry.description.contains("`bin`");
        assert!(entry.needs.iter().all(told), "{}: {:?}", entry.name, entry.needs);
    }
}

#[test]
fn names_and_handlers_do_not_clash() {
    let catalog = preset::catalog().unwrap();
    let mut handlers: Vec<&String> = catalog.iter().flat_map(|entry| &entry.handlers).collect();
    let mut names: Vec<&str> = catalog.iter().map(|entry| entry.name).collect();
    let counts = (handlers.len(), names.len());
    handlers.sort();
    handlers.dedup();
    names.sort_unstable();
    names.dedup();
    assert_eq!((handlers.len(), names.len()), counts);
}

#[test]
fn a_package_needs_what_the_catalog_asks_for_and_no_more() {
    for preset in preset::ALL {
        let descriptor = preset::descriptor(preset, &version()).unwrap();
        let files = bare_package(preset);
        assert_eq!(preset.check_files(&descriptor, &files), [], "{}", preset.name);
        for needed in files.keys() {
            let mut files = files.clone();
            files.remove(needed);
            let findings = preset.check_files(&descriptor, &files);
            assert!(
                findings.iter().any(|f| f.kind == FindingKind::MissingFile),
                "{} without {needed}",
                preset.name
            );
            files.insert(needed.clone(), FileKind::File { executable: false });
            let findings = preset.check_files(&descriptor, &files);
            assert!(
                needed.as_str().ends_with(".toml")
                    || findings.iter().any(|f| f.kind == FindingKind::NotExecutable),
                "{}: {needed}",
                preset.name
            );
        }
    }
}

#[test]
fn gvisor_is_what_its_shim_insists_on() {
    let gvisor = preset::find("gvisor").unwrap();
    let descriptor = preset::descriptor(gvisor, &version()).unwrap();
    let handler = &descriptor.handlers[0];
    assert_eq!(handler.name.as_str(), "runsc");
    assert_eq!(handler.call, Call::Shim(PackagePath::new("bin/containerd-shim-runsc-v1").unwrap()));
    assert_eq!(handler.containerd.config_type_url.as_deref(), Some("io.containerd.runsc.v1.options"));
    assert!(descriptor.relocate.unwrap().selects(handler.config.as_ref().unwrap()));
}

#[test]
fn a_packages_own_file_stays() {
    let gvisor = preset::find("gvisor").unwrap();
    let mut files = bare_package(gvisor);
    assert_eq!(
        gvisor.added(&files).map(|(path, _)| path.to_string()).collect::<Vec<_>>(),
        ["etc/runsc.toml"]
    );
    files.insert(PackagePath::new("etc/runsc.toml").unwrap(), FileKind::File { executable: false });
    assert_eq!(gvisor.added(&files).count(), 0);
}

#[test]
fn the_version_is_given_or_read() {
    let crun = preset::find("crun").unwrap();
    assert_eq!(crun.version(Some("2"), Some("1\n")).unwrap().as_str(), "2");
    assert_eq!(crun.version(None, Some(" 1.21-1 \nmore\n")).unwrap().as_str(), "1.21-1");
    for (given, file) in
        [(None, None), (None, Some("\n")), (Some("a b"), None), (Some(""), Some("1")), (None, Some("../x"))]
    {
        let error = crun.version(given, file).unwrap_err();
        assert_eq!(error.class(), Class::Invalid, "{error}");
    }
}

#[test]
fn an_unknown_preset_is_answered_with_those_there_are() {
    let hint = |name| preset::find(name).unwrap_err().hint().unwrap();
    assert_eq!(preset::find("gvisr").unwrap_err().to_string(), "there is no preset `gvisr`");
    assert_eq!(hint("gvisr"), "did you mean `gvisor`?");
    assert_eq!(hint("docker"), "there are: gvisor, gvisor-oci, kata, crun");
    assert!(matches!(preset::find(""), Err(PresetError::Unknown { .. })));
}
