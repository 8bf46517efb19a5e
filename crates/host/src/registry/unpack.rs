//! An image to a folder, each byte checked against the digest that names it.

use super::error::of_archive;
use super::files::{self, DESCRIPTOR_TYPE, Described, Layer};
use super::lineage::Lineage;
use super::manifest::{Blob, Config, MOST_CONFIG, Platform};
use super::tally::Tally;
use super::{Origin, Registry, RegistryError};
use crate::archive::{LIMITS_HINT, Measuring, Options, Telling, Unpacking};
use crate::error::{HostError, Result};
use crate::event::Transfer;
use crate::hashing::Sha256;
use crate::package::{DESCRIPTOR, Entries, Held, Item, LayerKey, Unpacked};
use cofferdam_core::descriptor;
use cofferdam_core::name::{Digest, PackagePath};
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;

/// Unpacks the image with the digest `image` into `folder`, which is empty and nobody else's. `progress` gets how far it is;
/// layers that are `held` are not fetched. Returns what is in the folder, each file with its
/// digest; nothing of it is durable before the file system was synced. If it fails, what is in the folder is worth nothing.
pub(crate) fn unpack(
    origin: &dyn Origin,
    image: Digest,
    folder: OwnedFd,
    options: impl Into<Options>,
    held: &Held<'_>,
    progress: &mut dyn FnMut(Transfer),
) -> Result<Unpacked> {
    let mut options = options.into();
    let limits = options.limits;
    let own = Platform::own();
    let what = origin.name();
    let Lineage { manifest, .. } = Lineage::of(origin, image)?;
    files::check_platform(&manifest, &own, &what)?;
    let diffs: Vec<Option<Digest>> = if manifest.is_image() {
        let bytes = small_blob(origin, &manifest.config, &format!("the configuration of {what}"))?;
        let config = Config::parse(&bytes, manifest.layers.len(), &own, &what)?;
        config.rootfs.diff_ids.into_iter().map(Some).collect()
    } else {
        vec![None; manifest.layers.len()]
    };
    let total = manifest.layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
    if total > limits.bytes {
        let reason = format!("its layers have {total} bytes (the limit is {})", limits.bytes);
        return Err(HostError::from(RegistryError::Manifest { what, reason }).with_hint(LIMITS_HINT));
    }
    let descriptor = match manifest.config.media_type.as_str() {
        DESCRIPTOR_TYPE => Some(small_blob(origin, &manifest.config, &format!("the descriptor of {what}"))?),
        _ => None,
    };
    // What is wrong with it is said when the package is read.
    let text = descriptor.as_deref().and_then(|text| std::str::from_utf8(text).ok());
    if let Some(descriptor) = text.and_then(|text| descriptor::parse(DESCRIPTOR, text).ok()) {
        options.setuid.extend(descriptor.setuid_anywhere());
    }
    let mut unpacking = Unpacking::new(folder, options);
    let mut layers: Vec<(LayerKey, Entries)> = Vec::new();
    let kinds = [LayerKey::Archive, LayerKey::File];
    let is_known = |blob: &Blob| kinds.iter().any(|kind| held.layer(&kind(blob.digest)).is_some());
    let mut tally = Tally::new(&manifest.layers, is_known, progress);
    for (index, (blob, diff)) in manifest.layers.iter().zip(diffs).enumerate() {
        let what = format!("layer {} of {what}", index + 1);
        let kind = Layer::of(&manifest, blob, &what)?;
        let key = kind.key(blob);
        let is_held = match held.layer(&key).and_then(|entries| kind.entries(entries)) {
            Some(entries) => unpacking
                .known_layer(&entries, |path, item| held.put(path, item))
                .map_err(|error| of_archive(&what, error))?,
            None => false,
        };
        tally.corrected(blob, is_known(blob), is_held);
        if is_held {
            tally.held(index, blob);
        } else {
            let diff = diff.or_else(|| kind.diff(blob));
            let mut told = |bytes| tally.came(index, blob, bytes);
            layer(origin, (blob, kind), diff, &mut unpacking, &what, &mut told)?;
            tally.whole(index, blob);
        }
        if let Some(entries) = unpacking.entries_of_layer() {
            held.note(&key, &entries)?;
            layers.push((key, entries));
        }
    }
    if let Some(text) = descriptor {
        let what = format!("the descriptor of {what}");
        let archive = files::as_archive(DESCRIPTOR, text.len() as u64, false, text.as_slice());
        unpacking.layer(BufReader::new(archive)).map_err(|error| of_archive(&what, error))?;
    }
    let items = unpacking.finish();
    // What another layer changed or hid is not what this one had.
    let is_there = |(path, item): &(PackagePath, Item)| items.get(path) == Some(item);
    let whole = layers.into_iter().filter(|(_, entries)| entries.iter().all(is_there));
    let paths = |entries: Entries| entries.into_iter().map(|(path, _)| path).collect();
    let layers = whole.map(|(layer, entries)| (layer, paths(entries))).collect();
    Ok(Unpacked { items, layers })
}

/// Unpacks the image of `registry` into `folder`, as above.
///
/// # Errors
/// If it cannot be had, or is not what it should be.
pub fn unpack_image(
    registry: &Registry,
    folder: OwnedFd,
    options: impl Into<Options>,
    progress: &mut dyn FnMut(Transfer),
) -> Result<Unpacked> {
    unpack(registry, registry.digest()?, folder, options, &Held::default(), progress)
}

/// What the image with the digest `image` says of its package, from its manifest and its descriptor alone. None: it does not,
/// and has to be unpacked.
pub(crate) fn described(origin: &dyn Origin, image: Digest) -> Result<Option<Described>> {
    let own = Platform::own();
    let what = origin.name();
    let Lineage { manifest, .. } = Lineage::of(origin, image)?;
    files::check_platform(&manifest, &own, &what)?;
    if manifest.config.media_type != DESCRIPTOR_TYPE {
        return Ok(None);
    }
    let text = small_blob(origin, &manifest.config, &format!("the descriptor of {what}"))?;
    Ok(Described::of(&manifest, text))
}

/// A blob that is held in memory.
fn small_blob(origin: &dyn Origin, blob: &Blob, what: &str) -> Result<Vec<u8>> {
    if blob.size > MOST_CONFIG {
        let reason = format!("it has {} bytes (the limit is {MOST_CONFIG})", blob.size);
        return Err(RegistryError::Manifest { what: what.to_owned(), reason }.into());
    }
    let mut bytes = Vec::new();
    let read = origin.blob(blob)?.take(blob.size + 1).read_to_end(&mut bytes);
    read.map_err(|error| of_archive(what, crate::archive::ArchiveError::Read(error)))?;
    check(what, blob, bytes.len() as u64, Digest::of(&bytes))?;
    Ok(bytes)
}

fn check(what: &str, blob: &Blob, size: u64, digest: Digest) -> Result<()> {
    let what = || what.to_owned();
    if size != blob.size {
        return Err(RegistryError::Size { what: what(), expected: blob.size, found: size }.into());
    }
    if digest != blob.digest {
        return Err(RegistryError::Digest { what: what(), expected: blob.digest, found: digest }.into());
    }
    Ok(())
}

fn layer(
    origin: &dyn Origin,
    (blob, kind): (&Blob, Layer),
    diff: Option<Digest>,
    unpacking: &mut Unpacking,
    what: &str,
    told: &mut dyn FnMut(u64),
) -> Result<()> {
    let told = Telling::new(origin.blob(blob)?, told);
    // One byte more than announced tells that there is more.
    let mut compressed = Measuring::<_, Sha256>::new(told.take(blob.size.saturating_add(1)));
    let outer = compressed.gauge();
    let unpacked = {
        let (content, compression) = kind.open(&mut compressed);
        unpacking.compressed_layer(content, compression)
    };
    let failed = |error| of_archive(what, error);
    let unpacked = match unpacked {
        Err(error) if error.is_ours_or_the_lines() => return Err(failed(error)),
        other => other,
    };
    // What came is judged first: of something else, what is wrong with it does not matter.
    let came_whole = std::io::copy(&mut compressed, &mut std::io::sink());
    if let Err(error) = came_whole {
        return Err(failed(crate::archive::ArchiveError::Read(error)));
    }
    let came = outer.measured();
    check(what, blob, came.bytes, came.digest)?;
    let found = unpacked.map_err(failed)?;
    match diff {
        Some(expected) if found != expected => {
            let what = format!("{what}, uncompressed,");
            Err(HostError::from(RegistryError::Digest { what, expected, found }))
        }
        _ => Ok(()),
    }
}
