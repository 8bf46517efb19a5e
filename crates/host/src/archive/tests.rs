//! Archives that lie, each with the words in which it is refused, and archives that do not.

use super::{Limits, Packer, Unpacking};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tar::{EntryType, Header};
use tempfile::TempDir;

/// An archive, written as its author pleases.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    /// An entry with exactly this name, type and size; content follows it.
    fn raw(mut self, kind: u8, name: &str, link: &str, mode: u32, size: u64, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_mode(mode);
        header.set_size(size);
        header.set_entry_type(EntryType::new(kind));
        let bytes = header.as_mut_bytes();
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(b'0', name, "", 0o644, content.len() as u64, content.as_bytes())
    }

    fn folder(self, name: &str) -> Self {
        self.raw(b'5', name, "", 0o755, 0, b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name, target, 0o777, 0, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.raw(b'1', name, target, 0o644, 0, b"")
    }

    fn kind(self, kind: u8, name: &str) -> Self {
        self.raw(kind, name, "", 0o644, 0, b"")
    }

    /// An extended header with these records.
    fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while length != rest.len() + length.to_string().len() {
                length = rest.len() + length.to_string().len();
            }
            text.push_str(&format!("{length}{rest}"));
        }
        self.raw(kind, "pax", "", 0o644, text.len() as u64, text.as_bytes())
    }

    fn long(self, kind: u8, name: &str) -> Self {
        self.raw(kind, "././@LongLink", "", 0o644, name.len() as u64 + 1, &[name.as_bytes(), b"\0"].concat())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

const SMALL: Limits = Limits { bytes: 10_000, entries: 20, depth: 5 };

/// A folder beside which a secret lies, and what became of it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::write(folder.path().join("outside"), "untouched").unwrap();
        Self(folder)
    }

    fn inside(&self) -> std::path::PathBuf {
        self.0.path().join("in")
    }

    fn unpack(&self, layers: &[Vec<u8>], limits: Limits) -> Result<(), String> {
        let folder = std::fs::File::open(self.inside()).unwrap().into();
        let mut unpacking = Unpacking::new(folder, limits);
        for layer in layers {
            unpacking.layer(layer.as_slice()).map_err(|error| {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                format!("{error}: {}", source.unwrap_or_default())
            })?;
        }
        Ok(())
    }

    /// Nothing outside was made, changed or deleted.
    fn check_outside(&self, name: &str) {
        let names: Vec<_> =
            std::fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{name}: {names:?}");
        assert_eq!(std::fs::read(self.0.path().join("outside")).unwrap(), b"untouched", "{name}");
    }

    /// Each path with its content, link target or `/`.
    fn shown(&self) -> BTreeMap<String, String> {
        let mut shown = BTreeMap::new();
        show(&self.inside(), "", &mut shown);
        shown
    }
}

fn show(folder: &Path, prefix: &str, shown: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().unwrap();
        let what = if kind.is_dir() {
            show(&entry.path(), &format!("{name}/"), shown);
            "/".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", std::fs::read_link(entry.path()).unwrap().display())
        } else {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            format!("{mode:o} {}", std::fs::read_to_string(entry.path()).unwrap())
        };
        shown.insert(name, what);
    }
}

fn tar() -> Tar {
    Tar::default()
}

/// Archives of one layer that must be refused, with a word of why.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let long = "x".repeat(5000);
    let escape = "../outside";
    vec![
        ("parent", tar().file("../outside", "evil").end(), "leads out"),
        ("parent inside", tar().file("a/../../outside", "evil").end(), "leads out"),
        ("parent that comes back", tar().file("a/../b", "evil").end(), "leads out"),
        ("parent folder", tar().folder("..").end(), "leads out"),
        ("dotted parent", tar().file("./../outside", "evil").end(), "leads out"),
        ("absolute", tar().file("/tmp/evil", "evil").end(), "absolute"),
        ("absolute folder", tar().folder("/").end(), "absolute"),
        ("empty name", tar().file("", "evil").end(), "no plain"),
        ("doubled slash", tar().file("a//b", "evil").end(), "no plain"),
        ("inner dot", tar().file("a/./b", "evil").end(), "no plain"),
        ("control character", tar().file("a\nb", "evil").end(), "no plain"),
        ("file named as the folder", tar().file(".", "evil").end(), "no plain"),
        ("pax parent", tar().pax(b'x', &[("path", escape)]).file("a", "evil").end(), "leads out"),
        ("pax absolute", tar().pax(b'x', &[("path", "/x")]).file("a", "evil").end(), "absolute"),
        ("gnu parent", tar().long(b'L', escape).file("a", "evil").end(), "leads out"),
        ("gnu zero byte", tar().long(b'L', "a\0b").file("a", "evil").end(), "zero byte"),
        ("pax zero byte", tar().pax(b'x', &[("path", "a\0b")]).file("a", "").end(), "zero byte"),
        ("absolute link", tar().link("a", "/etc").end(), "leaves"),
        ("link to above", tar().link("a", "..").end(), "leaves"),
        ("deep link to above", tar().folder("b").link("b/a", "../../outside").end(), "leaves"),
        ("link that wanders out", tar().link("a", "b/../../outside").end(), "leaves"),
        ("link to nothing", tar().link("a", "").end(), "leaves"),
        ("pax link", tar().pax(b'x', &[("linkpath", "/etc")]).link("a", "b").end(), "leaves"),
        ("gnu link", tar().long(b'K', "/etc/shadow").link("a", "b").end(), "leaves"),
        ("through a link", tar().folder("b").link("a", "b").file("a/evil", "evil").end(), "through the link"),
        ("folder through a link", tar().folder("b").link("a", "b").folder("a/c").end(), "through the link"),
        ("link over a folder", tar().folder("b").file("b/c", "").link("b", "c").end(), "twice"),
        ("file over a link", tar().link("a", "b").file("a", "evil").end(), "twice"),
        ("folder over a link", tar().link("a", "b").folder("a").end(), "twice"),
        ("folder over a file", tar().file("a", "").folder("a").end(), "twice"),
        ("file over a folder", tar().file("a/b", "").file("a", "evil").end(), "twice"),
        ("the same name twice", tar().file("a", "one").file("a", "two").end(), "twice"),
        ("the same name, dotted", tar().file("a", "one").file("./a", "two").end(), "twice"),
        ("below a file", tar().file("a", "").file("a/b", "evil").end(), "which is a file"),
        ("hard link to above", tar().hard("a", "../outside").end(), "leads out"),
        ("absolute hard link", tar().hard("a", "/etc/shadow").end(), "absolute"),
        ("hard link to nothing", tar().hard("a", "b").end(), "names no file"),
        ("hard link to itself", tar().hard("a", "a").end(), "names no file"),
        ("hard link to what comes later", tar().hard("a", "b").file("b", "").end(), "names no file"),
        ("hard link to a link", tar().link("b", "c").hard("a", "b").end(), "names no file"),
        ("hard link to a folder", tar().folder("b").hard("a", "b").end(), "names no file"),
        (
            "hard link through a link",
            tar().file("b/c", "").link("d", "b").hard("a", "d/c").end(),
            "names no file",
        ),
        (
            "hard link with content",
            tar().file("b", "").raw(b'1', "a", "b", 0o644, 4, b"evil").end(),
            "no file",
        ),
        ("character device", tar().kind(b'3', "a").end(), "a device"),
        ("block device", tar().kind(b'4', "a").end(), "a device"),
        ("named pipe", tar().kind(b'6', "a").end(), "a named pipe"),
        ("unknown type", tar().kind(b'Z', "a").end(), "not known"),
        ("old sparse file", tar().kind(b'S', "a").end(), "sparse"),
        ("pax sparse file", tar().pax(b'x', &[("GNU.sparse.major", "1")]).file("a", "").end(), "sparse"),
        ("setuid", tar().raw(b'0', "a", "", 0o4755, 0, b"").end(), "setuid"),
        ("setgid", tar().raw(b'0', "a", "", 0o2755, 0, b"").end(), "setuid or setgid"),
        ("folder with content", tar().raw(b'5', "a", "", 0o755, 4, b"evil").end(), "has content"),
        (
            "declared larger than allowed",
            tar().raw(b'0', "a", "", 0o644, 1 << 40, b"").end(),
            "more than 10000",
        ),
        (
            "pax size larger than allowed",
            tar().pax(b'x', &[("size", "99999999")]).file("a", "").end(),
            "more than",
        ),
        ("pax size that is no number", tar().pax(b'x', &[("size", "-1")]).file("a", "").end(), "no number"),
        ("pax size with a sign", tar().pax(b'x', &[("size", "+1")]).file("a", "x").end(), "no number"),
        ("global path", tar().pax(b'g', &[("path", "evil")]).file("a", "").end(), "global header"),
        ("global size", tar().pax(b'g', &[("size", "1")]).file("a", "").end(), "global header"),
        ("many files", many(21), "more than 20 entries"),
        ("files too large together", large(11), "more than 10000 bytes"),
        ("hard links too large together", hard_links(), "more than 10000 bytes"),
        ("too deep", tar().file("a/b/c/d/e/f", "").end(), "folders deep"),
        ("name too long", tar().long(b'L', &long).file("a", "").end(), "a name of 5001 bytes"),
        (
            "name too long for the kernel",
            tar().long(b'L', &long[..300]).file("a", "").end(),
            "could not create",
        ),
        ("extended header too long", tar().raw(b'x', "p", "", 0, 2 << 20, b"").end(), "extended header of"),
        ("broken extended header", tar().raw(b'x', "p", "", 0, 5, b"9 a=b").file("a", "").end(), "is broken"),
        (
            "extended header of zero length",
            tar().raw(b'x', "p", "", 0, 6, b"0 a=b\n").file("a", "").end(),
            "broken",
        ),
        (
            "extended header without an entry",
            tar().pax(b'x', &[("path", "a")]).end(),
            "after an extended header",
        ),
        ("not an archive", vec![7; 2048], "no tar archive"),
        (
            "something after the end",
            [tar().end(), tar().file("a", "").end()].concat()[512..].to_vec(),
            "zeros",
        ),
        ("cut in a header", tar().file("a", "").end()[..100].to_vec(), "ends in the middle"),
        ("cut in a file", tar().file("a", "content").end()[..515].to_vec(), "ends in the middle"),
        (
            "whiteout of what it has itself",
            tar().file("a", "").file(".wh.a", "").end(),
            "hidden by the layer",
        ),
        (
            "whiteout of what leads to it",
            tar().file("a/b", "").file(".wh.a", "").end(),
            "hidden by the layer",
        ),
        ("whiteout of nothing", tar().file(".wh.", "").end(), "nothing that has a name"),
        ("whiteout of above", tar().file("a/.wh...", "").end(), "nothing that has a name"),
    ]
}

fn many(count: usize) -> Vec<u8> {
    (0..count).fold(tar(), |tar, n| tar.file(&format!("f{n}"), "")).end()
}

fn large(count: usize) -> Vec<u8> {
    (0..count).fold(tar(), |tar, n| tar.file(&format!("f{n}"), &"x".repeat(1000))).end()
}

fn hard_links() -> Vec<u8> {
    let first = tar().file("f", &"x".repeat(1000));
    (0..10).fold(first, |tar, n| tar.hard(&format!("h{n}"), "f")).end()
}

#[test]
fn hostile_archives_are_refused_and_touch_nothing_outside() {
    for (name, archive, reason) in hostile() {
        let place = Place::new();
        match place.unpack(&[archive], SMALL) {
            Err(error) => assert!(error.contains(reason), "{name}: {error}"),
            Ok(()) => panic!("{name} was unpacked: {:?}", place.shown()),
        }
        place.check_outside(name);
    }
}

#[test]
fn links_that_someone_else_puts_there_are_not_followed() {
    let place = Place::new();
    // Not by an entry: the list knows nothing of it, and the kernel has to refuse.
    std::os::unix::fs::symlink("..", place.inside().join("a")).unwrap();
    let error = place.unpack(&[tar().file("a/evil", "evil").end()], SMALL).unwrap_err();
    assert!(error.contains("could not"), "{error}");
    let error = place.unpack(&[tar().folder("b").file("a", "evil").end()], SMALL).unwrap_err();
    assert!(error.contains("could not create a"), "{error}");
    place.check_outside("planted link");
}

#[test]
fn plain_archives_are_unpacked_with_normal_modes() {
    let place = Place::new();
    let deep = format!("d/{}", "y".repeat(120));
    let archive = tar()
        .pax(b'g', &[("comment", "made by hand")])
        .folder("./")
        .folder("./bin/")
        .raw(b'0', "./bin/tool", "", 0o700, 4, b"tool")
        .raw(b'0', "data", "", 0o600, 4, b"data")
        .raw(b'5', "open", "", 0o1777, 0, b"")
        .folder("bin")
        .link("link", "bin/tool")
        .link("bin/back", "../data")
        .hard("again", "./bin/tool")
        .pax(b'x', &[("path", "by/pax"), ("mtime", "1.5"), ("SCHILY.xattr.user.x", "y")])
        .file("other", "pax")
        .long(b'L', &deep)
        .file("other", "gnu")
        .raw(b'\0', "old", "", 0o644, 3, b"old")
        .end();
    place.unpack(&[archive], SMALL).unwrap();
    let shown: Vec<String> = place.shown().into_iter().map(|(path, what)| format!("{path} {what}")).collect();
    assert_eq!(
        shown,
        [
            "again 755 tool",
            "bin /",
            "bin/back -> ../data",
            "bin/tool 755 tool",
            "by /",
            "by/pax 644 pax",
            "d /",
            &format!("{deep} 644 gnu"),
            "data 644 data",
            "link -> bin/tool",
            "old 644 old",
            "open /",
        ]
    );
}

#[test]
fn layers_replace_and_hide_what_is_below() {
    let place = Place::new();
    let lower = tar()
        .file("keep", "1")
        .file("replace", "1")
        .file("hide", "1")
        .file("gone/deep/file", "1")
        .file("opaque/old", "1")
        .file("opaque/sub/old", "1")
        .file("becomes-folder", "1")
        .file("becomes-file/x", "1")
        .link("becomes-real", "keep")
        .end();
    let upper = tar()
        .file("replace", "2")
        .file(".wh.hide", "")
        .file(".wh.gone", "")
        .file(".wh.never-there", "")
        .file("opaque/new", "2")
        .file("opaque/.wh..wh..opq", "")
        .folder("becomes-folder")
        .file("becomes-folder/x", "2")
        .file("becomes-file", "2")
        .file("becomes-real", "2")
        .end();
    place.unpack(&[lower, upper], Limits { entries: 40, ..SMALL }).unwrap();
    let shown: Vec<String> = place.shown().into_iter().map(|(path, what)| format!("{path} {what}")).collect();
    assert_eq!(
        shown,
        [
            "becomes-file 644 2",
            "becomes-folder /",
            "becomes-folder/x 644 2",
            "becomes-real 644 2",
            "keep 644 1",
            "opaque /",
            "opaque/new 644 2",
            "replace 644 2",
        ]
    );
}

#[test]
fn a_later_layer_goes_through_no_link_either() {
    let place = Place::new();
    let lower = tar().folder("b").link("a", "b").end();
    let error = place.unpack(&[lower, tar().file("a/evil", "").end()], SMALL).unwrap_err();
    assert!(error.contains("through the link"), "{error}");
    assert_eq!(place.shown().len(), 2);
}

#[test]
fn what_is_packed_comes_out_again() {
    let long = format!("{}/{}", "n".repeat(90), "m".repeat(150));
    let pack = || {
        let mut packer = Packer::new(Vec::new());
        packer.folder("bin").unwrap();
        packer.file("bin/tool", 4, true, &mut &b"tool"[..]).unwrap();
        packer.link("bin/link", "tool").unwrap();
        packer.file(&long, 4, false, &mut &b"long"[..]).unwrap();
        packer.finish().unwrap()
    };
    let place = Place::new();
    place.unpack(&[pack()], SMALL).unwrap();
    let shown = place.shown();
    assert_eq!(shown["bin/tool"], "755 tool");
    assert_eq!(shown["bin/link"], "-> tool");
    assert_eq!(shown[&long], "644 long");
    assert_eq!(pack(), pack(), "the same bytes each time");
    let short = Packer::new(Vec::new()).file("a", 5, false, &mut &b"1234"[..]);
    assert!(short.unwrap_err().to_string().contains("shorter"));
}
