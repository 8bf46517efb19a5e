//! Takes steps back, in reverse, by looking at what is on disk: each state between two steps is recognised.

use super::{dangling, staging};
use crate::error::{HostError, Result};
use crate::root::HostRoot;
use crate::store::Store;
use cofferdam_core::class::Class;
use cofferdam_core::engine::containerd::{self, RootOwned};
use cofferdam_core::name::{Digest, HostPath};
use cofferdam_core::observation::PathState;
use cofferdam_core::record::{Journal, Ledger, Part, Step};

/// What could not be taken back because someone else changed it since.
#[derive(Debug, Default)]
pub(super) struct Undone {
    pub(super) conflicts: Vec<String>,
}

/// Takes back all steps of a transaction that is not committed, but leaves the trees that are `used`. Doing it twice
/// does no harm.
pub(super) fn undo(store: &Store<'_>, journal: &Journal, used: &[HostPath]) -> Result<Undone> {
    let root = store.root();
    let mut undone = Undone::default();
    // First: it lies in folders that go.
    root.delete_all(&staging(journal)?)?;
    for step in journal.steps.iter().rev().skip_while(|step| !matches!(step, Step::Commit)) {
        match step {
            Step::WriteFile { path, before, after, mode } => {
                root.sweep_temporary(path, &journal.id)?;
                if let Err(conflict) = undo_write(store, journal, path, before.as_ref(), after, *mode)? {
                    undone.conflicts.push(conflict);
                }
            }
            Step::RemoveFile { path, before, mode } => {
                root.sweep_temporary(path, &journal.id)?;
                if root.state(path)? == PathState::Absent {
                    root.write_file(path, store.kept(before)?.as_slice(), *mode, &journal.id)?;
                }
            }
            Step::MakeLink { path, target } => {
                if matches!(root.state(path)?, PathState::Link { target: found } if found == *target) {
                    root.delete(path)?;
                }
            }
            Step::RemoveLink { path, target } => {
                if root.state(path)? == PathState::Absent {
                    root.make_link(path, target)?;
                }
            }
            // A tree that a conflicting file may still name stays: nothing that runs may lose its files.
            Step::PlaceTree { tree } if undone.conflicts.is_empty() && !used.contains(tree) => {
                root.delete_all(tree)?;
            }
            Step::MakeFolder { path } if undone.conflicts.is_empty() => {
                if root.state(path)? == PathState::Folder {
                    root.delete_folder(path)?;
                }
            }
            // Whichever of the two copies lies at the tree's path by now, it is the one that the ledger means, or the
            // damaged one of before; the other one went with the staging folder.
            Step::PlaceTree { .. } | Step::ReplaceTree { .. } | Step::MakeFolder { .. } => {}
            Step::Rehearse
            | Step::ReloadSystemd
            | Step::Restart { .. }
            | Step::Verify { .. }
            | Step::StopSandboxes { .. }
            | Step::Commit
            | Step::RemoveTree { .. }
            | Step::RemoveFolder { .. }
            | Step::Forget => {}
        }
    }
    Ok(undone)
}

/// Puts the bytes of before back. If someone else edited the file since, only what is ours is put back as it was; if
/// that cannot be told apart, the inner error says so.
fn undo_write(
    store: &Store<'_>,
    journal: &Journal,
    path: &HostPath,
    before: Option<&Digest>,
    after: &Digest,
    mode: u32,
) -> Result<std::result::Result<(), String>> {
    let root = store.root();
    let present = root.digest(path)?;
    if present.as_ref() == before {
        return Ok(Ok(()));
    }
    if present.as_ref() == Some(after) {
        if let (None, Some(file)) = (before, dangling::importer(root, journal, path)?) {
            return Ok(Err(format!(
                "{file} names {path} among its imports since \"{}\": without it containerd would not start, so it stays; \
                 take that line out of the list",
                journal.change
            )));
        }
        match before {
            Some(before) => root.write_file(path, store.kept(before)?.as_slice(), mode, &journal.id)?,
            None => root.delete(path)?,
        }
        return Ok(Ok(()));
    }
    match reverted(root, journal, path)? {
        Some(Some(text)) => root.write_file(path, text.as_bytes(), mode, &journal.id).map(Ok),
        Some(None) => root.delete(path).map(Ok),
        None => Ok(Err(conflict_text(journal, path, before))),
    }
}

fn conflict_text(journal: &Journal, path: &HostPath, before: Option<&Digest>) -> String {
    let way_back = before.map_or_else(
        || "it did not exist before".to_owned(),
        |digest| format!("its bytes of before are kept in /var/lib/cofferdam/backup/{}", digest.hex()),
    );
    format!("{path} was changed by someone else during \"{}\"; {way_back}", journal.change)
}

/// The present text without this transaction, with what others wrote since; none inside: no file. None: what is ours
/// cannot be told apart.
fn reverted(root: &HostRoot, journal: &Journal, path: &HostPath) -> Result<Option<Option<String>>> {
    fn owned<'l>(ledger: Option<&'l Ledger>, path: &HostPath) -> Option<&'l RootOwned> {
        match &ledger?.files.get(path)?.part {
            Part::Containerd(owned) => Some(owned),
            Part::Whole | Part::DropIn => None,
        }
    }
    let (after, before) = (owned(Some(&journal.after), path), owned(journal.before.as_ref(), path));
    if after.or(before).is_none() {
        return Ok(None);
    }
    let Some(bytes) = root.read(path)? else { return Ok(None) };
    let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
    let want = journal.before.as_ref().map(Ledger::registrations).unwrap_or_default();
    Ok(containerd::revert(&text, after, before, &want).ok())
}

/// Refuses to write over something that is not what the plan saw.
pub(super) fn expect_digest(root: &HostRoot, path: &HostPath, expected: Option<&Digest>) -> Result<()> {
    if root.digest(path)?.as_ref() == expected {
        return Ok(());
    }
    Err(HostError::new(
        Class::Conflict,
        format!("{path} was changed by someone else since the change was planned"),
    )
    .with_hint("try again: the new content will be taken into account"))
}
