//! Archives: layers of images, read strictly and written the same way each time.
//!
//! ```text
//! limits       how much, and what only where it is asked for
//! measure      digests and sizes of what streams by
//! compression  gzip, zstd or none, as we read it;  compress: as we write it
//! header, pax, sparse, reader
//!              tar headers to entries; what is not plain is refused
//! names        what an entry may be called
//! present      what is there, by our own list;  beneath: the folder, and nowhere else;  label: SELinux
//! unpack       entries to files;  pipeline: over several cores;  writing: one file's content
//! pack         files to a layer, the same bytes each time
//! refusals     which guards refused something, for tests
//! ```
//!
//! An archive is untrusted, and it is read before its digest can be known: what it holds is put where nothing looks, and
//! deleted if the digest turns out to be another one.

mod beneath;
mod compress;
mod compression;
mod header;
mod label;
mod limits;
mod measure;
mod names;
mod pack;
mod pax;
mod pipeline;
mod present;
mod reader;
pub mod refusals;
mod sparse;
#[cfg(test)]
mod tests;
mod unpack;
mod writing;

pub(crate) use compress::Compressing;
pub use compress::Encoding;
pub use compression::Compression;
pub(crate) use label::Label;
pub use limits::{Asked, Limits, Lookup, Options};
pub(crate) use measure::{Measuring, Telling};
pub(crate) use pack::Packer;
pub use unpack::Unpacking;

/// What to do where one of the limits stands in the way.
pub(crate) const LIMITS_HINT: &str = "docs/archives.md names the limits, and the options that change them";

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not what it should be, or holds what is not allowed.
    #[error("{0}")]
    Refused(String),
    /// It is larger than allowed.
    #[error("{0}")]
    TooLarge(String),
    /// Its bytes could not be read.
    #[error("it cannot be read")]
    Read(#[source] std::io::Error),
    /// What it holds could not be written.
    #[error("could not {action} {path}")]
    Write {
        /// What was tried.
        action: &'static str,
        /// On which of its entries.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl ArchiveError {
    /// Whether this machine or the connection failed: then the archive cannot be judged.
    pub(crate) fn is_ours_or_the_lines(&self) -> bool {
        match self {
            Self::Write { .. } => true,
            Self::Read(source) => source.get_ref().is_some_and(|inner| inner.is::<crate::net::NetError>()),
            Self::Refused(_) | Self::TooLarge(_) => false,
        }
    }

    #[track_caller]
    fn refused(message: impl Into<String>) -> Self {
        refusals::note();
        Self::Refused(message.into())
    }

    #[track_caller]
    fn too_large(message: impl Into<String>) -> Self {
        refusals::note();
        Self::TooLarge(message.into())
    }
}
