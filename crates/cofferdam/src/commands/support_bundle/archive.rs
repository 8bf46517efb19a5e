//! The archive itself.

use super::contents::Contents;
use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{File, OpenOptions};
use std::io::{Error, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Everything lies in one folder.
const FOLDER: &str = "cofferdam-support";

/// Writes a new file (0600); returns its size in bytes. A file that is there already stays.
pub(super) fn write(path: &Path, contents: &Contents, now: u64) -> Result<u64> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let text = format!("{} is there already", path.display());
            return Err(
                HostError::new(Class::Invalid, text).with_hint("name another file, or delete this one")
            );
        }
        Err(error) => return Err(HostError::std_io("make", path.display(), error)),
    };
    fill(&mut file, contents, now).map_err(|error| {
        let _ = std::fs::remove_file(path);
        HostError::std_io("write", path.display(), error)
    })
}

fn fill(file: &mut File, contents: &Contents, now: u64) -> std::result::Result<u64, Error> {
    let mut archive = tar::Builder::new(GzEncoder::new(&mut *file, Compression::default()));
    for part in contents.files() {
        let mut header = tar::Header::new_gnu();
        header.set_size(part.bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("{FOLDER}/{}", part.name), part.bytes.as_slice())?;
    }
    archive.into_inner()?.finish()?.flush()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
