//! Finds our structure in a text that others may have edited since, and cuts it out.

use super::Tables;
use super::compare::first_difference;
use super::error::{DialectError, Place};
use super::locate::{edited_ranges, exact_range, import_index, original, path_of, union, without};
use super::scan::Scan;
use super::tree::Tree;
use super::write::{Piece, PieceKind, RootOwned, unsound};
use crate::name::HostPath;
use crate::splice::Splice;
use std::ops::Range;

/// How our parts are cut out of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The edits: removals only.
    pub splices: Vec<Splice>,
    /// Parts that someone has already taken away.
    pub absent: Vec<String>,
    /// Parts that must stay, since others now depend on them.
    pub kept: Vec<String>,
}

/// Cuts everything in `owned` out of `text`. If nobody edited the text, what remains is the text of before, byte for
/// byte; if somebody did, their edits remain.
///
/// # Errors
/// A conflict if somebody changed one of our tables. Nothing is to be written then.
pub fn cut_root(text: &str, owned: &RootOwned) -> Result<Cut, DialectError> {
    let scan = Scan::new(&owned.file, text)?;
    let mut cut = Cut::default();
    let mut pieces = Vec::new();
    for piece in &owned.pieces {
        if present(&scan, owned, piece)? {
            pieces.push(piece);
        } else {
            cut.absent.push(piece.kind.describe());
        }
    }
    let kept = [keep_defaults(&scan, owned, &mut pieces), keep_version(&scan, owned, &mut pieces)];
    cut.kept = kept.into_iter().flatten().map(|piece| piece.kind.describe()).collect();
    let expected = rest(&scan, owned, &pieces);
    let exact = remove_all(&owned.file, text, owned.tables, &pieces, true);
    let removed =
        match exact.and_then(|removed| verify(&owned.file, text, &removed, &expected).map(|()| removed)) {
            Ok(removed) => removed,
            Err(_) => {
                let removed = remove_all(&owned.file, text, owned.tables, &pieces, false)?;
                verify(&owned.file, text, &removed, &expected)?;
                removed
            }
        };
    cut.splices = removed
        .into_iter()
        .map(|range| Splice {
            expect: text.get(range.clone()).unwrap_or_default().to_owned(),
            range,
            new: String::new(),
        })
        .collect();
    Ok(cut)
}

/// Whether everything in `owned` stands in `text` as we wrote it.
pub fn holds(text: &str, owned: &RootOwned) -> bool {
    Scan::new(&owned.file, text)
        .is_ok_and(|scan| owned.pieces.iter().all(|piece| holds_in(&scan, owned.tables, piece)))
}

pub(super) fn holds_in(scan: &Scan<'_>, tables: Tables, piece: &Piece) -> bool {
    match &piece.kind {
        PieceKind::Version(number) => scan.tree.get(&["version"]) == Some(&Tree::Integer(*number)),
        PieceKind::Import { pattern, .. } => import_index(scan, pattern).is_some(),
        PieceKind::Entry { entry, .. } => scan.tree.get(&path_of(tables, entry)) == Some(&entry.tree()),
    }
}

impl PieceKind {
    fn describe(&self) -> String {
        match self {
            Self::Version(number) => format!("version = {number}"),
            Self::Import { pattern, .. } => format!("the import {pattern}"),
            Self::Entry { entry, .. } => format!("the handler {}", entry.handler),
        }
    }
}

/// Whether the part is there; a conflict if it is there with another meaning.
fn present(scan: &Scan<'_>, owned: &RootOwned, piece: &Piece) -> Result<bool, DialectError> {
    let PieceKind::Entry { entry, .. } = &piece.kind else { return Ok(holds_in(scan, owned.tables, piece)) };
    for tables in [Tables::Grpc, Tables::Runtime] {
        let path = path_of(tables, entry);
        let Some(found) = scan.tree.get(&path) else { continue };
        let place = scan
            .offset(&path)
            .map_or_else(|| Place::file(&owned.file), |at| Place::at(&owned.file, scan.text, at));
        let what = if tables != owned.tables {
            "was moved to other tables".to_owned()
        } else if let Some(difference) = first_difference(&entry.tree(), found) {
            format!("was changed by someone else ({difference})")
        } else {
            return Ok(true);
        };
        return Err(DialectError::Conflict {
            place,
            what: format!("our table of the handler `{}` {what}", entry.handler),
            hint: "undo that change, or remove the table by hand; then run the same command again".to_owned(),
        });
    }
    Ok(false)
}

/// What the file means without `pieces`.
fn rest(scan: &Scan<'_>, owned: &RootOwned, pieces: &[&Piece]) -> Tree {
    let mut tree = scan.tree.clone();
    for piece in pieces {
        piece.kind.remove_from(&mut tree, owned.tables);
    }
    tree
}

/// containerd's defaults that we wrote down stay once others have listed runtimes: it would forget them.
fn keep_defaults<'p>(scan: &Scan<'_>, owned: &RootOwned, pieces: &mut Vec<&'p Piece>) -> Vec<&'p Piece> {
    let rest = rest(scan, owned, pieces);
    if rest.get(&owned.tables.runtimes()).is_none_or(Tree::is_empty) {
        return Vec::new();
    }
    pieces.extract_if(.., |piece| matches!(piece.kind, PieceKind::Entry { runtime: None, .. })).collect()
}

/// A `version` of ours stays once others have written something whose meaning depends on it.
fn keep_version<'p>(scan: &Scan<'_>, owned: &RootOwned, pieces: &mut Vec<&'p Piece>) -> Vec<&'p Piece> {
    let rest = rest(scan, owned, pieces);
    let depends = if owned.created {
        !rest.is_empty()
    } else {
        // It was added to a file that had none of these.
        ["plugins", "disabled_plugins", "required_plugins"]
            .iter()
            .any(|key| rest.get(&[key]).is_some_and(|tree| !tree.is_empty()))
    };
    if !depends {
        return Vec::new();
    }
    pieces.extract_if(.., |piece| matches!(piece.kind, PieceKind::Version(_))).collect()
}

/// The ranges to remove, ordered and disjoint. With `exact`, parts that stand as we wrote them are removed with the
/// line ends and commas that we wrote.
fn remove_all(
    file: &HostPath,
    text: &str,
    tables: Tables,
    pieces: &[&Piece],
    exact: bool,
) -> Result<Vec<Range<usize>>, DialectError> {
    let scan = Scan::new(file, text)?;
    let mut removed = Vec::new();
    let mut edited = Vec::new();
    for piece in pieces {
        match exact_range(&scan, tables, piece).filter(|_| exact) {
            Some(range) => removed.push(range),
            None => edited.push(*piece),
        }
    }
    let mut removed = union(removed);
    for piece in edited {
        let now = without(text, &removed);
        let scan = Scan::new(file, &now)?;
        let more = edited_ranges(&scan, tables, piece).into_iter().map(|range| original(&removed, &range));
        removed = union(removed.iter().cloned().chain(more.collect::<Vec<_>>()).collect());
    }
    Ok(removed)
}

fn verify(
    file: &HostPath,
    text: &str,
    removed: &[Range<usize>],
    expected: &Tree,
) -> Result<(), DialectError> {
    let rest = without(text, removed);
    let scan = Scan::new(file, &rest).map_err(|error| unsound(file, error.to_string()))?;
    match first_difference(expected, &scan.tree) {
        Some(difference) => Err(unsound(file, difference.to_string())),
        None => Ok(()),
    }
}
