//! A strict reader of tar archives: POSIX and GNU, with long names, large sizes and holes.
//!
//! Everything else is refused rather than guessed at: two readers that guess differently are how archives lie.

use super::ArchiveError;
use super::header::{BLOCK, Header, more_sparse, text};
use super::limits::Limits;
use super::pax::{Extended, check_global};
use super::sparse::{self, Lines, MOST_SEGMENTS, Map, Segment};
use std::io::{BufRead, ErrorKind};

/// The longest name that a kernel accepts.
const MOST_NAME: u64 = 4096;

/// How large the extended header of one entry may be.
const MOST_EXTENDED: u64 = 1 << 20;

/// How many headers may hold for all entries that follow.
const MOST_GLOBAL: u32 = 1000;

/// How many zeros may follow the end.
const MOST_ZEROS: u64 = 64 << 20;

/// One entry's header.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its path, as written.
    pub(super) path: String,
    /// What it is.
    pub(super) kind: Kind,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Its extended attributes.
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File(Content),
    /// Another name of an earlier entry.
    HardLink { target: String },
    /// A symbolic link.
    Link { target: String },
    /// What may not be in a package, by its name for people.
    Special(&'static str),
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Content {
    /// Its size.
    pub(super) size: u64,
    /// Where its bytes go, if it has holes.
    pub(super) segments: Option<Vec<Segment>>,
}

/// Reads entries one after the other.
pub(super) struct Reader<R> {
    source: R,
    /// Bytes of the present entry's content that were not read yet.
    left: u64,
    /// Bytes after the content, to the end of its block.
    padding: u64,
    /// Bytes that may still come.
    most: u64,
    /// Bytes that came.
    came: u64,
    globals: u32,
}

impl<R: BufRead> Reader<R> {
    pub(super) const fn new(source: R, limits: &Limits) -> Self {
        // Files, and for each entry its headers with a name, which are larger only where a limit of their own is.
        let most =
            limits.bytes.saturating_add(limits.entries.saturating_mul(16 << 10)).saturating_add(MOST_ZEROS);
        Self { source, left: 0, padding: 0, most, came: 0, globals: 0 }
    }

    /// How many bytes came so far.
    pub(super) const fn came(&self) -> u64 {
        self.came
    }

    /// The next entry; none at the archive's end. What was not read of the entry before is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extended = Extended::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                return match extended.is_there() {
                    true => Err(ArchiveError::refused("it ends after an extended header")),
                    false => Ok(None),
                };
            };
            match header.kind() {
                kind @ b'L' => {
                    extended.begin(kind)?;
                    extended.path = Some(self.name(header.size()?)?);
                }
                kind @ b'K' => {
                    extended.begin(kind)?;
                    extended.link = Some(self.name(header.size()?)?);
                }
                kind @ b'x' => {
                    extended.begin(kind)?;
                    extended.take(&self.extended(header.size()?)?)?;
                }
                b'g' if extended.is_there() => {
                    return Err(ArchiveError::refused("a global header stands between an entry and its own"));
                }
                b'g' => {
                    self.globals += 1;
                    if self.globals > MOST_GLOBAL {
                        let text = format!("it has more than {MOST_GLOBAL} global headers");
                        return Err(ArchiveError::too_large(text));
                    }
                    check_global(&self.extended(header.size()?)?)?;
                }
                kind => return self.entry(&header, kind, extended).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, kind: u8, extended: Extended) -> Result<Entry, ArchiveError> {
        let size = header.size_with(extended.size)?;
        let Extended { path, link, sparse, xattrs, .. } = extended;
        let path = match sparse.name.clone().or(path) {
            Some(path) => path,
            None => header.name()?,
        };
        let link = || match link {
            Some(link) => Ok(link),
            None => header.link(),
        };
        let no_mode = || ArchiveError::refused(format!("{}: no mode", path.escape_debug()));
        let mode = header.mode().ok_or_else(no_mode)?;
        let map = sparse.map()?;
        if !matches!(map, Map::None) && kind != b'0' {
            return Err(ArchiveError::refused("what has holes is no file"));
        }
        self.expect(size);
        let kind = match kind {
            // Before POSIX, a slash at the end was all that told a folder.
            0 if path.ends_with('/') => Kind::Folder,
            b'0' | b'7' if path.ends_with('/') => {
                let shown = path.escape_debug();
                return Err(ArchiveError::refused(format!("{shown} is a file with the name of a folder")));
            }
            0 | b'0' | b'7' => Kind::File(self.content_of(map, size)?),
            b'S' => Kind::File(self.old_sparse(header, size)?),
            b'1' => Kind::HardLink { target: link()? },
            b'2' => Kind::Link { target: link()? },
            b'3' | b'4' => Kind::Special("a device"),
            b'5' => Kind::Folder,
            b'6' => Kind::Special("a named pipe"),
            _ => Kind::Special("of a type that is not known"),
        };
        // Readers differ on whether content follows such an entry.
        if !matches!(kind, Kind::File(_) | Kind::Special(_)) && size != 0 {
            let shown = path.escape_debug();
            return Err(ArchiveError::refused(format!("{shown} has content, and is no file")));
        }
        Ok(Entry { path, kind, mode, xattrs })
    }

    fn content_of(&mut self, map: Map, size: u64) -> Result<Content, ArchiveError> {
        match map {
            Map::None => Ok(Content { size, segments: None }),
            Map::Here(real, segments) => {
                let segments = Some(sparse::checked(segments, real, size)?);
                Ok(Content { size: real, segments })
            }
            Map::InContent(real) => {
                let mut lines = Lines::default();
                let mut block = [0; BLOCK];
                let segments = loop {
                    let left = self.left.checked_sub(BLOCK as u64);
                    let left = left.ok_or_else(|| ArchiveError::refused("a sparse file's map is broken"))?;
                    if !self.block(&mut block)? {
                        return Err(cut());
                    }
                    self.left = left;
                    if let Some(segments) = lines.block(&block)? {
                        break segments;
                    }
                };
                let segments = Some(sparse::checked(segments, real, self.left)?);
                Ok(Content { size: real, segments })
            }
        }
    }

    fn old_sparse(&mut self, header: &Header, size: u64) -> Result<Content, ArchiveError> {
        let (real, mut segments, mut more) = header.old_sparse()?;
        while more {
            let mut block = [0; BLOCK];
            if !self.block(&mut block)? {
                return Err(cut());
            }
            let (found, again) = more_sparse(&block)?;
            more = again;
            segments.extend(found);
            if segments.len() > MOST_SEGMENTS {
                return Err(sparse::too_many());
            }
        }
        Ok(Content { size: real, segments: Some(sparse::checked(segments, real, size)?) })
    }

    /// Gives up to `most` of the present entry's next bytes to `take`; how many there were, and none at its end.
    pub(super) fn content(
        &mut self,
        most: u64,
        take: impl FnOnce(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<u64, ArchiveError> {
        let most = most.min(self.left);
        if most == 0 {
            return Ok(0);
        }
        let n = self.some(most, take)?;
        self.left -= n;
        Ok(n)
    }

    fn expect(&mut self, size: u64) {
        let block = BLOCK as u64;
        self.left = size;
        self.padding = (block - size % block) % block;
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        let mut skip = self.left.saturating_add(self.padding);
        (self.left, self.padding) = (0, 0);
        while skip > 0 {
            skip -= self.some(skip, |_| Ok(()))?;
        }
        Ok(())
    }

    /// The next header; none at the end, which two blocks of zeros mark.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? {
            return Err(cut());
        }
        match Header::parse(block)? {
            Some(header) => Ok(Some(header)),
            None => self.check_end().map(|()| None),
        }
    }

    /// Nothing but zeros may follow the first block of them: another reader might read on.
    fn check_end(&mut self) -> Result<(), ArchiveError> {
        let mut zeros = 0;
        while !self.fill()?.is_empty() {
            zeros += self.some(u64::MAX, |bytes| match bytes.iter().all(|byte| *byte == 0) {
                true => Ok(()),
                false => Err(ArchiveError::refused("something follows its end")),
            })?;
            if zeros > MOST_ZEROS {
                return Err(ArchiveError::too_large("too much follows its end"));
            }
        }
        Ok(())
    }

    /// Fills `block`; whether there was one.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, ArchiveError> {
        if self.fill()?.is_empty() {
            return Ok(false);
        }
        let mut rest = block.as_mut_slice();
        while !rest.is_empty() {
            let most = rest.len() as u64;
            self.some(most, |bytes| {
                let (now, later) = std::mem::take(&mut rest).split_at_mut(bytes.len());
                now.copy_from_slice(bytes);
                rest = later;
                Ok(())
            })?;
        }
        Ok(true)
    }

    fn fill(&mut self) -> Result<&[u8], ArchiveError> {
        // A loop that returns what it borrows is more than the borrow checker follows: look, then look again.
        loop {
            match self.source.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Read(error)),
            }
        }
        self.source.fill_buf().map_err(ArchiveError::Read)
    }

    /// Gives some of the next bytes to `take`, at least one and at most `most`.
    fn some(
        &mut self,
        most: u64,
        take: impl FnOnce(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<u64, ArchiveError> {
        let bytes = self.fill()?;
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.get(..most).unwrap_or_default();
        if bytes.is_empty() {
            return Err(cut());
        }
        take(bytes)?;
        let n = bytes.len();
        self.source.consume(n);
        self.came += n as u64;
        if self.came > self.most {
            return Err(ArchiveError::too_large(format!("it has more than {} bytes", self.most)));
        }
        Ok(n as u64)
    }

    fn bytes(&mut self, size: u64, most: u64, what: &str) -> Result<Vec<u8>, ArchiveError> {
        if size > most {
            return Err(ArchiveError::too_large(format!("{what} of {size} bytes (the limit is {most})")));
        }
        self.expect(size);
        let mut bytes = Vec::new();
        while self.left > 0 {
            self.content(u64::MAX, |part| {
                bytes.extend_from_slice(part);
                Ok(())
            })?;
        }
        Ok(bytes)
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        self.bytes(size, MOST_EXTENDED, "an extended header")
    }

    /// A long name of GNU's.
    fn name(&mut self, size: u64) -> Result<String, ArchiveError> {
        let mut bytes = self.bytes(size, MOST_NAME, "a name")?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        text(&bytes)
    }
}

fn cut() -> ArchiveError {
    ArchiveError::Read(std::io::Error::new(ErrorKind::UnexpectedEof, "it ends in the middle"))
}
