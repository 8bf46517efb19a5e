//! How layers are compressed.
//!
//! gzip by flate2 with zlib-rs, zstd by ruzstd: both are Rust, since they read bytes that nobody has vouched for yet, as
//! root.

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::{BufRead, BufReader, Cursor, Error, ErrorKind, Read};

const BUFFER: usize = 128 << 10;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// gzip, perhaps of several members.
    Gzip,
    /// zstd, perhaps of several frames.
    Zstd,
}

impl Compression {
    /// That of a layer of this media type; none if it is no layer.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
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

/// What `compressed` holds.
pub(crate) fn decompress<'r>(compressed: impl Read + 'r, how: Compression) -> Box<dyn Read + 'r> {
    let compressed = BufReader::with_capacity(BUFFER, compressed);
    match how {
        Compression::None => Box::new(compressed),
        Compression::Gzip => Box::new(MultiGzDecoder::new(compressed)),
        Compression::Zstd => Box::new(Zstd { state: State::Between(compressed) }),
    }
}

/// The largest window that a frame may ask for: what a decoder has to keep in memory.
const MOST_WINDOW: u64 = 8 << 20;

/// The magic numbers of frames whose content is to be skipped.
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// Frames of zstd, one after the other; what skippable ones hold is not for us.
struct Zstd<R: Read> {
    state: State<R>,
}

enum State<R: Read> {
    /// At the end of a frame, or before the first one.
    Between(R),
    /// In a frame.
    In(Box<StreamingDecoder<Rewound<R>, FrameDecoder>>),
    /// At the end, or broken.
    Over,
}

/// A reader whose next bytes were read already.
struct Rewound<R> {
    head: Cursor<[u8; 4]>,
    rest: R,
}

impl<R: Read> Read for Rewound<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.head.read(buffer)? {
            0 => self.rest.read(buffer),
            n => Ok(n),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Ok(0),
                State::Between(source) => self.state = next_frame(source)?,
                State::In(mut decoder) => {
                    let n = decoder.read(buffer)?;
                    if n > 0 {
                        self.state = State::In(decoder);
                        return Ok(n);
                    }
                    self.state = State::Between(decoder.into_inner().rest);
                }
            }
        }
    }
}

fn next_frame<R: BufRead>(mut source: R) -> std::io::Result<State<R>> {
    loop {
        if source.fill_buf()?.is_empty() {
            return Ok(State::Over);
        }
        let mut magic = [0; 4];
        source.read_exact(&mut magic)?;
        if SKIPPABLE.contains(&u32::from_le_bytes(magic)) {
            let mut length = [0; 4];
            source.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            if std::io::copy(&mut source.by_ref().take(length), &mut std::io::sink())? < length {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            continue;
        }
        let rewound = Rewound { head: Cursor::new(magic), rest: source };
        let decoder = StreamingDecoder::new_with_max_window_size(rewound, MOST_WINDOW)
            .map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        return Ok(State::In(Box::new(decoder)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], how: Compression) -> std::io::Result<Vec<u8>> {
        let mut found = Vec::new();
        decompress(bytes, how).read_to_end(&mut found).map(|_| found)
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
