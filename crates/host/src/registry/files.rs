//! What a layer is: an archive, or one plain file with a name, as `oras` and its kin push them.
//!
//! ```text
//! of an image                                      an archive, by its media type
//! with io.deis.oras.content.unpack = true          a folder that oras packed: an archive
//! a compressed archive's media type                an archive
//! no org.opencontainers.image.title                an archive, by its media type
//! else                                             a file of that name, whatever its media type says
//! ```
//!
//! The last line is what `oras push REF FILE` makes: it calls every file a `…layer.v1.tar`. A plain file goes through the
//! same guards as an archive's entry, since it is made one.

use super::RegistryError;
use super::manifest::{Blob, Manifest, Platform};
use crate::archive::Compression;
use crate::package::{Entries, Item, LayerKey};
use cofferdam_core::name::{Digest, PackagePath};
use std::borrow::Cow;
use std::io::{Cursor, Read};

/// The media type of our artifacts' configuration: the text of `runtime.toml`.
pub(crate) const DESCRIPTOR_TYPE: &str = "application/vnd.cofferdam.runtime.descriptor.v1+toml";

/// The type of our artifacts.
pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.cofferdam.runtime.v1";

/// A plain file's name.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";

/// The digest of an archive before it was compressed.
pub(crate) const CONTENT_DIGEST: &str = "io.deis.oras.content.digest";

/// For which machines an artifact is, as `linux/amd64`. Without it, for all.
pub(crate) const PLATFORM: &str = "dev.cofferdam.platform";

/// What the package is once it is unpacked, as whoever packed it says: the digest of its files, their bytes, how many
/// entries. Enough for a plan; an installation finds out by itself.
pub(crate) const PACKAGE: &str = "dev.cofferdam.package";
pub(crate) const BYTES: &str = "dev.cofferdam.package.bytes";
pub(crate) const ENTRIES: &str = "dev.cofferdam.package.entries";

const UNPACK: &str = "io.deis.oras.content.unpack";

/// Makes a plain file a program: `oras` sends no modes.
const EXECUTABLE: &str = "dev.cofferdam.executable";

const BLOCK: usize = 512;

/// Refuses an artifact for other machines. An image's configuration says for which it is.
pub(super) fn check_platform(manifest: &Manifest, own: &Platform, what: &str) -> Result<(), RegistryError> {
    let wanted = own.to_string();
    match manifest.annotations.get(PLATFORM) {
        Some(found) if *found != wanted => {
            Err(RegistryError::Platform { what: what.to_owned(), wanted, found: found.clone() })
        }
        _ => Ok(()),
    }
}

/// What an artifact says of its package, before any of it is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// The text of its descriptor.
    pub(crate) descriptor: String,
    /// The digest of its files.
    pub(crate) digest: Digest,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// How many files, links and folders there are.
    pub(crate) entries: u64,
}

impl Described {
    /// What `manifest` says, whose configuration is `descriptor`. None: it does not.
    pub(super) fn of(manifest: &Manifest, descriptor: Vec<u8>) -> Option<Self> {
        let says = |key: &str| manifest.annotations.get(key);
        Some(Self {
            descriptor: String::from_utf8(descriptor).ok()?,
            digest: Digest::try_from(says(PACKAGE)?.clone()).ok()?,
            bytes: says(BYTES)?.parse().ok()?,
            entries: says(ENTRIES)?.parse().ok()?,
        })
    }
}

/// What a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// An archive.
    Archive(Compression),
    /// A file.
    File { name: String, size: u64, executable: bool },
}

impl Layer {
    /// What the layer `blob` of `manifest` is; `what` it is called.
    pub(super) fn of(manifest: &Manifest, blob: &Blob, what: &str) -> Result<Self, RegistryError> {
        let says = |key: &str| blob.annotations.get(key).map(String::as_str);
        let archive = Compression::of_media_type(&blob.media_type);
        let title = says(TITLE).filter(|_| !manifest.is_image());
        match (title, archive) {
            (Some(_), Some(how @ (Compression::Gzip | Compression::Zstd))) => Ok(Self::Archive(how)),
            (Some(_), Some(how)) if says(UNPACK) == Some("true") => Ok(Self::Archive(how)),
            (Some(name), _) => {
                let executable = says(EXECUTABLE) == Some("true");
                Ok(Self::File { name: name.to_owned(), size: blob.size, executable })
            }
            (None, Some(how)) => Ok(Self::Archive(how)),
            (None, None) => {
                let reason = format!(
                    "its media type is `{}`, which is no archive, and no `{TITLE}` names a file",
                    blob.media_type
                );
                Err(RegistryError::Layer { what: what.to_owned(), reason })
            }
        }
    }

    /// The digest of its content before it was compressed, if whoever packed it wrote it down.
    pub(super) fn diff(&self, blob: &Blob) -> Option<Digest> {
        let written = blob.annotations.get(CONTENT_DIGEST).filter(|_| matches!(self, Self::Archive(_)))?;
        Digest::try_from(written.clone()).ok()
    }

    /// What it is known by if its blob is `blob`.
    pub(super) const fn key(&self, blob: &Blob) -> LayerKey {
        match self {
            Self::Archive(_) => LayerKey::Archive(blob.digest),
            Self::File { .. } => LayerKey::File(blob.digest),
        }
    }

    /// What it makes, by what it made somewhere else: a plain file has its own name in each image. None: nothing is known, or
    /// something is wrong with the name.
    pub(super) fn entries<'e>(&self, elsewhere: &'e Entries) -> Option<Cow<'e, Entries>> {
        let Self::File { name, size, executable } = self else { return Some(Cow::Borrowed(elsewhere)) };
        let [(_, Item::File { digest, .. })] = elsewhere.as_slice() else { return None };
        let file = Item::File { size: *size, digest: *digest, executable: *executable, setuid: false };
        Some(Cow::Owned(vec![(PackagePath::new(name.as_str()).ok()?, file)]))
    }

    /// As an archive: how it is compressed, and its bytes.
    pub(super) fn open<'r>(self, content: impl Read + 'r) -> (Box<dyn Read + 'r>, Compression) {
        match self {
            Self::Archive(how) => (Box::new(content), how),
            Self::File { name, size, executable } => {
                (Box::new(as_archive(&name, size, executable, content)), Compression::None)
            }
        }
    }
}

/// An archive of one file.
pub(crate) fn as_archive<'r>(
    name: &str,
    size: u64,
    executable: bool,
    content: impl Read + 'r,
) -> impl Read + 'r {
    let mut head = record(b'L', name.len() as u64 + 1, 0o644, "././@LongLink");
    head.extend(name.as_bytes());
    head.resize(
        head.len().next_multiple_of(BLOCK) + usize::from(name.len().is_multiple_of(BLOCK)) * BLOCK,
        0,
    );
    head.extend(record(b'0', size, if executable { 0o755 } else { 0o644 }, "file"));
    let padding = size.next_multiple_of(BLOCK as u64) - size;
    // More than was announced is for whoever measures it: here it is not looked at.
    Cursor::new(head).chain(content.take(size)).chain(std::io::repeat(0).take(padding + 2 * BLOCK as u64))
}

fn record(kind: u8, size: u64, mode: u32, name: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    // Both names are short.
    let _ = header.set_path(name);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Limits, Unpacking};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_of_any_size_and_name_becomes_an_entry() {
        let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
        for name in [
            "vmlinuz",
            "a/b",
            long.as_str(),
            &"x".repeat(255),
            &format!("{}/{}", "y".repeat(255), "z".repeat(255)),
        ] {
            for size in [0, 1, 511, 512, 513, 100_000] {
                let folder = tempfile::tempdir().unwrap();
                let fd = std::fs::File::open(folder.path()).unwrap().into();
                let content = vec![7; size + 3];
                let archive = as_archive(name, size as u64, size == 1, content.as_slice());
                Unpacking::new(fd, Limits::NORMAL).layer(std::io::BufReader::new(archive)).unwrap();
                let path = folder.path().join(name);
                assert_eq!(std::fs::read(&path).unwrap(), content[..size]);
                let mode = std::fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, if size == 1 { 0o755 } else { 0o644 });
            }
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["/etc/passwd", "../x", "a/../../x", "", ".", "a//b", "a\nb"] {
            let folder = tempfile::tempdir().unwrap();
            let fd = std::fs::File::open(folder.path()).unwrap().into();
            let archive = as_archive(name, 1, false, &b"x"[..]);
            assert!(
                Unpacking::new(fd, Limits::NORMAL).layer(std::io::BufReader::new(archive)).is_err(),
                "{name:?}"
            );
        }
    }
}
