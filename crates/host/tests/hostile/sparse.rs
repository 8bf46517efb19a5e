//! Files with holes, in GNU's four ways, sound and not.

use super::tar::{Head, Tar, tar};
use super::{Case, Class};

/// In the oldest form: segments in the header, and in a block behind it.
fn old(size: u64, stored: &str, segments: &[(u64, u64)], more: &[(u64, u64)]) -> Tar {
    let number = |value: u64| format!("{value:011o}\0");
    let mut head = Head::new(b'S', "a").gnu().size(stored.len() as u64).octal(483, 12, size);
    for (at, (offset, length)) in segments.iter().enumerate() {
        head = head.text(386 + at * 24, &(number(*offset) + &number(*length)));
    }
    if more.is_empty() {
        return tar().head(head, stored.as_bytes());
    }
    let mut block: String = more.iter().map(|(offset, length)| number(*offset) + &number(*length)).collect();
    block.push_str(&"\0".repeat(512 - block.len()));
    tar().head(head.bytes(482, &[1]), block.as_bytes()).bytes(stored.as_bytes())
}

/// A record for each number.
fn form_0_0(size: &str, stored: &str, numbers: &[&str]) -> Tar {
    let mut records = vec![("GNU.sparse.size", size)];
    for (at, number) in numbers.iter().enumerate() {
        records.push((if at % 2 == 0 { "GNU.sparse.offset" } else { "GNU.sparse.numbytes" }, *number));
    }
    tar().pax(&records).file("a", stored)
}

/// One record.
fn form_0_1(size: &str, stored: &str, map: &str) -> Tar {
    tar()
        .pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map), ("GNU.sparse.name", "a")])
        .file("x", stored)
}

/// Lines before the content.
fn form_1_0(size: &str, stored: &str, map: &str) -> Tar {
    let mut content = map.to_owned();
    content.push_str(&"\0".repeat(content.len().next_multiple_of(512) - content.len()));
    content.push_str(stored);
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "a"),
        ("GNU.sparse.realsize", size),
    ];
    tar().pax(&records).file("GNUSparseFile.0/a", &content)
}

/// The same map in each way.
fn all_ways(name: &str, size: u64, stored: &str, map: &[(u64, u64)], words: &'static str) -> Vec<Case> {
    let numbers: Vec<String> = map.iter().flat_map(|(a, b)| [a.to_string(), b.to_string()]).collect();
    let words_of: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let text = size.to_string();
    let lines = format!("{}\n{}", map.len(), numbers.iter().map(|n| format!("{n}\n")).collect::<String>());
    let mut cases = vec![
        Case::refused(format!("{name}, old"), old(size, stored, map, &[]).end(), words),
        Case::refused(format!("{name}, 0.0"), form_0_0(&text, stored, &words_of).end(), words),
        Case::refused(format!("{name}, 0.1"), form_0_1(&text, stored, &numbers.join(",")).end(), words),
        Case::refused(format!("{name}, 1.0"), form_1_0(&text, stored, &lines).end(), words),
    ];
    if map.is_empty() {
        // No number is no list of numbers either, and that is said.
        cases.retain(|case| !case.name.ends_with("0.1"));
    }
    cases
}

pub fn classes() -> Vec<Class> {
    let broken = "map is broken";
    let sound = "a 644 ab\0\0cd\0";
    let map = [(0, 2), (4, 2)];
    let forms = "CVE-2018-20482 (GNU tar -S)";
    vec![
        Class {
            name: "sound sparse files",
            source: "GNU tar -S; a guard must not refuse what is sound",
            cases: vec![
                Case::unpacked("old", old(7, "abcd", &map, &[]).end(), &[sound]),
                Case::unpacked("old, continued", old(7, "abcd", &map[..1], &map[1..]).end(), &[sound]),
                Case::unpacked("0.0", form_0_0("7", "abcd", &["0", "2", "4", "2"]).end(), &[sound]),
                Case::unpacked("0.1", form_0_1("7", "abcd", "0,2,4,2").end(), &[sound]),
                Case::unpacked("1.0", form_1_0("7", "abcd", "2\n0\n2\n4\n2\n").end(), &[sound]),
                Case::unpacked(
                    "a hole only",
                    form_1_0("9000", "", "1\n9000\n0\n").end(),
                    &["a 644 9000 bytes"],
                ),
                Case::unpacked("no map at all", form_1_0("3", "", "0\n").end(), &["a 644 \0\0\0"]),
                Case::unpacked(
                    "what follows is found",
                    form_1_0("7", "abcd", "2\n0\n2\n4\n2\n").file("b", "x").end(),
                    &[sound, "b 644 x"],
                ),
            ],
        },
        Class {
            name: "segments that overlap",
            source: forms,
            cases: [
                all_ways("over each other", 9, "abcd", &[(0, 2), (1, 2)], broken),
                all_ways("backwards", 9, "abcd", &[(4, 2), (0, 2)], broken),
                all_ways("twice", 9, "abcd", &[(0, 2), (0, 2)], broken),
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
        Class {
            name: "segments beyond the file",
            source: forms,
            cases: [
                all_ways("by one", 6, "abcd", &[(0, 2), (5, 2)], broken),
                all_ways("far away", 6, "ab", &[(1 << 32, 2)], broken),
            ]
            .into_iter()
            .flatten()
            .chain([
                Case::refused(
                    "sum of all bits, 0.1",
                    form_0_1("9", "ab", "18446744073709551615,2").end(),
                    broken,
                ),
                Case::refused(
                    "sum of all bits, 1.0",
                    form_1_0("9", "ab", "1\n18446744073709551615\n2\n").end(),
                    broken,
                ),
            ])
            .collect(),
        },
        Class {
            name: "segments of more or less than is stored",
            source: "CVE-2025-62518: where does the next header begin?",
            cases: [
                all_ways("more", 9, "abcd", &[(0, 2), (4, 3)], broken),
                all_ways("less", 9, "abcd", &[(0, 2), (4, 1)], broken),
                all_ways("nothing", 9, "abcd", &[], broken),
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
        Class {
            name: "maps that are no maps",
            source: forms,
            cases: vec![
                Case::refused("odd, 0.0", form_0_0("9", "ab", &["0", "2", "4"]).end(), broken),
                Case::refused("odd, 0.1", form_0_1("9", "ab", "0,2,4").end(), broken),
                Case::refused("letters, 0.1", form_0_1("9", "ab", "0,x").end(), "no number"),
                Case::refused("empty, 0.1", form_0_1("9", "ab", "").end(), "no number"),
                Case::refused("letters, 1.0", form_1_0("9", "ab", "1\n0\nx\n").end(), "no number"),
                Case::refused("cut, 1.0", form_1_0("9", "ab", "2\n0\n2\n").end(), "is broken"),
                Case::refused("long digits, 1.0", form_1_0("9", "ab", &"1".repeat(100)).end(), broken),
                Case::refused("many, 1.0", form_1_0("9", "ab", "99999999\n").end(), "segments"),
                Case::refused("empty, 1.0", form_1_0("9", "", "").end(), broken),
                Case::refused(
                    "wrong count, 0.1",
                    tar()
                        .pax(&[
                            ("GNU.sparse.numblocks", "2"),
                            ("GNU.sparse.map", "0,2"),
                            ("GNU.sparse.size", "2"),
                        ])
                        .file("a", "ab")
                        .end(),
                    broken,
                ),
                Case::refused(
                    "two maps",
                    tar()
                        .pax(&[
                            ("GNU.sparse.map", "0,2"),
                            ("GNU.sparse.map", "0,2"),
                            ("GNU.sparse.size", "2"),
                        ])
                        .file("a", "ab")
                        .end(),
                    broken,
                ),
                Case::refused(
                    "no size",
                    tar().pax(&[("GNU.sparse.map", "0,2")]).file("a", "ab").end(),
                    broken,
                ),
                Case::refused(
                    "lengths without places",
                    tar()
                        .pax(&[("GNU.sparse.size", "2"), ("GNU.sparse.numbytes", "2")])
                        .file("a", "ab")
                        .end(),
                    broken,
                ),
                Case::refused(
                    "an unknown form",
                    tar()
                        .pax(&[
                            ("GNU.sparse.major", "2"),
                            ("GNU.sparse.minor", "0"),
                            ("GNU.sparse.realsize", "2"),
                        ])
                        .file("a", "ab")
                        .end(),
                    "not known",
                ),
                Case::refused(
                    "star's form",
                    tar().pax(&[("SCHILY.realsize", "100")]).file("a", "ab").end(),
                    "star's own form",
                ),
                Case::refused(
                    "old, of no size",
                    tar().head(Head::new(b'S', "a").gnu().text(483, "7x"), b"").end(),
                    "a size is no number",
                ),
                Case::refused(
                    "old, letters in its map",
                    tar().head(Head::new(b'S', "a").gnu().octal(483, 12, 7).text(386, "letters"), b"").end(),
                    broken,
                ),
                Case::refused(
                    "old without GNU's header",
                    tar().head(Head::new(b'S', "a"), b"").end(),
                    "not GNU's",
                ),
                Case::refused(
                    "old, continued nowhere",
                    {
                        let archive = old(7, "abcd", &[(0, 2)], &[(4, 2)]).0;
                        archive[..512].to_vec()
                    },
                    "ends in the middle",
                ),
            ],
        },
        Class {
            name: "holes in what is no file",
            source: forms,
            cases: vec![
                Case::refused(
                    "a link",
                    tar().pax(&[("GNU.sparse.map", "0,0"), ("GNU.sparse.size", "0")]).link("a", "b").end(),
                    "no file",
                ),
                Case::refused(
                    "a folder",
                    tar().pax(&[("GNU.sparse.map", "0,0"), ("GNU.sparse.size", "0")]).folder("a").end(),
                    "no file",
                ),
            ],
        },
        Class {
            name: "names of sparse files",
            source: "the name in the map is another one than the header's",
            cases: vec![
                Case::refused(
                    "leads out",
                    tar()
                        .pax(&[
                            ("GNU.sparse.name", "../secret"),
                            ("GNU.sparse.map", "0,2"),
                            ("GNU.sparse.size", "2"),
                        ])
                        .file("a", "ab")
                        .end(),
                    "leads out",
                ),
                Case::refused(
                    "absolute",
                    tar()
                        .pax(&[
                            ("GNU.sparse.name", "/tmp/x"),
                            ("GNU.sparse.map", "0,2"),
                            ("GNU.sparse.size", "2"),
                        ])
                        .file("a", "ab")
                        .end(),
                    "absolute",
                ),
                Case::refused(
                    "two",
                    tar()
                        .pax(&[("GNU.sparse.name", "b"), ("GNU.sparse.name", "c"), ("GNU.sparse.size", "0")])
                        .file("a", "")
                        .end(),
                    broken,
                ),
            ],
        },
        Class {
            name: "holes as bombs",
            source: "a few bytes become terabytes for whoever hashes or copies them",
            cases: vec![
                Case::refused("beyond the size", form_1_0("10001", "", "0\n").end(), "more than 10000 bytes"),
                Case::refused(
                    "of all bits",
                    form_1_0("18446744073709551615", "", "0\n").end(),
                    "more than 10000 bytes",
                ),
                Case::refused("old", old(1 << 32, "", &[], &[]).end(), "more than 10000 bytes"),
                Case::refused(
                    "beyond the ratio",
                    form_1_0("1073741824", "", "0\n").end(),
                    "than is believable",
                )
                .with(|options| options.limits.bytes = 8 << 30),
            ],
        },
    ]
}
