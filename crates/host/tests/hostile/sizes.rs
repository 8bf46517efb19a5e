//! Too much of something.

use super::tar::{Head, Tar, tar};
use super::{Case, Class, Expected, Layer};
use cofferdam_host::archive::Compression;
use std::io::{Read, Write};

fn many(count: usize, put: impl Fn(Tar, usize) -> Tar) -> Tar {
    (0..count).fold(tar(), put)
}

/// Zeros of this many bytes as a file, without being held anywhere.
pub fn file_of_zeros(size: u64) -> impl Read {
    let head = Head::new(b'0', "zeros").size(size).summed();
    let padding = size.next_multiple_of(512) - size + 1024;
    std::io::Cursor::new(head.to_vec()).chain(std::io::repeat(0).take(size + padding))
}

fn gzip(mut from: impl Read) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::copy(&mut from, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(mut from: impl Read) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(0);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    std::io::copy(&mut from, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame of blocks that say one byte, over and over: four bytes become 128 KiB.
pub fn zstd_bomb(head: &[u8], blocks: usize, byte: u8) -> Vec<u8> {
    // A window of 128 KiB, no size, no checksum.
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38];
    let block = |last: u32, kind: u32, size: u32| (size << 3 | kind << 1 | last).to_le_bytes();
    frame.write_all(&block(0, 0, u32::try_from(head.len()).unwrap())[..3]).unwrap();
    frame.extend_from_slice(head);
    for number in 0..blocks {
        let last = u32::from(number + 1 == blocks);
        frame.extend_from_slice(&block(last, 1, 128 << 10)[..3]);
        frame.push(byte);
    }
    frame
}

fn bombs() -> Vec<Case> {
    let large = 1u64 << 40;
    let head = Head::new(b'0', "zeros").size(8 << 30).summed();
    let bomb = |name: &str, bytes: Vec<u8>, how: Compression| {
        Case::of(name, vec![Layer::packed(bytes, how)], Expected::Refused("times as many")).with(|options| {
            options.limits.bytes = large;
        })
    };
    let zeros = gzip(file_of_zeros(256 << 20));
    let twice = gzip(std::io::Cursor::new(zeros.clone()));
    vec![
        bomb("zstd, one byte again and again", zstd_bomb(&head, 65_536, 0), Compression::Zstd),
        bomb("zstd, no archive at all", zstd_bomb(&[], 65_536, 0), Compression::Zstd),
        bomb("gzip of zeros", zeros.clone(), Compression::Gzip),
        bomb("xz of zeros", xz(file_of_zeros(96 << 20)), Compression::Xz),
        bomb("gzip in members", zeros.repeat(2), Compression::Gzip),
        bomb("zstd in frames", zstd_bomb(&head, 1000, 0).repeat(50), Compression::Zstd),
        Case::of(
            "gzip in gzip is no archive",
            vec![Layer::packed(twice, Compression::Gzip)],
            Expected::Refused("no tar archive"),
        ),
    ]
}

pub fn classes() -> Vec<Class> {
    let big = "x".repeat(1000);
    let entries = "more than 20 entries";
    let bytes = "more than 10000 bytes";
    let long = |n: usize| format!("{n:03}{}", "n".repeat(250));
    vec![
        Class { name: "bombs", source: "David Fifield 2019; CVE-2019-9674, 42.zip", cases: bombs() },
        Class {
            name: "bombs within the ratio",
            source: "our own limit on size",
            cases: vec![
                Case::of(
                    "gzip of zeros",
                    vec![Layer::packed(gzip(file_of_zeros(20_000)), Compression::Gzip)],
                    Expected::Refused(bytes),
                ),
                Case::of(
                    "zstd",
                    vec![Layer::packed(
                        zstd_bomb(&Head::new(b'0', "a").size(20_000).summed(), 1, 0),
                        Compression::Zstd,
                    )],
                    Expected::Refused(bytes),
                ),
            ],
        },
        Class {
            name: "files larger than allowed",
            source: "disk exhaustion: our own limit",
            cases: vec![
                Case::refused("one", tar().head(Head::new(b'0', "a").size(10_001), b"").end(), bytes),
                Case::refused(
                    "of terabytes",
                    tar().head(Head::new(b'0', "a").size(1 << 40), b"").end(),
                    bytes,
                ),
                Case::refused(
                    "of all bits",
                    tar().head(Head::new(b'0', "a").size(u64::MAX), b"").end(),
                    bytes,
                ),
                Case::refused(
                    "by PAX",
                    tar().pax(&[("size", "99999999999")]).head(Head::new(b'0', "a"), b"").end(),
                    bytes,
                ),
                Case::refused("together", many(11, |tar, n| tar.file(&n.to_string(), &big)).end(), bytes),
                Case::unpacked(
                    "just within",
                    many(1, |tar, _| tar.file("a", &"x".repeat(10_000))).end(),
                    &["a 644 10000 bytes"],
                ),
            ],
        },
        Class {
            name: "hard links to a large file",
            source: "a copy of the tree has each as a file",
            cases: vec![
                Case::refused(
                    "many",
                    (0..10).fold(tar().file("f", &big), |tar, n| tar.hard(&format!("h{n}"), "f")).end(),
                    bytes,
                ),
                Case::refused(
                    "a chain",
                    (0..10)
                        .fold(tar().file("0", &big), |tar, n| tar.hard(&format!("{}", n + 1), &n.to_string()))
                        .end(),
                    bytes,
                ),
            ],
        },
        Class {
            name: "too many entries",
            source: "inode exhaustion: our own limit",
            cases: vec![
                Case::refused("files", many(21, |tar, n| tar.file(&n.to_string(), "")).end(), entries),
                Case::refused("folders", many(21, |tar, n| tar.folder(&n.to_string())).end(), entries),
                Case::refused("links", many(21, |tar, n| tar.link(&n.to_string(), "x")).end(), entries),
                Case::refused("the same folder", many(21, |tar, _| tar.folder("a")).end(), entries),
                Case::refused("the folder itself", many(21, |tar, _| tar.folder("./")).end(), entries),
                Case::refused(
                    "whiteouts",
                    many(21, |tar, n| tar.file(&format!(".wh.{n}"), "")).end(),
                    entries,
                ),
                Case::unpacked("just as many", many(20, |tar, _| tar.folder("a")).end(), &["a /"]),
            ],
        },
        Class {
            name: "folders that paths imply",
            source: "inode exhaustion: 60 folders for each entry",
            cases: vec![
                Case::refused(
                    "files",
                    many(6, |tar, n| tar.file(&format!("{n}/b/c/d/e"), "")).end(),
                    entries,
                ),
                Case::refused(
                    "folders",
                    many(6, |tar, n| tar.folder(&format!("{n}/b/c/d/e"))).end(),
                    entries,
                ),
                Case::refused(
                    "links",
                    many(6, |tar, n| tar.link(&format!("{n}/b/c/d/e"), "f")).end(),
                    entries,
                ),
            ],
        },
        Class {
            name: "too much in names",
            source: "memory exhaustion: our own limit",
            cases: vec![
                Case::refused(
                    "files",
                    many(17, |tar, n| tar.long(b'L', &long(n)).file("x", "")).end(),
                    "paths have more than 4000 bytes",
                ),
                Case::refused(
                    "links' targets",
                    many(17, |tar, n| tar.long(b'K', &long(n)).link(&n.to_string(), "x")).end(),
                    "paths have more than 4000 bytes",
                ),
                Case::refused(
                    "whiteouts",
                    many(17, |tar, n| tar.long(b'L', &format!(".wh.{:.250}", long(n))).file("x", "")).end(),
                    "paths have more than 4000 bytes",
                ),
                Case::refused(
                    "deep folders",
                    many(16, |tar, n| tar.long(b'L', &format!("a/{}", long(n))).folder("x")).end(),
                    "paths have more than 4000 bytes",
                ),
            ],
        },
        Class {
            name: "zeros without end",
            source: "CVE-2018-20482 and its kind: a reader that never ends",
            cases: vec![
                Case::of(
                    "behind the end",
                    vec![Layer { bytes: Box::new(|| Box::new(std::io::repeat(0))), how: Compression::None }],
                    Expected::Refused("too much follows its end"),
                ),
                Case::of(
                    "long names",
                    vec![Layer {
                        bytes: Box::new(|| {
                            let header = tar().global(&[("comment", "x")]).0;
                            Box::new(Forever { bytes: header, at: 0 })
                        }),
                        how: Compression::None,
                    }],
                    Expected::Refused("global headers"),
                ),
                Case::of(
                    "entries",
                    vec![Layer {
                        bytes: Box::new(|| Box::new(Forever { bytes: tar().folder("./").0, at: 0 })),
                        how: Compression::None,
                    }],
                    Expected::Refused(entries),
                ),
            ],
        },
    ]
}

/// The same bytes without end.
struct Forever {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Forever {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = (&self.bytes[self.at..]).read(buffer)?;
        self.at = (self.at + n) % self.bytes.len();
        Ok(n)
    }
}
