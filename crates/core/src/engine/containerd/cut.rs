//! Finds our structure in a text that others may have edited since, and cuts it out.

use super::compare::{Difference, first_difference};
use super::error::{DialectError, Place};
use super::locate::{Spot, edited_ranges, exact_range, import_index, original, union, without};
use super::scan::Scan;
use super::tree::Tree;
use super::write::{Piece, PieceKind, RootOwned, unsound};
use super::{Entry, Overwrite, Tables, Traces};
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

/// Cuts everything in `owned` out of `text`, and what else `traces` finds in it. If nobody edited the text, what
/// remains is the text of before, byte for byte; if somebody did, their edits remain.
///
/// # Errors
/// A conflict if somebody changed one of our tables. Nothing is to be written then.
pub fn cut_root(
    text: &str,
    owned: &RootOwned,
    traces: &Traces,
    overwrite: Overwrite,
) -> Result<Cut, DialectError> {
    let scan = Scan::new(&owned.file, text)?;
    let mut cut = Cut::default();
    let mut spots = Vec::new();
    let others = traces.pieces();
    for piece in &owned.pieces {
        let found = recorded(&scan, owned, piece, overwrite)?;
        if found.is_empty() {
            cut.absent.push(piece.kind.describe());
        }
        spots.extend(found);
    }
    for piece in &others {
        if owned.pieces.iter().all(|known| !known.kind.covers(&piece.kind)) {
            spots.extend(traced(&scan, owned, piece, overwrite)?);
        }
    }
    let kept = [keep_defaults(&scan, owned, &mut spots), keep_version(&scan, owned, &mut spots)];
    cut.kept = kept.into_iter().flatten().map(|spot| spot.piece.kind.describe()).collect();
    let expected = rest(&scan, &spots);
    let exact = remove_all(&owned.file, text, &spots, true);
    let removed =
        match exact.and_then(|removed| verify(&owned.file, text, &removed, &expected).map(|()| removed)) {
            Ok(removed) => removed,
            Err(_) => {
                let removed = remove_all(&owned.file, text, &spots, false)?;
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

/// Whether `present` says what writing `owned` into `base` (None: no file) makes it say, be it in other words.
pub fn settled(present: &str, base: Option<&str>, owned: &RootOwned) -> bool {
    let (Ok(now), Ok(base)) =
        (Scan::new(&owned.file, present), Scan::new(&owned.file, base.unwrap_or_default()))
    else {
        return false;
    };
    let spots: Vec<Spot<'_>> =
        owned.pieces.iter().map(|piece| Spot { piece, tables: owned.tables }).collect();
    owned.pieces.iter().all(|piece| holds_in(&now, owned.tables, piece))
        && first_difference(&rest(&now, &spots), &base.tree).is_none()
}

/// Whether two texts of `file` mean the same.
pub fn same(file: &HostPath, one: &str, other: &str) -> bool {
    match (Scan::new(file, one), Scan::new(file, other)) {
        (Ok(one), Ok(other)) => first_difference(&one.tree, &other.tree).is_none(),
        _ => false,
    }
}

pub(super) fn holds_in(scan: &Scan<'_>, tables: Tables, piece: &Piece) -> bool {
    match &piece.kind {
        PieceKind::Version(number) => scan.tree.get(&["version"]) == Some(&Tree::Integer(*number)),
        PieceKind::Import { pattern, .. } => import_index(scan, pattern).is_some(),
        PieceKind::Entry { entry, .. } | PieceKind::Platform { entry, .. } => {
            let found = piece.kind.path(tables).and_then(|path| scan.tree.get(&path));
            found.is_some_and(|found| entry.difference(found).is_none())
        }
    }
}

impl PieceKind {
    fn describe(&self) -> String {
        match self {
            Self::Version(number) => format!("version = {number}"),
            Self::Import { pattern, .. } => format!("the import {pattern}"),
            Self::Entry { entry, .. } => format!("the handler {}", entry.handler),
            Self::Platform { entry, .. } => format!("the snapshotter of {}", entry.handler),
        }
    }

    /// Whether who looks for this finds `other`, too.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Import { pattern, .. }, Self::Import { pattern: other, .. }) => pattern == other,
            _ => self == other,
        }
    }
}

/// Where a part stands that we wrote into this file; a conflict if it stands there with another meaning.
fn recorded<'p>(
    scan: &Scan<'_>,
    owned: &RootOwned,
    piece: &'p Piece,
    overwrite: Overwrite,
) -> Result<Vec<Spot<'p>>, DialectError> {
    match &piece.kind {
        // A default that someone has changed since is theirs.
        PieceKind::Version(_) | PieceKind::Import { .. } | PieceKind::Entry { runtime: None, .. } => {
            let there = holds_in(scan, owned.tables, piece);
            Ok(there.then_some(Spot { piece, tables: owned.tables }).into_iter().collect())
        }
        PieceKind::Entry { .. } | PieceKind::Platform { .. } => {
            tables(scan, owned, piece, overwrite, |_, _| true)
        }
    }
}

/// Where a part of ours stands that we did not write there.
fn traced<'p>(
    scan: &Scan<'_>,
    owned: &RootOwned,
    piece: &'p Piece,
    overwrite: Overwrite,
) -> Result<Vec<Spot<'p>>, DialectError> {
    match &piece.kind {
        PieceKind::Version(_) | PieceKind::Import { .. } => recorded(scan, owned, piece, overwrite),
        PieceKind::Entry { .. } | PieceKind::Platform { .. } => {
            tables(scan, owned, piece, overwrite, Entry::resembles)
        }
    }
}

/// The tables in which an entry stands, whatever their generation.
fn tables<'p>(
    scan: &Scan<'_>,
    owned: &RootOwned,
    piece: &'p Piece,
    overwrite: Overwrite,
    is_ours: impl Fn(&Entry, &Tree) -> bool,
) -> Result<Vec<Spot<'p>>, DialectError> {
    let mut spots: Vec<Spot<'p>> = Vec::new();
    let Some(entry) = piece.kind.entry() else { return Ok(spots) };
    for tables in Tables::ALL {
        let Some(path) = piece.kind.path(tables) else { continue };
        let Some(found) = scan.tree.get(&path) else { continue };
        match entry.difference(found) {
            Some(_) if !is_ours(entry, found) => continue,
            Some(difference) if overwrite == Overwrite::No => {
                return Err(conflict(scan, owned, &path, entry, &difference));
            }
            _ => {}
        }
        spots.push(Spot { piece, tables });
        // A platform's table is the same one in each generation.
        if matches!(piece.kind, PieceKind::Platform { .. }) {
            break;
        }
    }
    Ok(spots)
}

fn conflict(
    scan: &Scan<'_>,
    owned: &RootOwned,
    path: &[&str],
    entry: &Entry,
    difference: &Difference,
) -> DialectError {
    let at = scan.offset(path);
    let place = at.map_or_else(|| Place::file(&owned.file), |at| Place::at(&owned.file, scan.text, at));
    DialectError::Conflict {
        place,
        what: format!(
            "our table of the handler `{}` was changed by someone else ({difference})",
            entry.handler
        ),
        hint: "undo that change, or remove the table by hand and run the same command again, or give the change up \
               with: cofferdam repair --overwrite"
            .to_owned(),
    }
}

/// What the file means without `spots`.
fn rest(scan: &Scan<'_>, spots: &[Spot<'_>]) -> Tree {
    let mut tree = scan.tree.clone();
    for spot in spots {
        spot.piece.kind.remove_from(&mut tree, spot.tables);
    }
    tree
}

/// containerd's defaults that we wrote down stay once others have listed runtimes: it would forget them.
fn keep_defaults<'p>(scan: &Scan<'_>, owned: &RootOwned, spots: &mut Vec<Spot<'p>>) -> Vec<Spot<'p>> {
    if rest(scan, spots).get(&owned.tables.runtimes()).is_none_or(Tree::is_empty) {
        return Vec::new();
    }
    spots.extract_if(.., |spot| matches!(spot.piece.kind, PieceKind::Entry { runtime: None, .. })).collect()
}

/// A `version` of ours stays once others have written something whose meaning depends on it.
fn keep_version<'p>(scan: &Scan<'_>, owned: &RootOwned, spots: &mut Vec<Spot<'p>>) -> Vec<Spot<'p>> {
    let rest = rest(scan, spots);
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
    spots.extract_if(.., |spot| matches!(spot.piece.kind, PieceKind::Version(_))).collect()
}

/// The ranges to remove, ordered and disjoint. With `exact`, parts that stand as we wrote them are removed with the
/// line ends and commas that we wrote.
fn remove_all(
    file: &HostPath,
    text: &str,
    spots: &[Spot<'_>],
    exact: bool,
) -> Result<Vec<Range<usize>>, DialectError> {
    let scan = Scan::new(file, text)?;
    let mut removed = Vec::new();
    let mut edited = Vec::new();
    for spot in spots {
        match exact_range(&scan, *spot).filter(|_| exact) {
            Some(range) => removed.push(range),
            None => edited.push(*spot),
        }
    }
    let mut removed = union(removed);
    for spot in edited {
        let now = without(text, &removed);
        let scan = Scan::new(file, &now)?;
        let more = edited_ranges(&scan, spot).into_iter().map(|range| original(&removed, &range));
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
