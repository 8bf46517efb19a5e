//! Where an entry says that it goes.

use super::canary::ABSOLUTE;
use super::tar::{Head, Tar, record, tar};
use super::{Case, Class};

/// The ways in which an archive says a path.
#[derive(Clone, Copy, Debug)]
enum Carrier {
    Name,
    Prefix,
    Gnu,
    Pax,
}

const CARRIERS: [Carrier; 4] = [Carrier::Name, Carrier::Prefix, Carrier::Gnu, Carrier::Pax];

/// What may be at a path.
const KINDS: [(&str, u8); 4] = [("file", b'0'), ("folder", b'5'), ("link", b'2'), ("hard link", b'1')];

fn put(tar: Tar, carrier: Carrier, kind: u8, path: &str) -> Option<Tar> {
    let head = |name: &str| {
        let head = Head::new(kind, name);
        if matches!(kind, b'1' | b'2') { head.link("good") } else { head }
    };
    Some(match carrier {
        Carrier::Name if path.len() <= 100 => tar.head(head(path), b""),
        Carrier::Prefix => {
            let (prefix, name) = path.rsplit_once('/').filter(|(prefix, _)| !prefix.is_empty())?;
            if prefix.len() > 155 || name.len() > 100 {
                return None;
            }
            tar.head(head(name).prefix(prefix), b"")
        }
        Carrier::Gnu => tar.long(b'L', path).head(head("other").gnu(), b""),
        Carrier::Pax => tar.pax(&[("path", path)]).head(head("other"), b""),
        Carrier::Name => return None,
    })
}

/// The path, said in each way, for each kind of entry.
fn all_ways(path: &str, words: &'static str) -> Vec<Case> {
    let mut cases = Vec::new();
    for carrier in CARRIERS {
        for (kind, byte) in KINDS {
            let Some(archive) = put(tar().file("good", "good"), carrier, byte, path) else { continue };
            let name = format!("{kind} {:.40} by {carrier:?}", path.escape_debug().to_string());
            cases.push(Case::refused(name, archive.end(), words));
        }
    }
    cases
}

fn of(paths: &[&str], words: &'static str) -> Vec<Case> {
    paths.iter().flat_map(|path| all_ways(path, words)).collect()
}

/// For files only: as a folder, some of these are the package's own.
fn files(paths: &[&str], words: &'static str) -> Vec<Case> {
    let file = |path: &&str| Case::refused(*path, tar().file(path, "evil").end(), words);
    paths.iter().map(file).collect()
}

pub fn classes() -> Vec<Class> {
    let long = "x".repeat(256);
    let deep = "d/".repeat(5) + "f";
    let far = format!("{}f", ("n".repeat(250) + "/").repeat(9));
    let fold = |first: &str, second: &str| {
        let archive = tar().file(first, "one").file(second, "two").end();
        Case::refused(format!("{first} and {second}"), archive, "differ in case only")
    };
    vec![
        Class {
            name: "paths that lead out",
            source: "CVE-2007-4559 (Python), CVE-2001-1267 (GNU tar), zip slip",
            cases: of(&["../secret", "..", "a/../../secret", "../../outside/new", "a/.."], "leads out"),
        },
        Class {
            name: "paths that lead out and come back",
            source: "libpathrs: docker/docker#5656",
            cases: of(&["a/../good", "../stage/good", "b/c/../../d"], "leads out"),
        },
        Class {
            name: "dots before a path that leads out",
            source: "CVE-2016-6321 (GNU tar strips what is before ..)",
            cases: of(&["./../secret", "././../secret", "./a/../../secret"], "leads out"),
        },
        Class {
            name: "absolute paths",
            source: "CVE-2021-32804 (node-tar)",
            cases: of(&[ABSOLUTE, "//tmp/x", "/../tmp/x"], "absolute")
                .into_iter()
                .chain([Case::refused("the root", tar().folder("/").end(), "absolute")])
                .collect(),
        },
        Class {
            name: "absolute paths behind a dot",
            source: "CVE-2021-32804 (node-tar strips one root only)",
            cases: of(&[".//tmp/x", "././/tmp/x"], "absolute path")
                .into_iter()
                .map(|case| Case { expected: super::Expected::Refused("no plain"), ..case })
                .collect(),
        },
        Class {
            name: "doubled slashes and inner dots",
            source: "Unix semantics: two texts, one path",
            cases: of(&["a//b", "a/./b", "a/b//c", "a/././b"], "no plain"),
        },
        Class {
            name: "files without a name",
            source: "Unix semantics",
            cases: [files(&["", ".", "./.", "././."], "no plain"), files(&["./", "././"], "of a folder")]
                .into_iter()
                .flatten()
                .collect(),
        },
        Class {
            name: "files with a folder's name",
            source: "CVE-2026-33055 (readers differ), POSIX",
            cases: files(&["a/", "./a/", "a/b/"], "the name of a folder"),
        },
        Class {
            name: "control characters in a path",
            source: "terminal escapes: CVE-2003-0063 and its kind",
            cases: of(&["a\nb", "a\x1b[2Jb", "a\tb", "\x7f", "a\u{85}b"], "no plain"),
        },
        Class {
            name: "invisible and turning characters",
            source: "CVE-2021-42574 (Trojan Source), CVE-2014-9390 (git)",
            cases: of(&["a\u{200c}b", "a\u{202e}b", "a\u{feff}", "\u{ad}a", "a\u{2066}b"], "invisible"),
        },
        Class {
            name: "second spellings of a character",
            source: "CVE-2021-37712 (node-tar, Unicode)",
            cases: of(&["e\u{301}", "\u{212b}", "\u{1112}\u{1161}", "\u{f900}"], "part of another"),
        },
        Class {
            name: "paths that differ in case only",
            source: "CVE-2014-9390, CVE-2021-21300 (git)",
            cases: vec![
                fold("a", "A"),
                fold("bin/tool", "bin/Tool"),
                fold("Bin/tool", "bin/other"),
                fold("\u{e9}", "\u{c9}"),
                fold("stra\u{df}e", "STRASSE"),
                fold("\u{17f}", "s"),
                fold("fi", "\u{fb01}"),
            ],
        },
        Class {
            name: "a link by a name in another case",
            source: "CVE-2021-21300 (git)",
            cases: vec![
                Case::refused(
                    "a file through it",
                    tar().folder("b").link("A", "b").file("a/evil", "evil").end(),
                    "case only",
                ),
                Case::refused(
                    "a file in its place",
                    tar().link("link", "b").file("LINK", "evil").end(),
                    "case only",
                ),
                Case::refused("a hard link to it", tar().file("b", "").hard("c", "B").end(), "case only"),
                Case::refused("a folder in its place", tar().link("x", "b").folder("X").end(), "case only"),
            ],
        },
        Class {
            name: "zero bytes in a path",
            source: "C strings end at a zero byte: two readers see two names",
            cases: vec![
                Case::refused("GNU", tar().long(b'L', "a\0b").file("x", "").end(), "zero byte"),
                Case::refused("PAX", tar().pax(&[("path", "a\0b")]).file("x", "").end(), "zero byte"),
                Case::refused("GNU link", tar().long(b'K', "a\0b").link("x", "y").end(), "zero byte"),
                Case::refused(
                    "PAX link",
                    tar().pax(&[("linkpath", "a\0b")]).link("x", "y").end(),
                    "zero byte",
                ),
            ],
        },
        Class {
            name: "paths that are no text",
            source: "POSIX: hdrcharset",
            cases: [&b"\xff\xfe"[..], b"a\xc0\xafb", b"\xed\xa0\x80"]
                .into_iter()
                .flat_map(|bytes| {
                    let name = format!("{bytes:02x?}");
                    let head = Head::new(b'0', "").bytes(0, bytes);
                    let record = record("path", bytes);
                    [
                        Case::refused(format!("{name} by name"), tar().head(head, b"").end(), "not UTF-8"),
                        Case::refused(
                            format!("{name} by PAX"),
                            tar().raw_records(b'x', &record).file("a", "").end(),
                            "not UTF-8",
                        ),
                    ]
                })
                .collect(),
        },
        Class {
            name: "folders too deep",
            source: "PATH_MAX for whoever walks the tree; our own limit",
            cases: of(&[&deep, "./d/d/d/d/d/d"], "folders deep"),
        },
        Class {
            name: "names too long",
            source: "Linux: NAME_MAX, PATH_MAX",
            cases: [&long, &far]
                .iter()
                .flat_map(|path| all_ways(path, "too long"))
                .map(|case| case.with(|options| options.limits.depth = 64))
                .collect(),
        },
        Class {
            name: "what only looks hostile",
            source: "a guard must not refuse what is sound",
            cases: vec![
                Case::unpacked(
                    "dots",
                    tar().file("..a", "1").file("b..", "2").file("...", "3").end(),
                    &["... 644 3", "..a 644 1", "b.. 644 2"],
                ),
                Case::unpacked(
                    "backslashes, colons, tildes and blanks",
                    tar().file("a\\x2db", "1").file("C:evil", "2").file("~", "3").file(" ", "4").end(),
                    &["  644 4", "C:evil 644 2", "a\\x2db 644 1", "~ 644 3"],
                ),
                Case::unpacked("a dash first", tar().file("-rf", "1").end(), &["-rf 644 1"]),
                Case::unpacked(
                    "letters",
                    tar().file("gr\u{fc}\u{df}e", "1").end(),
                    &["gr\u{fc}\u{df}e 644 1"],
                ),
                Case::unpacked(
                    "capitals",
                    tar().file("README", "1").file("bin/Tool", "2").end(),
                    &["README 644 1", "bin /", "bin/Tool 644 2"],
                ),
            ],
        },
    ]
}
