//! A package to an artifact: its descriptor as the configuration, its files in layers. The same package gives the same
//! digest, on whatever machine.

use super::layers::layers;
use super::read::digest;
use super::stage::changed;
use super::{Item, PackageDir};
use crate::archive::{Compressing, Encoding, Measuring, Packer};
use crate::error::{HostError, Result};
use crate::hashing::{Blake3, Sha256};
use crate::registry::files::{
    ARTIFACT_TYPE, BYTES, CONTENT_DIGEST, DESCRIPTOR_TYPE, ENTRIES, PACKAGE, PLATFORM, TITLE,
};
use crate::registry::manifest::{Blob, MANIFEST, Manifest, Platform};
use crate::registry::{Layout, LayoutWriter};
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Call;
use cofferdam_core::name::PackagePath;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

const VERSION: &str = "org.opencontainers.image.version";

impl PackageDir {
    /// Writes it as an artifact to `folder`, in the OCI layout, there by the name `tag` if one is given. It describes
    /// itself, also where something else described the package. Files of a base are not in it.
    ///
    /// # Errors
    /// If a file changed since the package was read, or something cannot be written.
    pub fn pack(&self, folder: &Path, tag: Option<&str>) -> Result<Layout> {
        self.pack_as(folder, tag, Encoding::default())
    }

    /// The same, compressed as `encoding` says.
    ///
    /// # Errors
    /// As for [`Self::pack`].
    pub fn pack_as(&self, folder: &Path, tag: Option<&str>, encoding: Encoding) -> Result<Layout> {
        let layout = LayoutWriter::create(folder)?;
        let own = self.items.iter().filter(|(path, _)| !self.is_lent(path));
        let own: BTreeMap<PackagePath, Item> = own.map(|(path, item)| (path.clone(), item.clone())).collect();
        let layers = layers(&own)
            .into_iter()
            .map(|paths| self.layer(&layout, &paths, encoding))
            .collect::<Result<Vec<Blob>>>()?;
        let config = layout.bytes(DESCRIPTOR_TYPE, self.descriptor.as_bytes())?;
        let descriptor = &self.package.descriptor;
        let platform = self.platform()?;
        let mut annotations = BTreeMap::from([
            (TITLE.to_owned(), descriptor.name.to_string()),
            (VERSION.to_owned(), descriptor.version.to_string()),
        ]);
        // With a base, that depends on the base.
        if descriptor.base.is_none() {
            let bytes: u64 = own.values().map(Item::size).sum();
            annotations.extend([
                (PACKAGE.to_owned(), digest(&own, &self.descriptor).to_string()),
                (BYTES.to_owned(), bytes.to_string()),
                (ENTRIES.to_owned(), own.len().to_string()),
            ]);
        }
        annotations.extend(platform.as_ref().map(|platform| (PLATFORM.to_owned(), platform.to_string())));
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            config,
            layers,
            annotations,
        };
        let manifest = layout.bytes(MANIFEST, &json(&manifest)?)?;
        layout.finish(manifest, platform, tag)
    }

    fn layer(&self, layout: &LayoutWriter, paths: &[&PackagePath], encoding: Encoding) -> Result<Blob> {
        let mut plain_digest = None;
        let mut failed = None;
        let layer = layout.stream(encoding.media_type(), |file| {
            let mut plain = Measuring::<_, Sha256>::new(Compressing::new(file, encoding)?);
            let gauge = plain.gauge();
            if let Err(error) = self.write_layer(&mut plain, paths) {
                let text = error.chain();
                failed = Some(error);
                return Err(std::io::Error::other(text));
            }
            plain_digest = Some(gauge.measured().digest);
            plain.into_inner().finish().map(drop)
        });
        // What is wrong with the package says more than that the layer was not written.
        let mut layer = match failed {
            Some(error) => return Err(error),
            None => layer?,
        };
        let digest = plain_digest.map(|digest| (CONTENT_DIGEST.to_owned(), digest.to_string()));
        layer.annotations.extend(digest);
        Ok(layer)
    }

    fn write_layer(&self, archive: &mut dyn Write, paths: &[&PackagePath]) -> Result<()> {
        let fail = |error| HostError::std_io("pack", &self.shown, error);
        let mut packer = Packer::new(archive);
        for (path, item) in paths.iter().filter_map(|path| self.items.get_key_value(*path)) {
            match item {
                Item::Folder => packer.folder(path.as_str(), item.mode()).map_err(fail)?,
                Item::Link { target } => packer.link(path.as_str(), target).map_err(fail)?,
                Item::File { size, digest, .. } => {
                    let mut content = Measuring::<_, Blake3>::new(self.content(path)?);
                    let gauge = content.gauge();
                    packer.file(path.as_str(), *size, item.mode(), &mut content).map_err(fail)?;
                    if gauge.measured().digest != *digest {
                        return Err(changed(path).with_hint("pack again once nobody writes to the package"));
                    }
                }
            }
        }
        packer.finish().map_err(fail).map(drop)
    }

    /// For which machines it is: those of the first program that an engine calls. Scripts run on any.
    fn platform(&self) -> Result<Option<Platform>> {
        for handler in &self.package.descriptor.handlers {
            let (Call::Shim(path) | Call::OciRuntime(path)) = &handler.call;
            if !matches!(self.items.get(path), Some(Item::File { .. })) || self.is_lent(path) {
                continue;
            }
            let mut head = Vec::new();
            let read = self.content(path)?.take(20).read_to_end(&mut head);
            read.map_err(|error| HostError::std_io("read", path, error))?;
            // ELF: its magic number, little endian, and the machine at byte 18.
            let architecture = match head.as_slice() {
                [0x7f, b'E', b'L', b'F', _, 1, .., 0x3e, 0] => "amd64",
                [0x7f, b'E', b'L', b'F', _, 1, .., 0xb7, 0] => "arm64",
                _ => continue,
            };
            return Ok(Some(Platform { architecture: architecture.to_owned(), os: "linux".to_owned() }));
        }
        Ok(None)
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| HostError::new(Class::Internal, error.to_string()))
}

/// A preset's text with the version in it: what a package needs to describe itself.
pub(super) fn with_version(preset: &str, version: &str) -> String {
    let mut text = String::new();
    let mut is_said = false;
    for line in preset.lines() {
        text.push_str(line);
        text.push('\n');
        if !is_said && line.trim_start().starts_with("name") {
            text.push_str(&format!("version = \"{version}\"\n"));
            is_said = true;
        }
    }
    text
}
