//! How layers are compressed.
//!
//! gzip by flate2 with zlib-rs, which is Rust, and zstd by the C library, which is twice as fast as what there is in Rust.

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::get_error_name;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;

const BUFFER: usize = 128 << 10;

/// What a decoder of xz may hold in memory, in KiB: what files of `xz -9` ask for, and a little.
const MOST_XZ: u32 = 68 << 10;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, perhaps of several members.
    Gzip,
    /// zstd, perhaps of several frames.
    Zstd,
    /// xz, perhaps of several streams. No layer of an image is.
    Xz,
}

impl Compression {
    /// That of what begins with these six bytes: a file's name says nothing.
    pub(crate) const fn of_head(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame of zstd.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            _ => Self::None,
        }
    }

    /// That of a layer of this media type; none if it is no layer.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        let base = media_type.split(';').next().unwrap_or_default().trim();
        Some(match base {
            "application/vnd.oci.image.layer.v1.tar" | "application/x-tar" => Self::None,
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/x-gtar"
            | "application/gzip"
            | "application/x-gzip" => Self::Gzip,
            "application/vnd.oci.image.layer.v1.tar+zstd" | "application/zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
        })
    }
}

/// What `compressed` holds. A zstd frame may ask for a window of `window` bytes at most, rounded down to a power of two.
///
/// # Errors
/// If there is no memory for a decoder.
pub(crate) fn decompress<'r>(
    compressed: impl Read + 'r,
    how: Compression,
    window: u64,
) -> Result<Box<dyn Read + 'r>> {
    let compressed = BufReader::with_capacity(BUFFER, compressed);
    Ok(match how {
        Compression::None => Box::new(compressed),
        Compression::Gzip => Box::new(MultiGzDecoder::new(compressed)),
        Compression::Zstd => Box::new(Zstd::new(compressed, window)?),
        Compression::Xz => Box::new(XzReader::new_mem_limit(compressed, true, MOST_XZ)),
    })
}

/// The windows that the library knows, as powers of two.
const WINDOWS: std::ops::RangeInclusive<u32> = 10..=31;

/// Frames of zstd, one after the other; the library passes over those that are to be skipped.
struct Zstd<R> {
    source: R,
    decoder: Decoder<'static>,
    /// The largest window, as a power of two.
    window: u32,
    /// Whether a frame ended, and no other has begun.
    is_between: bool,
}

impl<R> Zstd<R> {
    fn new(source: R, window: u64) -> Result<Self> {
        let window = window.checked_ilog2().unwrap_or_default().clamp(*WINDOWS.start(), *WINDOWS.end());
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(window))?;
        Ok(Self { source, decoder, window, is_between: true })
    }

    /// What an error of the library means: `std::io::Error` has no more than its text.
    fn broken(&self, error: &Error) -> Error {
        let text = error.to_string();
        // An error's number is that of the code below zero (zstd_errors.h).
        let is = |code: ZSTD_ErrorCode| text == get_error_name((code as usize).wrapping_neg());
        if is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
            return Error::new(ErrorKind::InvalidData, TooWide { most: 1 << self.window });
        }
        let no_memory = is(ZSTD_ErrorCode::ZSTD_error_memory_allocation);
        Error::new(if no_memory { ErrorKind::OutOfMemory } else { ErrorKind::InvalidData }, text)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let input = self.source.fill_buf()?;
            let has_ended = input.is_empty();
            if has_ended && self.is_between {
                return Ok(0);
            }
            let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(&mut *buffer));
            let step = self.decoder.run(&mut from, &mut to);
            let (read, written) = (from.pos(), to.pos());
            self.is_between = step.map_err(|error| self.broken(&error))? == 0;
            self.source.consume(read);
            if written > 0 {
                return Ok(written);
            }
            if has_ended && !self.is_between {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A frame that asks for more memory than it gets.
#[derive(Debug, thiserror::Error)]
#[error("a zstd frame asks for a window of more than {most} bytes")]
pub(super) struct TooWide {
    most: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], how: Compression) -> Result<Vec<u8>> {
        let mut found = Vec::new();
        decompress(bytes, how, 8 << 20)?.read_to_end(&mut found).map(|_| found)
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        use std::io::Write;
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(all(&members, Compression::Gzip).unwrap(), b"one two");
        assert!(all(&members[..members.len() - 3], Compression::Gzip).is_err(), "cut short");

        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let skipped = [&0x184D_2A53u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"xyz"].concat();
        let frames = [zstd(b"one "), skipped.clone(), zstd(b""), zstd(b"two"), skipped].concat();
        assert_eq!(all(&frames, Compression::Zstd).unwrap(), b"one two");
        for cut in [1, 5, 12, 14] {
            assert!(all(&frames[..frames.len() - cut], Compression::Zstd).is_err(), "cut short by {cut}");
        }
        assert!(all(&[&frames[..], b"more"].concat(), Compression::Zstd).is_err(), "something follows");
        assert!(all(b"neither", Compression::Zstd).is_err());
        assert!(all(b"neither", Compression::Gzip).is_err());
    }

    #[test]
    fn what_the_source_says_is_not_taken_for_a_broken_stream() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> Result<usize> {
                Err(Error::other("the line"))
            }
        }
        let begun = zstd::encode_all(&[7; 1000][..], 1).unwrap();
        for how in [Compression::Zstd, Compression::Gzip, Compression::None] {
            let broken = begun.get(..6).unwrap().chain(Failing);
            let broken: Box<dyn Read> =
                if how == Compression::Zstd { Box::new(broken) } else { Box::new(Failing) };
            let found = decompress(broken, how, 8 << 20).unwrap().read_to_end(&mut Vec::new());
            assert_eq!(found.unwrap_err().to_string(), "the line", "{how}");
        }
    }

    #[test]
    fn a_frame_may_not_ask_for_a_large_window() {
        // Magic, a descriptor without a single segment, and a window of 2^(10 + 18) bytes.
        let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 18 << 3, 0x01, 0x00, 0x00];
        assert!(all(&frame, Compression::Zstd).unwrap_err().to_string().contains("indow"));
    }
}
