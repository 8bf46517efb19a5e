//! What comes out of sound archives, beyond names and content.

use super::canary::Canary;
use super::sizes::xz;
use super::streams::{gzip, zstd};
use super::tar::{Head, record, tar};
use super::{Limits, peak_memory};
use cofferdam_core::name::Digest;
use cofferdam_host::archive::{Compression, Options, Unpacking};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

#[test]
fn the_digest_is_that_of_what_was_compressed() {
    // More than there are buffers.
    let text: String = (0..1_000_000).map(|i| format!("{i:x}")).collect();
    let archive = tar().file("a", &text).end();
    for (bytes, how) in [
        (archive.clone(), Compression::None),
        (gzip(&archive), Compression::Gzip),
        (zstd(&archive), Compression::Zstd),
        (xz(archive.as_slice()), Compression::Xz),
    ] {
        let canary = Canary::new();
        let mut unpacking = Unpacking::new(canary.inside(), Limits::NORMAL);
        let digest = unpacking.compressed_layer(bytes.as_slice(), how).unwrap();
        assert_eq!(digest, Digest::of(&archive), "{how:?}");
        unpacking.sync().unwrap();
    }
}

#[test]
fn hard_links_are_one_file_and_holes_take_no_room() {
    let canary = Canary::new();
    let map = format!("1\n{}\n4\n", 8 << 20);
    let mut content = map.into_bytes();
    content.resize(512, 0);
    content.extend_from_slice(b"tail");
    let size = ((8 << 20) + 4).to_string();
    let archive = tar()
        .file("a", "one")
        .hard("b", "a")
        .pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "holes"),
            ("GNU.sparse.realsize", &size),
        ])
        .head(Head::new(b'0', "x").size(516), &content)
        .end();
    Unpacking::new(canary.inside(), Limits::NORMAL).layer(archive.as_slice()).unwrap();
    let data = |name: &str| fs::metadata(canary.path().join(name)).unwrap();
    assert_eq!((data("a").ino(), data("a").nlink()), (data("b").ino(), 2));
    assert_eq!(data("holes").len(), (8 << 20) + 4);
    assert!(data("holes").blocks() < 1000, "{} blocks", data("holes").blocks());
}

/// Whether this file system and this user can have such an attribute.
fn can_have(canary: &Canary, name: &str, value: &[u8]) -> bool {
    let file = fs::File::create(canary.path().join("try")).unwrap();
    let can = rustix::fs::fsetxattr(&file, name, value, rustix::fs::XattrFlags::empty()).is_ok();
    fs::remove_file(canary.path().join("try")).unwrap();
    can
}

#[test]
fn extended_attributes_that_were_asked_for_are_taken_over() {
    let canary = Canary::new();
    let records =
        [record("SCHILY.xattr.user.kept", b"a value"), record("SCHILY.xattr.user.dropped", b"another")];
    let archive = tar().raw_records(b'x', &records.concat()).file("a", "x").end();
    let options = Options { xattrs: vec!["user.ke*".to_owned()], ..Options::default() };
    let can = can_have(&canary, "user.kept", b"x");
    let result = Unpacking::new(canary.inside(), options).layer(archive.as_slice());
    if !can {
        // Then it is an error, and not left out.
        assert!(result.unwrap_err().to_string().contains("extended attribute"));
        return;
    }
    result.unwrap();
    let get = |name: &str| {
        let mut value = vec![0; 100];
        let length = rustix::fs::getxattr(canary.path().join("a"), name, value.as_mut_slice());
        length.map(|length| value[..length].to_vec()).unwrap_or_default()
    };
    assert_eq!(get("user.kept"), b"a value");
    assert_eq!(get("user.dropped"), b"");
}

#[test]
fn a_large_file_is_never_held_as_a_whole() {
    let canary = Canary::new();
    let size = 160 << 20;
    let head = Head::new(b'0', "large").size(size).summed();
    let archive =
        std::io::Cursor::new(head).chain(std::io::repeat(7).take(size)).chain(std::io::repeat(0).take(1024));
    Unpacking::new(canary.inside(), Limits::NORMAL).compressed_layer(archive, Compression::None).unwrap();
    assert_eq!(fs::metadata(canary.path().join("large")).unwrap().len(), size);
    let peak = peak_memory();
    assert!(peak < super::MOST_MEMORY, "{peak} kB were held at once");
}

#[test]
fn a_reader_that_fails_says_why() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the connection broke"))
        }
    }
    for how in [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Xz] {
        let canary = Canary::new();
        let head = Head::new(b'0', "a").size(1 << 20).summed();
        let bytes = match how {
            Compression::None => head.to_vec(),
            Compression::Gzip => gzip(&head)[..10].to_vec(),
            Compression::Zstd => zstd(&head)[..5].to_vec(),
            Compression::Xz => xz(&head[..])[..10].to_vec(),
        };
        let archive = std::io::Cursor::new(bytes).chain(Broken);
        let error =
            Unpacking::new(canary.inside(), Limits::NORMAL).compressed_layer(archive, how).unwrap_err();
        assert!(super::told(&error).contains("the connection broke"), "{how:?}: {}", super::told(&error));
    }
}
