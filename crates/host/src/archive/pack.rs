//! Files to a layer: owned by root and without times, so that the same files in the same order give the same bytes.

use std::io::{Error, Read, Result, Write};
use tar::{Builder, EntryType, Header};

/// Writes a layer.
pub(crate) struct Packer<W: Write> {
    builder: Builder<W>,
}

impl<W: Write> Packer<W> {
    /// To `archive`.
    pub(crate) fn new(archive: W) -> Self {
        Self { builder: Builder::new(archive) }
    }

    /// Adds a folder.
    pub(crate) fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        let mut header = header(EntryType::Directory, mode);
        self.builder.append_data(&mut header, format!("{path}/"), std::io::empty())
    }

    /// Adds a file of `size` bytes.
    pub(crate) fn file(&mut self, path: &str, size: u64, mode: u32, content: &mut dyn Read) -> Result<()> {
        let mut header = header(EntryType::Regular, mode);
        header.set_size(size);
        let mut content = content.take(size);
        self.builder.append_data(&mut header, path, &mut content)?;
        match content.limit() {
            0 => Ok(()),
            _ => Err(Error::other(format!("{path} became shorter while it was packed"))),
        }
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.builder.append_link(&mut header(EntryType::Symlink, 0o777), path, target)
    }

    /// Ends the layer.
    pub(crate) fn finish(self) -> Result<W> {
        self.builder.into_inner()
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}
