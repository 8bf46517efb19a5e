//! What an entry may be called.
//!
//! A name that one file system or screen takes for another name is refused: a package is one tree wherever it lies.

use super::ArchiveError;
use cofferdam_core::name::PackagePath;

/// The longest name of one file.
const MOST_NAME: usize = 255;

/// The longest path: the installation's own is put in front of it.
const MOST_PATH: usize = 2048;

/// The path that was written as `written`; none for the folder itself.
pub(super) fn path(
    written: &str,
    is_folder: bool,
    depth: usize,
) -> Result<Option<PackagePath>, ArchiveError> {
    let shown = written.escape_debug();
    if written.starts_with('/') {
        return Err(ArchiveError::refused(format!("{shown} is an absolute path")));
    }
    let mut path = written;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    if is_folder {
        path = path.strip_suffix('/').unwrap_or(path);
    }
    if is_folder && matches!(path, "" | ".") {
        return Ok(None);
    }
    if path.split('/').any(|part| part == "..") {
        return Err(ArchiveError::refused(format!("{shown} leads out of the package")));
    }
    if path.split('/').count() > depth {
        return Err(ArchiveError::too_large(format!("{shown} lies more than {depth} folders deep")));
    }
    if path.len() > MOST_PATH || path.split('/').any(|part| part.len() > MOST_NAME) {
        let start: String = path.chars().take(60).collect();
        let text = format!(
            "the path {}... is too long (the limits are {MOST_NAME} bytes for a name, {MOST_PATH} for a path)",
            start.escape_debug()
        );
        return Err(ArchiveError::too_large(text));
    }
    if let Some(found) = path.chars().find(|c| is_elusive(*c)) {
        let code = u32::from(found);
        return Err(ArchiveError::refused(format!(
            "{shown} holds the character U+{code:04X}, which can be invisible or part of another one"
        )));
    }
    let found = PackagePath::new(path);
    found.map(Some).map_err(|_| ArchiveError::refused(format!("{shown} is no plain relative path")))
}

/// Whether a text holds what a terminal obeys or does not show.
pub(super) fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || is_elusive(c))
}

/// Characters that are not shown or join their neighbours, and those that are other characters' second spelling: with
/// them, two names can be one to a file system that folds names.
fn is_elusive(c: char) -> bool {
    matches!(
        u32::from(c),
        // Not shown, or directing what is: Unicode's Default_Ignorable_Code_Point, and the bidirectional controls.
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF
        // Joining the one before.
            | 0x300..=0x36F | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0x3099..=0x309A
            | 0xFE20..=0xFE2F | 0x1100..=0x11FF | 0xA960..=0xA97F | 0xD7B0..=0xD7FF
        // Second spellings.
            | 0x2126 | 0x212A..=0x212B | 0x2329..=0x232A | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F
    )
}

/// The same text for all that differ in case only. Each character for itself, so that what begins equally stays so.
pub(super) fn folded(path: &str) -> String {
    if path.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return path.to_owned();
    }
    path.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
