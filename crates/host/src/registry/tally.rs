//! How far an image is on its way here.

use super::manifest::Blob;
use crate::event::{LayerTransfer, Transfer};

/// Counts what came of an image's layers, and tells of it.
pub(super) struct Tally<'p> {
    progress: &'p mut dyn FnMut(Transfer),
    layers: usize,
    /// Of layers that came whole.
    bytes: u64,
    total: u64,
}

impl<'p> Tally<'p> {
    /// Of these layers, those that are probably here left out.
    pub(super) fn new(
        layers: &[Blob],
        is_held: impl Fn(&Blob) -> bool,
        progress: &'p mut dyn FnMut(Transfer),
    ) -> Self {
        let total = layers
            .iter()
            .filter(|blob| !is_held(blob))
            .fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
        Self { progress, layers: layers.len(), bytes: 0, total }
    }

    /// So much of a layer came.
    pub(super) fn came(&mut self, index: usize, blob: &Blob, bytes: u64) {
        // The last byte is told of when it is known to be the right one.
        if bytes < blob.size {
            self.tell(index, blob, bytes, false);
        }
    }

    /// A layer came whole.
    pub(super) fn whole(&mut self, index: usize, blob: &Blob) {
        self.tell(index, blob, blob.size, false);
        self.bytes = self.bytes.saturating_add(blob.size);
    }

    /// A layer need not come.
    pub(super) fn held(&mut self, index: usize, blob: &Blob) {
        self.tell(index, blob, 0, true);
    }

    /// What was thought of a layer, and turned out otherwise: then it comes, or need not come after all.
    pub(super) fn corrected(&mut self, blob: &Blob, was_held: bool, is_held: bool) {
        match (was_held, is_held) {
            (true, false) => self.total = self.total.saturating_add(blob.size),
            (false, true) => self.total = self.total.saturating_sub(blob.size),
            (true, true) | (false, false) => {}
        }
    }

    fn tell(&mut self, index: usize, blob: &Blob, bytes: u64, held: bool) {
        let layer = LayerTransfer {
            index: index + 1,
            of: self.layers,
            digest: blob.digest,
            bytes,
            size: blob.size,
            held,
        };
        let bytes = self.bytes.saturating_add(bytes);
        (self.progress)(Transfer::of(bytes, self.total, Some(layer)));
    }
}
