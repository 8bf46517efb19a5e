//! The unified diff that a plan shows.

use similar::{ChangeTag, TextDiff};
use std::fmt::Write as _;

/// The unified diff of one file. An absent text (None) is shown as `/dev/null`; equal texts give an empty diff.
///
/// A line that ends with CR LF on one side only is shown with `^M`, since it would look unchanged otherwise.
pub fn unified(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    let (old, new) = (before.unwrap_or_default(), after.unwrap_or_default());
    if before.is_some() == after.is_some() && old == new {
        return String::new();
    }
    let name = |text: Option<&str>, side: &str| match text {
        Some(_) => format!("{side}{path}"),
        None => "/dev/null".to_owned(),
    };
    let mut out = format!("--- {}\n+++ {}\n", name(before, "a"), name(after, "b"));
    let returns = old.contains("\r\n") != new.contains("\r\n") && before.is_some() && after.is_some();
    let diff = TextDiff::from_lines(old, new);
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        let _ = writeln!(out, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let value = change.value();
            let (line, ended) = value.strip_suffix('\n').map_or((value, false), |line| (line, true));
            let (line, carriage) = line.strip_suffix('\r').map_or((line, ""), |line| (line, "^M"));
            let shown = if returns { carriage } else { "" };
            let _ = writeln!(out, "{sign}{line}{shown}");
            if !ended {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    }
    out
}
