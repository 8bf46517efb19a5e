//! Where our parts stand in a text that others may have edited since.

use super::Tables;
use super::scan::{Home, Kind, Scan, Statement, starts_with};
use super::tree::Tree;
use super::write::{Piece, PieceKind};
use std::ops::Range;

/// A part of ours that was found, and in which tables: `containerd config migrate` moves entries.
#[derive(Clone, Copy)]
pub(super) struct Spot<'p> {
    pub(super) piece: &'p Piece,
    pub(super) tables: Tables,
}

pub(super) fn import_index(scan: &Scan<'_>, pattern: &str) -> Option<usize> {
    match scan.tree.get(&["imports"])? {
        Tree::Array(items) => items.iter().position(|item| item.text() == Some(pattern)),
        _ => None,
    }
}

pub(super) fn without(text: &str, removed: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for range in removed {
        out.push_str(text.get(at..range.start).unwrap_or_default());
        at = range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

pub(super) fn union(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
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
pub(super) fn original(removed: &[Range<usize>], range: &Range<usize>) -> Range<usize> {
    let map = |offset: usize, behind: bool| {
        removed.iter().fold(offset, |at, gone| {
            if gone.start < at || (behind && gone.start == at) { at + gone.len() } else { at }
        })
    };
    map(range.start, true)..map(range.end, false)
}

/// Where the structure begins that finds the part.
fn structure(scan: &Scan<'_>, spot: Spot<'_>) -> Option<usize> {
    match &spot.piece.kind {
        PieceKind::Version(_) => scan.offset(&["version"]),
        PieceKind::Import { list: true, .. } => scan.offset(&["imports"]),
        PieceKind::Import { pattern, list: false } => {
            let (_, items) = scan.array("imports")?;
            items.get(import_index(scan, pattern)?).map(|item| item.start)
        }
        kind @ (PieceKind::Entry { .. } | PieceKind::Platform { .. }) => {
            scan.offset(&kind.path(spot.tables)?)
        }
    }
}

pub(super) fn exact_range(scan: &Scan<'_>, spot: Spot<'_>) -> Option<Range<usize>> {
    let piece = spot.piece;
    let start = structure(scan, spot)?.checked_sub(piece.anchor)?;
    let range = start..start + piece.text.len();
    if scan.text.get(range.clone())? != piece.text {
        return None;
    }
    let rest = scan.text.get(range.end..)?;
    let whole = match &piece.kind {
        PieceKind::Import { list: false, .. } => {
            piece.text.trim_end().ends_with(',') || rest.trim_start().starts_with(']')
        }
        kind if kind.entry().is_some() && piece.text.starts_with(", ") => true,
        kind if kind.entry().is_some() && piece.text.starts_with(' ') && piece.text.ends_with('}') => {
            rest.trim_start().starts_with('}')
        }
        // Whole lines of ours begin where a line does, unless the file had no final newline.
        _ if piece.text.ends_with('\n') => scan.line_start(range.start) == range.start,
        _ => rest.is_empty() || rest.starts_with('\n') || rest.starts_with("\r\n"),
    };
    whole.then_some(range)
}

/// What to remove where the text around or within the part was edited: its statements, and no comment of others.
pub(super) fn edited_ranges(scan: &Scan<'_>, spot: Spot<'_>) -> Vec<Range<usize>> {
    let piece = spot.piece;
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
        kind @ (PieceKind::Entry { .. } | PieceKind::Platform { .. }) => {
            let Some(path) = kind.path(spot.tables) else { return Vec::new() };
            match scan.home(&path) {
                Some(Home::Inline { .. }) if !scan.has_statements(&path) => {
                    inline_element(scan, &path).into_iter().collect()
                }
                _ => statement_lines(scan, &path, piece),
            }
        }
    }
}

/// The lines of the statements at or beneath `path`, and of our comment, wherever a tool has put it.
fn statement_lines(scan: &Scan<'_>, path: &[&str], piece: &Piece) -> Vec<Range<usize>> {
    let statements = scan.statements.iter().filter(|statement| starts_with(&statement.path, path));
    let mut ranges: Vec<_> = statements.map(|statement| statement_range(scan, statement)).collect();
    if let Some(marker) = piece.text.lines().map(str::trim).find(|line| line.starts_with('#')) {
        let mut at = 0;
        for line in scan.text.split_inclusive('\n') {
            if line.trim() == marker {
                ranges.push(at..at + line.len());
            }
            at += line.len();
        }
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
    let Some(comma) = before.and_then(|before| comma(scan.text, before.end..own.start)) else {
        return Vec::from([own]);
    };
    let blank = scan.text.get(comma + 1..own.start).is_some_and(|gap| gap.trim().is_empty());
    let reach = if blank { own.start } else { comma + 1 };
    union(vec![comma..reach, own])
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
fn inline_element(scan: &Scan<'_>, path: &[&str]) -> Option<Range<usize>> {
    let (key, value) = scan.pair(path)?;
    let Some(Home::Inline { span, .. }) = scan.inline_parent(path) else { return None };
    let text = scan.text;
    // The key may be dotted: it begins behind the comma or brace before it.
    let before = text.get(span.start..key.start)?;
    let at = before.rfind([',', '{'])?;
    let start = span.start + at;
    if before.get(at..)?.starts_with(',') {
        return Some(start..value.end);
    }
    let rest = text.get(value.end..span.end)?;
    let follows = rest.len() - rest.trim_start().len();
    let end = if rest.trim_start().starts_with(',') { value.end + follows + 1 } else { value.end };
    Some(start + 1..end)
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
