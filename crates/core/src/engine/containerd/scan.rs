//! A configuration's statements and where they stand, from toml_edit's spans.

use super::error::{DialectError, Place};
use super::tree::Tree;
use crate::name::HostPath;
use std::ops::Range;
use toml_edit::{Document, InlineTable, Item, Table, Value};

/// A parsed text: its meaning, its statements in the order of the text, and the places between them.
pub(super) struct Scan<'t> {
    pub(super) text: &'t str,
    pub(super) tree: Tree,
    pub(super) statements: Vec<Statement>,
    doc: Document<&'t str>,
}

/// One `[header]`, `[[header]]` or `key = value`.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    pub(super) path: Vec<String>,
    /// From its first character (after the indentation) to its last (before a comment).
    pub(super) span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Pair,
}

/// How a table is written, which decides how something is added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// By headers, or not at all yet: a further header may be added.
    Headers,
    /// By dotted keys that begin in the table at the first `parent` parts of the path.
    Dotted { parent: usize },
    /// As an inline table, which is the first `depth` parts of the path.
    Inline { depth: usize, span: Range<usize> },
}

impl<'t> Scan<'t> {
    pub(super) fn new(file: &HostPath, text: &'t str) -> Result<Self, DialectError> {
        let doc = Document::parse(text).map_err(|error| DialectError::Parse {
            place: error.span().map_or_else(|| Place::file(file), |span| Place::at(file, text, span.start)),
            message: error.message().to_owned(),
        })?;
        let mut statements = Vec::new();
        collect(text, doc.as_table(), &mut Vec::new(), &mut statements);
        statements.sort_by_key(|statement| statement.span.start);
        let tree = Tree::of_item(doc.as_item()).unwrap_or_else(|| Tree::Table(Default::default()));
        Ok(Self { text, tree, statements, doc })
    }

    /// The statements that define something at or beneath `path`, in the order of the text.
    pub(super) fn beneath<'s>(&'s self, path: &'s [&str]) -> impl DoubleEndedIterator<Item = &'s Statement> {
        self.statements.iter().filter(move |s| starts_with(&s.path, path))
    }

    /// How the table at `path` is written. None: it, or a parent, is no table.
    pub(super) fn home(&self, path: &[&str]) -> Option<Home> {
        let mut table = self.doc.as_table();
        let mut dotted = None;
        for (index, key) in path.iter().enumerate() {
            match table.get(key) {
                None | Some(Item::None) => break,
                Some(Item::Table(child)) => {
                    dotted = if child.is_dotted() { dotted.or(Some(index)) } else { None };
                    table = child;
                }
                Some(Item::Value(Value::InlineTable(inline))) => {
                    return inline_home(inline, path, index + 1);
                }
                Some(_) => return None,
            }
        }
        Some(dotted.map_or(Home::Headers, |parent| Home::Dotted { parent }))
    }

    /// Where `path`'s key and value stand: a pair, or an element of an inline table.
    pub(super) fn pair(&self, path: &[&str]) -> Option<(Range<usize>, Range<usize>)> {
        let (last, parents) = path.split_last()?;
        let mut table: &dyn toml_edit::TableLike = self.doc.as_table();
        for key in parents {
            table = table.get(key)?.as_table_like()?;
        }
        let (key, item) = table.get_key_value(last)?;
        Some((key.span()?, item.span()?))
    }

    /// The spans of a top-level array's elements, and of the array.
    pub(super) fn array(&self, key: &str) -> Option<(Range<usize>, Vec<Range<usize>>)> {
        let array = self.doc.as_table().get(key)?.as_array()?;
        Some((array.span()?, array.iter().filter_map(Value::span).collect()))
    }

    /// Where the line that holds `offset` begins (after a byte order mark).
    pub(super) fn line_start(&self, offset: usize) -> usize {
        line_start(self.text, offset)
    }

    /// Where the line that holds `offset` ends, behind its line end.
    pub(super) fn line_end(&self, offset: usize) -> usize {
        line_end(self.text, offset)
    }

    /// The white space before a statement on its line.
    pub(super) fn indent(&self, statement: &Statement) -> &'t str {
        self.text.get(self.line_start(statement.span.start)..statement.span.start).unwrap_or_default()
    }

    /// Where a block may be put behind `statement`, which must be the last one under its header: behind its line
    /// and behind comments that follow closely, but before comments that lead the next header.
    pub(super) fn behind(&self, statement: &Statement) -> usize {
        let own = self.line_end(statement.span.end);
        let mut at = own;
        loop {
            let line = self.text.get(at..self.line_end(at)).unwrap_or_default();
            let shown = line.trim_start();
            if shown.starts_with('#') {
                at += line.len();
            } else {
                return if shown.is_empty() { at } else { own };
            }
        }
    }
}

pub(super) fn line_start(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or_default();
    before.rfind('\n').map_or_else(|| content_start(text).min(offset), |at| at + 1)
}

pub(super) fn line_end(text: &str, offset: usize) -> usize {
    text.get(offset..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| offset + at + 1)
}

/// Behind a byte order mark.
pub(super) fn content_start(text: &str) -> usize {
    if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
}

pub(super) fn starts_with(path: &[String], prefix: &[&str]) -> bool {
    path.len() >= prefix.len() && path.iter().zip(prefix).all(|(a, b)| a == b)
}

fn inline_home(inline: &InlineTable, path: &[&str], depth: usize) -> Option<Home> {
    // Inside an inline table dotted keys are tables without braces: the last one with braces is the home.
    let mut home = Home::Inline { depth, span: inline.span()? };
    let mut table = inline;
    for (index, key) in path.iter().enumerate().skip(depth) {
        match table.get(key) {
            None => break,
            Some(Value::InlineTable(child)) => {
                if !child.is_dotted() {
                    home = Home::Inline { depth: index + 1, span: child.span()? };
                }
                table = child;
            }
            Some(_) => return None,
        }
    }
    Some(home)
}

fn collect(text: &str, table: &Table, path: &mut Vec<String>, out: &mut Vec<Statement>) {
    if !table.is_implicit() && !table.is_dotted() && !path.is_empty() {
        if let Some(span) = table.span() {
            out.push(Statement { kind: Kind::Header, path: path.clone(), span });
        }
    }
    for (name, item) in table.iter() {
        path.push(name.to_owned());
        match item {
            Item::None => {}
            Item::Table(child) => collect(text, child, path, out),
            Item::ArrayOfTables(array) => array.iter().for_each(|child| collect(text, child, path, out)),
            Item::Value(value) => {
                let key = table.key(name).and_then(toml_edit::Key::span);
                if let (Some(key), Some(value)) = (key, value.span()) {
                    // A dotted key's own span is its last part: the statement begins where its line does.
                    let line = line_start(text, key.start);
                    let indent = text.get(line..key.start).map_or(0, |s| s.len() - s.trim_start().len());
                    out.push(Statement {
                        kind: Kind::Pair,
                        path: path.clone(),
                        span: line + indent..value.end,
                    });
                }
            }
        }
        path.pop();
    }
}
