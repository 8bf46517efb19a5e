//! Streams that are cut, garbled or compressed in another way.

use super::sizes::zstd_bomb;
use super::tar::{Head, tar};
use super::{Case, Class, Expected, Layer};
use cofferdam_host::archive::Compression::{self, Gzip, None as Plain, Zstd};
use std::io::Write;

fn archive() -> Vec<u8> {
    // Not so regular that a flipped bit could mean the same.
    let text: String = (0..2000u64).map(|n| format!("{:x} ", n * n * 7919)).collect();
    tar().file("a", &text[..9000]).end()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame of one block that is not compressed, for whom this descriptor says how large the window is.
fn zstd_with_window(window: u8, bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).unwrap();
    let head = [0x28, 0xB5, 0x2F, 0xFD, 0x00, window];
    [&head[..], &(size << 3 | 1).to_le_bytes()[..3], bytes].concat()
}

fn refused(name: impl Into<String>, bytes: Vec<u8>, how: Compression, words: &'static str) -> Case {
    Case::of(name, vec![Layer::packed(bytes, how)], Expected::Refused(words))
}

fn unpacked(name: impl Into<String>, bytes: Vec<u8>, how: Compression) -> Case {
    let there = Expected::Unpacked(vec!["a 644 9000 bytes".to_owned()]);
    Case::of(name, vec![Layer::packed(bytes, how)], there)
}

fn cut(how: Compression, bytes: &[u8]) -> Vec<Case> {
    let places = [1, 3, 5, 9, 17, 100, bytes.len() / 2, bytes.len() - 9, bytes.len() - 5, bytes.len() - 1];
    let case =
        |at: usize| refused(format!("{how:?} at {at}"), bytes[..at].to_vec(), how, "ends in the middle");
    places.into_iter().map(case).collect()
}

/// A bit in each of many places: an error, and never other content.
fn flipped(how: Compression, bytes: &[u8], from: usize) -> Vec<Case> {
    let step = bytes.len() / 12;
    let places = (from..bytes.len()).step_by(step.max(1));
    places
        .map(|at| {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 0x10;
            refused(format!("{how:?} at {at}"), bytes, how, "")
        })
        .collect()
}

pub fn classes() -> Vec<Class> {
    let plain = archive();
    let (zipped, standard) = (gzip(&plain), zstd(&plain));
    let skip = |length: u32, bytes: &[u8]| {
        [&0x184D_2A53u32.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat()
    };
    let mut wrong_checksum = standard.clone();
    *wrong_checksum.last_mut().unwrap() ^= 1;
    let mut wrong_sum = zipped.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    let mut wrong_size = zipped.clone();
    *wrong_size.last_mut().unwrap() ^= 1;
    let named =
        [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3][..], &vec![b'n'; 1 << 20], &[0], &zipped[10..]].concat();
    let empty_frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x68, 1, 0, 0];
    vec![
        Class {
            name: "cut streams",
            source: "truncated downloads",
            cases: [cut(Gzip, &zipped), cut(Zstd, &standard)].into_iter().flatten().collect(),
        },
        Class {
            name: "flipped bits",
            source: "garbled downloads",
            cases: [flipped(Gzip, &zipped, 10), flipped(Zstd, &standard, 12)].into_iter().flatten().collect(),
        },
        Class {
            name: "wrong checksums",
            source: "RFC 1952, RFC 8878: a reader may ignore them, this one does not",
            cases: vec![
                refused("gzip, the sum", wrong_sum, Gzip, "gzip stream is broken"),
                refused("gzip, the size", wrong_size, Gzip, "gzip stream is broken"),
                refused("zstd", wrong_checksum, Zstd, "zstd stream is broken"),
            ],
        },
        Class {
            name: "compressed in another way",
            source: "CVE-2014-9357 (Docker guesses, and runs xz)",
            cases: vec![
                refused("zstd as gzip", standard.clone(), Gzip, "gzip stream is broken"),
                refused("gzip as zstd", zipped.clone(), Zstd, "zstd stream is broken"),
                refused("gzip as nothing", zipped.clone(), Plain, "no tar archive"),
                refused("zstd as nothing", standard.clone(), Plain, "no tar archive"),
                refused("nothing as gzip", plain.clone(), Gzip, "gzip stream is broken"),
                refused("nothing as zstd", plain.clone(), Zstd, "zstd stream is broken"),
                refused("xz", [&b"\xfd7zXZ\0"[..], &[0; 600]].concat(), Zstd, "zstd stream is broken"),
                refused("bzip2", [&b"BZh9"[..], &[0; 600]].concat(), Gzip, "gzip stream is broken"),
                refused(
                    "zstd of the oldest form",
                    [&[0x1E, 0xB5, 0x2F, 0xFD][..], &[0; 600]].concat(),
                    Zstd,
                    "broken",
                ),
            ],
        },
        Class {
            name: "something behind the stream",
            source: "gzip(1) ignores it; two readers",
            cases: vec![
                refused("text behind gzip", [&zipped[..], b"evil"].concat(), Gzip, "cannot be read"),
                refused(
                    "an archive behind gzip",
                    [&zipped[..], &plain].concat(),
                    Gzip,
                    "gzip stream is broken",
                ),
                refused("text behind zstd", [&standard[..], b"evil"].concat(), Zstd, "zstd stream is broken"),
                refused(
                    "half a magic behind zstd",
                    [&standard[..], &[0x28, 0xB5]].concat(),
                    Zstd,
                    "ends in the middle",
                ),
                refused("a second archive behind gzip", zipped.repeat(2), Gzip, "follows its end"),
                refused("a second archive behind zstd", standard.repeat(2), Zstd, "follows its end"),
            ],
        },
        Class {
            name: "windows that are too large",
            source: "RFC 8878; zstd --long: gigabytes for a decoder",
            cases: [14u8, 15, 18, 21, 31]
                .into_iter()
                .map(|log| {
                    let bytes = zstd_with_window(log << 3, &plain);
                    refused(format!("2^{}", log + 10), bytes, Zstd, "indow")
                })
                .chain([
                    refused("a byte more", zstd_with_window(13 << 3 | 1, &plain), Zstd, "indow"),
                    refused(
                        "a single segment of a gigabyte",
                        [&[0x28, 0xB5, 0x2F, 0xFD, 0xA0][..], &(1u32 << 30).to_le_bytes(), &[1, 0, 0]]
                            .concat(),
                        Zstd,
                        "indow",
                    ),
                    unpacked("just as large", zstd_with_window(13 << 3, &plain), Zstd),
                    unpacked("asked for", zstd_with_window(14 << 3, &plain), Zstd)
                        .with(|options| options.limits.window = 16 << 20),
                ])
                .collect(),
        },
        Class {
            name: "dictionaries and reserved bits",
            source: "RFC 8878",
            cases: vec![
                refused(
                    "a dictionary that we do not have",
                    [&[0x28, 0xB5, 0x2F, 0xFD, 0x01, 0x38, 7][..], &[1, 0, 0]].concat(),
                    Zstd,
                    "zstd stream is broken",
                ),
                refused(
                    "a reserved block",
                    [&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38][..], &[0x0F, 0, 0], &[0; 100]].concat(),
                    Zstd,
                    "zstd stream is broken",
                ),
                refused(
                    "a block larger than a block may be",
                    [&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38][..], &[0x01, 0, 0xFF], &[0; 100]].concat(),
                    Zstd,
                    "",
                ),
            ],
        },
        Class {
            name: "frames that are skipped",
            source: "zstd:chunked, eStargz: content for other readers",
            cases: vec![
                refused("nothing else", skip(3, b"xyz"), Zstd, "ends in the middle"),
                refused("longer than they are", skip(u32::MAX, b"xyz"), Zstd, "ends in the middle"),
                refused(
                    "an archive in one",
                    skip(u32::try_from(plain.len()).unwrap(), &plain),
                    Zstd,
                    "ends in the middle",
                ),
                unpacked(
                    "around the content",
                    [&skip(3, b"xyz")[..], &standard, &skip(0, b"")].concat(),
                    Zstd,
                ),
                unpacked("an empty member behind gzip", [&zipped[..], &gzip(b"")].concat(), Gzip),
            ],
        },
        Class {
            name: "very many frames",
            source: "time and memory: each frame wants its window",
            cases: vec![
                refused("empty ones", empty_frame.repeat(100_000), Zstd, "ends in the middle"),
                refused("skipped ones", skip(0, b"").repeat(200_000), Zstd, "ends in the middle"),
                refused("empty members", gzip(b"").repeat(50_000), Gzip, "ends in the middle"),
                unpacked(
                    "sound ones",
                    {
                        let parts: Vec<u8> = plain.chunks(100).flat_map(zstd).collect();
                        parts
                    },
                    Zstd,
                ),
            ],
        },
        Class {
            name: "a gzip header without end",
            source: "RFC 1952: names and comments of any length",
            cases: vec![
                refused("a name of a megabyte", named, Gzip, "gzip stream is broken"),
                refused(
                    "a comment of zeros",
                    [0x1f, 0x8b, 8, 16].into_iter().chain([1; 200_000]).collect(),
                    Gzip,
                    "gzip stream",
                ),
            ],
        },
        Class {
            name: "sound streams",
            source: "a guard must not refuse what is sound",
            cases: vec![
                unpacked("plain", plain.clone(), Plain),
                unpacked("gzip", zipped, Gzip),
                unpacked("zstd", standard, Zstd),
                unpacked("gzip in members", plain.chunks(1000).flat_map(gzip).collect(), Gzip),
                Case::of(
                    "zstd of repeated bytes",
                    vec![Layer::packed(zstd_bomb(&Head::new(b'0', "a").size(9000).summed(), 1, 0), Zstd)],
                    Expected::Unpacked(vec!["a 644 9000 bytes".to_owned()]),
                ),
            ],
        },
    ]
}
