//! Registrations that do not fit the configuration any more, named with file and line.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use cofferdam_core::engine::containerd::{ConfigInput, Entry, Flaw, Misfit, Traces, registered};
use cofferdam_core::engine::{EngineVersion, Value};
use cofferdam_core::name::{HandlerName, HostPath, RuntimeName};
use std::collections::{BTreeMap, BTreeSet};

const ROOT: &str = "/etc/containerd/config.toml";
const DROP_IN: &str = "/etc/containerd/cofferdam.d/toy.toml";

/// The file from which `config migrate` made the samples.
const IN_PLACE: &str = "version = 2

[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
  runtime_type = \"io.containerd.runc.v2\"

# cofferdam: toy. Do not edit; remove with: cofferdam remove toy
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.toy]
  runtime_type = \"io.containerd.runc.v2\"
  pod_annotations = [\"io.toy.*\"]
  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.toy.options]
    BinaryName = \"/opt/cofferdam/runtimes/toy/1.0-abc/bin/toy\"
    Root = \"/run/cofferdam/oci/toy\"
";

const ROOT_3: &str = "version = 3\nimports = [\"/etc/containerd/cofferdam.d/*.toml\"]\n";

fn path(text: &str) -> HostPath {
    HostPath::new(text).unwrap()
}

fn text(key: &str, value: &str) -> (String, Value) {
    (key.to_owned(), Value::Text(value.to_owned()))
}

fn annotations() -> (String, Value) {
    ("pod_annotations".to_owned(), Value::List(vec!["io.toy.*".to_owned()]))
}

fn traces(entry: Entry) -> Traces {
    Traces {
        entries: BTreeMap::from([(RuntimeName::new("toy").unwrap(), vec![entry])]),
        imports: vec!["/etc/containerd/cofferdam.d/*.toml".to_owned(), DROP_IN.to_owned()],
    }
}

/// An OCI runtime's entry, as in [`IN_PLACE`].
fn oci() -> Traces {
    traces(Entry {
        handler: HandlerName::new("toy").unwrap(),
        keys: vec![text("runtime_type", "io.containerd.runc.v2"), annotations()],
        options: vec![
            text("BinaryName", "/opt/cofferdam/runtimes/toy/1.0-abc/bin/toy"),
            text("Root", "/run/cofferdam/oci/toy"),
        ],
    })
}

/// A shim's entry, as in the drop-ins.
fn shim() -> Traces {
    traces(Entry {
        handler: HandlerName::new("toy").unwrap(),
        keys: vec![text("runtime_type", "/opt/cofferdam/runtimes/toy/1.0-abc/bin/shim"), annotations()],
        options: vec![
            text("TypeUrl", "io.containerd.runsc.v1.options"),
            text("ConfigPath", "/opt/cofferdam/runtimes/toy/1.0-abc/etc/toy.toml"),
        ],
    })
}

fn drop_in(version: i64) -> String {
    format!(
        "version = {version}\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.toy]\n\
         runtime_type = \"/opt/cofferdam/runtimes/toy/1.0-abc/bin/shim\"\npod_annotations = [\"io.toy.*\"]\n\
         [plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.toy.options]\n\
         TypeUrl = \"io.containerd.runsc.v1.options\"\n\
         ConfigPath = \"/opt/cofferdam/runtimes/toy/1.0-abc/etc/toy.toml\"\n"
    )
}

fn files(files: &[(&str, &str)]) -> BTreeMap<HostPath, String> {
    files.iter().map(|(name, text)| (path(name), (*text).to_owned())).collect()
}

/// What is wrong, in words and as data.
fn misfits(read: &[(&str, &str)], apart: &[(&str, &str)], traces: &Traces, engine: &str) -> Vec<Misfit> {
    let (read, apart) = (files(read), files(apart));
    let input = ConfigInput {
        engine: EngineVersion::parse(engine),
        config: &path(ROOT),
        root: &path(ROOT),
        files: &read,
        effective: None,
        ours: &BTreeSet::from([HandlerName::new("toy").unwrap()]),
    };
    registered(&input, &apart, traces).unwrap()
}

fn shown(misfits: &[Misfit]) -> Vec<String> {
    misfits.iter().map(ToString::to_string).collect()
}

#[test]
fn what_stands_where_it_should_is_no_misfit() {
    for engine in ["1.6.20", "1.7.24", "2.1.9", "2.4.2"] {
        assert_eq!(misfits(&[(ROOT, IN_PLACE)], &[], &oci(), engine), []);
    }
    let first = IN_PLACE.replace("version = 2", "").replace("\"io.containerd.grpc.v1.cri\"", "cri");
    assert_eq!(misfits(&[(ROOT, &first)], &[], &oci(), "1.6.20"), []);
    for version in [3, 4] {
        let root = ROOT_3.replace('3', &version.to_string());
        let read = [(ROOT, root.as_str()), (DROP_IN, &drop_in(version))];
        assert_eq!(misfits(&read, &[], &shim(), "2.4.2"), []);
    }
    // 1.7's own dump in place of the file: more keys, the same meaning.
    let dumped = include_str!("data/containerd/dumped-2-by-1.7.toml");
    assert_eq!(misfits(&[(ROOT, dumped)], &[], &oci(), "1.7.24"), []);
}

#[test]
fn the_default_sandbox_controller_by_its_name_is_no_change() {
    for (added, fits) in [
        ("sandbox_mode = \"podsandbox\"", true),
        ("sandboxer = \"podsandbox\"", true),
        ("runtime_path = \"\"", true),
        ("sandboxer = \"shim\"", false),
        ("privileged_without_host_devices = true", false),
    ] {
        let text = IN_PLACE.replace("  pod_anno", &format!("  {added}\n  pod_anno"));
        assert_eq!(misfits(&[(ROOT, &text)], &[], &oci(), "2.4.2").is_empty(), fits, "{added}");
    }
}

#[test]
fn what_is_gone_or_not_read_is_named_with_its_file() {
    let bare = IN_PLACE.split("\n# cofferdam").next().unwrap();
    let found = misfits(&[(ROOT, bare)], &[], &oci(), "1.7.24");
    assert_eq!(shown(&found), ["handler toy of toy: missing from /etc/containerd/config.toml"]);
    assert_eq!(found[0].flaw, Flaw::Missing);
    // No file at all, and one elsewhere that the engine was taken off.
    assert_eq!(misfits(&[], &[], &oci(), "1.7.24")[0].flaw, Flaw::Missing);
    let found = misfits(&[(ROOT, bare)], &[("/etc/old.toml", IN_PLACE)], &oci(), "1.7.24");
    assert_eq!(
        shown(&found),
        ["handler toy of toy: stands in /etc/old.toml:7, which containerd does not read"]
    );
    // The import is gone.
    let found = misfits(&[(ROOT, "version = 3\n")], &[(DROP_IN, &drop_in(3))], &shim(), "2.4.2");
    assert_eq!(
        shown(&found),
        [format!(
            "handler toy of toy: {DROP_IN}:2 is there, but `/etc/containerd/cofferdam.d/*.toml` is not imported"
        )]
    );
}

#[test]
fn what_was_changed_is_named_by_key() {
    let changed = IN_PLACE.replace("1.0-abc/bin/toy", "9.9/bin/toy") + "    NoPivotRoot = true\n";
    let found = misfits(&[(ROOT, &changed)], &[], &oci(), "1.7.24");
    assert_eq!(
        shown(&found),
        ["handler toy of toy: changed in /etc/containerd/config.toml:7 (options.BinaryName: \
          \"/opt/cofferdam/runtimes/toy/1.0-abc/bin/toy\" -> \"/opt/cofferdam/runtimes/toy/9.9/bin/toy\"; \
          options.NoPivotRoot: (absent) -> true)"]
    );
    let json = serde_json::to_value(&found[0]).unwrap();
    assert_eq!(json["flaw"], "changed");
    assert_eq!(json["keys"][1]["path"], "options.NoPivotRoot");
    assert_eq!((&json["place"]["file"], &json["place"]["line"]), (&ROOT.into(), &7.into()));
}

#[test]
fn what_a_migration_left_stands_in_the_wrong_place() {
    // Version 3 and 4 get drop-ins: the entry works, and is not where it is looked after.
    for (text, engine, home) in [
        (include_str!("data/containerd/migrated-2-by-2.1.toml"), "2.1.9", DROP_IN),
        (
            include_str!("data/containerd/migrated-2-by-2.4.toml"),
            "2.4.2",
            "/etc/containerd/conf.d/cofferdam-toy.toml",
        ),
    ] {
        let found = misfits(&[(ROOT, text)], &[], &oci(), engine);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].flaw, Flaw::Misplaced { belongs: path(home) });
    }
    // A drop-in put into the root file, which became version 4.
    let text = include_str!("data/containerd/migrated-3-by-2.4.toml");
    let found = misfits(&[(ROOT, text), (DROP_IN, &drop_in(3))], &[], &shim(), "2.4.2");
    let belongs = path("/etc/containerd/conf.d/cofferdam-toy.toml");
    let flaws: Vec<_> = found.iter().map(|misfit| misfit.flaw.clone()).collect();
    assert_eq!(flaws, [Flaw::Misplaced { belongs: belongs.clone() }, Flaw::Misplaced { belongs }]);
    // Only the number was changed, by hand.
    let root = ROOT_3.replace('3', "4");
    let found = misfits(&[(ROOT, &root), (DROP_IN, &drop_in(3))], &[], &shim(), "2.4.2");
    assert_eq!(
        shown(&found),
        [format!("handler toy of toy: {DROP_IN}:2 is of version 3, the root file of version 4")]
    );
    // Somebody wrote newer tables into the file, which hide the older ones on 2.x.
    let newer = "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc]\nruntime_type = 'x'\n";
    let both = format!("{IN_PLACE}{newer}");
    let found = misfits(&[(ROOT, &both)], &[], &oci(), "2.1.9");
    let tables = Flaw::Tables { found: "io.containerd.grpc.v1.cri", needed: "io.containerd.cri.v1.runtime" };
    assert_eq!(found[0].flaw, tables);
    assert_eq!(misfits(&[(ROOT, &both)], &[], &oci(), "1.7.24"), []);
}

#[test]
fn a_snapshotter_that_is_said_once_only_is_a_misfit() {
    let mut wanted = oci();
    wanted.entries.values_mut().next().unwrap()[0].keys.push(text("snapshotter", "devmapper"));
    let once = IN_PLACE.replace("pod_anno", "snapshotter = \"devmapper\"\n  pod_anno");
    let found = misfits(&[(ROOT, &once)], &[], &wanted, "2.1.9");
    assert!(matches!(&found[0].flaw, Flaw::Changed { keys } if keys[0].after.is_none()), "{found:?}");
    let twice =
        "[plugins.\"io.containerd.cri.v1.images\".runtime_platforms.toy]\nsnapshotter = \"devmapper\"\n";
    assert_eq!(misfits(&[(ROOT, &format!("{once}{twice}"))], &[], &wanted, "2.1.9"), []);
}
