//! An archive to a folder: a runtime's release, as upstream publishes it.

use super::{Layers, Unpacked};
use crate::archive::{ArchiveError, Compression, LIMITS_HINT, Options, Telling, Unpacking};
use crate::error::{HostError, Result};
use crate::event::Transfer;
use cofferdam_core::class::Class;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;

/// How a file is compressed.
fn compression(file: &mut File) -> std::io::Result<Compression> {
    let mut head = Vec::new();
    file.take(6).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(Compression::of_head(&head))
}

/// Whether `path` is a compressed file. None: it cannot be read.
pub(super) fn is_compressed(path: &Path) -> Option<bool> {
    let how = File::open(path).and_then(|mut file| compression(&mut file)).ok()?;
    Some(how != Compression::None)
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
    let how = compression(&mut file).map_err(fail)?;
    let mut tell = |bytes| progress(Transfer::whole(bytes, total));
    let mut unpacking = Unpacking::new(folder, options);
    let unpacked = unpacking.compressed_layer(Telling::new(file, &mut tell), how);
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
