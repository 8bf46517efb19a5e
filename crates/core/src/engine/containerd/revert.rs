//! A text that others edited in the middle of a change, as it would be had the change not been.

use super::Traces;
use super::cut::cut_root;
use super::error::DialectError;
use super::layout::{Import, Layout, Placement};
use super::scan::Scan;
use super::write::{PieceKind, RootOwned, unsound, write_root};
use super::{ConfigVersion, Registrations, Tables};
use crate::engine::Overwrite;
use crate::name::HostPath;
use crate::splice;

/// Takes what is ours out of `text`, be it as the change left it (`after`) or as it was (`before`), and writes what was
/// there before: `want`. What others wrote stays. None: no file is to be there.
///
/// # Errors
/// A conflict if somebody changed one of our tables.
pub fn revert(
    text: &str,
    after: Option<&RootOwned>,
    before: Option<&RootOwned>,
    want: &Registrations,
) -> Result<Option<String>, DialectError> {
    let mut base = text.to_owned();
    let mut failed = None;
    for owned in [after, before].into_iter().flatten() {
        match without(&base, owned) {
            Ok(rest) => base = rest,
            Err(error) => failed = Some(error),
        }
    }
    // In an upgrade the tables are those of one side only, so one of the two fails.
    match failed {
        Some(error) if [after, before].into_iter().flatten().any(|owned| is_left(&base, owned)) => {
            return Err(error);
        }
        _ => {}
    }
    let created = after.or(before).is_some_and(|owned| owned.created);
    let base = Some(base).filter(|base| !(created && base.trim().is_empty()));
    match before {
        None => Ok(base),
        Some(owned) => Ok(Some(write_root(&Layout::of(owned)?, base.as_deref(), want)?.0.text)),
    }
}

fn without(text: &str, owned: &RootOwned) -> Result<String, DialectError> {
    let cut = cut_root(text, owned, &Traces::default(), Overwrite::No)?;
    splice::apply(text, &cut.splices).map_err(|error| unsound(&owned.file, error.to_string()))
}

/// Whether a handler of `owned` still stands in `text`.
fn is_left(text: &str, owned: &RootOwned) -> bool {
    let Ok(scan) = Scan::new(&owned.file, text) else { return true };
    owned.pieces.iter().filter(|piece| matches!(&piece.kind, PieceKind::Entry { runtime: Some(_), .. })).any(
        |piece| {
            Tables::ALL
                .iter()
                .filter_map(|tables| piece.kind.path(*tables))
                .any(|path| scan.tree.get(&path).is_some())
        },
    )
}

impl Layout {
    /// The layout by which `owned` was written.
    fn of(owned: &RootOwned) -> Result<Self, DialectError> {
        let mut layout = Self {
            file: owned.file.clone(),
            version: ConfigVersion::V2,
            add_version: false,
            tables: owned.tables,
            placement: Placement::InPlace,
            keep: Vec::new(),
        };
        for piece in &owned.pieces {
            match &piece.kind {
                PieceKind::Version(number) => {
                    layout.add_version = true;
                    layout.version =
                        ConfigVersion::try_from(*number).map_err(|what| unsound(&owned.file, what))?;
                }
                PieceKind::Import { pattern, .. } => {
                    layout.placement =
                        Placement::DropIn { dir: folder(owned), import: Import::Ensure(pattern.clone()) };
                }
                PieceKind::Entry { runtime: None, entry } => layout.keep.push(entry.clone()),
                PieceKind::Entry { runtime: Some(_), .. } | PieceKind::Platform { .. } => {}
            }
        }
        Ok(layout)
    }
}

/// Drop-ins are not written here: any folder does.
fn folder(owned: &RootOwned) -> HostPath {
    owned.file.parent().unwrap_or_else(|| owned.file.clone())
}
