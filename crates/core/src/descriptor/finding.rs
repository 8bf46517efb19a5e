//! What is wrong with a descriptor, where, and what to do about it.

use crate::class::Class;
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// How many characters of a line are shown; a longer one is cut around the place.
const WIDTH: usize = 100;

/// The kinds of findings. The name in JSON is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The text is not TOML.
    Syntax,
    /// The text is too large to be a descriptor.
    TooLarge,
    /// `schema` names a form that this release does not read.
    Schema,
    /// A key that has no meaning where it stands.
    UnknownKey,
    /// A key that must be there and is not.
    MissingKey,
    /// A value of another type than the key takes.
    WrongType,
    /// A name, version or path that does not have its form.
    BadName,
    /// A path that leaves the package.
    LeavesPackage,
    /// Not a Kubernetes quantity, or one without meaning there.
    BadQuantity,
    /// Another value that the key does not take.
    BadValue,
    /// The same name or value twice.
    Duplicate,
    /// Keys that exclude or need each other.
    Contradiction,
    /// Something that this release cannot do yet.
    NotSupported,
    /// A file that the package does not have.
    MissingFile,
    /// A file that an engine must be able to execute, and cannot.
    NotExecutable,
    /// A folder where a file is needed.
    NotAFile,
    /// A pattern that selects no file.
    NoMatch,
    /// A value of which nobody knows whether it names a file of the package. Not an error: it stays as it is.
    UnknownPath,
}

/// A place in a text, for people and for editors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters on that line are meant; at least 1.
    pub length: usize,
    /// The line itself, as shown: tabs are blanks, other control characters are replaced, no line end.
    pub text: String,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of defect.
    pub kind: FindingKind,
    /// The file's name, as the caller gave it.
    pub file: String,
    /// Where in the file; none if the file as a whole is meant.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Finding {
    /// Always [`Class::Invalid`]: a finding is about input.
    pub const fn class(&self) -> Class {
        Class::Invalid
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            write!(f, "{}: {}", self.file, self.message)?;
            return self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  = hint: {hint}"));
        };
        writeln!(f, "{}:{}:{}: {}", self.file, place.line, place.column, self.message)?;
        let number = place.line.to_string();
        let margin = number.len() + 1;
        let (shown, column) = excerpt(&place.text, place.column);
        let room = shown.chars().count().saturating_sub(column - 1).max(1);
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, " {number} | {shown}")?;
        write!(f, "{:margin$} | {:skip$}{}", "", "", "^".repeat(place.length.min(room)), skip = column - 1)?;
        match &self.hint {
            Some(hint) => write!(f, "\n{:margin$} = hint: {hint}", ""),
            None => Ok(()),
        }
    }
}

/// The part of `line` to show, and the column (from 1) of `column` in it.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let length = line.chars().count();
    let column = column.clamp(1, length + 1);
    if length <= WIDTH {
        return (line.to_owned(), column);
    }
    let start = (column - 1).saturating_sub(WIDTH / 2).min(length - WIDTH);
    let mut shown: String = line.chars().skip(start).take(WIDTH).collect();
    let mut at = column - start;
    if start > 0 {
        shown.insert_str(0, "... ");
        at += 4;
    }
    if start + WIDTH < length {
        shown.push_str(" ...");
    }
    (shown, at)
}

/// All findings about one descriptor: at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// An error if there are findings.
    ///
    /// # Errors
    /// The findings, if there are any.
    pub fn check(findings: Vec<Finding>) -> Result<(), Self> {
        if findings.is_empty() { Ok(()) } else { Err(Self(findings)) }
    }

    pub(crate) const fn new(findings: Vec<Finding>) -> Self {
        Self(findings)
    }

    /// The findings, in the order of the file.
    pub fn as_slice(&self) -> &[Finding] {
        &self.0
    }

    /// Always [`Class::Invalid`].
    pub const fn class(&self) -> Class {
        Class::Invalid
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.0.first().map_or("runtime.toml", |first| first.file.as_str());
        match self.0.len() {
            1 => write!(f, "{file} is not valid")?,
            count => write!(f, "{file} is not valid: {count} findings")?,
        }
        self.0.iter().try_for_each(|finding| write!(f, "\n\n{finding}"))
    }
}

impl std::error::Error for Findings {}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A text with its name, from which findings get their places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// The place of a range of bytes; the part behind the first line end is not shown.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let start = self.boundary(span.start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        // A parser may point behind a line's text, at its `\r`: that is the line's end for a person.
        let start = start.min(line_start + line.len());
        let end = self.boundary(span.end).clamp(start, line_start + line.len());
        let in_line = self.text.get(line_start..start).unwrap_or_default();
        let bom = usize::from(line_start == 0 && self.text.starts_with('\u{feff}'));
        Place {
            line: before.matches('\n').count() + 1,
            column: (in_line.chars().count() + 1).saturating_sub(bom).max(1),
            length: self.text.get(start..end).unwrap_or_default().chars().count().max(1),
            text: line.chars().skip(bom).map(shown).collect(),
        }
    }

    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }

    /// A finding at `span`.
    pub(crate) fn finding(&self, kind: FindingKind, span: Option<&Range<usize>>, message: &str) -> Finding {
        Finding {
            kind,
            file: plain(self.name),
            place: span.map(|span| self.place(span)),
            message: plain(message),
            hint: None,
        }
    }
}

/// A descriptor comes from strangers: it must not send control sequences to a terminal.
fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    }
}

fn is_unsafe(c: char) -> bool {
    // Beside control characters: those that reorder or hide text in a terminal (Unicode's bidirectional controls).
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `text` with the characters that a terminal would obey written as escapes.
pub(crate) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if is_unsafe(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    })
}
