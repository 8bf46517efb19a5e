//! What a later layer does to an earlier one.

use super::tar::{Head, Tar, tar};
use super::{Case, Class, Expected, Layer};

fn layers(name: &str, layers: &[Tar], expected: Expected) -> Case {
    let layers = layers.iter().map(|layer| Layer::plain(layer.clone().end())).collect();
    Case::of(name, layers, expected).with(|options| options.limits.entries = 60)
}

fn refused(name: &str, lower: Tar, upper: Tar, words: &'static str) -> Case {
    layers(name, &[lower, upper], Expected::Refused(words))
}

fn unpacked(name: &str, all: &[Tar], there: &[&str]) -> Case {
    layers(name, all, Expected::Unpacked(there.iter().map(|line| (*line).to_owned()).collect()))
}

pub fn classes() -> Vec<Class> {
    let opaque = ".wh..wh..opq";
    vec![
        Class {
            name: "through a link of a lower layer",
            source: "CVE-2025-45582 (GNU tar, two archives), CVE-2014-6407 (Docker)",
            cases: vec![
                refused(
                    "a file",
                    tar().folder("b").link("a", "b"),
                    tar().file("a/evil", ""),
                    "through the link",
                ),
                refused("a folder", tar().link("a", "b"), tar().folder("a/c"), "through the link"),
                unpacked(
                    "a whiteout hides nothing",
                    &[tar().file("b/c", "").link("a", "b"), tar().file("a/.wh.c", "")],
                    &["a -> b", "b /", "b/c 644 "],
                ),
                unpacked(
                    "an opaque one neither",
                    &[tar().file("b/c", "").link("a", "b"), tar().file("a/.wh..wh..opq", "")],
                    &["a -> b", "b /", "b/c 644 "],
                ),
                refused(
                    "a hard link",
                    tar().file("b/c", "").link("a", "b"),
                    tar().hard("d", "a/c"),
                    "names no file",
                ),
            ],
        },
        Class {
            name: "where a link of a lower layer was",
            source: "CVE-2026-33056 over two layers",
            cases: vec![
                unpacked(
                    "a file",
                    &[tar().file("b", "1").link("a", "b"), tar().file("a", "2")],
                    &["a 644 2", "b 644 1"],
                ),
                unpacked(
                    "a folder",
                    &[tar().folder("b").link("a", "b"), tar().folder("a").file("a/c", "")],
                    &["a /", "a/c 644 ", "b /"],
                ),
                unpacked(
                    "a file with two names",
                    &[tar().file("b", "1").hard("a", "b"), tar().file("a", "2")],
                    &["a 644 2", "b 644 1"],
                ),
            ],
        },
        Class {
            name: "a link where a lower layer has something",
            source: "CVE-2018-15664's kind over two layers",
            cases: vec![
                unpacked("a file", &[tar().file("a", "1"), tar().link("a", "b")], &["a -> b"]),
                unpacked("a folder", &[tar().file("a/b", "1"), tar().link("a", "c")], &["a -> c"]),
                layers(
                    "a folder, and then through it",
                    &[tar().file("a/b", "1"), tar().link("a", "c"), tar().file("a/b", "2")],
                    Expected::Refused("through the link"),
                ),
                refused(
                    "a folder, at once",
                    tar().file("a/b", "1"),
                    tar().link("a", "c").file("a/b", ""),
                    "through",
                ),
            ],
        },
        Class {
            name: "whiteouts that lead out",
            source: "OCI: layers; CVE-2007-4559 for deleting",
            cases: vec![
                refused("above", tar().file("a", ""), tar().file("../.wh.secret", ""), "leads out"),
                refused(
                    "above by name",
                    tar().file("a", ""),
                    tar().file(".wh...", ""),
                    "nothing that has a name",
                ),
                refused(
                    "of above in a folder",
                    tar().file("a/b", ""),
                    tar().file("a/.wh...", ""),
                    "nothing that",
                ),
                refused(
                    "of the folder itself",
                    tar().file("a/b", ""),
                    tar().file("a/.wh..", ""),
                    "nothing that",
                ),
                refused("absolute", tar().file("a", ""), tar().file("/tmp/.wh.x", ""), "absolute"),
                refused(
                    "opaque above",
                    tar().file("a", ""),
                    tar().file(&format!("../{opaque}"), ""),
                    "leads out",
                ),
                refused("of nothing", tar().file("a", ""), tar().file(".wh.", ""), "nothing that has a name"),
                refused(
                    "of a whiteout",
                    tar().file("a", ""),
                    tar().file(".wh..wh.a", ""),
                    "nothing that has a name",
                ),
            ],
        },
        Class {
            name: "whiteouts of what the layer has itself",
            source: "OCI: applies to lower layers only; readers differ",
            cases: vec![
                refused("a file", tar(), tar().file("a", "").file(".wh.a", ""), "hidden by the layer"),
                refused(
                    "what leads to it",
                    tar(),
                    tar().file("a/b", "").file(".wh.a", ""),
                    "hidden by the layer",
                ),
                refused(
                    "a folder",
                    tar().folder("a"),
                    tar().folder("a").file(".wh.a", ""),
                    "hidden by the layer",
                ),
                refused(
                    "what it added to",
                    tar().file("a/b", ""),
                    tar().file("a/c", "").file(".wh.a", ""),
                    "hidden",
                ),
                unpacked(
                    "hidden, then made",
                    &[tar().file("a", "1"), tar().file(".wh.a", "").file("a", "2")],
                    &["a 644 2"],
                ),
            ],
        },
        Class {
            name: "whiteouts that are no empty files",
            source: "overlayfs, AUFS: their own marks as entries",
            cases: vec![
                refused("a folder", tar().file("a", ""), tar().folder(".wh.a"), "no empty file"),
                refused("a link", tar().file("a", ""), tar().link(".wh.a", "b"), "no empty file"),
                refused("a hard link", tar().file("a", ""), tar().hard(".wh.b", "a"), "no empty file"),
                refused(
                    "a device",
                    tar().file("a", ""),
                    tar().head(Head::new(b'3', ".wh.a"), b""),
                    "no empty file",
                ),
                refused("with content", tar().file("a", ""), tar().file(".wh.a", "evil"), "no empty file"),
                refused(
                    "opaque with content",
                    tar().file("a", ""),
                    tar().file(opaque, "evil"),
                    "no empty file",
                ),
                refused(
                    "AUFS' own",
                    tar().file("a", ""),
                    tar().file(".wh..wh.aufs", ""),
                    "nothing that has a name",
                ),
                refused("below one", tar().file("a", ""), tar().file(".wh.a/b", ""), "lies in a whiteout"),
            ],
        },
        Class {
            name: "whiteouts again and again",
            source: "each walks through all that is there: time",
            cases: vec![
                refused("of a file", tar().file("a", ""), tar().file(".wh.a", "").file(".wh.a", ""), "twice"),
                refused(
                    "opaque",
                    tar().file("a/b", ""),
                    (0..2).fold(tar(), |tar, _| tar.file("a/.wh..wh..opq", "")),
                    "twice",
                ),
            ],
        },
        Class {
            name: "whiteouts in another case",
            source: "CVE-2014-9390's kind",
            cases: vec![
                refused("of a file", tar().file("a", ""), tar().file(".wh.A", ""), "case only"),
                refused("of a folder", tar().file("Dir/a", ""), tar().file("dir/.wh.a", ""), "case only"),
                refused("a new spelling", tar().file("a", ""), tar().file("A", ""), "case only"),
                unpacked(
                    "hidden first",
                    &[tar().file("a", "1"), tar().file(".wh.a", "").file("A", "2")],
                    &["A 644 2"],
                ),
            ],
        },
        Class {
            name: "sound layers",
            source: "OCI: layers; a guard must not refuse what is sound",
            cases: vec![
                unpacked(
                    "replaced and hidden",
                    &[
                        tar()
                            .file("keep", "1")
                            .file("replace", "1")
                            .file("hide", "1")
                            .file("gone/deep/file", "1")
                            .file("opaque/old", "1")
                            .file("opaque/sub/old", "1")
                            .file("becomes-folder", "1")
                            .file("becomes-file/x", "1")
                            .link("becomes-real", "keep"),
                        tar()
                            .file("replace", "2")
                            .file(".wh.hide", "")
                            .file(".wh.gone", "")
                            .file(".wh.never-there", "")
                            .file("opaque/new", "2")
                            .file("opaque/.wh..wh..opq", "")
                            .folder("becomes-folder")
                            .file("becomes-folder/x", "2")
                            .file("becomes-file", "2")
                            .file("becomes-real", "2"),
                    ],
                    &[
                        "becomes-file 644 2",
                        "becomes-folder /",
                        "becomes-folder/x 644 2",
                        "becomes-real 644 2",
                        "keep 644 1",
                        "opaque /",
                        "opaque/new 644 2",
                        "replace 644 2",
                    ],
                ),
                unpacked(
                    "all is hidden",
                    &[tar().file("a/b/c", "1").link("d", "a"), tar().file(opaque, "").file("e", "2")],
                    &["e 644 2"],
                ),
                unpacked(
                    "the folders stay",
                    &[tar().file("a/b", "1"), tar().file("a/c", "2")],
                    &["a /", "a/b 644 1", "a/c 644 2"],
                ),
                unpacked(
                    "hidden in the third",
                    &[tar().file("a", "1"), tar().file("a", "2"), tar().file(".wh.a", "")],
                    &[],
                ),
                unpacked(
                    "a hard link to a lower file",
                    &[tar().file("a", "1"), tar().hard("b", "a"), tar().file(".wh.a", "")],
                    &["b 644 1"],
                ),
            ],
        },
    ]
}
