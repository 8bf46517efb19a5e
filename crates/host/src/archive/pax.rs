//! What headers before an entry's own say of it: GNU's long names, and POSIX' extended headers.

use super::ArchiveError;
use super::header::text;
use super::sparse::{Keys, decimal};

/// What extended headers say of the next entry.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<String>,
    pub(super) link: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) sparse: Keys,
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
    /// Which kinds of headers there were.
    kinds: Vec<u8>,
}

impl Extended {
    /// Whether there was a header.
    pub(super) const fn is_there(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// Counts a header of this type in. Of two that say the same, readers believe different ones.
    pub(super) fn begin(&mut self, kind: u8) -> Result<(), ArchiveError> {
        let is_posix = |kind: u8| kind == b'x';
        if self.kinds.iter().any(|found| *found == kind || is_posix(*found) != is_posix(kind)) {
            return Err(ArchiveError::refused("an entry has two headers that say the same"));
        }
        self.kinds.push(kind);
        Ok(())
    }

    /// Takes a POSIX header in.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let once = |is_new: bool, key: &str| match is_new {
            true => Ok(()),
            false => Err(ArchiveError::refused(format!("an extended header gives {key} twice"))),
        };
        for (key, value) in records(bytes)? {
            match key.as_str() {
                "path" => once(self.path.replace(text(value)?).is_none(), "the path")?,
                "linkpath" => once(self.link.replace(text(value)?).is_none(), "the link")?,
                "size" => once(self.size.replace(decimal(value)?).is_none(), "the size")?,
                "SCHILY.realsize" => {
                    return Err(ArchiveError::refused("a sparse file is in star's own form"));
                }
                key => {
                    if let Some(key) = key.strip_prefix("GNU.sparse.") {
                        self.sparse.take(key, value)?;
                    } else if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        let is_new = self.xattrs.iter().all(|(found, _)| found != name);
                        once(is_new, "an extended attribute")?;
                        self.xattrs.push((name.to_owned(), value.to_vec()));
                    }
                    // Times, owners and their names: an installed file has none of these.
                }
            }
        }
        Ok(())
    }
}

/// Checks what holds for all entries that follow: a comment may, anything that changes an entry may not.
pub(super) fn check_global(bytes: &[u8]) -> Result<(), ArchiveError> {
    let changes = |key: &str| {
        matches!(key, "path" | "linkpath" | "size" | "SCHILY.realsize")
            || key.starts_with("GNU.sparse.")
            || key.starts_with("SCHILY.xattr.")
    };
    match records(bytes)?.into_iter().find(|(key, _)| changes(key)) {
        Some((key, _)) => Err(ArchiveError::refused(format!("a global header gives a {key}"))),
        None => Ok(()),
    }
}

/// The records of a header: `LENGTH KEY=VALUE\n`.
fn records(mut bytes: &[u8]) -> Result<Vec<(String, &[u8])>, ArchiveError> {
    let broken = || ArchiveError::refused("an extended header is broken");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let length = decimal(bytes.get(..space).unwrap_or_default()).map_err(|_| broken())?;
        let length = usize::try_from(length).map_err(|_| broken())?;
        let record = bytes.get(space + 1..length).ok_or_else(broken)?;
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        let (key, value) = record.split_at(equals);
        records.push((text(key)?, value.get(1..).unwrap_or_default()));
        bytes = bytes.get(length..).ok_or_else(broken)?;
    }
    Ok(records)
}
