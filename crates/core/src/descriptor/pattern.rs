//! Patterns of package paths: `*` stands for any run of characters but `/`.

use super::Relocate;
use crate::name::PackagePath;

impl Relocate {
    /// Whether one of the patterns in `files` selects `path`.
    pub fn selects(&self, path: &PackagePath) -> bool {
        self.files.iter().any(|pattern| matches(pattern, path.as_str()))
    }
}

/// Whether `pattern` describes the whole of `path`.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let mut patterns = pattern.split('/');
    let mut parts = path.split('/');
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if component(pattern, part) => {}
            _ => return false,
        }
    }
}

/// One component: the text before the first `*`, what lies between the stars from left to right, the text after the
/// last. Taking each piece at its first occurrence is enough, so the time is that of a search.
pub(super) fn component(pattern: &str, part: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == part };
    let Some(part) = part.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut part) = part.strip_suffix(tail) else { return false };
    for piece in middle.split('*') {
        let Some((_, after)) = part.split_once(piece) else { return false };
        part = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stays_in_its_folder() {
        for (pattern, path) in [
            ("etc/*.toml", "etc/runsc.toml"),
            ("etc/*.toml", "etc/.toml"),
            ("*/*", "a/b"),
            ("a*b*c", "a-b-b-c"),
            ("a**c", "abc"),
            ("plain", "plain"),
            ("*", "x"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("etc/*.toml", "etc/a/b.toml"),
            ("*.toml", "etc/x.toml"),
            ("etc/*", "etc"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("ab*ba", "aba"),
            ("plain", "plain2"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    /// The definition, written as such: slow, but plainly right.
    fn slow(pattern: &[char], path: &[char]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) if slow(rest, path) => true,
            (Some(('*', _)), Some((c, rest))) => *c != '/' && slow(pattern, rest),
            (Some((p, pattern)), Some((c, path))) => p == c && slow(pattern, path),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab/*]{0,8}", path in "[ab/]{0,8}") {
            let (p, q): (Vec<char>, Vec<char>) = (pattern.chars().collect(), path.chars().collect());
            prop_assert_eq!(matches(&pattern, &path), slow(&p, &q));
        }
    }
}
