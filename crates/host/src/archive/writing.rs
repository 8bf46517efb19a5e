//! A file's content, as it comes.

use super::ArchiveError;
use super::reader::Reader;
use crate::fault;
use crate::hashing::{Blake3, Hashing as _};
use cofferdam_core::name::FileDigest;
use std::fs::File;
use std::io::{BufRead, Seek, SeekFrom, Write};

/// What is in a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A file that is being written.
pub(super) struct Writing<'p> {
    path: &'p str,
    file: File,
    hash: Blake3,
    at: u64,
    /// Where the last byte that was written ends.
    end: u64,
}

impl<'p> Writing<'p> {
    /// To `file`, which is empty; `path` is its name for people.
    pub(super) fn new(path: &'p str, file: File) -> Self {
        Self { path, file, hash: Blake3::new(), at: 0, end: 0 }
    }

    /// The next `length` bytes come from the archive.
    pub(super) fn copy(
        &mut self,
        length: u64,
        reader: &mut Reader<impl BufRead>,
    ) -> Result<(), ArchiveError> {
        let mut left = length;
        while left > 0 {
            let n = reader.content(left, |bytes| {
                self.hash.update(bytes);
                fault::change().map_err(|errno| self.failed(errno.into()))?;
                self.file.write_all(bytes).map_err(|error| self.failed(error))
            })?;
            if n == 0 {
                return Err(ArchiveError::refused(format!("{} is shorter than it says", self.path)));
            }
            left -= n;
            self.at += n;
            self.end = self.at;
        }
        Ok(())
    }

    /// Nothing is written up to `to`; it reads as zeros.
    pub(super) fn hole(&mut self, to: u64) -> Result<(), ArchiveError> {
        let mut left = to.saturating_sub(self.at);
        while left > 0 {
            let n = left.min(ZEROS.len() as u64);
            self.hash.update(ZEROS.get(..usize::try_from(n).unwrap_or_default()).unwrap_or_default());
            left -= n;
        }
        self.at = to;
        self.file.seek(SeekFrom::Start(to)).map(drop).map_err(|error| self.failed(error))
    }

    /// The file with `size` bytes, and their digest.
    pub(super) fn finish(self, size: u64) -> Result<(File, FileDigest), ArchiveError> {
        // It may end with a hole. The system takes its time for a length that is right already.
        if self.end < size {
            self.file.set_len(size).map_err(|error| self.failed(error))?;
        }
        Ok((self.file, self.hash.so_far()))
    }

    fn failed(&self, source: std::io::Error) -> ArchiveError {
        ArchiveError::Write { action: "write", path: self.path.to_owned(), source }
    }
}
