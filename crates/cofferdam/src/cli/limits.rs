//! How much of a package is unpacked.

use clap::Args;
use cofferdam_host::archive::{Asked, Limits};

/// How much of a package is unpacked.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Bytes of all its files, e.g. 16GiB [default: 8GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// Its files, folders and links [default: 200000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_entries: Option<u64>,
    /// Folders within each other [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_depth: Option<u16>,
    /// How many times as large as the archive its content may be [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_ratio: Option<u64>,
    /// The window that zstd may ask for: so much memory is needed [default: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    zstd_window: Option<u64>,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        self.over(Limits::NORMAL)
    }

    /// The same where something else, e.g. a file, says what is usual.
    pub(crate) fn over(&self, usual: Limits) -> Limits {
        let asked = Asked {
            bytes: self.max_bytes,
            entries: self.max_entries,
            depth: self.max_depth.map(usize::from),
            ratio: self.max_ratio,
            window: self.zstd_window,
        };
        asked.over(usual)
    }
}

/// Bytes: a number, perhaps with KiB, MiB, GiB or TiB.
fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err("a size is a number of bytes, or a number with KiB, MiB, GiB or TiB".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a size is a number of bytes, or a number with KiB, MiB, GiB or TiB".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("a size is at least a byte".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("a size is at most 16777215 TiB".to_owned()),
    }
}
