//! Finds our structure in a text that others may have edited since, and cuts it out.

use super::compare::first_difference;
use super::error::{DialectError, Place};
use super::scan::{Home, Kind, Scan, Statement, starts_with};
use super::tree::Tree;
use super::write::{Piece, PieceKind, RootOwned, unsound};
use super::{Entry, Tables};
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
    let mut expected = scan.tree.clone();
    let mut pieces = Vec::new();
    for piece in &owned.pieces {
        if !present(&scan, owned, piece)? {
            cut.absent.push(piece.kind.describe());
        } else {
            piece.kind.remove_from(&mut expected, owned.tables);
            pieces.push(piece);
        }
    }
    keep_version(&mut expected, &mut pieces, &mut cut);
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

fn path_of(tables: Tables, entry: &Entry) -> [&str; 5] {
    let [a, b, c, d] = tables.runtimes();
    [a, b, c, d, entry.handler.as_str()]
}

fn import_index(scan: &Scan<'_>, pattern: &str) -> Option<usize> {
    match scan.tree.get(&["imports"])? {
        Tree::Array(items) => items.iter().position(|item| item.text() == Some(pattern)),
        _ => None,
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

/// A `version` of ours stays once others have written something whose meaning depends on it.
fn keep_version(rest: &mut Tree, pieces: &mut Vec<&Piece>, cut: &mut Cut) {
    let depends = ["plugins", "disabled_plugins", "required_plugins", "imports"]
        .iter()
        .any(|key| rest.get(&[key]).is_some_and(|tree| !tree.is_empty()));
    let version = pieces.iter().position(|piece| matches!(piece.kind, PieceKind::Version(_)));
    let Some(at) = version.filter(|_| depends) else { return };
    let kind = &pieces.remove(at).kind;
    cut.kept.push(kind.describe());
    if let (PieceKind::Version(number), Tree::Table(table)) = (kind, rest) {
        table.insert("version".to_owned(), Tree::Integer(*number));
    }
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

fn without(text: &str, removed: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for range in removed {
        out.push_str(text.get(at..range.start).unwrap_or_default());
        at = range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn union(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// A range of what remains after `removed`, as a range of the text before.
fn original(removed: &[Range<usize>], range: &Range<usize>) -> Range<usize> {
    let map = |offset: usize, behind: bool| {
        removed.iter().fold(offset, |at, gone| {
            if gone.start < at || (behind && gone.start == at) { at + gone.len() } else { at }
        })
    };
    map(range.start, true)..map(range.end, false)
}

/// Where the structure begins that finds the part.
fn structure(scan: &Scan<'_>, tables: Tables, piece: &Piece) -> Option<usize> {
    match &piece.kind {
        PieceKind::Version(_) => scan.offset(&["version"]),
        PieceKind::Import { list: true, .. } => scan.offset(&["imports"]),
        PieceKind::Import { pattern, list: false } => {
            let (_, items) = scan.array("imports")?;
            items.get(import_index(scan, pattern)?).map(|item| item.start)
        }
        PieceKind::Entry { entry, .. } => scan.offset(&path_of(tables, entry)),
    }
}

fn exact_range(scan: &Scan<'_>, tables: Tables, piece: &Piece) -> Option<Range<usize>> {
    let start = structure(scan, tables, piece)?.checked_sub(piece.anchor)?;
    let range = start..start + piece.text.len();
    if scan.text.get(range.clone())? != piece.text {
        return None;
    }
    let rest = scan.text.get(range.end..)?;
    let whole = match &piece.kind {
        PieceKind::Import { list: false, .. } => {
            piece.text.contains(',') || rest.trim_start().starts_with(']')
        }
        PieceKind::Entry { .. } if piece.text.starts_with(", ") => true,
        PieceKind::Entry { .. } if piece.text.starts_with(" ") && piece.text.ends_with('}') => {
            let next = rest.trim_start();
            next.starts_with('}')
        }
        _ => {
            piece.text.ends_with('\n')
                || rest.is_empty()
                || rest.starts_with('\n')
                || rest.starts_with("\r\n")
        }
    };
    whole.then_some(range)
}

/// What to remove where the text around or within the part was edited: its statements, and no comment of others.
fn edited_ranges(scan: &Scan<'_>, tables: Tables, piece: &Piece) -> Vec<Range<usize>> {
    match &piece.kind {
        PieceKind::Version(_) => statement_lines(scan, &["version"], piece),
        PieceKind::Import { pattern, list } => {
            let Some((whole, items)) = scan.array("imports") else { return Vec::new() };
            let Some(at) = import_index(scan, pattern) else { return Vec::new() };
            if *list && items.len() == 1 {
                statement_lines(scan, &["imports"], piece)
            } else {
                element(scan, &whole, &items, at)
            }
        }
        PieceKind::Entry { entry, .. } => {
            let path = path_of(tables, entry);
            match scan.home(&path) {
                Some(Home::Inline { .. }) if !scan.has_statements(&path) => inline_element(scan, &path),
                _ => statement_lines(scan, &path, piece),
            }
        }
    }
}

fn statement_lines(scan: &Scan<'_>, path: &[&str], piece: &Piece) -> Vec<Range<usize>> {
    let marker = piece.text.lines().map(str::trim).find(|line| line.starts_with('#'));
    let mut ranges = Vec::new();
    for statement in scan.statements.iter().filter(|statement| starts_with(&statement.path, path)) {
        let range = statement_range(scan, statement);
        let above = scan.line_start(range.start.saturating_sub(1));
        let line = scan.text.get(above..range.start).unwrap_or_default();
        if marker.is_some_and(|marker| line.trim() == marker) {
            ranges.push(above..range.start);
        }
        ranges.push(range);
    }
    ranges
}

/// The statement's line; only the statement, if a comment of others stands behind it.
fn statement_range(scan: &Scan<'_>, statement: &Statement) -> Range<usize> {
    let end = scan.line_end(statement.span.end);
    let rest = scan.text.get(statement.span.end..end).unwrap_or_default();
    if rest.trim().is_empty() { scan.line_start(statement.span.start)..end } else { statement.span.clone() }
}

/// One element of an array with the comma that goes with it.
fn element(scan: &Scan<'_>, whole: &Range<usize>, items: &[Range<usize>], at: usize) -> Vec<Range<usize>> {
    let Some(own) = items.get(at).cloned() else { return Vec::new() };
    let next = items.get(at + 1).map_or(whole.end.saturating_sub(1), |item| item.start);
    if let Some(comma) = comma(scan.text, own.end..next) {
        let after = comma + 1;
        let blanks = scan
            .text
            .get(after..next)
            .map_or(0, |rest| rest.len() - rest.trim_start_matches([' ', '\t']).len());
        let mut own = own;
        let mut comma = comma..after + blanks;
        let line = scan.line_start(own.start);
        let alone = scan.text.get(line..own.start).is_some_and(|indent| indent.trim().is_empty());
        let rest = scan.text.get(comma.end..next).unwrap_or_default();
        if alone && (rest.starts_with('\n') || rest.starts_with("\r\n")) && line > whole.start {
            own.start = line;
            comma.end = scan.line_end(comma.end);
        }
        return union(vec![own, comma]);
    }
    let before = at.checked_sub(1).and_then(|before| items.get(before));
    match before.and_then(|before| comma_range(scan.text, before.end..own.start)) {
        Some(comma) => union(vec![comma, own]),
        None => vec![own],
    }
}

fn comma_range(text: &str, between: Range<usize>) -> Option<Range<usize>> {
    comma(text, between).map(|at| at..at + 1)
}

/// The comma between two elements, where comments may hold others.
fn comma(text: &str, between: Range<usize>) -> Option<usize> {
    let mut comment = false;
    for (at, c) in text.get(between.clone())?.char_indices() {
        match c {
            '#' => comment = true,
            '\n' => comment = false,
            ',' if !comment => return Some(between.start + at),
            _ => {}
        }
    }
    None
}

/// An element of an inline table with the comma that goes with it.
fn inline_element(scan: &Scan<'_>, path: &[&str]) -> Vec<Range<usize>> {
    let (Some((key, value)), Some(Home::Inline { span, .. })) = (scan.pair(path), scan.inline_parent(path))
    else {
        return Vec::new();
    };
    let text = scan.text;
    // The key may be dotted: it begins behind the comma or brace before it.
    let before = text.get(span.start..key.start).unwrap_or_default();
    let Some(at) = before.rfind([',', '{']) else { return Vec::new() };
    let opening = before.as_bytes().get(at) == Some(&b'{');
    let start = span.start + at;
    if !opening {
        return vec![start..value.end];
    }
    let rest = text.get(value.end..span.end).unwrap_or_default();
    let follows = rest.len() - rest.trim_start().len();
    let end = if rest.trim_start().starts_with(',') { value.end + follows + 1 } else { value.end };
    vec![start + 1..end]
}

impl Scan<'_> {
    /// Where the definition of `path` begins: its first header or pair, or its key in an inline table.
    pub(super) fn offset(&self, path: &[&str]) -> Option<usize> {
        let statement = self.statements.iter().find(|statement| starts_with(&statement.path, path));
        statement.map(|statement| statement.span.start).or_else(|| self.pair(path).map(|(key, _)| key.start))
    }

    fn has_statements(&self, path: &[&str]) -> bool {
        self.statements
            .iter()
            .any(|s| starts_with(&s.path, path) && (s.kind == Kind::Header || s.path.len() >= path.len()))
    }

    fn inline_parent(&self, path: &[&str]) -> Option<Home> {
        self.home(path.get(..path.len().checked_sub(1)?)?)
    }
}
