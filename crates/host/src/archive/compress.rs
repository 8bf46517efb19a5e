//! What we write, compressed: the same bytes for the same content.

use super::compression::{Compression, decompress};
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::{Read, Result, Write};

/// How a layer that we write is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// gzip, which every tool reads.
    #[default]
    Gzip,
    /// zstd.
    Zstd,
}

impl Encoding {
    /// The media type of a layer in it.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// Compresses what is written to it.
pub(crate) enum Compressing<W: Write> {
    Gzip(GzEncoder<W>),
    Zstd(Frames<W>),
}

impl<W: Write> Compressing<W> {
    pub(crate) fn new(inner: W, how: Encoding) -> Self {
        match how {
            // Without a time and a name: they are no content.
            Encoding::Gzip => Self::Gzip(GzBuilder::new().write(inner, flate2::Compression::default())),
            Encoding::Zstd => Self::Zstd(Frames { inner, content: Vec::new(), is_begun: false }),
        }
    }

    /// Writes what is left.
    pub(crate) fn finish(self) -> Result<W> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(frames) => frames.finish(),
        }
    }
}

impl<W: Write> Write for Compressing<W> {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(buffer),
            Self::Zstd(frames) => frames.write(buffer),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(frames) => frames.inner.flush(),
        }
    }
}

/// How much goes into a frame.
const FRAME: usize = 8 << 20;

/// zstd frames, one after the other. What repeats is looked for within 128 KiB, so that larger frames would not be smaller
/// together. The encoder takes what it reads and writes for granted: it gets memory, which does
/// not fail.
pub(crate) struct Frames<W> {
    inner: W,
    content: Vec<u8>,
    is_begun: bool,
}

impl<W: Write> Frames<W> {
    fn frame(&mut self) -> Result<()> {
        let mut frame = compress_to_vec(self.content.as_slice(), CompressionLevel::Fastest);
        // Nobody should find out at an installation that a young encoder made a mistake.
        let is_right = {
            let mut reader = decompress(frame.as_slice(), Compression::Zstd, FRAME as u64);
            is_content(&mut reader, &self.content)
        };
        if !is_right {
            frame = compress_to_vec(self.content.as_slice(), CompressionLevel::Uncompressed);
        }
        self.content.clear();
        self.is_begun = true;
        self.inner.write_all(&frame)
    }

    fn finish(mut self) -> Result<W> {
        // Nothing is a frame, too.
        if !self.content.is_empty() || !self.is_begun {
            self.frame()?;
        }
        Ok(self.inner)
    }

    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        let room = FRAME - self.content.len();
        let taken = buffer.get(..room).unwrap_or(buffer);
        self.content.extend_from_slice(taken);
        if self.content.len() == FRAME {
            self.frame()?;
        }
        Ok(taken.len())
    }
}

/// Whether that is what can be read.
fn is_content(reader: &mut dyn Read, mut content: &[u8]) -> bool {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(n) = reader.read(&mut buffer) else { return false };
        match (buffer.get(..n), content.split_at_checked(n)) {
            _ if n == 0 => return content.is_empty(),
            (Some(read), Some((expected, rest))) if read == expected => content = rest,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &[u8], how: Encoding, piece: usize) -> Vec<u8> {
        let mut writer = Compressing::new(Vec::new(), how);
        content.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn a_frame_that_is_something_else_is_found_out() {
        for (content, expected) in [(&b"abc"[..], true), (b"abcd", false), (b"ab", false), (b"abd", false)] {
            assert_eq!(is_content(&mut &b"abc"[..], content), expected);
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_same_each_time() {
        // Text, zeros, noise; more than a frame.
        let mut content: Vec<u8> =
            (0..400_000).flat_map(|i: u64| format!("{i} {}\n", i * i % 977).into_bytes()).collect();
        content.extend(vec![0; FRAME]);
        let mut state = 1u32;
        content.extend(
            std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(300_000),
        );
        let cases = [(Encoding::Gzip, Compression::Gzip), (Encoding::Zstd, Compression::Zstd)];
        for (how, known_as) in cases {
            for content in [&content[..], &content[..FRAME], b"x", b""] {
                let bytes = written(content, how, 70_000);
                assert!(bytes == written(content, how, 70_000), "{how:?}");
                let mut found = Vec::new();
                // Within a window of 8 MiB.
                decompress(bytes.as_slice(), known_as, 8 << 20).read_to_end(&mut found).unwrap();
                assert!(found == content, "{how:?}, {} bytes", content.len());
            }
            assert!(written(&content, how, 1 << 20).len() < content.len() / 2, "{how:?}");
        }
    }
}
