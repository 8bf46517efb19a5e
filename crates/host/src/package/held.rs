//! Layers of an image that are here already: they are put together from there, and not fetched.
//!
//! ```text
//! tmp/package                 what is being fetched
//! tmp/package.layers          a JSON line for each layer of it that came whole
//! tmp/package.left/N          what the N-th interrupted fetch had
//! tmp/package.left/N.layers   the lines of that
//! ```

use super::open::Room;
use super::share::{Entries, Shared};
use super::{Item, LayerKey};
use crate::error::{HostError, Result};
use crate::root::HostRoot;
use cofferdam_core::class::Class;
use cofferdam_core::name::{HostPath, PackagePath};
use cofferdam_core::observation::PathState;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write;

/// What may be had without fetching it, and where it is noted what was fetched.
#[derive(Debug, Default)]
pub(crate) struct Held<'a>(Option<Here<'a>>);

#[derive(Debug)]
struct Here<'a> {
    shared: Shared<'a>,
    root: &'a HostRoot,
    folder: HostPath,
    notes: File,
    left: HostPath,
}

impl<'a> Held<'a> {
    /// What the installed trees, and a fetch that was interrupted, hold of what comes into `room`. The room's folder is free
    /// then.
    pub(super) fn of(room: &Room<'a>) -> Result<Self> {
        let (root, folder) = (room.root, room.folder.clone());
        let (notes, left) = (beside(&folder, "layers")?, beside(&folder, "left")?);
        let host = room.installed.map_or(root, |(host, _)| host);
        let mut shared = Shared::of(host, room.installed.map(|(_, ledger)| ledger))?;
        // From another file system nothing can be had without a copy.
        if std::ptr::eq(host, root) {
            set_aside(root, &folder, &notes, &left)?;
            for (folder, notes) in interrupted(root, &left)? {
                let lines = root.read(&notes)?.unwrap_or_default();
                // The last line may be cut off.
                let noted = serde_json::Deserializer::from_slice(&lines).into_iter::<(LayerKey, Entries)>();
                noted.map_while(std::result::Result::ok).for_each(|(layer, entries)| {
                    shared.add_layer(&folder, layer, entries);
                });
            }
        } else {
            root.delete_all(&left)?;
        }
        root.delete_all(&notes)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fail = |errno| HostError::io("create", &notes, errno);
        let notes = File::from(root.open_at(&notes, flags, Mode::from_raw_mode(0o600)).map_err(fail)?);
        Ok(Self(Some(Here { shared, root, folder, notes, left })))
    }

    /// What is in that layer, if a tree has it.
    pub(crate) fn layer(&self, layer: &LayerKey) -> Option<&Entries> {
        self.0.as_ref()?.shared.layer(layer)
    }

    /// Puts a file of such a layer into the room. False: it is damaged, or on another file system.
    pub(crate) fn put(&self, path: &PackagePath, item: &Item) -> bool {
        let Some(Here { shared, root, folder, .. }) = &self.0 else { return false };
        shared.put(item, root, &folder.with(path)).unwrap_or(false)
    }

    /// Notes that a layer came whole: should this be interrupted, the next fetch takes it from here.
    pub(crate) fn note(&self, layer: &LayerKey, entries: &Entries) -> Result<()> {
        let Some(Here { notes, folder, .. }) = &self.0 else { return Ok(()) };
        let mut line = serde_json::to_vec(&(layer, entries))
            .map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
        line.push(b'\n');
        let mut notes = notes;
        notes.write_all(&line).map_err(|error| HostError::std_io("note a layer of", folder, error))
    }

    /// Deletes what an interrupted fetch had: it is not needed any more.
    pub(super) fn clear(self) -> Result<()> {
        self.0.map_or(Ok(()), |here| here.root.delete_all(&here.left))
    }
}

/// So many interrupted fetches are kept: each has what it had by itself, and what it took from those before.
const MOST_LEFT: usize = 8;

/// Puts what an interrupted fetch had with what those before it had.
fn set_aside(root: &HostRoot, folder: &HostPath, notes: &HostPath, left: &HostPath) -> Result<()> {
    // One that had nothing leaves the others their place.
    let has_lines = root.read(notes)?.is_some_and(|lines| !lines.is_empty());
    if !has_lines || root.state(folder)? != PathState::Folder {
        return Ok(());
    }
    let known = interrupted(root, left)?;
    if known.len() >= MOST_LEFT {
        root.delete_all(left)?;
    }
    root.make_folder(left, 0o700)?;
    // What has no lines counts for nothing: they come last. An interruption in between may have used the number.
    let number = root.list(left)?.len();
    let place = left.join(&number.to_string()).map_err(internal)?;
    root.move_new(folder, &place)?;
    root.move_new(notes, &beside(&place, "layers")?)
}

/// The folders of interrupted fetches, with their lines.
fn interrupted(root: &HostRoot, left: &HostPath) -> Result<Vec<(HostPath, HostPath)>> {
    let mut found = Vec::new();
    for entry in root.list(left)? {
        let Some(number) = entry.name.strip_suffix(".layers") else { continue };
        let folder = left.join(number).map_err(internal)?;
        found.push((folder.clone(), beside(&folder, "layers")?));
    }
    Ok(found)
}

fn beside(folder: &HostPath, what: &str) -> Result<HostPath> {
    HostPath::new(format!("{folder}.{what}")).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> HostError {
    HostError::new(Class::Internal, error.to_string())
}
