//! Files with holes: GNU's four ways to say where the bytes go.
//!
//! ```text
//! old    in the header, with blocks that continue it
//! 0.0    in an extended header, a record for each number
//! 0.1    in an extended header, one record
//! 1.0    before the content, decimal numbers in lines
//! ```

use super::ArchiveError;
use super::header::text;

/// The most segments of one file.
pub(super) const MOST_SEGMENTS: usize = 1 << 16;

/// Bytes of a file that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What extended headers say of holes.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The file's real name.
    pub(super) name: Option<String>,
    version: [Option<u64>; 2],
    size: Option<u64>,
    count: Option<u64>,
    numbers: Vec<u64>,
    is_there: bool,
}

/// Where a map is.
pub(super) enum Map {
    /// There is none.
    None,
    /// Here.
    Here(u64, Vec<Segment>),
    /// Before the content of a file of this size.
    InContent(u64),
}

impl Keys {
    /// Takes a record in; `key` is what follows `GNU.sparse.`.
    pub(super) fn take(&mut self, key: &str, value: &[u8]) -> Result<(), ArchiveError> {
        self.is_there = true;
        let [major, minor] = &mut self.version;
        match key {
            "major" => once(major, value),
            "minor" => once(minor, value),
            "size" | "realsize" => once(&mut self.size, value),
            "numblocks" => once(&mut self.count, value),
            "offset" | "numbytes" => {
                // Always in turn.
                let expected = if self.numbers.len().is_multiple_of(2) { "offset" } else { "numbytes" };
                if key != expected {
                    return Err(broken());
                }
                self.push(decimal(value)?)
            }
            "map" if self.numbers.is_empty() => {
                value.split(|byte| *byte == b',').try_for_each(|part| self.push(decimal(part)?))
            }
            "name" if self.name.is_none() => {
                self.name = Some(text(value)?);
                Ok(())
            }
            _ => Err(broken()),
        }
    }

    fn push(&mut self, number: u64) -> Result<(), ArchiveError> {
        if self.numbers.len() >= 2 * MOST_SEGMENTS {
            return Err(too_many());
        }
        self.numbers.push(number);
        Ok(())
    }

    /// The map that all of it comes to.
    pub(super) fn map(self) -> Result<Map, ArchiveError> {
        if !self.is_there {
            return Ok(Map::None);
        }
        let size = self.size.ok_or_else(broken)?;
        match self.version {
            [Some(1), Some(0)] if self.numbers.is_empty() => Ok(Map::InContent(size)),
            [None, None] | [Some(0), Some(0 | 1)] => {
                let segments = pairs(&self.numbers)?;
                match self.count {
                    Some(count) if count != segments.len() as u64 => Err(broken()),
                    _ => Ok(Map::Here(size, segments)),
                }
            }
            _ => Err(ArchiveError::refused("a sparse file is in a form that is not known")),
        }
    }
}

/// Reads the map that stands before a content: decimal numbers, each in a line, the count first.
#[derive(Default)]
pub(super) struct Lines {
    count: Option<u64>,
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl Lines {
    /// Takes a block in; the map, once it is complete. What follows it in the block is padding.
    pub(super) fn block(&mut self, block: &[u8]) -> Result<Option<Vec<Segment>>, ArchiveError> {
        for byte in block {
            if *byte != b'\n' {
                if self.digits.len() >= 20 {
                    return Err(broken());
                }
                self.digits.push(*byte);
                continue;
            }
            let number = decimal(&std::mem::take(&mut self.digits))?;
            match self.count {
                None if number > MOST_SEGMENTS as u64 => return Err(too_many()),
                None => self.count = Some(number),
                Some(_) => self.numbers.push(number),
            }
            if self.count.is_some_and(|count| self.numbers.len() as u64 == 2 * count) {
                return pairs(&self.numbers).map(Some);
            }
        }
        Ok(None)
    }
}

/// Checks that `segments` are in order, within a file of `size` bytes, and `stored` bytes together. Empty ones go.
pub(super) fn checked(
    mut segments: Vec<Segment>,
    size: u64,
    stored: u64,
) -> Result<Vec<Segment>, ArchiveError> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in &segments {
        let next = segment.offset.checked_add(segment.length).filter(|next| *next <= size);
        match next {
            Some(next) if segment.offset >= end => end = next,
            _ => return Err(broken()),
        }
        sum += segment.length;
    }
    if sum != stored {
        return Err(broken());
    }
    segments.retain(|segment| segment.length > 0);
    Ok(segments)
}

fn pairs(numbers: &[u64]) -> Result<Vec<Segment>, ArchiveError> {
    if !numbers.len().is_multiple_of(2) {
        return Err(broken());
    }
    let pair = |pair: &[u64]| match pair {
        [offset, length] => Some(Segment { offset: *offset, length: *length }),
        _ => None,
    };
    Ok(numbers.chunks_exact(2).filter_map(pair).collect())
}

fn once(place: &mut Option<u64>, value: &[u8]) -> Result<(), ArchiveError> {
    let value = decimal(value)?;
    match place.replace(value) {
        Some(_) => Err(broken()),
        None => Ok(()),
    }
}

/// A decimal number without a sign.
pub(super) fn decimal(digits: &[u8]) -> Result<u64, ArchiveError> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| is_plain).and_then(|text| text.parse().ok());
    number.ok_or_else(|| ArchiveError::refused("a size is no number"))
}

fn broken() -> ArchiveError {
    ArchiveError::refused("a sparse file's map is broken")
}

pub(super) fn too_many() -> ArchiveError {
    ArchiveError::too_large(format!("a sparse file has more than {MOST_SEGMENTS} segments"))
}
