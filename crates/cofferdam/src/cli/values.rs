//! How arguments' values are read.

use cofferdam_host::error::{HostError, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A package's place.
pub(super) fn source(text: &str) -> std::result::Result<PathBuf, String> {
    match text.split_once(':') {
        Some(("dir", path)) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err("a source is dir:PATH, a folder that holds the package".to_owned()),
    }
}

/// The worker has another working directory, so folders are made absolute.
pub(crate) fn absolute(folder: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(folder)
        .map_err(|error| HostError::std_io("open the package", folder.display(), error))
}

/// A label: `KEY=VALUE`.
pub(super) fn label(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE".to_owned()),
    }
}

/// In seconds: a year. A clock cannot count to any end.
const LONGEST: u64 = 366 * 24 * 3600;

/// Seconds, minutes or hours.
pub(super) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a duration is a number with s, m or h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a duration is a number with s, m or h".to_owned())?;
    match number.checked_mul(factor) {
        Some(seconds) if seconds <= LONGEST => Ok(Duration::from_secs(seconds)),
        _ => Err("a duration is at most a year".to_owned()),
    }
}

/// An address to listen on: `IP:PORT`, or `:PORT` for every address.
pub(super) fn listen(text: &str) -> std::result::Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| format!("`{text}` is neither IP:PORT nor :PORT"))
}
