//! Links, and what goes through them.

use super::canary::ABSOLUTE;
use super::tar::tar;
use super::{Case, Class};

/// Links with these targets, at the top and in a folder, said in each way.
fn symlinks(targets: &[&str], words: &'static str) -> Vec<Case> {
    let mut cases = Vec::new();
    for target in targets {
        let shown: String = target.escape_debug().take(40).collect();
        if target.len() <= 100 {
            cases.push(Case::refused(format!("-> {shown}"), tar().link("a", target).end(), words));
        }
        let gnu = tar().long(b'K', target).link("a", "b").end();
        cases.push(Case::refused(format!("-> {shown} by GNU"), gnu, words));
        let pax = tar().pax(&[("linkpath", target)]).link("a", "b").end();
        cases.push(Case::refused(format!("-> {shown} by PAX"), pax, words));
    }
    cases
}

fn hard_links(targets: &[&str], words: &'static str) -> Vec<Case> {
    let mut cases = Vec::new();
    for target in targets {
        let plain = tar().file("good", "").hard("a", target).end();
        cases.push(Case::refused(format!("-> {target}"), plain, words));
        let pax = tar().file("good", "").pax(&[("linkpath", target)]).hard("a", "good").end();
        cases.push(Case::refused(format!("-> {target} by PAX"), pax, words));
    }
    cases
}

pub fn classes() -> Vec<Class> {
    let longer = "x/".repeat(2100);
    vec![
        Class {
            name: "links to absolute paths",
            source: "CVE-2014-9356 (Docker), CVE-2024-0406 (archiver)",
            cases: symlinks(&["/", "/etc/shadow", ABSOLUTE, "//x"], "leaves"),
        },
        Class {
            name: "links that lead out",
            source: "CVE-2014-6407 (Docker), CVE-2025-45582 (GNU tar)",
            cases: symlinks(&["..", "../secret", "./../secret", ".././..", "../../outside"], "leaves"),
        },
        Class {
            name: "links that go down and wander out",
            source: "RUSTSEC-2021-0080 (tar)",
            cases: symlinks(&["b/../../secret", "b/..", "b/c/../../..", "./b/../../secret"], "leaves"),
        },
        Class {
            name: "links that are too deep to lead out, by their text",
            source: "RUSTSEC-2021-0080 (tar), by one folder more",
            cases: vec![
                Case::refused("one more", tar().link("b/a", "../../secret").end(), "leaves"),
                Case::refused("two more", tar().link("b/c/a", "../../../../secret").end(), "leaves"),
                Case::refused(
                    "by a link that shortens the way",
                    tar().folder("b/c").link("d", "b/c").link("e", "d/../../secret").end(),
                    "leaves",
                ),
                Case::unpacked(
                    "just enough",
                    tar().file("f", "").link("b/a", "../f").end(),
                    &["b /", "b/a -> ../f", "f 644 "],
                ),
            ],
        },
        Class {
            name: "links to no plain path",
            source: "Linux: ENOENT, ENAMETOOLONG; terminal escapes",
            cases: [
                symlinks(&[""], "leaves"),
                symlinks(&["a\nb", "a\x1b[2J", "a\u{202e}b"], "no plain path"),
                vec![
                    Case::refused(
                        "long",
                        tar().pax(&[("linkpath", &longer)]).link("a", "b").end(),
                        "no plain path",
                    ),
                    Case::refused("longer", tar().long(b'K', &longer).link("a", "b").end(), "a name of"),
                ],
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
        Class {
            name: "a file through a link",
            source: "CVE-2014-6407 (Docker); libpathrs: CVE-2017-1002101 (kubelet)",
            cases: vec![
                Case::refused(
                    "to a folder",
                    tar().folder("b").link("a", "b").file("a/evil", "evil").end(),
                    "through the link",
                ),
                Case::refused(
                    "to nothing",
                    tar().link("a", "b").file("a/evil", "").end(),
                    "through the link",
                ),
                Case::refused("to itself", tar().link("a", "a").file("a/evil", "").end(), "through the link"),
                Case::refused(
                    "in the middle",
                    tar().folder("b/c").link("b/l", "c").file("b/l/evil", "").end(),
                    "through the link",
                ),
                Case::refused(
                    "through two",
                    tar().folder("c").link("b", "c").link("a", "b").file("a/evil", "").end(),
                    "through the link",
                ),
                Case::refused(
                    "a folder",
                    tar().folder("b").link("a", "b").folder("a/c").end(),
                    "through the link",
                ),
                Case::refused("a link", tar().link("a", "b").link("a/c", "d").end(), "through the link"),
                Case::refused(
                    "a hard link",
                    tar().file("f", "").folder("b").link("a", "b").hard("a/c", "f").end(),
                    "through the link",
                ),
                Case::refused("with a slash", tar().link("a", "b").folder("a/").end(), "twice"),
                Case::refused("with a dot", tar().link("a", "b").file("./a/x", "").end(), "through the link"),
            ],
        },
        Class {
            name: "a folder where a link is",
            source: "CVE-2026-33056, RUSTSEC-2026-0067, RUSTSEC-2026-0113 (chmod through it)",
            cases: vec![
                Case::refused("the same name", tar().link("a", "b").folder("a").end(), "twice"),
                Case::refused("a dot", tar().link("a", "b").folder("a/.").end(), "no plain"),
                Case::refused("another mode", tar().folder("b").link("a", "b").folder("./a/").end(), "twice"),
                Case::refused("a folder, a link, a folder", tar().folder("a").link("a", "b").end(), "twice"),
            ],
        },
        Class {
            name: "a link where something is",
            source: "CVE-2021-32803 (node-tar: a folder remembered that is a link by now)",
            cases: vec![
                Case::refused("a folder", tar().folder("a").link("a", "b").end(), "twice"),
                Case::refused("a folder with a file", tar().file("a/b", "").link("a", "c").end(), "twice"),
                Case::refused("a file", tar().file("a", "").link("a", "b").end(), "twice"),
                Case::refused("a link", tar().link("a", "b").link("a", "c").end(), "twice"),
                Case::refused(
                    "a folder nobody named",
                    tar().file("a/b/c", "").link("a/b", "d").end(),
                    "twice",
                ),
            ],
        },
        Class {
            name: "a file where a link is",
            source: "CVE-2014-6407 (Docker: written through it)",
            cases: vec![
                Case::refused("of the top", tar().link("a", "b").file("a", "evil").end(), "twice"),
                Case::refused("in a folder", tar().link("d/a", "b").file("d/a", "evil").end(), "twice"),
                Case::refused(
                    "a hard link",
                    tar().file("f", "").link("a", "b").hard("a", "f").end(),
                    "twice",
                ),
            ],
        },
        Class {
            name: "hard links that lead out",
            source: "RUSTSEC-2018-0002 (tar), CVE-2018-20834 (node-tar)",
            cases: hard_links(&["../secret", "a/../../secret", "./../secret", ".."], "leads out"),
        },
        Class {
            name: "hard links to absolute paths",
            source: "RUSTSEC-2018-0002 (tar), CVE-2014-6407 (Docker)",
            cases: hard_links(&["/etc/shadow", ABSOLUTE, "/"], "absolute"),
        },
        Class {
            name: "hard links to what is not there",
            source: "Unix semantics: what is linked must be there first",
            cases: vec![
                Case::refused("nothing", tar().hard("a", "b").end(), "names no file"),
                Case::refused("itself", tar().hard("a", "a").end(), "names no file"),
                Case::refused("what comes later", tar().hard("a", "b").file("b", "").end(), "names no file"),
                Case::refused("two in a circle", tar().hard("a", "b").hard("b", "a").end(), "names no file"),
                Case::refused("no name", tar().hard("a", "").end(), "no plain"),
            ],
        },
        Class {
            name: "hard links to what is no file",
            source: "CVE-2018-20834 (a hard link to a link, then a file through it)",
            cases: vec![
                Case::refused("a link", tar().link("b", "c").hard("a", "b").end(), "names no file"),
                Case::refused("a folder", tar().folder("b").hard("a", "b").end(), "names no file"),
                Case::refused(
                    "through a link",
                    tar().file("b/c", "").link("d", "b").hard("a", "d/c").end(),
                    "names no file",
                ),
                Case::refused(
                    "a file as a folder",
                    tar().file("b", "").hard("a", "b/c").end(),
                    "names no file",
                ),
            ],
        },
        Class {
            name: "a file through a hard link",
            source: "CVE-2018-20834: what is written goes to both",
            cases: vec![
                Case::refused(
                    "the same name",
                    tar().file("b", "one").hard("a", "b").file("a", "two").end(),
                    "twice",
                ),
                Case::refused(
                    "the other name",
                    tar().file("b", "").hard("a", "b").file("b", "x").end(),
                    "twice",
                ),
                Case::refused(
                    "as a folder",
                    tar().file("b", "").hard("a", "b").file("a/c", "").end(),
                    "is a file",
                ),
            ],
        },
        Class {
            name: "the same name twice",
            source: "two readers keep different ones",
            cases: vec![
                Case::refused("a file", tar().file("a", "one").file("a", "two").end(), "twice"),
                Case::refused("with a dot", tar().file("a", "one").file("./a", "two").end(), "twice"),
                Case::refused("many dots", tar().file("a", "one").file("././a", "two").end(), "twice"),
                Case::refused("a folder, then a file", tar().folder("a").file("a", "").end(), "twice"),
                Case::refused("a file, then a folder", tar().file("a", "").folder("a").end(), "twice"),
                Case::refused("a file below a file", tar().file("a", "").file("a/b", "").end(), "is a file"),
                Case::refused(
                    "by PAX",
                    tar().file("a", "").pax(&[("path", "a")]).file("b", "").end(),
                    "twice",
                ),
                Case::refused("by GNU", tar().file("a", "").long(b'L', "a").file("b", "").end(), "twice"),
                Case::unpacked(
                    "folders may",
                    tar().folder("a").folder("./a/").file("a/b", "").end(),
                    &["a /", "a/b 644 "],
                ),
            ],
        },
        Class {
            name: "sound links",
            source: "a guard must not refuse what is sound",
            cases: vec![
                Case::unpacked("to nothing", tar().link("a", "b/c").end(), &["a -> b/c"]),
                Case::unpacked("to itself", tar().link("a", "a").end(), &["a -> a"]),
                Case::unpacked(
                    "two names",
                    tar().file("a", "x").hard("b/c", "a").hard("d", "./b/c").end(),
                    &["a 644 x", "b /", "b/c 644 x", "d 644 x"],
                ),
            ],
        },
    ]
}
