//! Relocation: absolute paths in a runtime's files follow its installation.

use crate::name::HostPath;

/// `text` with every absolute path that is `from`, or lies beneath it, beginning with `to` instead.
///
/// A path begins where the character before it cannot belong to a path, and `from` must end at `/` or at the path's
/// end: with `/opt/kata`, neither `/opt/katafoo` nor `/x/opt/kata` is touched.
pub fn relocate(text: &str, from: &HostPath, to: &HostPath) -> String {
    // `/` would make every path of the file one of the package's; the parser refuses it.
    let from = from.as_str().trim_end_matches('/');
    if from.is_empty() {
        return text.to_owned();
    }
    let to = to.as_str().trim_end_matches('/');
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut search) = (0, 0);
    while let Some(found) = text.get(search..).and_then(|rest| rest.find(from)) {
        let at = search + found;
        let end = at + from.len();
        search = at + 1; // `from` begins with `/`, one byte
        let before = text.get(..at).and_then(|s| s.chars().next_back());
        let after = text.get(end..).and_then(|s| s.chars().next());
        if before.is_none_or(begins_after) && after.is_none_or(ends_before) {
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push_str(if to.is_empty() && after != Some('/') { "/" } else { to });
            (copied, search) = (end, end);
        }
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

/// Whether an absolute path can begin after `c`. What is doubtful (a variable's end, a wildcard, an escape) counts as
/// part of a longer path, which is then left alone.
fn begins_after(c: char) -> bool {
    !(c.is_alphanumeric() || "/._-~+@%*?\\$})]".contains(c))
}

/// Whether a path's component can end before `c`.
fn ends_before(c: char) -> bool {
    c == '/' || !(c.is_alphanumeric() || "._-~+@%*?[{$".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(path: &str) -> HostPath {
        HostPath::new(path).unwrap()
    }

    fn to_new(text: &str) -> String {
        relocate(text, &host("/opt/kata"), &host("/new"))
    }

    #[test]
    fn whole_paths_move() {
        assert_eq!(to_new("path = \"/opt/kata/bin/qemu\"\r\n"), "path = \"/new/bin/qemu\"\r\n");
        assert_eq!(to_new("/opt/kata:/opt/kata/x /opt/kata"), "/new:/new/x /new");
        assert_eq!(to_new("a=/opt/kata,['/opt/kata']"), "a=/new,['/new']");
        assert_eq!(to_new("\"sh -c \\\"/opt/kata\\\"\""), "\"sh -c \\\"/new\\\"\"");
        assert_eq!(relocate("x /opt/a /opt/a/b", &host("/opt/a"), &host("/")), "x / /b");
    }

    #[test]
    fn parts_of_paths_stay() {
        for text in [
            "/opt/katafoo",
            "/opt/kata-2/x",
            "/opt/kata.bak",
            "/x/opt/kata",
            "../opt/kata/x",
            "${ROOT}/opt/kata/x",
            "file:///opt/kata",
            "/opt/kata*",
            "/opt/kataé",
            "é/opt/kata",
        ] {
            assert_eq!(to_new(text), text);
        }
        assert_eq!(relocate("/ /a", &host("/"), &host("/x")), "/ /a");
    }

    /// Text that holds no path of ours, and a path of ours that stands alone.
    fn piece() -> impl Strategy<Value = (String, bool)> {
        prop_oneof![
            "[a-z =\"',\n\r#é]{0,12}".prop_map(|filler| (filler, false)),
            Just(("/opt/katafoo".to_owned(), false)),
            Just(("/x/opt/kata/y".to_owned(), false)),
            "(/[a-z]{1,3}){0,3}".prop_map(|rest| (rest, true)),
        ]
    }

    proptest! {
        #[test]
        fn moves_ours_and_nothing_else(pieces in prop::collection::vec(piece(), 0..12)) {
            let render = |prefix: &str| pieces.iter().fold(String::new(), |out, (text, ours)| {
                format!("{out}{}{text}\"", if *ours { prefix } else { "" })
            });
            prop_assert_eq!(to_new(&render("\"/opt/kata")), render("\"/new"));
        }

        #[test]
        fn comes_back(text in "[a-z/ \".]{0,60}", cut in 0usize..60) {
            let at = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let text = format!("{} /opt/kata/x {}", &text[..at], &text[at..]);
            let there = relocate(&text, &host("/opt/kata"), &host("/srv/NEW/kata"));
            prop_assert!(there.contains(" /srv/NEW/kata/x "));
            prop_assert_eq!(relocate(&there, &host("/srv/NEW/kata"), &host("/opt/kata")), text);
        }

        #[test]
        fn never_panics_and_keeps_lines(text in any::<String>(), from in "(/[a-zé.]{1,4}){1,3}") {
            if let Ok(from) = HostPath::new(from) {
                let out = relocate(&text, &from, &host("/to"));
                prop_assert_eq!(out.matches('\n').count(), text.matches('\n').count());
            }
        }
    }
}
