//! An image in a folder, in the OCI's image layout.
//!
//! ```text
//! oci-layout            {"imageLayoutVersion": "1.0.0"}
//! index.json            which manifests there are
//! blobs/sha256/<hex>    everything else
//! ```

use super::RegistryError;
use super::attached::the_image;
use super::manifest::{Blob, Document, INDEX, Index, MOST_MANIFEST, Platform};
use super::origin::{Origin, Sent};
use crate::archive::Measuring;
use crate::error::{HostError, Result};
use crate::hashing::Sha256;
use cofferdam_core::class::Class;
use cofferdam_core::name::Digest;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// What an image is called in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// An image in a folder.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    manifest: Blob,
}

impl Layout {
    /// The image in `folder`; of several, the one for this machine.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let what = folder.join("index.json").display().to_string();
        let bytes = read_index(folder)?;
        let Document::Index(index) = Document::parse(&bytes, INDEX, &what)? else {
            let reason = "it is no index".to_owned();
            return Err(RegistryError::Manifest { what, reason }.into());
        };
        let manifest = the_image(&index, &bytes, &what)?;
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// The digest of its manifest.
    pub const fn digest(&self) -> Digest {
        self.manifest.digest
    }

    /// What names its manifest.
    pub(super) const fn manifest_blob(&self) -> &Blob {
        &self.manifest
    }

    /// The text of its index.
    pub(super) fn index(&self) -> Result<Vec<u8>> {
        read_index(&self.folder)
    }

    /// A blob's file.
    pub(super) fn file(&self, digest: &Digest) -> Result<File> {
        open(&self.folder.join(blob_path(digest)))
    }
}

fn read_index(folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join("index.json");
    let mut bytes = Vec::new();
    open(&path)?
        .take(MOST_MANIFEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| HostError::std_io("read", path.display(), error))?;
    Ok(bytes)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn open(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| HostError::io("open", path.display(), errno))?;
    Ok(File::from(fd))
}

impl Origin for Layout {
    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    fn resolve(&self) -> Result<Digest> {
        Ok(self.manifest.digest)
    }

    fn manifest(&self, digest: &Digest) -> Result<Sent> {
        let mut bytes = Vec::new();
        let path = self.folder.join(blob_path(digest));
        self.file(digest)?
            .take(MOST_MANIFEST as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| HostError::std_io("read", path.display(), error))?;
        let media_type =
            if *digest == self.manifest.digest { self.manifest.media_type.clone() } else { String::new() };
        Ok(Sent { bytes, media_type })
    }

    fn blob<'o>(&'o self, blob: &Blob) -> Result<Box<dyn Read + 'o>> {
        Ok(Box::new(self.file(&blob.digest)?))
    }
}

/// A layout that is being written.
#[derive(Debug)]
pub struct LayoutWriter {
    folder: PathBuf,
}

impl LayoutWriter {
    /// Makes the folder, which must not be there yet, or be empty.
    ///
    /// # Errors
    /// If something is in it, or it cannot be made.
    pub fn create(folder: &Path) -> Result<Self> {
        let fail = |error| HostError::std_io("make the folder", folder.display(), error);
        let blobs = folder.join("blobs/sha256");
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            let text = format!("{} is not empty", folder.display());
            return Err(HostError::new(Class::Invalid, text).with_hint("name a folder that is not there yet"));
        }
        fs::create_dir_all(blobs).map_err(fail)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Writes a blob.
    pub(crate) fn bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Blob> {
        self.stream(media_type, |file| file.write_all(bytes))
    }

    /// Writes a blob by `write`, whose digest is known once it is there.
    pub(crate) fn stream(
        &self,
        media_type: &str,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Blob> {
        let part = self.folder.join("blobs/part");
        let fail = |error| HostError::std_io("write", part.display(), error);
        let mut file = Measuring::<_, Sha256>::new(File::create(&part).map_err(fail)?);
        let gauge = file.gauge();
        write(&mut file).map_err(fail)?;
        let measured = gauge.measured();
        fs::rename(&part, self.folder.join(blob_path(&measured.digest))).map_err(fail)?;
        Ok(Blob {
            media_type: media_type.to_owned(),
            digest: measured.digest,
            size: measured.bytes,
            annotations: Default::default(),
            platform: None,
        })
    }

    /// Makes `manifest` the one of this layout, for machines of `platform` and by the name `tag`.
    pub(crate) fn finish(
        self,
        manifest: Blob,
        platform: Option<Platform>,
        tag: Option<&str>,
    ) -> Result<Layout> {
        let named = tag.map(|tag| (REF_NAME.to_owned(), tag.to_owned())).into_iter().collect();
        let index = Index {
            schema_version: 2,
            media_type: INDEX.to_owned(),
            manifests: vec![Blob { platform, annotations: named, ..manifest.clone() }],
        };
        let index =
            serde_json::to_vec(&index).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        for (name, bytes) in [("oci-layout", LAYOUT.as_bytes()), ("index.json", index.as_slice())] {
            let path = self.folder.join(name);
            fs::write(&path, bytes).map_err(|error| HostError::std_io("write", path.display(), error))?;
        }
        Ok(Layout { folder: self.folder, manifest })
    }
}
