//! A package to an image of one layer. The same package gives the same digest, on whatever machine.

use super::stage::changed;
use super::{DESCRIPTOR, Item, PackageDir};
use crate::archive::{Measuring, Packer};
use crate::error::{HostError, Result};
use crate::registry::manifest::{CONFIG, Config, LAYER_GZIP, MANIFEST, Manifest, Platform, RootFs};
use crate::registry::{Layout, LayoutWriter};
use cofferdam_core::class::Class;
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";

impl PackageDir {
    /// Writes it as an image to `folder`, in the OCI layout. The image describes itself, also where something else
    /// described the package.
    ///
    /// # Errors
    /// If a file changed since the package was read, or something cannot be written.
    pub fn pack(&self, folder: &Path) -> Result<Layout> {
        let layout = LayoutWriter::create(folder)?;
        let mut diff = None;
        let mut failed = None;
        let layer = layout.stream(LAYER_GZIP, |file| {
            let mut plain = Measuring::new(GzBuilder::new().write(file, Compression::default()));
            let gauge = plain.gauge();
            if let Err(error) = self.write_layer(&mut plain) {
                let text = error.chain();
                failed = Some(error);
                return Err(std::io::Error::other(text));
            }
            diff = Some(gauge.measured().digest);
            plain.into_inner().finish().map(drop)
        });
        // What is wrong with the package says more than that the layer was not written.
        let layer = match failed {
            Some(error) => return Err(error),
            None => layer?,
        };
        let rootfs = RootFs { kind: "layers".to_owned(), diff_ids: diff.into_iter().collect() };
        let config = layout.bytes(CONFIG, &json(&Config { platform: Platform::own(), rootfs })?)?;
        let descriptor = &self.package.descriptor;
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config,
            layers: vec![layer],
            annotations: BTreeMap::from([
                (TITLE.to_owned(), descriptor.name.to_string()),
                (VERSION.to_owned(), descriptor.version.to_string()),
            ]),
        };
        let manifest = layout.bytes(MANIFEST, &json(&manifest)?)?;
        layout.finish(manifest)
    }

    /// The descriptor first, then everything else by its path.
    fn write_layer(&self, archive: &mut dyn Write) -> Result<()> {
        let fail = |error| HostError::std_io("pack", &self.shown, error);
        let mut packer = Packer::new(archive);
        let text = self.descriptor.as_bytes();
        packer.file(DESCRIPTOR, text.len() as u64, false, &mut &*text).map_err(fail)?;
        for (path, item) in &self.items {
            match item {
                Item::Folder => packer.folder(path.as_str()).map_err(fail)?,
                Item::Link { target } => packer.link(path.as_str(), target).map_err(fail)?,
                Item::File { size, digest, executable } => {
                    let mut content = Measuring::new(self.content(path)?);
                    let gauge = content.gauge();
                    packer.file(path.as_str(), *size, *executable, &mut content).map_err(fail)?;
                    if gauge.measured().digest != *digest {
                        return Err(changed(path).with_hint("pack again once nobody writes to the package"));
                    }
                }
            }
        }
        packer.finish().map_err(fail).map(drop)
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
