//! An archive to a folder: a runtime's release, as upstream publishes it.

use super::{Layers, Unpacked};
use crate::archive::{ArchiveError, Compression, LIMITS_HINT, Options, Telling, Unpacking};
use crate::error::{HostError, Result};
use crate::event::Transfer;
use cofferdam_core::class::Class;
use lzma_rust2::XzReader;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;

const BUFFER: usize = 128 << 10;

/// What a decoder of xz may hold in memory, in KiB: what files of `xz -9` ask for, and a little.
const MOST_XZ: u32 = 68 << 10;

/// How a file is compressed, by its first bytes. Its name says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outer {
    Known(Compression),
    Xz,
}

impl Outer {
    fn of(file: &mut File) -> std::io::Result<Self> {
        let mut head = Vec::new();
        file.take(6).read_to_end(&mut head)?;
        file.rewind()?;
        Ok(match head.as_slice() {
            [0x1f, 0x8b, ..] => Self::Known(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Known(Compression::Zstd),
            // A skippable frame of zstd.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Known(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            _ => Self::Known(Compression::None),
        })
    }
}

/// Whether `path` is a compressed file. None: it cannot be read.
pub(super) fn is_compressed(path: &Path) -> Option<bool> {
    let outer = File::open(path).and_then(|mut file| Outer::of(&mut file)).ok()?;
    Some(outer != Outer::Known(Compression::None))
}

/// Unpacks the archive at `path` into `folder`, which is empty and nobody else's. `progress` gets how much was read so
/// far. If it fails, what is in the folder is worth nothing.
pub(super) fn unpack(
    path: &Path,
    folder: OwnedFd,
    options: Options,
    progress: &mut dyn FnMut(Transfer),
) -> Result<Unpacked> {
    let shown = path.display().to_string();
    let fail = |error| HostError::std_io("read", &shown, error);
    let mut file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(HostError::new(Class::Invalid, format!("{shown} is no file"))
            .with_hint("a folder that holds a package is dir:PATH"));
    }
    let total = metadata.len();
    let outer = Outer::of(&mut file).map_err(fail)?;
    let mut tell = |bytes| progress(Transfer::whole(bytes, total));
    let told = Telling::new(file, &mut tell);
    let mut unpacking = Unpacking::new(folder, options);
    let unpacked = match outer {
        Outer::Known(how) => unpacking.compressed_layer(told, how),
        Outer::Xz => {
            let buffered = BufReader::with_capacity(BUFFER, told);
            unpacking.compressed_layer(XzReader::new_mem_limit(buffered, true, MOST_XZ), Compression::None)
        }
    };
    unpacked.map_err(|error| match error {
        ArchiveError::Write { source, action, path } => {
            HostError::std_io(action, format!("{path} of {shown}"), source)
        }
        ArchiveError::Read(source) if source.raw_os_error().is_some() => fail(source),
        other => {
            let why =
                std::error::Error::source(&other).map(|source| format!(": {source}")).unwrap_or_default();
            let refused = HostError::new(Class::Invalid, format!("{shown} is not unpacked: {other}{why}"));
            match other {
                ArchiveError::TooLarge(_) => refused.with_hint(LIMITS_HINT),
                _ => refused,
            }
        }
    })?;
    Ok(Unpacked { items: unpacking.finish(), layers: Layers::new() })
}
