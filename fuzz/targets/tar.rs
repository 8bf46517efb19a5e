//! Layers: unpacked into a folder, or refused; never a byte elsewhere, never something that is no file, folder or link.
//!
//! Several layers are joined by [`NEXT`]. The checksums of headers are mended first: a fuzzer does not guess them.

#![no_main]

use cofferdam_host::archive::{Limits, Options, Unpacking};
use cofferdam_host::package::Item;
use libfuzzer_sys::fuzz_target;
use std::cell::LazyCell;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

const NEXT: &[u8] = b"--next-layer--";
const CANARY: &[u8] = b"nobody may touch this";
const BLOCK: usize = 512;

/// Small: the fuzzer shall not wait for a disk.
const LIMITS: Limits =
    Limits { bytes: 1 << 20, entries: 64, names: 32 << 10, depth: 12, ratio: 200, window: 8 << 20 };

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("canary"), CANARY).unwrap();
        folder
    });
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| {
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        unpack(&mend(bytes), &inside);
        fs::remove_dir_all(&inside).unwrap();
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"], "something is beside the folder");
        assert_eq!(fs::read(folder.path().join("canary")).unwrap(), CANARY);
    });
});

fn unpack(bytes: &[u8], folder: &Path) {
    let options = Options { xattrs: vec!["user.*".to_owned()], ..Options::from(LIMITS) };
    let mut unpacking = Unpacking::new(File::open(folder).unwrap().into(), options);
    let mut rest = bytes;
    loop {
        let at = rest.windows(NEXT.len()).position(|window| window == NEXT);
        let (layer, next) = at.map_or((rest, None), |at| (&rest[..at], Some(&rest[at + NEXT.len()..])));
        if unpacking.layer(layer).is_err() {
            return;
        }
        let Some(next) = next else { break };
        rest = next;
    }
    let items = unpacking.finish();
    let mut found = 0;
    walk(folder, &mut |path, metadata| {
        found += 1;
        let name = path.strip_prefix(folder).unwrap().to_str().expect("a name is UTF-8");
        let item = items.iter().find(|(item, _)| item.as_str() == name).map(|(_, item)| item);
        let item = item.unwrap_or_else(|| panic!("{name} is there and not in the list"));
        let kind = metadata.file_type();
        assert!(kind.is_dir() || kind.is_file() || kind.is_symlink(), "{name} is something else");
        let mode = metadata.permissions().mode() & 0o7777;
        assert!(kind.is_symlink() || mode == 0o755 || mode == 0o644, "{name} has the mode {mode:o}");
        let is_as_listed = matches!(item, Item::File { size, .. } if *size == metadata.len());
        assert!(!kind.is_file() || is_as_listed, "{name} has {} bytes: {item:?}", metadata.len());
    });
    assert_eq!(found, items.len(), "something is in the list and not there");
}

fn walk(folder: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        see(&path, &metadata);
        if metadata.is_dir() {
            walk(&path, see);
        }
    }
}

/// The same with the checksum of each block that looks like a header.
fn mend(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut from = 0;
    while from < bytes.len() {
        let end = bytes[from..].windows(NEXT.len()).position(|window| window == NEXT);
        let layer = end.map_or(bytes.len(), |end| from + end);
        for block in bytes[from..layer].chunks_exact_mut(BLOCK) {
            if block[257..262] == *b"ustar" {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        from = layer + NEXT.len();
    }
    bytes
}
