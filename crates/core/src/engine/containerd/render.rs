//! How our tables are written: in the style of the file around them.

use super::compare::quote_key;
use super::scan::{Kind, Scan, content_start};
use super::{Entry, Layout, PLATFORMS, Tables};
use crate::engine::Value;
use crate::name::RuntimeName;
use std::fmt::Write as _;

/// The style of a file.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) eol: &'static str,
    literal: bool,
    header: String,
    key: String,
    options_header: String,
    options_key: String,
}

impl Style {
    /// The style of our own files.
    pub(super) fn plain() -> Self {
        Self {
            eol: "\n",
            literal: false,
            header: String::new(),
            key: "  ".to_owned(),
            options_header: "  ".to_owned(),
            options_key: "    ".to_owned(),
        }
    }

    /// The style of `scan`'s text: its line ends, its quotes, and the indentation of its last table of a runtime.
    pub(super) fn of(scan: &Scan<'_>, tables: Tables) -> Self {
        let mut style = Self::plain();
        let first = scan.text.find('\n').and_then(|at| scan.text.get(..at)).unwrap_or_default();
        style.eol = if first.ends_with('\r') { "\r\n" } else { "\n" };
        style.literal = scan.text.contains("'io.containerd.");
        let runtimes = tables.runtimes();
        let depth = runtimes.len();
        let last = scan.beneath(&runtimes).rfind(|s| s.kind == Kind::Header && s.path.len() == depth + 1);
        let Some(last) = last else { return style };
        let path: Vec<&str> = last.path.iter().map(String::as_str).collect();
        let indent_of = |kind: Kind, length: usize| {
            scan.beneath(&path)
                .find(|s| s.kind == kind && s.path.len() == length)
                .map(|s| scan.indent(s).to_owned())
        };
        style.header = scan.indent(last).to_owned();
        style.key = indent_of(Kind::Pair, depth + 2).unwrap_or_else(|| format!("{}  ", style.header));
        style.options_header = indent_of(Kind::Header, depth + 2).unwrap_or_else(|| style.key.clone());
        let step = style.key.strip_prefix(&style.header).unwrap_or_default().to_owned();
        style.options_key =
            indent_of(Kind::Pair, depth + 3).unwrap_or_else(|| format!("{}{step}", style.options_header));
        style
    }

    /// A text as a TOML string.
    pub(super) fn text(&self, text: &str) -> String {
        if self.literal && !text.chars().any(|c| c == '\'' || c.is_control()) {
            return format!("'{text}'");
        }
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    out.push('\\');
                    out.push(c);
                }
                c if c.is_control() => {
                    let _ = write!(out, "\\u{:04X}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        out.push('"');
        out
    }

    fn value(&self, value: &Value) -> String {
        match value {
            Value::Bool(value) => value.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => self.text(text),
            Value::List(items) => {
                format!("[{}]", items.iter().map(|item| self.text(item)).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// A dotted path.
    pub(super) fn path(&self, path: &[&str]) -> String {
        let part = |key: &&str| match quote_key(key) {
            quoted if quoted.starts_with('"') && self.literal && !key.contains('\'') => format!("'{key}'"),
            quoted => quoted,
        };
        path.iter().map(part).collect::<Vec<_>>().join(".")
    }

    /// The entry as tables with headers.
    pub(super) fn tables(&self, runtimes: &[&str], entry: &Entry) -> Vec<String> {
        let name = format!("{}.{}", self.path(runtimes), entry.handler);
        let pair = |indent: &str, (key, value): &(String, Value)| {
            format!("{indent}{} = {}", self.path(&[key]), self.value(value))
        };
        let mut lines = vec![format!("{}[{name}]", self.header)];
        lines.extend(entry.keys.iter().map(|key| pair(&self.key, key)));
        if !entry.options.is_empty() {
            lines.push(format!("{}[{name}.options]", self.options_header));
            lines.extend(entry.options.iter().map(|key| pair(&self.options_key, key)));
        }
        lines
    }

    /// The entry as dotted keys beneath `prefix`.
    pub(super) fn dotted(&self, indent: &str, prefix: &[&str], entry: &Entry) -> Vec<String> {
        let name = format!("{indent}{}.{}", self.path(prefix), entry.handler);
        let options =
            entry.options.iter().map(|(key, value)| (format!("options.{}", self.path(&[key])), value));
        let keys = entry.keys.iter().map(|(key, value)| (self.path(&[key]), value));
        keys.chain(options).map(|(key, value)| format!("{name}.{key} = {}", self.value(value))).collect()
    }

    /// The entry as an inline table.
    pub(super) fn inline(&self, entry: &Entry) -> String {
        let list = |keys: &[(String, Value)]| -> Vec<String> {
            keys.iter().map(|(key, value)| format!("{} = {}", self.path(&[key]), self.value(value))).collect()
        };
        let mut parts = list(&entry.keys);
        if !entry.options.is_empty() {
            parts.push(format!("options = {{ {} }}", list(&entry.options).join(", ")));
        }
        format!("{{ {} }}", parts.join(", "))
    }

    /// Whole lines at `offset` of `text`, which is the beginning of a line, or the end of a text without a final
    /// newline. Also where `body` begins in it.
    pub(super) fn lines(
        &self,
        text: &str,
        offset: usize,
        blank: bool,
        lead: &[String],
        body: &[String],
    ) -> (String, usize) {
        let before = text.get(..offset).unwrap_or_default();
        let fresh = offset <= content_start(text) || before.ends_with('\n');
        let mut out = String::new();
        if !fresh {
            out.push_str(self.eol);
        }
        if blank {
            out.push_str(self.eol);
        }
        for line in lead {
            out.push_str(line);
            out.push_str(self.eol);
        }
        let anchor = out.len();
        out.push_str(&body.join(self.eol));
        if fresh {
            out.push_str(self.eol);
        }
        (out, anchor)
    }

    /// A comment in front of our tables.
    pub(super) fn marker(&self, runtime: Option<&RuntimeName>) -> String {
        let text = match runtime {
            Some(runtime) => {
                format!("cofferdam: {runtime}. Do not edit; remove with: cofferdam remove {runtime}")
            }
            None => "cofferdam: containerd's default, which it forgets once runtimes are listed".to_owned(),
        };
        format!("{}# {text}", self.header)
    }
}

/// The drop-in file of one runtime, in the root file's version and generation of tables.
pub fn drop_in(layout: &Layout, runtime: &RuntimeName, entries: &[Entry]) -> String {
    let style = Style::plain();
    let mut out = format!("{}\nversion = {}\n", style.marker(Some(runtime)), i64::from(layout.version));
    for entry in entries {
        out.push('\n');
        for line in style.tables(&layout.tables.runtimes(), entry) {
            out.push_str(&line);
            out.push('\n');
        }
        if let Some(platform) = entry.platform() {
            out.push('\n');
            for line in style.tables(&PLATFORMS, &platform) {
                out.push_str(&line);
                out.push('\n');
            }
        }
    }
    out
}
