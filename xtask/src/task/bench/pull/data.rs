//! A runtime, the same each time: a guest image, programs, libraries and many small files, partly compressible.

use anyhow::{Context, Result, ensure};
use cofferdam_core::name::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs, after the guest image; and libraries after them.
const PROGRAMS: u32 = 4;
const LIBRARIES: u32 = 40;

/// The guest image.
const GUEST: &str = "share/guest.img";

/// Changes with what is made here, so that an older run's layers are made anew.
const VERSION: u32 = 2;

/// How large a runtime is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    /// Its files.
    pub(super) files: u32,
    /// How many megabytes (of a million) they have together, nearly.
    pub(super) megabytes: u32,
}

/// One of its files.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) size: u64,
    /// The seed of its content.
    seed: u64,
    is_program: bool,
}

impl Shape {
    /// Its files: 30% of the bytes are one guest image, 24% four programs, 20% forty libraries, and the rest small files.
    pub(super) fn entries(self) -> Vec<Entry> {
        let total = u64::from(self.megabytes) * 1_000_000;
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let average = total * 26 / 100 / u64::from(self.files - PROGRAMS - LIBRARIES - 1);
        let entry = |number: u32| {
            let (path, size, is_program) = match number {
                0 => (GUEST.to_owned(), total * 30 / 100, false),
                1 => ("bin/containerd-shim-bench-v1".to_owned(), total * 6 / 100, true),
                2..=PROGRAMS => (format!("bin/program-{number}"), total * 6 / 100, true),
                _ if number <= PROGRAMS + LIBRARIES => {
                    (format!("lib/library-{number}.so"), total / 200, false)
                }
                _ => {
                    let size = average / 4 + random.next() % (average * 3 / 2).max(1);
                    (format!("share/{:03}/file-{number}", number / 100), size, false)
                }
            };
            Entry { path, size, seed: u64::from(number) + 1, is_program }
        };
        (0..self.files).map(entry).collect()
    }

    /// The names of its folders, each after the one in which it lies.
    fn folders(self) -> Vec<String> {
        let numbered = (0..=self.files / 100).map(|number| format!("share/{number:03}"));
        ["bin", "lib", "share"].into_iter().map(str::to_owned).chain(numbered).collect()
    }
}

/// The text that describes it.
pub(super) fn descriptor(version: &str) -> String {
    format!(
        "schema = 1\nname = \"bench\"\nversion = \"{version}\"\n[[handler]]\nname = \"bench\"\n\
         shim = \"bin/containerd-shim-bench-v1\"\n"
    )
}

/// The runtime as a folder, for `cofferdam pack`. Of one version, and then of another.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) folder: PathBuf,
    entries: Vec<Entry>,
}

impl Tree {
    /// Makes it.
    pub(super) fn make(folder: PathBuf, shape: Shape) -> Result<Self> {
        for name in shape.folders() {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let tree = Self { folder, entries: shape.entries() };
        for entry in &tree.entries {
            tree.put(entry, entry.seed)?;
        }
        tree.describe("1.0")?;
        Ok(tree)
    }

    fn put(&self, entry: &Entry, seed: u64) -> Result<()> {
        let path = self.folder.join(&entry.path);
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        content(&mut out, entry.size, seed)?;
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let mode = if entry.is_program { 0o755 } else { 0o644 };
        Ok(file.set_permissions(std::fs::Permissions::from_mode(mode))?)
    }

    /// Makes it another version.
    pub(super) fn describe(&self, version: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.join("runtime.toml"), descriptor(version))?)
    }

    /// Gives one of twenty files another content: those of every size but the guest image and the programs. Returns how
    /// many, and their bytes.
    pub(super) fn change_some(&self) -> Result<(u32, u64)> {
        self.rewrite(0x5EED << 32)
    }

    /// Gives them their first content again.
    pub(super) fn change_back(&self) -> Result<()> {
        self.rewrite(0).map(drop)
    }

    fn rewrite(&self, seed: u64) -> Result<(u32, u64)> {
        let (mut files, mut bytes) = (0, 0);
        for (_, entry) in self.entries.iter().enumerate().filter(|(number, _)| number % 20 == 7) {
            self.put(entry, entry.seed | seed)?;
            files += 1;
            bytes += entry.size;
        }
        Ok((files, bytes))
    }

    /// Changes one byte in the middle of the guest image. Returns how large the image is.
    pub(super) fn change_a_byte(&self) -> Result<u64> {
        use std::os::unix::fs::FileExt;
        let path = self.folder.join(GUEST);
        let file = File::options().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        let mut byte = [0];
        file.read_exact_at(&mut byte, size / 2)?;
        file.write_all_at(&byte.map(|byte| !byte), size / 2)?;
        Ok(size)
    }
}

/// The runtime as one layer, compressed in several ways.
#[derive(Debug)]
pub(super) struct Data {
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
    version: u32,
    shape: Shape,
    bytes: u64,
    diff: Digest,
}

const WAYS: [(&str, &str, &str); 2] = [
    ("gzip", "gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("zstd", "zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
];

impl Data {
    pub(super) fn prepare(folder: &Path, shape: Shape, tell: &dyn Fn(&str)) -> Result<Self> {
        let name = format!("layer-{}-{}", shape.files, shape.megabytes);
        let note = folder.join(format!("{name}.json"));
        let file_of = |way: &str| folder.join(format!("{name}.tar.{way}"));
        let known: Option<Known> =
            std::fs::read(&note).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let is_there = |known: &Known| {
            (known.version, known.shape) == (VERSION, shape) && WAYS.iter().all(|way| file_of(way.0).exists())
        };
        let known = match known.filter(is_there) {
            Some(known) => known,
            None => {
                tell("making the runtime and its layers: some minutes, once");
                let tar = folder.join(format!("{name}.tar"));
                let known = write_tar(&tar, shape)?;
                for (way, tool, _) in WAYS {
                    compress(tool, &tar, &file_of(way))?;
                }
                std::fs::remove_file(&tar)?;
                std::fs::write(&note, serde_json::to_vec(&known)?)?;
                known
            }
        };
        let packed: Result<Vec<Packed>> = WAYS
            .into_iter()
            .map(|(name, tool, media_type)| {
                let file = file_of(name);
                let (digest, size) = digest_of(&file)?;
                Ok(Packed { name, tool, media_type, file, digest, size })
            })
            .collect();
        Ok(Self { bytes: known.bytes, diff: known.diff, packed: packed? })
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

/// The digest and the size of a file.
pub(super) fn digest_of(file: &Path) -> Result<(Digest, u64)> {
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

/// Hashes what is written.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn write_tar(path: &Path, shape: Shape) -> Result<Known> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut out = Hashing { inner: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new() };
    for folder in shape.folders() {
        header(&mut out, &format!("{folder}/"), b'5', 0o755, 0)?;
    }
    let text = descriptor("1.0");
    header(&mut out, "runtime.toml", b'0', 0o644, text.len() as u64)?;
    out.write_all(text.as_bytes())?;
    pad(&mut out, text.len() as u64)?;
    let mut bytes = text.len() as u64;
    for entry in shape.entries() {
        let mode = if entry.is_program { 0o755 } else { 0o644 };
        header(&mut out, &entry.path, b'0', mode, entry.size)?;
        content(&mut out, entry.size, entry.seed)?;
        pad(&mut out, entry.size)?;
        bytes += entry.size;
    }
    out.write_all(&[0; 1024])?;
    out.flush()?;
    let diff = Digest::from_bytes(out.hash.finalize().into());
    Ok(Known { version: VERSION, shape, bytes, diff })
}

/// To the end of a block.
fn pad(out: &mut impl Write, size: u64) -> Result<()> {
    let padding = size.next_multiple_of(512) - size;
    Ok(out.write_all(&vec![0; usize::try_from(padding)?])?)
}

fn header(out: &mut impl Write, name: &str, kind: u8, mode: u32, size: u64) -> Result<()> {
    let mut block = [0u8; 512];
    let mut put = |at: usize, text: &str| {
        if let Some(place) = block.get_mut(at..at + text.len()) {
            place.copy_from_slice(text.as_bytes());
        }
    };
    put(0, name);
    put(100, &format!("{mode:07o}\0"));
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

/// Words that programs and their texts have.
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

/// Stretches of noise, of words and of zeros, as programs and file systems have them.
fn content(out: &mut impl Write, size: u64, seed: u64) -> Result<()> {
    let mut random = Random::of(seed);
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
    /// One of many: neighbours begin far from each other.
    const fn of(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.next();
        random
    }

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

    const SMALL: Shape = Shape { files: 300, megabytes: 3 };

    #[test]
    fn the_runtime_is_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let one = write_tar(&folder.path().join("one"), SMALL).unwrap();
        let two = write_tar(&folder.path().join("two"), SMALL).unwrap();
        assert_eq!(one.diff, two.diff);
        assert!((2_500_000..3_500_000).contains(&one.bytes), "{}", one.bytes);
        assert_eq!(SMALL.entries().len(), 300);
    }

    #[test]
    fn changes_are_those_that_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::make(folder.path().to_owned(), SMALL).unwrap();
        let digests = || -> Vec<Digest> {
            SMALL.entries().iter().map(|one| digest_of(&folder.path().join(&one.path)).unwrap().0).collect()
        };
        let differing = |a: &[Digest], b: &[Digest]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        let first = digests();
        assert_eq!(tree.change_some().unwrap().0, 15);
        assert_eq!(differing(&first, &digests()), 15);
        tree.change_back().unwrap();
        assert_eq!(differing(&first, &digests()), 0);
        assert_eq!(tree.change_a_byte().unwrap(), 900_000);
        assert_eq!(differing(&first, &digests()), 1);
    }
}
