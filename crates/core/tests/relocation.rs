//! Relocation: a runtime's TOML files follow the installation, and keep every other byte.

// Helpers outside of #[test] functions fail their test by panicking, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use cofferdam_core::descriptor::{self, FileKind, FindingKind, PackageFiles, Relocate, Relocated};
use cofferdam_core::name::{HostPath, PackagePath};
use proptest::prelude::*;
use toml_edit::{Document, Item, TableLike, Value};

const TREE: &str = "/opt/cofferdam/runtimes/kata/3.26.0-0123456789ab";

const SAMPLES: [(&str, &str); 3] = [
    ("configuration-clh.toml", include_str!("data/kata/configuration-clh.toml")),
    ("configuration-fc.toml", include_str!("data/kata/configuration-fc.toml")),
    ("configuration-qemu.toml", include_str!("data/kata/configuration-qemu.toml")),
];

fn host(path: &str) -> HostPath {
    HostPath::new(path).unwrap()
}

/// A `[relocate]` with these further lines.
fn relocate(from: &str, more: &str) -> Relocate {
    let text = format!(
        "schema = 1\nname = \"kata\"\nversion = \"1\"\n[[handler]]\nname = \"kata\"\nshim = \"bin/x\"\n[relocate]\nfiles = \
         [\"*.toml\"]\nfrom = \"{from}\"\n{more}"
    );
    descriptor::parse("runtime.toml", &text).unwrap().relocate.unwrap()
}

fn moved(relocate: &Relocate, text: &str, to: &str) -> Relocated {
    relocate.apply("c.toml", text, &host(to), &PackageFiles::new()).unwrap()
}

fn plain(text: &str) -> String {
    let Relocated { text, findings } = moved(&relocate("/opt/kata", ""), text, "/new");
    assert_eq!(findings, [], "{text}");
    text
}

/// What is reported of a text that stays as it is.
fn reported(text: &str) -> Vec<String> {
    let out = moved(&relocate("/opt/kata", ""), text, "/new");
    assert_eq!(out.text, text);
    assert!(out.findings.iter().all(|f| f.kind == FindingKind::UnknownPath && f.place.is_some()));
    out.findings.into_iter().map(|finding| finding.message).collect()
}

/// Every string of a document with its key.
fn strings(text: &str) -> Vec<(String, String)> {
    fn table(table: &dyn TableLike, at: &str, found: &mut Vec<(String, String)>) {
        for (key, item) in table.iter() {
            let at = format!("{at}.{key}");
            match item {
                Item::Value(inner) => value(inner, &at, found),
                Item::Table(inner) => table_of(inner, &at, found),
                Item::ArrayOfTables(tables) => tables.iter().for_each(|inner| table_of(inner, &at, found)),
                Item::None => {}
            }
        }
    }
    fn table_of(inner: &toml_edit::Table, at: &str, found: &mut Vec<(String, String)>) {
        table(inner, at, found);
    }
    fn value(value_: &Value, at: &str, found: &mut Vec<(String, String)>) {
        match value_ {
            Value::String(text) => found.push((at.to_owned(), text.value().clone())),
            Value::Array(array) => array.iter().for_each(|inner| value(inner, at, found)),
            Value::InlineTable(inner) => table(inner, at, found),
            _ => {}
        }
    }
    let document = Document::parse(text).unwrap();
    let mut found = Vec::new();
    table(document.as_table(), "", &mut found);
    found
}

#[test]
fn katas_own_files_follow() {
    for (name, text) in SAMPLES {
        let out = moved(&relocate("/opt/kata", ""), text, TREE);
        assert_eq!(out.findings, [], "{name}");
        let expected: Vec<_> =
            strings(text).into_iter().map(|(key, value)| (key, value.replace("/opt/kata", TREE))).collect();
        assert_eq!(strings(&out.text), expected, "{name}");
        // Comments that name the old place keep it: what else changed is a line of its own.
        let changed = text.lines().zip(out.text.lines()).filter(|(old, new)| old != new);
        for (old, new) in changed.clone() {
            assert!(!old.trim_start().starts_with('#'), "{name}: {old}");
            assert_eq!(old.replace("/opt/kata", TREE), new, "{name}");
        }
        assert_eq!(changed.count(), 6, "{name}");
        assert_eq!(text.lines().count(), out.text.lines().count());
        assert!(out.text.contains("# Your distribution recommends: [\"/opt/kata"), "{name}");
        assert_eq!(moved(&relocate("/opt/kata", ""), &out.text, TREE).text, out.text, "{name}: twice");
        assert_eq!(moved(&relocate(TREE, ""), &out.text, "/opt/kata").text, text, "{name}: and back");
    }
}

#[test]
fn every_way_to_write_a_value() {
    for (before, after) in [
        ("[hypervisor.qemu]\r\npath=\"/opt/kata/bin/q\"\r\n", "[hypervisor.qemu]\r\npath=\"/new/bin/q\"\r\n"),
        ("hypervisor.qemu.path = '/opt/kata' # /opt/kata", "hypervisor.qemu.path = '/new' # /opt/kata"),
        (
            "hypervisor = { clh = { kernel = \"/opt/kata/k\" } }",
            "hypervisor = { clh = { kernel = \"/new/k\" } }",
        ),
        ("[hypervisor.x]\nimage = \"\"\"/opt/kata/i\"\"\"", "[hypervisor.x]\nimage = \"\"\"/new/i\"\"\""),
        ("[hypervisor.x]\nimage = '''\n/opt/kata/i'''", "[hypervisor.x]\nimage = \"/new/i\""),
        ("[hypervisor.x]\ninitrd = \"\\u002fopt/kata/i\\u0021\"", "[hypervisor.x]\ninitrd = \"/new/i!\""),
        (
            "[hypervisor.x]\nvalid_jailer_paths = [\n  '/opt/kata/bin/*', # all\n  \"/usr/bin/j\",\n  \"/opt/kata/sbin/j\"]\n",
            "[hypervisor.x]\nvalid_jailer_paths = [\n  '/new/bin/*', # all\n  \"/usr/bin/j\",\n  \"/new/sbin/j\"]\n",
        ),
        (
            "[hypervisor.x]\npflashes = [\"/opt/kata/a\", \"\"]",
            "[hypervisor.x]\npflashes = [\"/new/a\", \"\"]",
        ),
        (
            "[runtime]\nsandbox_bind_mounts = [\"/opt/kata/m:ro\"]",
            "[runtime]\nsandbox_bind_mounts = [\"/new/m:ro\"]",
        ),
        ("\u{feff}binary_name = \"/opt/kata/bin/runsc\"\n", "\u{feff}binary_name = \"/new/bin/runsc\"\n"),
        // Tables out of their order in the text.
        (
            "[hypervisor.a]\npath = \"/opt/kata/a\"\n[x]\n[hypervisor.b]\npath = \"/opt/kata/b\"\n[hypervisor.a.y]\n",
            "[hypervisor.a]\npath = \"/new/a\"\n[x]\n[hypervisor.b]\npath = \"/new/b\"\n[hypervisor.a.y]\n",
        ),
    ] {
        assert_eq!(plain(before), after);
    }
}

#[test]
fn what_is_no_path_of_the_package_stays_and_needs_no_word() {
    for text in [
        "# /opt/kata/bin\n",
        "[hypervisor.q]\npath = \"/opt/katafoo/x\"\n",
        "[hypervisor.q]\npath = \"/opt/kata-2/x\"\n",
        "[hypervisor.q]\npath = \"/opt/kata.bak\"\n",
        "[hypervisor.q]\npath = \"/x/opt/kata\"\n",
        "[hypervisor.q]\npath = \"opt/kata\"\n",
        "[hypervisor.q]\npath = 1\n",
        "[hypervisor.q]\nguest_hook_path = \"/opt/kata/hooks\"\n",
        "[hypervisor.q]\nkernel_params = \"agent.log=/opt/kata/x\"\n",
        "[agent.kata]\nkernel_modules = [\"/opt/kata/m.ko\"]\n",
        "[\"/opt/kata\"]\n\"/opt/kata/x\" = 1\n",
    ] {
        assert_eq!(plain(text), text);
    }
}

#[test]
fn what_nobody_knows_is_reported_with_its_place() {
    let text = "[hypervisor.qemu]\npath = \"/usr/bin/q\"\nnew_thing = [\"/a\", \"/opt/kata/x\"]\n";
    let out = moved(&relocate("/opt/kata", ""), text, "/new");
    assert_eq!(out.text, text);
    let shown = out.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(
        shown,
        "c.toml:3:20: `hypervisor.qemu.new_thing`: `/opt/kata/x` names the place that the package was built for, and the key \
         is not known: it stays as it is\n   |\n 3 | new_thing = [\"/a\", \"/opt/kata/x\"]\n   |                    ^^^^^^^^^^^^^\n   \
         = hint: if it names a file of the package, add the key to `keys` in `[relocate]`, else to `keep`"
    );
    for (text, word) in [
        ("[runtime]\ndan_conf = \"/opt/kata\"\n", "runtime.dan_conf"),
        ("[path]\nx = \"/opt/kata/y\"\n", "path.x"),
        ("path = \"/opt/kata/y\"\n", "`path`"),
        ("[hypervisor.q]\npath = \"/opt/kata/../y\"\n", "within a longer text, or in a path that leaves it"),
        ("[hypervisor.q]\npath = \"/opt//kata/y\"\n", "longer text"),
        ("[hypervisor.q]\npath = \"/opt/kata*\"\n", "longer text"),
        ("[hypervisor.q]\npath = \"/opt/kata/a:/opt/kata/b\"\n", "longer text"),
        ("[hypervisor.q]\nvirtio_fs_extra_args = [\"-o\", \"source=/opt/kata/x\"]\n", "virtio_fs_extra_args"),
    ] {
        let found = reported(text);
        assert!(found.len() == 1 && found[0].contains(word), "{text}: {found:?}");
    }
}

#[test]
fn a_package_says_what_its_own_keys_mean() {
    let text = "a.b = \"/opt/kata/1\"\na.c = [\"/opt/kata/2\"]\nd = \"x /opt/kata/3\"\n";
    let keys = relocate("/opt/kata", "keys = [\"*.b\"]\nkeep = [\"a.c\", \"d\"]\n");
    let out = moved(&keys, text, "/new");
    assert_eq!(out.text, text.replace("/opt/kata/1", "/new/1"));
    assert_eq!(out.findings, []);
    // What is kept is kept although it is known otherwise.
    let keep = relocate("/opt/kata", "keep = [\"hypervisor.*.path\"]\n");
    let text = "hypervisor.q.path = \"/opt/kata/x\"\n";
    assert_eq!(moved(&keep, text, "/new").text, text);
}

#[test]
fn files_are_found_by_their_names_where_the_package_says_so() {
    let by_name = relocate("/opt/kata", "by-name = [\"hypervisor.*.kernel\", \"hypervisor.*.i*\"]\n");
    let file = FileKind::File { executable: false };
    let files: PackageFiles = ["vmlinuz.container", "share/vmlinuz.container"]
        .map(|path| (PackagePath::new(path).unwrap(), file))
        .into();
    let text = "[hypervisor.qemu]\npath = \"/opt/kata/bin/qemu\"\nkernel = \"/elsewhere/vmlinuz.container\"\nimage = \
                \"/elsewhere/none.img\"\ninitrd = \"\"\n";
    let out = by_name.apply("c.toml", text, &host("/new"), &files).unwrap();
    let expected = text.replace("/opt/kata/", "/new/").replace("/elsewhere/vml", "/new/vml");
    assert_eq!(out.text, expected);
    assert_eq!(out.findings.len(), 1);
    assert!(out.findings[0].message.contains("no file `none.img` lies at the package's top"));
    // A path that is right as it is counts before the name.
    for (value, new) in
        [("/opt/kata/share/vmlinuz.container", "/new/share/"), ("/opt/kata/x/vmlinuz.container", "/new/")]
    {
        let text = format!("[hypervisor.q]\nkernel = \"{value}\"\n");
        let out = by_name.apply("c.toml", &text, &host("/new"), &files).unwrap();
        assert!(
            out.text.contains(&format!("\"{new}vmlinuz.container\"")) && out.findings.is_empty(),
            "{}",
            out.text
        );
    }
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_place() {
    let relocate = relocate("/opt/kata", "");
    let error = |text: &str| {
        relocate.apply("etc/c.toml", text, &host("/new"), &PackageFiles::new()).unwrap_err().to_string()
    };
    let shown = error("[hypervisor.qemu]\npath = /opt/kata/bin\n");
    assert!(shown.contains("etc/c.toml:2:8: not TOML"), "{shown}");
    assert!(shown.contains("take it out of `files` in `[relocate]`"), "{shown}");
    assert!(error("a = 1\na = 2\n").contains("etc/c.toml:2:1"));
}

#[test]
fn a_tree_with_odd_characters_is_written_as_toml_has_it() {
    let relocate = relocate("/opt/kata", "");
    for quoted in ["\"/opt/kata/x\"", "'/opt/kata/x'", "\"\"\"/opt/kata/x\"\"\"", "'''/opt/kata/x'''"] {
        for tree in ["/a\"b", "/a'b", "/a\\b", "/a\\u0041", "/ä '''b"] {
            let out = moved(&relocate, &format!("binary_name = {quoted}\n"), tree);
            assert_eq!(
                strings(&out.text),
                [(".binary_name".to_owned(), format!("{tree}/x"))],
                "{}",
                out.text
            );
        }
    }
    assert_eq!(
        moved(&relocate, "binary_name = \"/opt/kata\"", "/opt/kata/runtimes/x")
            .text
            .matches("runtimes")
            .count(),
        1
    );
    let twice = moved(&relocate, "binary_name = \"/opt/kata/runtimes/x/bin\"", "/opt/kata/runtimes/x");
    assert_eq!(twice.text, "binary_name = \"/opt/kata/runtimes/x/bin\"", "what moved before stays");
}

/// A line of TOML, and whether the path in it moves. `@` stands for the package's place.
fn line() -> impl Strategy<Value = (String, bool)> {
    let rest = "(/[a-z*]{1,3}){0,3}";
    let blank = "[ \t]{0,2}";
    prop_oneof![
        (blank, "[a-z é/]{0,10}").prop_map(|(blank, text)| (format!("{blank}# /opt/kata/{text}"), false)),
        ("[a-z]{1,4}", "[1-9][0-9]{0,3}").prop_map(|(key, value)| (format!("n_{key} = {value}"), false)),
        (rest, blank).prop_map(|(rest, blank)| (format!("path{blank}={blank}\"@{rest}\"{blank}"), true)),
        (rest, blank).prop_map(|(rest, blank)| (format!("kernel ={blank}'@{rest}' # /opt/kata/k"), true)),
        (rest, "[a-z/]{0,5}").prop_map(|(rest, other)| {
            (format!("valid_x_paths = [ \"/{other}\",\n\t'@{rest}', # /opt/kata\n\"/opt/katafoo\" ]"), true)
        }),
        rest.prop_map(|rest| (format!("image = \"\"\"@{rest}\"\"\""), true)),
        rest.prop_map(|rest| (format!("guest_hook_path = \"@{rest}\""), false)),
    ]
}

proptest! {
    #[test]
    fn ours_moves_and_every_other_byte_stays(
        lines in prop::collection::vec(line(), 0..10),
        end in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let render = |place: &str| {
            lines.iter().enumerate().fold(String::new(), |text, (index, (line, moves))| {
                let line = line.replace('\n', end).replace('@', if *moves { place } else { "/opt/kata" });
                format!("{text}[hypervisor.h{index}]{end}{line}{end}")
            })
        };
        let text = render("/opt/kata");
        let out = moved(&relocate("/opt/kata", ""), &text, TREE);
        prop_assert_eq!(&out.text, &render(TREE));
        prop_assert_eq!(out.findings, vec![]);
        prop_assert_eq!(&moved(&relocate("/opt/kata", ""), &out.text, TREE).text, &out.text);
        let back = relocate(TREE, "keep = [\"hypervisor.*.guest_hook_path\"]\n");
        prop_assert_eq!(moved(&back, &out.text, "/opt/kata").text, text);
    }

    #[test]
    fn any_value_is_either_moved_reported_or_none_of_ours(value in "[/a-z.: =*\"'\\\\]{0,12}(/opt/kata)?[/a-z.:\"]{0,8}") {
        let literal = Value::from(value.as_str()).to_string();
        let text = format!("[hypervisor.q]\npath = {literal}\n[x]\ny = {literal}\n");
        let out = moved(&relocate("/opt/kata", ""), &text, "/new");
        let found = strings(&out.text);
        prop_assert_eq!(&found[1].1, &value, "an unknown key never changes");
        let inside = value.strip_prefix("/opt/kata").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if found[0].1 != value {
            prop_assert!(inside);
            prop_assert_eq!(&found[0].1, &value.replacen("/opt/kata", "/new", 1));
            prop_assert_eq!(out.findings.len(), 1);
        } else if inside {
            prop_assert_eq!(out.findings.len(), 2, "{}", value);
        }
    }

    #[test]
    fn never_panics(text in any::<String>(), from in "(/[a-zé.]{1,4}){1,3}") {
        if let Ok(from) = HostPath::new(from) {
            let relocate = Relocate { from, ..relocate("/x", "") };
            let _ = relocate.apply("x", &text, &host("/to"), &PackageFiles::new());
        }
    }
}
