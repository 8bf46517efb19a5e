//! What we write, compressed: the same bytes for the same content.

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use std::io::{Result, Write};

/// What a vendor packs once is fetched by each node of a fleet: a tenth smaller than with the usual 3, and still faster than
/// gzip (docs/package-format.md).
const LEVEL: i32 = 9;

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
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressing<W> {
    pub(crate) fn new(inner: W, how: Encoding) -> Result<Self> {
        Ok(match how {
            // Without a time and a name: they are no content.
            Encoding::Gzip => Self::Gzip(GzBuilder::new().write(inner, flate2::Compression::default())),
            Encoding::Zstd => {
                let mut encoder = zstd::Encoder::new(inner, LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Writes what is left.
    pub(crate) fn finish(self) -> Result<W> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressing<W> {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(buffer),
            Self::Zstd(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compression::{Compression, decompress};
    use super::*;
    use std::io::Read;

    fn written(content: &[u8], how: Encoding, piece: usize) -> Vec<u8> {
        let mut writer = Compressing::new(Vec::new(), how).unwrap();
        content.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_the_same_each_time() {
        // Text, zeros, noise.
        let mut content: Vec<u8> =
            (0..400_000).flat_map(|i: u64| format!("{i} {}\n", i * i % 977).into_bytes()).collect();
        content.extend(vec![0; 8 << 20]);
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
            for content in [&content[..], b"x", b""] {
                let bytes = written(content, how, 70_000);
                assert!(bytes == written(content, how, 70_000), "{how:?}");
                let mut found = Vec::new();
                // Within a window of 8 MiB.
                decompress(bytes.as_slice(), known_as, 8 << 20).unwrap().read_to_end(&mut found).unwrap();
                assert!(found == content, "{how:?}, {} bytes", content.len());
            }
            assert!(written(&content, how, 1 << 20).len() < content.len() / 2, "{how:?}");
        }
    }
}
