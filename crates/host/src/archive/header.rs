//! One header block of a tar archive, field by field.

use super::ArchiveError;
use super::sparse::Segment;

/// The size of a block.
pub(super) const BLOCK: usize = 512;

/// The largest size that eleven octal digits hold: from here on, it stands elsewhere.
const MOST_OCTAL: u64 = 0o777_7777_7777;

/// A header whose checksum is right.
pub(super) struct Header([u8; BLOCK]);

/// What a field means follows from who invented the form.
#[derive(PartialEq, Eq)]
enum Form {
    /// Before POSIX: no prefix.
    Old,
    /// POSIX: a prefix of the name.
    Posix,
    /// GNU: other things where the prefix is.
    Gnu,
}

impl Header {
    /// The header in `block`; none if it is all zeros.
    pub(super) fn parse(block: [u8; BLOCK]) -> Result<Option<Self>, ArchiveError> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Self(block);
        // The sum over the block, with spaces where it stands itself.
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
            .sum();
        match number(header.field(148, 8)) {
            Some(found) if found == sum => Ok(Some(header)),
            _ => Err(ArchiveError::refused("it is no tar archive, or a header in it is broken")),
        }
    }

    fn field(&self, from: usize, length: usize) -> &[u8] {
        self.0.get(from..from + length).unwrap_or_default()
    }

    fn form(&self) -> Result<Form, ArchiveError> {
        match self.field(257, 8) {
            b"ustar  \0" => Ok(Form::Gnu),
            // star ends its prefix earlier than POSIX does: two readers see two names.
            b"ustar\x0000" if self.field(508, 4) == b"tar\0" && self.field(476, 1) != b"\0" => {
                Err(ArchiveError::refused("a header is in star's own form"))
            }
            b"ustar\x0000" => Ok(Form::Posix),
            magic if magic.starts_with(b"ustar") => {
                Err(ArchiveError::refused("a header is of a kind of ustar that is not known"))
            }
            _ => Ok(Form::Old),
        }
    }

    /// The entry's type.
    pub(super) fn kind(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or_default()
    }

    /// The name, with its prefix.
    pub(super) fn name(&self) -> Result<String, ArchiveError> {
        let name = text(until_zero(self.field(0, 100)))?;
        let prefix = match self.form()? {
            Form::Posix => text(until_zero(self.field(345, 155)))?,
            Form::Old | Form::Gnu => String::new(),
        };
        Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
    }

    /// What a link leads to.
    pub(super) fn link(&self) -> Result<String, ArchiveError> {
        text(until_zero(self.field(157, 100)))
    }

    /// How many bytes follow.
    pub(super) fn size(&self) -> Result<u64, ArchiveError> {
        number(self.field(124, 12)).ok_or_else(|| ArchiveError::refused("a size is no number"))
    }

    /// How many bytes follow, if an extended header has a word in it. Where the two contradict each other, two readers
    /// would find the next header in two places.
    pub(super) fn size_with(&self, extended: Option<u64>) -> Result<u64, ArchiveError> {
        let size = self.size()?;
        match extended {
            None => Ok(size),
            Some(extended) if extended == size => Ok(size),
            Some(extended) if extended > MOST_OCTAL && matches!(size, 0 | MOST_OCTAL) => Ok(extended),
            Some(extended) => Err(ArchiveError::refused(format!(
                "its headers contradict each other: one says {size} bytes, the other {extended}"
            ))),
        }
    }

    /// The permission bits.
    pub(super) fn mode(&self) -> Option<u32> {
        number(self.field(100, 8)).and_then(|mode| u32::try_from(mode).ok())
    }

    /// Of a sparse file in GNU's old form: the size with its holes, the first segments, and whether more follow.
    pub(super) fn old_sparse(&self) -> Result<(u64, Vec<Segment>, bool), ArchiveError> {
        if self.form()? != Form::Gnu {
            return Err(ArchiveError::refused("a sparse file in a header that is not GNU's"));
        }
        let size = number(self.field(483, 12)).ok_or_else(|| ArchiveError::refused("a size is no number"))?;
        Ok((size, segments(self.field(386, 96))?, self.field(482, 1) != b"\0"))
    }
}

/// The segments in a block that continues a sparse file's header, and whether more follow.
pub(super) fn more_sparse(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, bool), ArchiveError> {
    let (inner, rest) = block.split_at(504);
    Ok((segments(inner)?, rest.first().is_some_and(|byte| *byte != 0)))
}

fn segments(bytes: &[u8]) -> Result<Vec<Segment>, ArchiveError> {
    let mut found = Vec::new();
    for pair in bytes.chunks_exact(24).take_while(|pair| pair.first() != Some(&0)) {
        let (offset, length) = pair.split_at(12);
        match (number(offset), number(length)) {
            (Some(offset), Some(length)) => found.push(Segment { offset, length }),
            _ => return Err(ArchiveError::refused("a sparse file's map is broken")),
        }
    }
    Ok(found)
}

/// A number: octal digits, or, where the first bit is set, big-endian binary. Nothing is 0.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Negative ones begin with other bits.
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let is_small = *first == 0x80 && high.iter().all(|byte| *byte == 0);
        return is_small.then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A name as text.
pub(super) fn text(bytes: &[u8]) -> Result<String, ArchiveError> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        let shown = String::from_utf8_lossy(bytes).escape_debug().to_string();
        ArchiveError::refused(format!("a name is not UTF-8: {shown}"))
    })?;
    if text.contains('\0') {
        return Err(ArchiveError::refused(format!("a name holds a zero byte: {}", text.escape_debug())));
    }
    Ok(text.to_owned())
}
