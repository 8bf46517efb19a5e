//! An image in an archive: an OCI layout that was packed, or what `docker save` writes.
//!
//! The archive is not unpacked: its headers are read once, and blobs where they lie.

use super::RegistryError;
use super::attached::the_image;
use super::manifest::{
    Blob, CONFIG, Config, Document, INDEX, MANIFEST, MOST_CONFIG, MOST_MANIFEST, Manifest, Platform,
};
use super::origin::{Origin, Sent};
use crate::error::{HostError, Result};
use cofferdam_core::class::Class;
use cofferdam_core::name::{Digest, HostPath};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How many entries are looked at: an image has some hundreds.
const MOST_ENTRIES: usize = 20_000;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Tarred {
    path: PathBuf,
    file: File,
    /// Where each file's content lies, by its path.
    entries: BTreeMap<String, Extent>,
    /// What the image is named by.
    image: Blob,
    /// The manifest that was made up for what `docker save` wrote, and where its blobs lie.
    made_up: Option<(Vec<u8>, BTreeMap<Digest, Extent>)>,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    start: u64,
    size: u64,
}

/// One image in the `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

impl Tarred {
    /// The image in the archive at `path`; of several, the one for this machine.
    ///
    /// # Errors
    /// If there is none, or the archive cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let what = path.display().to_string();
        let file = File::open(path).map_err(|error| HostError::std_io("open", &what, error))?;
        let entries = entries(&file, &mut |_| false).map_err(|error| {
            HostError::new(Class::Invalid, format!("{what} cannot be read as an archive: {error}"))
                .with_hint("a compressed one has to be decompressed first: blobs are read where they lie")
        })?;
        let image = Blob {
            media_type: MANIFEST.to_owned(),
            digest: Digest::of(b""),
            size: 0,
            annotations: BTreeMap::new(),
            platform: None,
        };
        let mut tarred = Self { path: path.to_owned(), file, entries, image, made_up: None };
        if let Some(index) = tarred.entry("index.json", MOST_MANIFEST as u64)? {
            tarred.image = chosen(&index, &what)?;
        } else if let Some(saved) = tarred.entry("manifest.json", MOST_MANIFEST as u64)? {
            tarred.make_up(&saved, &what)?;
        } else {
            let text = format!("{what} holds no image: neither index.json nor manifest.json is in it");
            return Err(HostError::new(Class::Invalid, text)
                .with_hint("a runtime's files in an archive are tar:FILE"));
        }
        Ok(tarred)
    }

    /// The text of its index. None: it has none.
    pub(super) fn index(&self) -> Result<Option<Vec<u8>>> {
        self.entry("index.json", MOST_MANIFEST as u64)
    }

    /// A small file of the archive.
    fn entry(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let Some(extent) = self.entries.get(path) else { return Ok(None) };
        let shown = format!("{} in {}", path, self.path.display());
        if extent.size > most {
            let reason = format!("it has {} bytes (the limit is {most})", extent.size);
            return Err(RegistryError::Manifest { what: shown, reason }.into());
        }
        let mut bytes = Vec::new();
        let read = self.extent(*extent).and_then(|mut part| part.read_to_end(&mut bytes));
        read.map_err(|error| HostError::std_io("read", shown, error))?;
        Ok(Some(bytes))
    }

    fn extent(&self, extent: Extent) -> std::io::Result<Part> {
        Ok(Part { file: self.file.try_clone()?, at: extent.start, end: extent.start + extent.size })
    }

    /// A manifest for what `docker save` wrote: its layers are not compressed, so their diff ids are their digests.
    fn make_up(&mut self, saved: &[u8], what: &str) -> Result<()> {
        let refuse =
            |reason: String| HostError::from(RegistryError::Manifest { what: what.to_owned(), reason });
        let saved: Vec<Saved> = serde_json::from_slice(saved).map_err(|error| refuse(error.to_string()))?;
        let [Saved { config, layers }] = saved.as_slice() else {
            return Err(refuse(format!("it holds {} images: save one alone", saved.len())));
        };
        let bytes = self.entry(config, MOST_CONFIG)?.ok_or_else(|| refuse(format!("it has no {config}")))?;
        let parsed = Config::parse(&bytes, layers.len(), &Platform::own(), what)?;
        let mut blobs = BTreeMap::new();
        let blob = |media_type: &str, digest: Digest, size: u64| Blob {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
        };
        let named = |path: &String| self.entries.get(path).copied();
        let config_blob = blob(CONFIG, Digest::of(&bytes), bytes.len() as u64);
        blobs.extend(named(config).map(|extent| (config_blob.digest, extent)));
        let mut found = Vec::new();
        for (path, digest) in layers.iter().zip(parsed.rootfs.diff_ids) {
            let extent = named(path).ok_or_else(|| refuse(format!("it has no {path}")))?;
            found.push(blob(LAYER, digest, extent.size));
            blobs.insert(digest, extent);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: None,
            config: config_blob,
            layers: found,
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| refuse(error.to_string()))?;
        self.image = blob(MANIFEST, Digest::of(&bytes), bytes.len() as u64);
        self.made_up = Some((bytes, blobs));
        Ok(())
    }

    fn find(&self, digest: &Digest) -> Result<Extent> {
        let made_up = self.made_up.as_ref().and_then(|(_, blobs)| blobs.get(digest));
        let path = format!("blobs/sha256/{}", digest.hex());
        made_up.or_else(|| self.entries.get(&path)).copied().ok_or_else(|| {
            HostError::new(Class::Invalid, format!("{} has no blob {digest}", self.path.display()))
        })
    }
}

/// Whether the archive in `file` holds an image: told by the names in it.
pub(crate) fn is_image_archive(file: &File) -> bool {
    let names = ["index.json", "manifest.json"];
    let found = entries(file, &mut |path| names.contains(&path));
    found.is_ok_and(|entries| names.iter().any(|name| entries.contains_key(*name)))
}

/// The image in an index.
fn chosen(text: &[u8], what: &str) -> Result<Blob> {
    let Document::Index(index) = Document::parse(text, INDEX, what)? else {
        let (what, reason) = (what.to_owned(), "its index.json is no index".to_owned());
        return Err(RegistryError::Manifest { what, reason }.into());
    };
    Ok(the_image(&index, text, what)?)
}

/// Where each file's content lies; until `enough` says so of a path. Links within the archive (older releases of
/// `docker save` write them for layers) stand for what they lead to.
fn entries(file: &File, enough: &mut dyn FnMut(&str) -> bool) -> std::io::Result<BTreeMap<String, Extent>> {
    let mut archive = tar::Archive::new(Part { file: file.try_clone()?, at: 0, end: u64::MAX });
    let (mut found, mut links) = (BTreeMap::new(), Vec::new());
    for (count, entry) in archive.entries_with_seek()?.enumerate() {
        if count > MOST_ENTRIES {
            return Err(std::io::Error::other(format!("it has more than {MOST_ENTRIES} entries")));
        }
        let entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.trim_start_matches("./").to_owned();
        let done = enough(&path);
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                found.insert(path, Extent { start: entry.raw_file_position(), size: entry.size() });
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
                links.extend(target.map(|target| (path, target)));
            }
            _ => {}
        }
        if done {
            break;
        }
    }
    for (path, target) in links {
        let folder = HostPath::new("/").and_then(|root| root.resolve(&format!("{path}/..")));
        let target = folder.and_then(|folder| folder.resolve(&target));
        let extent =
            target.ok().and_then(|target| found.get(target.as_str().trim_start_matches('/')).copied());
        found.extend(extent.map(|extent| (path, extent)));
    }
    Ok(found)
}

impl Origin for Tarred {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn resolve(&self) -> Result<Digest> {
        Ok(self.image.digest)
    }

    fn manifest(&self, digest: &Digest) -> Result<Sent> {
        if let Some((bytes, _)) = self.made_up.as_ref().filter(|_| *digest == self.image.digest) {
            return Ok(Sent { bytes: bytes.clone(), media_type: MANIFEST.to_owned() });
        }
        let mut bytes = Vec::new();
        let fail = |error| HostError::std_io("read", self.path.display(), error);
        let part = self.extent(self.find(digest)?).map_err(fail)?;
        part.take(MOST_MANIFEST as u64).read_to_end(&mut bytes).map_err(fail)?;
        let own = *digest == self.image.digest;
        Ok(Sent { bytes, media_type: if own { self.image.media_type.clone() } else { String::new() } })
    }

    fn blob<'o>(&'o self, blob: &Blob) -> Result<Box<dyn Read + 'o>> {
        let part = self.extent(self.find(&blob.digest)?);
        Ok(Box::new(part.map_err(|error| HostError::std_io("read", self.path.display(), error))?))
    }
}

/// A part of a file, read without moving anybody else's position.
struct Part {
    file: File,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let n = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl std::io::Seek for Part {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            std::io::SeekFrom::Start(at) => Some(at),
            std::io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
            std::io::SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.at = target.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
