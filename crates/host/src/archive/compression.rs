//! How layers are compressed.
//!
//! gzip by flate2 with zlib-rs, zstd by ruzstd: both are Rust, since they read bytes that nobody has vouched for yet, as
//! root.

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read};

const BUFFER: usize = 128 << 10;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, perhaps of several members.
    Gzip,
    /// zstd, perhaps of several frames.
    Zstd,
}

impl Compression {
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
        })
    }
}

/// What `compressed` holds. A zstd frame may ask for a window of `window` bytes at most.
pub(crate) fn decompress<'r>(
    compressed: impl Read + 'r,
    how: Compression,
    window: u64,
) -> Box<dyn Read + 'r> {
    let compressed = BufReader::with_capacity(BUFFER, compressed);
    match how {
        Compression::None => Box::new(compressed),
        Compression::Gzip => Box::new(MultiGzDecoder::new(compressed)),
        Compression::Zstd => {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(window);
            Box::new(Zstd { source: compressed, decoder, is_in: false })
        }
    }
}

/// The magic numbers of frames whose content is to be skipped.
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// Frames of zstd, one after the other; what skippable ones hold is not for us.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    /// Whether we are in a frame.
    is_in: bool,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_in && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(broken)?;
            }
            let n = self.decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.is_in = false;
            let told = self.decoder.get_checksum_from_data();
            if told.is_some() && told != self.decoder.get_calculated_checksum() {
                return Err(Error::new(ErrorKind::InvalidData, "a zstd frame does not have its checksum"));
            }
        }
    }
}

/// A frame that asks for more memory than it gets.
#[derive(Debug, thiserror::Error)]
#[error("a zstd frame asks for a window of {requested} bytes (the limit is {most})")]
pub(super) struct TooWide {
    requested: u64,
    most: u64,
}

fn broken(error: FrameDecoderError) -> Error {
    if let FrameDecoderError::WindowSizeTooBig { requested, max: most } = error {
        return Error::new(ErrorKind::InvalidData, TooWide { requested, most });
    }
    // Its own words do not tell a short stream from a wrong one.
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(found) = at {
        if let Some(cause) = found.downcast_ref::<Error>()
            && cause.get_ref().is_none()
        {
            return Error::new(cause.kind(), error.to_string());
        }
        at = found.source();
    }
    Error::new(ErrorKind::InvalidData, error)
}

impl<R: BufRead> Zstd<R> {
    /// Goes to the beginning of the next frame's content; whether there is one.
    fn next_frame(&mut self) -> std::io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let mut magic = [0; 4];
            self.source.read_exact(&mut magic)?;
            if SKIPPABLE.contains(&u32::from_le_bytes(magic)) {
                let mut length = [0; 4];
                self.source.read_exact(&mut length)?;
                let length = u64::from(u32::from_le_bytes(length));
                let skipped = std::io::copy(&mut self.source.by_ref().take(length), &mut std::io::sink())?;
                if skipped < length {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            // The same decoder for all frames: a thousand small ones do not allocate a thousand windows.
            self.decoder.init(magic.as_slice().chain(&mut self.source)).map_err(broken)?;
            self.is_in = true;
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], how: Compression) -> std::io::Result<Vec<u8>> {
        let mut found = Vec::new();
        decompress(bytes, how, 8 << 20).read_to_end(&mut found).map(|_| found)
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

        let zstd = |bytes: &[u8]| {
            ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
        };
        let skipped = [&0x184D_2A53u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"xyz"].concat();
        let frames = [zstd(b"one "), skipped, zstd(b"two")].concat();
        assert_eq!(all(&frames, Compression::Zstd).unwrap(), b"one two");
        assert!(all(&frames[..frames.len() - 3], Compression::Zstd).is_err(), "cut short");
        assert!(all(b"neither", Compression::Zstd).is_err());
        assert!(all(b"neither", Compression::Gzip).is_err());
    }

    #[test]
    fn a_frame_may_not_ask_for_a_large_window() {
        // Magic, a descriptor without a single segment, and a window of 2^(10 + 18) bytes.
        let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 18 << 3, 0x01, 0x00, 0x00];
        assert!(all(&frame, Compression::Zstd).unwrap_err().to_string().contains("indow"));
    }
}
