//! Headers that two readers read in two ways.

use super::tar::{Head, Tar, record, tar};
use super::{Case, Class, Expected, Layer};
use cofferdam_host::archive::Compression;
use std::io::Read;
use std::sync::Arc;

/// A file that another reader would see as a header and a file of its own.
fn smuggled() -> Tar {
    tar().file("smuggled", "evil")
}

fn size_records() -> Vec<Case> {
    let inner = smuggled().0;
    let length = inner.len().to_string();
    let with = |size: &str, head: u64| {
        let head = Head::new(b'0', "a").size(head);
        tar().pax(&[("size", size)]).head(head, b"").bytes(&inner).end()
    };
    vec![
        Case::refused("the header says nothing", with(&length, 0), "contradict"),
        Case::refused("the extended header says nothing", with("0", inner.len() as u64), "contradict"),
        Case::refused("one block less", with("512", inner.len() as u64), "contradict"),
        Case::refused(
            "one byte less",
            with(&(inner.len() - 1).to_string(), inner.len() as u64),
            "contradict",
        ),
        Case::refused(
            "one byte more",
            with(&(inner.len() + 1).to_string(), inner.len() as u64),
            "contradict",
        ),
        Case::unpacked("both the same", with(&length, inner.len() as u64), &["a 644 1024 bytes"]),
    ]
}

fn broken_records() -> Vec<Case> {
    let cases: [(&str, &[u8]); 12] = [
        ("longer than it is", b"9 a=b"),
        ("of length zero", b"0 a=b\n"),
        ("of one byte", b"1 a=b\n"),
        ("without a length", b" a=b\n"),
        ("with a negative length", b"-6 a=b\n"),
        ("with a sign", b"+7 a=b\n"),
        ("without an equals sign", b"5 ab\n"),
        ("without an end of line", b"6 a=bX"),
        ("without a blank", b"6\ta=b\n"),
        ("with too large a length", b"99999999999999999999 a=b\n"),
        ("with a rest", b"6 a=b\nxyz"),
        ("of zeros", b"\0\0\0\0\0\0"),
    ];
    let case = |(name, text): (&str, &[u8])| {
        Case::refused(name, tar().raw_records(b'x', text).file("a", "").end(), "broken")
    };
    cases.into_iter().map(case).collect()
}

fn numbers() -> Vec<Case> {
    let size = |name: &str, field: &[u8], words: &'static str| {
        let head = Head::new(b'0', "a").bytes(124, field);
        Case::refused(name, tar().head(head, b"").end(), words)
    };
    let mode = |name: &str, field: &[u8]| {
        let head = Head::new(b'0', "a").bytes(100, field);
        Case::refused(name, tar().head(head, b"").end(), "no mode")
    };
    vec![
        size("negative", &[0xff; 12], "no number"),
        size("minus one in text", b"-0000000001\0", "no number"),
        size("a sign", b"+0000000001\0", "no number"),
        size("decimal digits", b"00000000089\0", "no number"),
        size("hexadecimal digits", b"0x000000001\0", "no number"),
        size("more than 64 bits", &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], "no number"),
        size("all of 64 bits", &[0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], "more than"),
        size("another form of binary", &[0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "no number"),
        size("something behind the number", b"0000001\x000002", "no number"),
        mode("a mode in letters", b"rwxr-xr\0"),
        mode("a mode of more than 32 bits", &[0x80, 0, 0, 1, 0, 0, 0, 0]),
    ]
}

fn twice() -> Vec<Case> {
    let refused = |name: &str, archive: Tar, words: &'static str| Case::refused(name, archive.end(), words);
    vec![
        refused(
            "two PAX headers",
            tar().pax(&[("path", "b")]).pax(&[("path", "c")]).file("a", ""),
            "say the same",
        ),
        refused("two long names", tar().long(b'L', "b").long(b'L', "c").file("a", ""), "say the same"),
        refused("two long links", tar().long(b'K', "b").long(b'K', "c").link("a", "d"), "say the same"),
        refused("PAX and GNU", tar().pax(&[("path", "b")]).long(b'L', "c").file("a", ""), "say the same"),
        refused("GNU and PAX", tar().long(b'L', "c").pax(&[("path", "b")]).file("a", ""), "say the same"),
        refused("the path twice", tar().pax(&[("path", "b"), ("path", "c")]).file("a", ""), "path twice"),
        refused(
            "the link twice",
            tar().pax(&[("linkpath", "b"), ("linkpath", "c")]).link("a", ""),
            "link twice",
        ),
        refused("the size twice", tar().pax(&[("size", "0"), ("size", "0")]).file("a", ""), "size twice"),
        refused(
            "a global one in between",
            tar().pax(&[("path", "b")]).global(&[("comment", "x")]).file("a", ""),
            "between",
        ),
        refused("at the end", tar().pax(&[("path", "a")]), "after an extended header"),
        refused("a long name at the end", tar().long(b'L', "a"), "after an extended header"),
    ]
}

/// Each is as large as it may be; held once.
fn large_globals() -> Layer {
    let one: Arc<[u8]> = tar().global(&[("comment", &"x".repeat(1_000_000))]).0.into();
    let bytes = move || -> Box<dyn Read> { Box::new(Again { bytes: Arc::clone(&one), at: 0, times: 80 }) };
    Layer { bytes: Box::new(bytes), how: Compression::None }
}

/// The same bytes, again and again.
struct Again {
    bytes: Arc<[u8]>,
    at: usize,
    times: u32,
}

impl Read for Again {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.bytes.len() && self.times > 1 {
            (self.at, self.times) = (0, self.times - 1);
        }
        let n = (&self.bytes[self.at..]).read(buffer)?;
        self.at += n;
        Ok(n)
    }
}

fn globals() -> Vec<Case> {
    let keys = ["path", "linkpath", "size", "GNU.sparse.major", "GNU.sparse.map", "SCHILY.xattr.user.x"];
    let case = |key: &str| {
        Case::refused(key, tar().global(&[(key, "1")]).file("a", "").end(), "a global header gives")
    };
    let mut cases: Vec<Case> = keys.into_iter().map(case).collect();
    let many = (0..1001).fold(tar(), |tar, _| tar.global(&[("comment", "x")]));
    cases.push(Case::refused("many", many.file("a", "").end(), "global headers"));
    cases.push(Case::of(
        "large ones together",
        vec![large_globals()],
        Expected::Refused("more than 67446544 bytes"),
    ));
    let comment = tar().global(&[("comment", "made by git")]).file("a", "").end();
    cases.push(Case::unpacked("a comment may be", comment, &["a 644 "]));
    cases
}

fn kinds() -> Vec<Case> {
    let known = b"0\x0012567LKxgS";
    let special = b"346";
    (0..=255u8)
        .filter(|kind| !known.contains(kind) && !special.contains(kind))
        .filter(|kind| kind.is_ascii_graphic() || kind % 64 == 1)
        .map(|kind| {
            Case::refused(format!("{kind:#04x}"), tar().head(Head::new(kind, "a"), b"").end(), "not known")
        })
        .collect()
}

fn devices() -> Vec<Case> {
    let of = |kind: u8, words: &'static str| {
        let ways = [
            ("plain", tar().head(Head::new(kind, "a").octal(329, 8, 1).octal(337, 8, 3), b"")),
            ("in a folder", tar().head(Head::new(kind, "dev/null"), b"")),
            ("number 0, as overlayfs marks what is deleted", tar().head(Head::new(kind, "a").mode(0), b"")),
            ("with content", tar().head(Head::new(kind, "a").size(4), b"evil")),
            ("by PAX", tar().pax(&[("path", "b")]).head(Head::new(kind, "a"), b"")),
        ];
        ways.map(|(name, tar)| Case::refused(format!("{} {name}", char::from(kind)), tar.end(), words))
    };
    [of(b'3', "a device"), of(b'4', "a device"), of(b'6', "a named pipe")].into_iter().flatten().collect()
}

pub fn classes() -> Vec<Class> {
    let broken = |name: &str, change: &dyn Fn(&mut [u8])| {
        let mut archive = tar().file("a", "content").end();
        change(&mut archive);
        Case::refused(name, archive, "no tar archive")
    };
    let content = |kind: u8, words: &'static str| {
        let inner = smuggled().0;
        let head = Head::new(kind, "a").link("b").size(inner.len() as u64);
        Case::refused(format!("{}", char::from(kind)), tar().file("b", "").head(head, &inner).end(), words)
    };
    vec![
        Class {
            name: "sizes that contradict each other",
            source: "CVE-2025-62518 (TARmageddon), CVE-2026-33055, RUSTSEC-2026-0068",
            cases: size_records(),
        },
        Class {
            name: "content behind what is no file",
            source: "CVE-2025-62518: a reader that skips it, and one that reads on",
            cases: vec![
                content(b'5', "has content"),
                content(b'2', "has content"),
                content(b'1', "has content"),
            ],
        },
        Class {
            name: "sizes that are no numbers",
            source: "CVE-2022-48303 (GNU tar, base-256)",
            cases: ["-1", "+1", "", " 1", "1 ", "0x1", "1e3", "18446744073709551616", "\u{661}"]
                .into_iter()
                .map(|size| {
                    let tar = tar().pax(&[("size", size)]).file("a", "");
                    Case::refused(format!("PAX {size:?}"), tar.end(), "no number")
                })
                .chain(numbers())
                .collect(),
        },
        Class {
            name: "broken extended headers",
            source: "CVE-2023-39804, CVE-2019-9923 (GNU tar)",
            cases: broken_records(),
        },
        Class { name: "two headers that say the same", source: "CVE-2025-62518", cases: twice() },
        Class {
            name: "headers for all that follows",
            source: "POSIX: global headers; CVE-2025-62518",
            cases: globals(),
        },
        Class {
            name: "types that are not known",
            source: "POSIX lets readers take them for files",
            cases: kinds(),
        },
        Class {
            name: "devices and pipes",
            source: "OCI: layers may hold devices; a package may not",
            cases: devices(),
        },
        Class {
            name: "a checksum that is wrong",
            source: "garbled archives",
            cases: vec![
                broken("a letter of the name", &|bytes| bytes[0] = b'b'),
                broken("the type", &|bytes| bytes[156] = b'2'),
                broken("the last byte", &|bytes| bytes[511] = 1),
                broken("no checksum", &|bytes| bytes[148..156].fill(b' ')),
                broken("another checksum", &|bytes| bytes[149] ^= 1),
                broken("signed bytes", &|bytes| {
                    // What old readers would compute, who take bytes for signed.
                    bytes[0] = 0xe9;
                    bytes[148..156].fill(b' ');
                    let sum: i64 = bytes[..512].iter().map(|byte| i64::from(*byte as i8)).sum();
                    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }),
            ],
        },
        Class {
            name: "what is no archive",
            source: "garbled archives",
            cases: vec![
                Case::refused("sevens", vec![7; 2048], "no tar archive"),
                Case::refused("text", b"<html>404</html>".repeat(100), "no tar archive"),
                Case::refused("an ELF file", [b"\x7fELF".as_slice(), &[0; 2044]].concat(), "no tar archive"),
                Case::refused("a zip", [b"PK\x03\x04".as_slice(), &[0; 2044]].concat(), "no tar archive"),
                Case::refused("gzip", [b"\x1f\x8b".as_slice(), &[0; 2046]].concat(), "no tar archive"),
                Case::refused("nothing", Vec::new(), "ends in the middle"),
                Case::refused("one byte", vec![0], "ends in the middle"),
            ],
        },
        Class {
            name: "a form of header that is not known",
            source: "star, pax' unknown versions: a prefix or none",
            cases: vec![
                Case::refused(
                    "star's prefix",
                    tar().head(Head::new(b'0', "a").prefix(&"p".repeat(140)).text(508, "tar\0"), b"").end(),
                    "star's own form",
                ),
                Case::refused(
                    "version 9",
                    tar().head(Head::new(b'0', "a").text(263, "99"), b"").end(),
                    "not known",
                ),
                Case::refused(
                    "ustar with a blank",
                    tar().head(Head::new(b'0', "a").text(257, "ustar 00"), b"").end(),
                    "not known",
                ),
                Case::unpacked(
                    "GNU has no prefix",
                    tar().head(Head::new(b'0', "a").gnu().prefix("../x"), b"").end(),
                    &["a 644 "],
                ),
                Case::unpacked(
                    "nor had the oldest form",
                    tar().head(Head::new(b'0', "a").old().prefix("../x"), b"").end(),
                    &["a 644 "],
                ),
            ],
        },
        Class {
            name: "something behind the end",
            source: "GNU tar -i and bsdtar read on; CVE-2025-62518",
            cases: vec![
                Case::refused(
                    "an archive",
                    [tar().end(), tar().file("a", "").end()].concat(),
                    "follows its end",
                ),
                Case::refused(
                    "after one block",
                    [vec![0; 512], smuggled().end()].concat(),
                    "follows its end",
                ),
                Case::refused("a byte", [tar().file("a", "").end(), vec![1]].concat(), "follows its end"),
                Case::refused(
                    "far behind",
                    [tar().file("a", "").end(), vec![0; 100_000], b"x".to_vec()].concat(),
                    "follows its end",
                ),
                Case::unpacked(
                    "zeros may",
                    [tar().file("a", "").end(), vec![0; 10_240]].concat(),
                    &["a 644 "],
                ),
            ],
        },
        Class {
            name: "cut archives",
            source: "truncated streams",
            cases: [1usize, 100, 511, 512, 513, 515, 1000, 1024, 1500, 1536]
                .into_iter()
                .map(|at| {
                    let archive = tar().file("a", "content").file("b", &"x".repeat(600)).end();
                    Case::refused(format!("at {at}"), archive[..at].to_vec(), "ends in the middle")
                })
                .collect(),
        },
        Class {
            name: "long names that are no names",
            source: "GNU tar's ././@LongLink",
            cases: vec![
                Case::refused("empty", tar().long(b'L', "").file("a", "").end(), "no plain"),
                Case::refused("of zeros", tar().long(b'L', "\0\0").file("a", "").end(), "zero byte"),
                Case::refused(
                    "5,000 bytes",
                    tar().long(b'L', &"x".repeat(5000)).file("a", "").end(),
                    "a name of 5001 bytes",
                ),
                Case::refused(
                    "a size without content",
                    tar().head(Head::new(b'L', "x").size(1 << 40), b"").end(),
                    "a name of",
                ),
                Case::refused(
                    "cut",
                    tar().head(Head::new(b'L', "x").size(1000), b"abc").0,
                    "ends in the middle",
                ),
            ],
        },
        Class {
            name: "extended headers that are too large",
            source: "memory for whatever a header says",
            cases: vec![
                Case::refused(
                    "two megabytes",
                    tar().head(Head::new(b'x', "p").size(2 << 20), b"").end(),
                    "extended header of",
                ),
                Case::refused(
                    "a global one",
                    tar().head(Head::new(b'g', "p").size(1 << 60), b"").end(),
                    "extended header of",
                ),
                Case::refused(
                    "a path in it",
                    tar().raw_records(b'x', &record("path", &[b'x'; 5000])).file("a", "").end(),
                    "too long",
                ),
            ],
        },
    ]
}
