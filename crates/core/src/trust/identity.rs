//! Who may have signed without a key of their own.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Somebody who may sign: as their certificate names them, and who vouched for that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// A mail address, or the address of a workflow; or a pattern of them.
    pub identity: Pattern,
    /// The issuer's address, exactly.
    pub issuer: String,
}

/// A pattern: `*` stands for any characters but `/` and `@`, `**` for any at all. The whole name must fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// Which characters a star stands for.
type Allows = fn(char) -> bool;

impl Pattern {
    /// Checks `text`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("`{text}` holds white space"));
        }
        if text.contains("***") {
            return Err(format!("`{text}` holds more than two `*` in a row"));
        }
        if !text.chars().any(char::is_alphanumeric) {
            return Err(format!("`{text}` would let everybody sign"));
        }
        Ok(Self(text))
    }

    /// Whether `name` fits, all of it.
    pub fn fits(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        // Which beginnings of the name fit what of the pattern was read: no backtracking, whatever the pattern.
        let mut ends = vec![false; name.len() + 1];
        if let Some(first) = ends.first_mut() {
            *first = true;
        }
        let mut rest = self.0.as_str();
        while let Some(c) = rest.chars().next() {
            let (run, used): (Option<Allows>, usize) = if rest.starts_with("**") {
                (Some(|_| true), 2)
            } else if c == '*' {
                (Some(|c| !matches!(c, '/' | '@')), 1)
            } else {
                (None, c.len_utf8())
            };
            let mut next = vec![false; ends.len()];
            for at in 0..ends.len() {
                let before = at.checked_sub(1);
                let came = before.and_then(|before| name.get(before)).copied();
                let of = |table: &[bool], at: Option<usize>| {
                    at.and_then(|at| table.get(at)).copied().unwrap_or(false)
                };
                let fits = match (run, came) {
                    (None, came) => of(&ends, before) && came == Some(c),
                    (Some(_), None) => of(&ends, Some(at)),
                    (Some(run), Some(came)) => of(&ends, Some(at)) || of(&next, before) && run(came),
                };
                if let Some(slot) = next.get_mut(at) {
                    *slot = fits;
                }
            }
            ends = next;
            rest = rest.get(used..).unwrap_or_default();
        }
        ends.last().copied().unwrap_or(false)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    const FLOW: &str = "https://github.com/acme/kata/.github/workflows/release.yml@refs/tags/v1.0";

    #[test]
    fn a_pattern_fits_all_of_a_name_or_nothing() {
        for (pattern, name, fits) in [
            (FLOW, FLOW, true),
            ("https://github.com/acme/kata/.github/workflows/release.yml@refs/tags/*", FLOW, true),
            ("https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*", FLOW, true),
            ("https://github.com/acme/**", FLOW, true),
            ("https://github.com/acme/*", FLOW, false),
            ("https://github.com/acme/**", "https://github.com/acme-evil/kata/x", false),
            ("https://github.com/acme/**", "xhttps://github.com/acme/kata", false),
            ("https://github.com/acme/kata", "https://github.com/acme/kata2", false),
            ("https://github.com/acme/kata", "https://github.com/Acme/kata", false),
            ("https://a.b/c", "https://aXb/c", false),
            // A branch may hold what looks like the end of the pattern.
            (
                "https://g/acme/x/*@refs/heads/main",
                "https://g/acme/x/f.yml@refs/heads/e@refs/heads/main",
                false,
            ),
            ("*@acme.example", "ann@acme.example", true),
            ("*@acme.example", "ann@evil@acme.example", false),
            ("*@acme.example", "ann@acme.example.evil", false),
            ("*@acme.example", "@acme.example", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("a", "", false),
            ("ä*", "äö", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().fits(name), fits, "{pattern} on {name}");
        }
    }

    #[test]
    fn what_lets_everybody_sign_is_no_pattern() {
        for bad in ["", "*", "**", "*@*", "https//***", "a b", "a\n", "*/*"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_long_pattern_takes_no_long_time() {
        let pattern = Pattern::new(format!("{}b", "a*".repeat(200))).unwrap();
        assert!(!pattern.fits(&"a".repeat(2000)));
    }
}
