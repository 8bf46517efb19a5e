//! A runtime, the same each time: a guest image, programs, libraries and many small files, partly compressible.

use anyhow::{Context, Result, ensure};
use cofferdam_core::name::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How many files it has.
const FILES: u64 = 6000;

/// The runtime as a layer, compressed in several ways.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// The digest of the layer before it was compressed.
    pub(super) diff: Digest,
    pub(super) packed: Vec<Packed>,
}

/// One layer.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) name: &'static str,
    /// The program that unpacks it.
    pub(super) tool: &'static str,
    pub(super) media_type: &'static str,
    pub(super) file: PathBuf,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// What is written beside the layers, so that they are made once.
#[derive(Serialize, Deserialize)]
struct Known {
    /// Changes with what is made here.
    version: u32,
    megabytes: u32,
    bytes: u64,
    diff: Digest,
}

const VERSION: u32 = 1;

impl Data {
    pub(super) fn prepare(folder: &Path, megabytes: u32, tell: &dyn Fn(&str)) -> Result<Self> {
        let note = folder.join(format!("data-{megabytes}.json"));
        let known: Option<Known> =
            std::fs::read(&note).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let tar = folder.join(format!("layer-{megabytes}.tar"));
        let ways = [
            ("gzip", "gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
            ("zstd", "zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ];
        let file_of = |name: &str| folder.join(format!("layer-{megabytes}.tar.{name}"));
        let is_known =
            known.as_ref().is_some_and(|known| (known.version, known.megabytes) == (VERSION, megabytes));
        let known = match known.filter(|_| is_known && ways.iter().all(|way| file_of(way.0).exists())) {
            Some(known) => known,
            None => {
                tell("making the runtime and its layers: a minute or two, once");
                let known = write_tar(&tar, megabytes)?;
                for (name, tool, _) in ways {
                    compress(tool, &tar, &file_of(name))?;
                }
                std::fs::remove_file(&tar)?;
                std::fs::write(&note, serde_json::to_vec(&known)?)?;
                known
            }
        };
        let packed: Result<Vec<Packed>> = ways
            .into_iter()
            .map(|(name, tool, media_type)| {
                let file = file_of(name);
                let (digest, size) = digest_of(&file)?;
                Ok(Packed { name, tool, media_type, file, digest, size })
            })
            .collect();
        Ok(Self { files: FILES, bytes: known.bytes, diff: known.diff, packed: packed? })
    }
}

/// Level 6 and level 3: what most images have.
fn compress(tool: &str, from: &Path, to: &Path) -> Result<()> {
    let level = if tool == "zstd" { "-3" } else { "-6" };
    let out = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let status = Command::new(tool)
        .args([level, "-c"])
        .arg(from)
        .stdin(Stdio::null())
        .stdout(out)
        .status()
        .with_context(|| format!("cannot start {tool}; next: install it"))?;
    ensure!(status.success(), "{tool} failed");
    Ok(())
}

fn digest_of(file: &Path) -> Result<(Digest, u64)> {
    let mut source = File::open(file)?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok((Digest::from_bytes(hash.finalize().into()), size)),
            n => {
                hash.update(buffer.get(..n).unwrap_or_default());
                size += n as u64;
            }
        }
    }
}

/// Hashes and counts what is written.
struct Counting<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn write_tar(path: &Path, megabytes: u32) -> Result<Known> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut out = Counting { inner: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new() };
    let mut bytes = 0;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for folder in 0..=FILES / 100 {
        header(&mut out, &format!("share/{folder:03}/"), b'5', 0)?;
    }
    for number in 0..FILES {
        let size = size_of(number, u64::from(megabytes) * 1_000_000, &mut random);
        header(&mut out, &format!("share/{:03}/file-{number}", number / 100), b'0', size)?;
        content(&mut out, size, &mut random)?;
        let padding = size.next_multiple_of(512) - size;
        out.write_all(&vec![0; usize::try_from(padding)?])?;
        bytes += size;
    }
    out.write_all(&[0; 1024])?;
    out.flush()?;
    let diff = Digest::from_bytes(out.hash.finalize().into());
    Ok(Known { version: VERSION, megabytes, bytes, diff })
}

/// 30% are one guest image, 24% four programs, 20% forty libraries, and the rest small files.
fn size_of(number: u64, total: u64, random: &mut Random) -> u64 {
    match number {
        0 => total * 30 / 100,
        1..=4 => total * 6 / 100,
        5..=44 => total / 200,
        _ => {
            let average = total * 26 / 100 / (FILES - 45);
            average / 4 + random.next() % (average * 3 / 2)
        }
    }
}

fn header(out: &mut impl Write, name: &str, kind: u8, size: u64) -> Result<()> {
    let mut block = [0u8; 512];
    let mut put = |at: usize, text: &str| {
        if let Some(place) = block.get_mut(at..at + text.len()) {
            place.copy_from_slice(text.as_bytes());
        }
    };
    put(0, name);
    put(100, if kind == b'5' { "0000755\0" } else { "0000644\0" });
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, if kind == b'5' { "5" } else { "0" });
    put(257, "ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    if let Some(place) = block.get_mut(148..156) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    Ok(out.write_all(&block)?)
}

/// Stretches of noise, of words and of zeros, as programs and file systems have them.
fn content(out: &mut impl Write, size: u64, random: &mut Random) -> Result<()> {
    const WORDS: [&str; 16] = [
        "runtime ",
        "sandbox ",
        "kernel.",
        "memory ",
        "return ",
        "static ",
        "struct ",
        "guest_",
        "vhost-",
        "mov rax,",
        "call ",
        "0x0000",
        "lea rdi,",
        "\n    ",
        "error: ",
        "\0\0\0\0\0\0\0\0",
    ];
    let mut left = usize::try_from(size)?;
    let mut part = Vec::with_capacity(8192);
    while left > 0 {
        part.clear();
        let wanted = 512 + usize::try_from(random.next() % 4096)?;
        match random.next() % 10 {
            0..=2 => {
                while part.len() < wanted {
                    part.extend_from_slice(&random.next().to_le_bytes());
                }
            }
            3..=8 => {
                while part.len() < wanted {
                    let word = random.next();
                    part.extend_from_slice(WORDS.get(usize::try_from(word % 16)?).unwrap_or(&"").as_bytes());
                    if word & 0x70 == 0 {
                        part.extend_from_slice(&word.to_le_bytes());
                    }
                }
            }
            _ => part.resize(wanted, 0),
        }
        part.truncate(left);
        out.write_all(&part)?;
        left -= part.len();
    }
    Ok(())
}

/// xorshift64*: the same everywhere.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let one = write_tar(&folder.path().join("one"), 3).unwrap();
        let two = write_tar(&folder.path().join("two"), 3).unwrap();
        assert_eq!(one.diff, two.diff);
        assert!((2_500_000..3_500_000).contains(&one.bytes), "{}", one.bytes);
    }
}
