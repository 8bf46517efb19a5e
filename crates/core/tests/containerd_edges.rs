//! What people, tools and other installers do to a configuration around our parts, and what is refused.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use cofferdam_core::class::Class;
use cofferdam_core::engine::containerd::{
    ConfigInput, ConfigVersion, Cut, DialectError, Effective, Entry, Import, Layout, Placement,
    Registrations, RootOwned, Tables, Traces, admit, compare, cut_root, dismiss, drop_in, holds, layout,
    supported, write_root,
};
use cofferdam_core::engine::{EngineVersion, Overwrite, Value};
use cofferdam_core::name::{HandlerName, HostPath, RuntimeName};
use cofferdam_core::splice;
use std::collections::{BTreeMap, BTreeSet};

const ROOT: &str = "/etc/containerd/config.toml";
const RUNTIMES: &str = "plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes";

fn path(text: &str) -> HostPath {
    HostPath::new(text).unwrap()
}

fn with_input<T>(
    files: &[(&str, &str)],
    engine: Option<&str>,
    dump: Option<&str>,
    run: impl FnOnce(&ConfigInput<'_>) -> T,
) -> T {
    let files: BTreeMap<HostPath, String> =
        files.iter().map(|(name, text)| (path(name), (*text).to_owned())).collect();
    let effective = dump.map(|dump| Effective::parse(dump).unwrap());
    run(&ConfigInput {
        engine: engine.and_then(EngineVersion::parse),
        config: &path(ROOT),
        root: &path(ROOT),
        files: &files,
        effective: effective.as_ref(),
        ours: &BTreeSet::new(),
    })
}

fn layout_of(files: &[(&str, &str)], engine: Option<&str>) -> Result<Layout, DialectError> {
    with_input(files, engine, None, layout)
}

fn want(name: &str) -> Registrations {
    let entry = Entry {
        handler: HandlerName::new(name).unwrap(),
        keys: vec![("runtime_type".into(), Value::Text("io.containerd.runc.v2".into()))],
        options: vec![("BinaryName".into(), Value::Text("/opt/x".into()))],
    };
    BTreeMap::from([(RuntimeName::new(name).unwrap(), vec![entry])])
}

fn install(base: &str, engine: Option<&str>) -> (String, RootOwned) {
    let layout = layout_of(&[(ROOT, base)], engine).unwrap();
    let (text, owned) = write_root(&layout, Some(base), &want("crun")).unwrap();
    (text.text, owned)
}

fn cut(text: &str, owned: &RootOwned) -> (String, Cut) {
    let cut = cut_root(text, owned, &Traces::default(), Overwrite::No)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    (splice::apply(text, &cut.splices).unwrap(), cut)
}

#[test]
fn imports_of_every_form_take_ours_and_give_it_back() {
    const OURS: &str = "\"/etc/containerd/cofferdam.d/*.toml\"";
    for (before, after) in [
        ("version = 3\n", "version = 3\nimports = [OURS]\n"),
        ("version = 3", "version = 3\nimports = [OURS]"),
        (
            "oom_score = 1\r\nversion = 3 # x\r\n[grpc]\r\n",
            "oom_score = 1\r\nversion = 3 # x\r\nimports = [OURS]\r\n[grpc]\r\n",
        ),
        ("version = 3\nimports = []\n", "version = 3\nimports = [OURS]\n"),
        ("version = 3\nimports = [ ]\n", "version = 3\nimports = [OURS ]\n"),
        ("version = 3\nimports = [\n  # none\n]\n", "version = 3\nimports = [OURS\n  # none\n]\n"),
        ("version = 3\nimports = [\"/a\", '/b',]\n", "version = 3\nimports = [OURS, \"/a\", '/b',]\n"),
        (
            "version = 3\nimports = [\n  \"/a\", # a, b ]\n]\n",
            "version = 3\nimports = [\n  OURS,\n  \"/a\", # a, b ]\n]\n",
        ),
        (
            "version = 3\r\nimports = [\r\n\t\"/a\"\r\n]",
            "version = 3\r\nimports = [\r\n\tOURS,\r\n\t\"/a\"\r\n]",
        ),
    ] {
        let (text, owned) = install(before, Some("2.1.0"));
        assert_eq!(text, after.replace("OURS", OURS));
        assert_eq!(
            cut(&text, &owned),
            (before.to_owned(), Cut { splices: cut(&text, &owned).1.splices, ..Cut::default() })
        );
    }
}

#[test]
fn imports_that_others_changed_keep_their_changes() {
    let base = "version = 3\n";
    let (text, owned) = install(base, Some("2.1.0"));
    let ours = "\"/etc/containerd/cofferdam.d/*.toml\"";
    for (now, left) in [
        (text.replace("imports = [", "imports = ['/a', "), "version = 3\nimports = ['/a']\n"),
        (text.replace("*.toml\"]", "*.toml\", '/a']"), "version = 3\nimports = ['/a']\n"),
        (
            format!("version = 3\nimports = [ '/a', # x, y\n  {ours} # ours\n]\n"),
            "version = 3\nimports = [ '/a' # x, y\n   # ours\n]\n",
        ),
        (
            format!("version = 3\nimports = [\n  '/a',\n  {ours},\n  '/b',\n]\n"),
            "version = 3\nimports = [\n  '/a',\n  '/b',\n]\n",
        ),
        (
            format!("version = 3\nimports = ['/a' # x, y\n, {ours}]\n"),
            "version = 3\nimports = ['/a' # x, y\n]\n",
        ),
        (format!("version = 3\n  imports=[{ours},]  \n# tail"), "version = 3\n# tail"),
        (format!("version = 3\nimports = [{ours}] # keep me\n"), "version = 3\n # keep me\n"),
    ] {
        let (result, report) = cut(&now, &owned);
        assert_eq!(result, left, "{now}");
        assert_eq!((report.absent.len(), report.kept.len()), (0, 0));
    }
    let base = "version = 3\nimports = []\n";
    let (text, owned) = install(base, Some("2.1.0"));
    assert_eq!(
        cut(&text.replace("*.toml\"]", "*.toml\", '/a']"), &owned).0,
        "version = 3\nimports = ['/a']\n"
    );
    let (result, report) = cut("version = 3\n", &owned);
    assert_eq!((result.as_str(), report.absent.len()), ("version = 3\n", 1));
}

#[test]
fn imports_that_are_no_list_of_texts_are_refused() {
    let base = "version = 3\nimports = \"/a\"\n";
    let layout = layout_of(&[(ROOT, base)], Some("2.1.0")).unwrap();
    let error = write_root(&layout, Some(base), &want("crun")).unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    assert!(error.to_string().starts_with("/etc/containerd/config.toml:2: "), "{error}");
}

#[test]
fn a_folder_that_is_imported_already_is_used() {
    for import in ["/etc/containerd/conf.d/*.toml", "conf.d/*.toml", "./conf.d/*.toml"] {
        let base = format!("version = 3\nimports = ['/x', '{import}']\n");
        let layout = layout_of(&[(ROOT, &base)], Some("2.4.2")).unwrap();
        let dir = path("/etc/containerd/conf.d");
        assert_eq!(layout.placement, Placement::DropIn { dir, import: Import::Present });
        let file = layout.drop_in_path(&RuntimeName::new("kata").unwrap()).unwrap();
        assert_eq!(file.as_str(), "/etc/containerd/conf.d/cofferdam-kata.toml");
        let (text, owned) = write_root(&layout, Some(&base), &want("crun")).unwrap();
        assert_eq!((text.text, text.splices.len(), owned.pieces.len()), (base, 0, 0));
    }
    // `*` alone would load a temporary file as well.
    for import in
        ["/etc/*/conf.d/*.toml", "/etc/containerd/conf.d/k*.toml", "/etc/containerd/x.toml", "./conf.d/*"]
    {
        let base = format!("version = 3\nimports = ['{import}']\n");
        let layout = layout_of(&[(ROOT, &base)], Some("2.4.2")).unwrap();
        assert!(matches!(layout.placement, Placement::DropIn { import: Import::Ensure(_), .. }), "{import}");
    }
}

#[test]
fn a_missing_root_file_is_made_and_keeps_the_defaults() {
    // Version 2 and in place under each release: the next one may be older or newer.
    for engine in [Some("1.6.20"), Some("1.7.24"), Some("2.1.9"), Some("2.4.2"), None] {
        let layout = layout_of(&[], engine).unwrap();
        assert_eq!((layout.version, layout.tables), (ConfigVersion::V2, Tables::Grpc));
        let (text, owned) = write_root(&layout, None, &want("crun")).unwrap();
        assert!(owned.created);
        let effective = Effective::parse(&text.text).unwrap();
        assert_eq!(effective.version(), 2);
        assert_eq!(effective.handlers().keys().collect::<Vec<_>>(), [&"crun", &"runc"]);
        assert_eq!(effective.handlers()["runc"].runtime_type, "io.containerd.runc.v2");
        assert_eq!(cut(&text.text, &owned).0, "");
        // Somebody relies on our version by now.
        let (rest, report) = cut(&format!("{}[plugins.'x.y']\na = 1\n", text.text), &owned);
        assert_eq!(rest, "version = 2\n[plugins.'x.y']\na = 1\n");
        assert_eq!(report.kept, ["version = 2"]);
    }
}

#[test]
fn the_default_runtime_is_kept_as_the_engine_has_it() {
    let dump = format!(
        "version = 2\n[{RUNTIMES}.runc]\nruntime_type = \"io.containerd.runc.v2\"\nsnapshotter = \"\"\nsandbox_mode = \"podsandbox\"\n[{RUNTIMES}.runc.options]\nSystemdCgroup = true\nRoot = \"\"\n"
    );
    let base = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nenable_selinux = true\n";
    let layout = with_input(&[(ROOT, base)], Some("1.7.24"), Some(&dump), layout).unwrap();
    let (text, _) = write_root(&layout, Some(base), &want("crun")).unwrap();
    let (before, after) = (Effective::parse(&dump).unwrap(), Effective::parse(&text.text).unwrap());
    let names = BTreeSet::from([HandlerName::new("crun").unwrap()]);
    assert_eq!(compare(&before, &after, &names).len(), 1, "only enable_selinux is not in that dump");
    // A table of runtimes, even an empty one, has already replaced the default.
    let base = format!("version = 2\n[{RUNTIMES}]\n");
    assert_eq!(layout_of(&[(ROOT, &base)], Some("1.7.24")).unwrap().keep, []);
}

#[test]
fn the_file_whose_tables_count_is_edited() {
    let root = format!("version = 2\nimports = ['conf.d/*.toml']\n[{RUNTIMES}.runc]\nruntime_type = 'a'\n");
    let imported = format!("[{RUNTIMES}.runc]\nruntime_type = 'b'\n");
    let files = [
        (ROOT, root.as_str()),
        ("/etc/containerd/conf.d/50.toml", imported.as_str()),
        ("/etc/containerd/conf.d/60.toml", "[debug]\nlevel = 'x'\n"),
    ];
    let layout = layout_of(&files, Some("1.7.24")).unwrap();
    assert_eq!((layout.file, layout.placement), (path("/etc/containerd/conf.d/50.toml"), Placement::InPlace));
    let layout = layout_of(&files, Some("2.1.9")).unwrap();
    assert_eq!((layout.file, layout.placement), (path("/etc/containerd/conf.d/50.toml"), Placement::InPlace));
    // 1.7 says what it loads, and early 1.6 does not load relative globs.
    let dump = format!("imports = ['{ROOT}']\n");
    let unread =
        with_input(&files, Some("1.6.20"), Some(&dump), cofferdam_core::engine::containerd::layout).unwrap();
    assert_eq!(unread.file, path(ROOT));
    // An import without runtimes: 1.x would have no others but ours and the default there, 2.x merges.
    let bare = "[plugins.\"io.containerd.grpc.v1.cri\"]\nenable_selinux = true\n";
    let files = [(ROOT, root.as_str()), ("/etc/containerd/conf.d/50.toml", bare)];
    let layout = layout_of(&files, Some("1.7.24")).unwrap();
    assert_eq!((layout.file.as_str(), layout.keep.len()), ("/etc/containerd/conf.d/50.toml", 1));
    let layout = layout_of(&files, Some("2.4.2")).unwrap();
    assert_eq!((layout.file.as_str(), layout.keep.len()), (ROOT, 0));
}

#[test]
fn version_and_tables_follow_the_root_file() {
    let aks = "version = 2\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc]\nruntime_type = 'x'\n";
    let grpc = format!("version = 2\n[{RUNTIMES}.runc]\nruntime_type = 'x'\n");
    let other = ("/etc/containerd/conf.d/a.toml", aks);
    for engine in [Some("2.1.9"), Some("2.4.2"), None] {
        let layout = layout_of(&[(ROOT, aks)], engine).unwrap();
        assert_eq!((layout.version, layout.tables), (ConfigVersion::V2, Tables::Runtime));
        assert_eq!(layout.placement, Placement::InPlace);
        // Beside the older tables, the newer ones would hide them: they go into the file that has newer ones.
        let imports = grpc.replace("2\n", "2\nimports = ['conf.d/*']\n");
        let layout = layout_of(&[(ROOT, &imports), other], engine).unwrap();
        assert_eq!((layout.file.as_str(), layout.tables), (other.0, Tables::Runtime));
    }
    let layout = layout_of(&[(ROOT, aks)], Some("1.7.24")).unwrap();
    assert_eq!(layout.tables, Tables::Grpc, "1.x does not look at the newer ones");
    for (engine, version, placement) in [
        (None, 1, true),
        (Some("1.6.20"), 1, true),
        (Some("2.3.0"), 1, true),
        (None, 2, true),
        (Some("1.6.20"), 2, true),
        (Some("2.0.0"), 2, true),
        (Some("2.4.2"), 2, true),
        (None, 3, false),
        (None, 4, false),
        (Some("2.4.2"), 4, false),
    ] {
        let layout = layout_of(&[(ROOT, &format!("version = {version}\n"))], engine).unwrap();
        assert_eq!(layout.placement == Placement::InPlace, placement, "{engine:?} {version}");
        assert_eq!(i64::from(layout.version), version);
    }
    // Neither version nor plugins: the version is added, also where others import their own.
    let layout = layout_of(&[(ROOT, "[grpc]\nuid = 1\n")], Some("2.1.9")).unwrap();
    let (text, owned) = write_root(&layout, Some("[grpc]\nuid = 1\n"), &want("crun")).unwrap();
    assert!(text.text.starts_with("version = 2\n[grpc]"), "{}", text.text);
    assert_eq!(cut(&text.text, &owned).0, "[grpc]\nuid = 1\n");
    let other = ("/etc/containerd/conf.d/a.toml", "version = 4\n[plugins.x]\na = 1\n");
    let layout = layout_of(&[(ROOT, "imports = ['conf.d/*.toml']\n"), other], Some("2.4.2")).unwrap();
    assert_eq!(layout.version, ConfigVersion::V4);
}

#[test]
fn version_1_has_tables_of_its_own() {
    let runc = "[plugins.cri.containerd.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n";
    for base in
        [runc.to_owned(), format!("version = 1\n{runc}"), format!("disabled_plugins = ['aufs']\n{runc}")]
    {
        for engine in [Some("1.6.20"), Some("1.7.24"), Some("2.4.2"), None] {
            let (text, owned) = install(&base, engine);
            let ours = "[plugins.cri.containerd.runtimes.crun]\n  runtime_type = ";
            assert!(text.starts_with(&base) && text.contains(ours), "{text}");
            assert_eq!(cut(&text, &owned).0, base);
        }
        let error = layout_of(&[(ROOT, &base)], Some("2.1.9")).unwrap_err();
        assert_eq!(error.class(), Class::Unsupported);
        assert!(error.hint().contains("config migrate"), "{error:?}");
    }
    // Without a table of runtimes the default is kept; an import that says no version counts, too.
    let (text, _) = install("[plugins.cri]\nsandbox_image = 'x'\n", Some("1.6.20"));
    assert!(text.contains("[plugins.cri.containerd.runtimes.runc]\n"), "{text}");
    let files = [(ROOT, "imports = ['/etc/containerd/a.toml']\n"), ("/etc/containerd/a.toml", runc)];
    let layout = layout_of(&files, Some("1.7.24")).unwrap();
    assert_eq!((layout.file.as_str(), layout.version), ("/etc/containerd/a.toml", ConfigVersion::V1));
}

#[test]
fn releases_that_cannot_be_served_are_refused() {
    let of = |version| supported(EngineVersion::parse(version));
    for version in ["1.6.0", "1.6.8", "1.6.14", "1.6.20~ds1", "1.7.0", "2.0.0", "2.4.2"] {
        assert_eq!(of(version), Ok(()), "{version}");
    }
    assert_eq!(supported(None), Ok(()));
    for (version, words) in [
        ("1.5.18", "1.6 and later"),
        ("0.9.1", "upgrade"),
        ("1.6.9", "recreates running pods"),
        ("1.6.13", "1.6.14 or later"),
    ] {
        let error = of(version).unwrap_err();
        assert_eq!(error.class(), Class::Unsupported);
        let said = format!("{error}; {}", error.hint());
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_snapshotter_is_said_twice_where_that_is_needed() {
    let mut entries = want("fc").into_values().next().unwrap();
    entries[0].keys.push(("snapshotter".into(), Value::Text("devmapper".into())));
    let runtime = RuntimeName::new("fc").unwrap();
    let registrations = BTreeMap::from([(runtime.clone(), entries.clone())]);
    for (engine, version) in
        [(Some("2.1.9"), 3), (Some("2.2.0"), 2), (Some("1.7.24"), 2), (Some("2.4.2"), 3), (None, 2)]
    {
        let base = format!("version = {version}\n");
        let layout = layout_of(&[(ROOT, &base)], engine).unwrap();
        let text = if version == 3 {
            drop_in(&layout, &runtime, &entries)
        } else {
            let (text, owned) = write_root(&layout, Some(&base), &registrations).unwrap();
            assert!(holds(&text.text, &owned));
            assert_eq!(cut(&text.text, &owned).0, base);
            text.text
        };
        let said =
            "[plugins.\"io.containerd.cri.v1.images\".runtime_platforms.fc]\n  snapshotter = \"devmapper\"\n";
        assert!(text.contains(said), "{engine:?} {text}");
    }
    let admitted = |engine| with_input(&[], Some(engine), None, |input| admit(input, &registrations));
    assert_eq!(admitted("1.6.20").unwrap_err().class(), Class::Unsupported);
    assert_eq!(admitted("1.7.24"), Ok(()));
}

#[test]
fn what_cannot_be_changed_is_refused_with_its_place() {
    for (text, engine, class, starts) in [
        (
            "version = 2\ndisabled_plugins = [\n  'io.containerd.grpc.v1.cri',\n]\n",
            Some("1.7.24"),
            Class::Unsupported,
            "/etc/containerd/config.toml:3: ",
        ),
        (
            "disabled_plugins = [\"cri\"]\n",
            None,
            Class::Unsupported,
            "/etc/containerd/config.toml:1: containerd's CRI is disabled",
        ),
        (
            "[grpc]\n[plugins.cri]\nx = 1\n",
            Some("2.2.7"),
            Class::Unsupported,
            "/etc/containerd/config.toml:2: a configuration of version 1, whose CRI settings containerd 2.2.7 ignores",
        ),
        (
            "\nversion = 1\n",
            Some("2.1.9"),
            Class::Unsupported,
            "/etc/containerd/config.toml:2: a configuration of version 1",
        ),
        (
            "version = 5\n",
            Some("2.4.2"),
            Class::Unsupported,
            "/etc/containerd/config.toml:1: configuration version 5",
        ),
        (
            "version = 4\n",
            Some("2.1.9"),
            Class::Unsupported,
            "/etc/containerd/config.toml:1: a configuration of version 4",
        ),
        ("version = 'x'\n", Some("2.1.9"), Class::Invalid, "/etc/containerd/config.toml:1: "),
        ("version = 2\n[a\n", Some("2.1.9"), Class::Invalid, "/etc/containerd/config.toml:2: "),
    ] {
        let error = layout_of(&[(ROOT, text)], engine).unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().starts_with(starts), "{error}");
    }
    let dump = "version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n";
    let error = with_input(&[], Some("1.7.24"), Some(dump), layout).unwrap_err();
    assert_eq!(error.class(), Class::Unsupported);
    let imported = [
        (ROOT, "version = 2\nimports = ['x.toml']\n"),
        ("/etc/containerd/x.toml", "disabled_plugins = ['cri']\n"),
    ];
    let error = layout_of(&imported, Some("1.7.24")).unwrap_err();
    assert!(error.to_string().starts_with("/etc/containerd/x.toml:1: "), "{error}");
}

#[test]
fn handlers_of_others_are_refused() {
    let base = format!("version = 2\n\n[{RUNTIMES}]\n  crun.runtime_type = 'theirs'\n");
    let error =
        with_input(&[(ROOT, &base)], Some("1.7.24"), None, |input| admit(input, &want("crun"))).unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert!(
        error.to_string().starts_with("/etc/containerd/config.toml:4: the handler `crun` already exists"),
        "{error}"
    );
    let dump = format!("[{RUNTIMES}.runc]\nruntime_type = 'x'\n");
    let error =
        with_input(&[], Some("1.7.24"), Some(&dump), |input| admit(input, &want("runc"))).unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    let mut twice = want("a");
    twice.insert(RuntimeName::new("b").unwrap(), twice.values().next().unwrap().clone());
    let error = with_input(&[], Some("1.7.24"), None, |input| admit(input, &twice)).unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
}

#[test]
fn our_table_changed_by_others_is_a_conflict() {
    let base = format!("version = 2\n[{RUNTIMES}.runc]\nruntime_type = 'x'\n");
    let (text, owned) = install(&base, Some("1.7.24"));
    assert!(holds(&text, &owned));
    for changed in [text.replace("/opt/x", "/opt/y"), format!("{text}Root = \"/elsewhere\"\n")] {
        assert_ne!(changed, text);
        assert!(!holds(&changed, &owned));
        let error = cut_root(&changed, &owned, &Traces::default(), Overwrite::No).unwrap_err();
        assert_eq!(error.class(), Class::Conflict);
        assert!(
            error.to_string().starts_with("/etc/containerd/config.toml:6: our table of the handler `crun`"),
            "{error}"
        );
    }
    let removed = text.split("\n# cofferdam").next().unwrap().to_owned();
    let (rest, report) = cut(&removed, &owned);
    assert_eq!((rest, report.absent), (removed.clone(), vec!["the handler crun".to_owned()]));
    assert!(!holds(&removed, &owned));
}

#[test]
fn edits_around_and_within_our_table_stay() {
    let base = format!("version = 2\n[{RUNTIMES}.runc]\nruntime_type = 'x'\n");
    let (text, owned) = install(&base, Some("1.7.24"));
    let header = format!("[{RUNTIMES}.crun]\n");
    for (now, left) in [
        // Comments of others, within and behind.
        (text.replace(&header, &format!("{header}# a note\n")), format!("{base}\n# a note\n")),
        (text.replace("\"/opt/x\"\n", "\"/opt/x\" # see ticket 5\n"), format!("{base}\n # see ticket 5\n")),
        // Our comment gone, the blank line gone, the indentation changed, the final newline gone.
        (
            text.lines()
                .filter(|line| !line.starts_with("# cofferdam"))
                .map(|line| format!("{line}\n"))
                .collect(),
            format!("{base}\n"),
        ),
        (text.replace("\n\n# coff", "\n# coff"), base.clone()),
        (text.replace("BinaryName", "\t  BinaryName"), format!("{base}\n")),
        (text.trim_end().to_owned(), format!("{base}\n")),
        // Line ends changed throughout.
        (text.replace('\n', "\r\n"), format!("{base}\n").replace('\n', "\r\n")),
        // A table of theirs between ours.
        (
            text.replace(
                &format!("[{RUNTIMES}.crun.options]"),
                &format!("[debug]\n[{RUNTIMES}.crun.options]"),
            ),
            format!("{base}\n[debug]\n"),
        ),
    ] {
        assert_ne!(now, text);
        let (result, report) = cut(&now, &owned);
        assert_eq!(result, left, "{now}");
        assert_eq!((report.absent.len(), report.kept.len()), (0, 0));
    }
}

#[test]
fn inline_tables_that_others_changed_keep_their_changes() {
    let entry = "crun = { runtime_type = 'io.containerd.runc.v2', options = { BinaryName = '/opt/x' } }";
    let of = |inside: &str| {
        format!("version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\nruntimes = {{{inside}}}\n")
    };
    let (text, owned) = install(&of(" a = { } "), Some("1.7.24"));
    assert_eq!(text, of(&format!(" a = {{ }}, {entry} ")));
    for (now, left) in [
        (format!(" a = {{ }}, {entry} "), " a = { } "),
        (entry.to_owned(), ""),
        (format!(" {entry} , a = {{ }} "), " a = { } "),
        (format!("b = {{ }}, {entry}, a = {{ }}"), "b = { }, a = { }"),
    ] {
        assert_eq!(cut(&of(&now), &owned).0, of(left), "{now}");
    }
    let (text, owned) = install(&of(""), Some("1.7.24"));
    assert_eq!(cut(&text, &owned).0, of(""));
    assert_eq!(
        cut(&text.replace(" }\n", ", z = { } }\n").replace("} }}", "} }, z = { }}"), &owned).0,
        of(" z = { }")
    );
}

#[test]
fn an_unsound_home_is_refused() {
    for text in [
        "version = 2\nplugins = 1\n",
        "version = 2\n[[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes]]\na = 1\n",
    ] {
        let layout = layout_of(&[(ROOT, text)], Some("1.7.24")).unwrap();
        assert_eq!(write_root(&layout, Some(text), &want("crun")).unwrap_err().class(), Class::Invalid);
    }
}

#[test]
fn a_default_that_others_depend_on_by_now_stays() {
    let base = "version = 2\n";
    let (text, owned) = install(base, Some("1.7.24"));
    assert_eq!(cut(&text, &owned).0, base);
    let (rest, report) = cut(&format!("{text}[{RUNTIMES}.theirs]\nruntime_type = 'x'\n"), &owned);
    let effective = Effective::parse(&rest).unwrap();
    assert_eq!(effective.handlers().into_keys().collect::<Vec<_>>(), ["runc", "theirs"]);
    assert_eq!(report.kept, ["the handler runc"]);
}

#[test]
fn the_default_runtime_does_not_go() {
    let base =
        "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\ndefault_runtime_name = 'crun'\n";
    let going = BTreeSet::from([HandlerName::new("crun").unwrap()]);
    let error = with_input(&[(ROOT, base)], None, None, |input| dismiss(input, &going)).unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert!(error.to_string().starts_with("/etc/containerd/config.toml:3: "), "{error}");
    let error = with_input(&[], None, Some(base), |input| dismiss(input, &going)).unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    let other = BTreeSet::from([HandlerName::new("gvisor").unwrap()]);
    assert_eq!(with_input(&[(ROOT, base)], None, Some(base), |input| dismiss(input, &other)), Ok(()));
}

#[test]
fn ours_goes_where_the_file_expects_it() {
    // Behind the comments that follow the last runtime, before those that lead the next table.
    let runc = format!("[{RUNTIMES}.runc]\nruntime_type = 'io.containerd.runc.v2'\n");
    let ours = "\n# cofferdam: crun. Do not edit; remove with: cofferdam remove crun\n[R.crun]\nruntime_type = 'io.containerd.runc.v2'\n[R.crun.options]\nBinaryName = '/opt/x'\n"
        .replace("R.", &format!("{}.", RUNTIMES.replace('"', "'")));
    let runc = runc.replace('"', "'");
    for (behind, next) in [
        ("# last\n", "\n# next\n[debug]\n"),
        ("", "# next\n[debug]\n"),
        ("", "[debug]\n"),
        ("# a\n# b\n", ""),
    ] {
        let (before, after) = (format!("version = 2\n{runc}{behind}"), next);
        let (text, _) = install(&format!("{before}{after}"), Some("1.7.24"));
        assert_eq!(text, format!("{before}{ours}{after}"));
    }
    // Dotted keys stay dotted: nobody defines a table in two ways.
    let base = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  containerd.runtimes.runc.runtime_type = \"a\"\n  on = true\n";
    let (text, _) = install(base, Some("1.7.24"));
    let dotted = "  containerd.runtimes.crun.runtime_type = \"io.containerd.runc.v2\"\n  containerd.runtimes.crun.options.BinaryName = \"/opt/x\"\n";
    assert_eq!(text, base.replace("  on", &format!("{dotted}  on")));
    // Behind a byte order mark.
    let (text, owned) = install("\u{feff}[grpc]\r\n", None);
    assert!(text.starts_with("\u{feff}version = 2\r\n[grpc]\r\n\r\n# cofferdam"), "{text:?}");
    assert_eq!(cut(&text, &owned).0, "\u{feff}[grpc]\r\n");
}
