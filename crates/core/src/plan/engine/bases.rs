//! The configuration's files without anything of ours: whatever others did to them since.

use super::super::{Overwrite, PlanError, World};
use super::drop_ins;
use crate::engine::containerd::{self, DialectError, RootOwned, Tables, Traces};
use crate::name::{Digest, HostPath};
use crate::record::{Ledger, OwnedFile, Part};
use crate::splice;
use std::collections::BTreeMap;

/// A file of the configuration.
pub(super) struct Base {
    /// Its text without anything of ours. None: no file is to be there.
    pub(super) text: Option<String>,
    /// Its text as it is. None: someone deleted it.
    pub(super) present: Option<String>,
}

/// Every file that the engine reads but our drop-ins, and every other one that we wrote into. If nobody touched a file
/// since, that is the kept bytes; else ours is cut out: what we wrote there, and what of ours came there by moving files
/// or by `containerd config migrate`.
///
/// # Errors
/// A conflict if someone edited a table of ours, unless it is to be overwritten.
pub(super) fn bases(
    world: &World<'_>,
    ledger: &Ledger,
    overwrite: Overwrite,
) -> Result<BTreeMap<HostPath, Base>, PlanError> {
    let cutter = Cutter { world, ledger, traces: ledger.traces(), overwrite };
    let mut bases = BTreeMap::new();
    for (path, present) in &world.engine.files {
        if *path == world.engine.config_resolved || !drop_ins::is_ours(ledger, path, present) {
            bases.insert(path.clone(), cutter.base(path, present)?);
        }
    }
    for (path, record) in &ledger.files {
        if bases.contains_key(path) || !matches!(record.part, Part::Containerd(_)) {
            continue;
        }
        let base = match world.engine.apart.get(path).map(|present| cutter.base(path, present)) {
            Some(Err(PlanError::Dialect(DialectError::Parse { .. }))) | None => {
                // It is gone, or it is no configuration any more.
                Base { text: None, present: None }
            }
            Some(base) => base?,
        };
        bases.insert(path.clone(), base);
    }
    Ok(bases)
}

struct Cutter<'a> {
    world: &'a World<'a>,
    ledger: &'a Ledger,
    traces: Traces,
    overwrite: Overwrite,
}

impl Cutter<'_> {
    fn base(&self, path: &HostPath, present: &str) -> Result<Base, PlanError> {
        let record = self.ledger.files.get(path).or_else(|| self.moved(path, present));
        let text = match record.and_then(|record| self.kept(path, present, record)) {
            Some(text) => text,
            None => self.cut(path, present, record)?,
        };
        Ok(Base { text, present: Some(present.to_owned()) })
    }

    /// The record of a file that is gone from its place, if `path` is the root file that the engine reads instead, and
    /// holds all that we wrote.
    fn moved(&self, path: &HostPath, present: &str) -> Option<&OwnedFile> {
        let is_root = *path == self.world.engine.config_resolved;
        let gone = |(path, record): &(&HostPath, &OwnedFile)| {
            let holds = |owned| containerd::holds(present, owned);
            self.world.config_text(path).is_none()
                && matches!(&record.part, Part::Containerd(owned) if holds(owned))
        };
        self.ledger.files.iter().filter(|_| is_root).find(gone).map(|(_, record)| record)
    }

    /// The bytes of before, if the file is as we left it. They may be gone from the backup folder: then ours is cut
    /// out. Inside: None, there was no file.
    fn kept(&self, path: &HostPath, present: &str, record: &OwnedFile) -> Option<Option<String>> {
        if Digest::of(present.as_bytes()) != record.after {
            return None;
        }
        match record.before {
            Some(digest) => self.world.kept.get(&digest).cloned().map(Some),
            // Who moved a file of ours made it theirs.
            None => Some((!self.ledger.files.contains_key(path)).then(String::new)),
        }
    }

    fn cut(
        &self,
        path: &HostPath,
        present: &str,
        record: Option<&OwnedFile>,
    ) -> Result<Option<String>, PlanError> {
        let nothing =
            RootOwned { file: path.clone(), created: false, tables: Tables::Grpc, pieces: Vec::new() };
        let owned = match record.map(|record| &record.part) {
            Some(Part::Containerd(owned)) if owned.file == *path => owned.clone(),
            Some(Part::Containerd(owned)) => {
                RootOwned { file: path.clone(), created: false, ..owned.clone() }
            }
            _ => nothing,
        };
        let cut = containerd::cut_root(present, &owned, &self.traces, self.overwrite)?;
        let text = splice::apply(present, &cut.splices)
            .map_err(|error| PlanError::Internal(format!("{path}: {error}")))?;
        let gone = owned.created && text.trim().is_empty();
        Ok((!gone).then_some(text))
    }
}
