//! A strict reader of tar archives: ustar with the long names and sizes of GNU and PAX.
//!
//! Everything else is refused rather than guessed at: two readers that guess differently are how archives lie.

use super::ArchiveError;
use std::io::{ErrorKind, Read};
use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// The longest name that a kernel accepts.
const MOST_NAME: u64 = 4096;

/// How large the extended header of one entry may be.
const MOST_EXTENDED: u64 = 1 << 20;

/// One entry's header.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its path, as written.
    pub(super) path: String,
    /// What it is.
    pub(super) kind: Kind,
    /// Its permission bits.
    pub(super) mode: u32,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A folder.
    Folder,
    /// A regular file of that many bytes.
    File { size: u64 },
    /// Another name of an earlier entry.
    HardLink { target: String },
    /// A symbolic link.
    Link { target: String },
    /// What may not be in a package, by its name for people.
    Special(&'static str),
}

/// Reads entries one after the other.
pub(super) struct Reader<R> {
    source: R,
    /// Bytes of the present entry's content that were not read yet.
    left: u64,
    /// Zeros after the content.
    padding: u64,
}

/// What extended headers say of the next entry.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl<R: Read> Reader<R> {
    pub(super) const fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0 }
    }

    /// The next entry; none at the archive's end. What was not read of the entry before is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extended = Extended::default();
        let mut in_headers = false;
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                return if in_headers {
                    Err(ArchiveError::refused("it ends after an extended header"))
                } else {
                    Ok(None)
                };
            };
            let size = header.entry_size().map_err(|_| ArchiveError::refused("a size is no number"))?;
            in_headers = true;
            match header.entry_type() {
                EntryType::GNULongName => extended.path = Some(self.name(size)?),
                EntryType::GNULongLink => extended.link = Some(self.name(size)?),
                EntryType::XHeader => self.pax(size, &mut extended)?,
                EntryType::XGlobalHeader => self.global(size)?,
                kind => return self.entry(&header, kind, size, extended).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        extended: Extended,
    ) -> Result<Entry, ArchiveError> {
        let size = extended.size.unwrap_or(size);
        let path = match extended.path {
            Some(path) => path,
            None => text(&header.path_bytes())?,
        };
        let link = || match extended.link.clone() {
            Some(link) => Ok(link),
            None => text(&header.link_name_bytes().unwrap_or_default()),
        };
        let mode = header.mode().map_err(|_| ArchiveError::refused(format!("{path}: no mode")))?;
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous if path.ends_with('/') => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File { size },
            EntryType::Directory => Kind::Folder,
            EntryType::Link => Kind::HardLink { target: link()? },
            EntryType::Symlink => Kind::Link { target: link()? },
            EntryType::Char | EntryType::Block => Kind::Special("a device"),
            EntryType::Fifo => Kind::Special("a named pipe"),
            EntryType::GNUSparse => Kind::Special("a sparse file in GNU's old form"),
            _ => Kind::Special("of a type that is not known"),
        };
        // Readers differ on whether content follows such an entry.
        if !matches!(kind, Kind::File { .. } | Kind::Special(_)) && size != 0 {
            return Err(ArchiveError::refused(format!("{path} has content, and is no file")));
        }
        self.expect(size);
        Ok(Entry { path, kind, mode })
    }

    /// Reads of the present entry's content.
    pub(super) fn content(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        match self.source.read(buffer) {
            Ok(0) => Err(cut()),
            Ok(n) => {
                self.left -= n as u64;
                Ok(n)
            }
            Err(error) => Err(ArchiveError::Read(error)),
        }
    }

    fn expect(&mut self, size: u64) {
        let block = BLOCK as u64;
        self.left = size;
        self.padding = (block - size % block) % block;
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        let skip = self.left.saturating_add(self.padding);
        (self.left, self.padding) = (0, 0);
        let skipped = std::io::copy(&mut self.source.by_ref().take(skip), &mut std::io::sink())
            .map_err(ArchiveError::Read)?;
        if skipped < skip { Err(cut()) } else { Ok(()) }
    }

    /// The next header; none at the end, which two blocks of zeros mark, or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        if !self.block(block)? {
            return Ok(None);
        }
        if block.iter().all(|byte| *byte == 0) {
            let mut second = [0; BLOCK];
            if self.block(&mut second)? && second.iter().any(|byte| *byte != 0) {
                return Err(ArchiveError::refused("something follows a block of zeros"));
            }
            return Ok(None);
        }
        // The sum over the block, with spaces where it stands itself.
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        match header.cksum() {
            Ok(found) if found == sum => Ok(Some(header)),
            _ => Err(ArchiveError::refused("it is no tar archive, or a header in it is broken")),
        }
    }

    /// Fills `block`; whether there was one.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(cut()),
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Read(error)),
            }
        }
        Ok(true)
    }

    fn bytes(&mut self, size: u64, most: u64, what: &str) -> Result<Vec<u8>, ArchiveError> {
        if size > most {
            return Err(ArchiveError::TooLarge(format!("{what} of {size} bytes (the limit is {most})")));
        }
        self.expect(size);
        let mut bytes = Vec::new();
        let left = std::mem::take(&mut self.left);
        self.source.by_ref().take(left).read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        if (bytes.len() as u64) < size { Err(cut()) } else { Ok(bytes) }
    }

    /// A long name of GNU's.
    fn name(&mut self, size: u64) -> Result<String, ArchiveError> {
        let mut bytes = self.bytes(size, MOST_NAME, "a name")?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        text(&bytes)
    }

    fn pax(&mut self, size: u64, extended: &mut Extended) -> Result<(), ArchiveError> {
        for (key, value) in records(&self.bytes(size, MOST_EXTENDED, "an extended header")?)? {
            match key.as_str() {
                "path" => extended.path = Some(value),
                "linkpath" => extended.link = Some(value),
                "size" => {
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    let size = value.parse().ok().filter(|_| digits);
                    let size = size.ok_or_else(|| ArchiveError::refused("a size is no number"))?;
                    extended.size = Some(size);
                }
                key if key.starts_with("GNU.sparse.") => {
                    return Err(ArchiveError::refused("it holds a sparse file"));
                }
                // Times, owners, names of them, extended attributes: an installed file has none of these.
                _ => {}
            }
        }
        Ok(())
    }

    /// What holds for all entries that follow: a comment may, anything that changes an entry may not.
    fn global(&mut self, size: u64) -> Result<(), ArchiveError> {
        let records = records(&self.bytes(size, MOST_EXTENDED, "an extended header")?)?;
        let changes =
            |key: &str| matches!(key, "path" | "linkpath" | "size") || key.starts_with("GNU.sparse.");
        match records.into_iter().find(|(key, _)| changes(key)) {
            Some((key, _)) => Err(ArchiveError::refused(format!("a global header gives a {key}"))),
            None => Ok(()),
        }
    }
}

/// The records of a PAX header: `LENGTH KEY=VALUE\n`. Of values that are no text, only the key counts.
fn records(mut bytes: &[u8]) -> Result<Vec<(String, String)>, ArchiveError> {
    let broken = || ArchiveError::refused("an extended header is broken");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let digits = bytes.get(..space).unwrap_or_default();
        let length = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let length: usize = length.and_then(|text| text.parse().ok()).ok_or_else(broken)?;
        let record = bytes.get(space + 1..length).ok_or_else(broken)?;
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        let (key, value) = record.split_at(equals);
        let key = text(key)?;
        let value = value.get(1..).unwrap_or_default();
        if matches!(key.as_str(), "path" | "linkpath" | "size") {
            records.push((key, text(value)?));
        } else {
            records.push((key, String::new()));
        }
        bytes = bytes.get(length..).ok_or_else(broken)?;
    }
    Ok(records)
}

fn text(bytes: &[u8]) -> Result<String, ArchiveError> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        ArchiveError::refused(format!("a name is not UTF-8: {}", String::from_utf8_lossy(bytes)))
    })?;
    if text.contains('\0') {
        return Err(ArchiveError::refused(format!("a name holds a zero byte: {}", text.escape_debug())));
    }
    Ok(text.to_owned())
}

fn cut() -> ArchiveError {
    ArchiveError::Read(std::io::Error::new(ErrorKind::UnexpectedEof, "it ends in the middle"))
}
