//! Which places a rule is about.

use crate::name::HostPath;
use crate::reference::Reference;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of places that are no registry.
const LOCAL: [&str; 3] = ["dir", "layout", "tar"];

/// Where a package comes from, as rules see it.
#[derive(Clone, Copy, Debug)]
pub enum Whence<'a> {
    /// A registry.
    Registry(&'a Reference),
    /// A place on this machine.
    Local {
        /// `dir`, `layout` or `tar`.
        kind: &'a str,
        /// Where.
        path: &'a str,
    },
}

/// A repository, or all beneath a prefix of it; a folder on this machine, or all beneath it; or everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

impl Scope {
    /// Everything.
    pub fn everything() -> Self {
        Self("*".to_owned())
    }

    /// Reads `*`, `HOST`, `HOST/REPOSITORY`, or `dir:`, `layout:` or `tar:` with a path or without.
    ///
    /// # Errors
    /// What is wrong with it, and how to write it.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text == "*" {
            return Ok(Self(text));
        }
        if let Some((kind, path)) = text.split_once(':').filter(|(kind, _)| LOCAL.contains(kind)) {
            return match path {
                "" => Ok(Self(text)),
                path if HostPath::new(path).is_ok() => Ok(Self(text)),
                path => Err(format!(
                    "`{path}` is no absolute path; write `{kind}:/srv/runtimes`, or `{kind}:` for all"
                )),
            };
        }
        if text.contains(['*', '@', '?']) {
            return Err(format!("`{text}`: a place is a plain prefix: what is beneath it is meant, too"));
        }
        if text.split_once('/').is_some_and(|(_, path)| path.contains(':')) {
            return Err(format!("`{text}`: a place has no tag: all that is beneath it is meant"));
        }
        // What lies two names beneath it: a reference whose path no rule of Docker's changes.
        let beneath = Reference::new(format!("{text}/x/x"))
            .map_err(|error| format!("`{text}` is no place: {}", error.reason))?;
        let canonical = format!("{}/{}", beneath.registry(), beneath.repository());
        let canonical = canonical.strip_suffix("/x/x").unwrap_or_default().to_owned();
        if canonical != text {
            return Err(format!("write `{canonical}`: the registry's host comes first"));
        }
        Ok(Self(canonical))
    }

    /// Whether what comes from there is meant.
    pub fn covers(&self, whence: Whence<'_>) -> bool {
        let name = match whence {
            Whence::Registry(reference) => format!("{}/{}", reference.registry(), reference.repository()),
            // A path that goes up and down again is not where it seems to be.
            Whence::Local { path, .. } if HostPath::new(path).is_err() => return self.0 == "*",
            Whence::Local { kind, path } => format!("{kind}:{path}"),
        };
        if self.0 == "*" {
            return true;
        }
        let prefix = self.0.strip_suffix('/').unwrap_or(&self.0);
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with(':'))
    }

    /// The more, the narrower.
    pub(super) const fn depth(&self) -> usize {
        self.0.len()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Whence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Local { kind, path } => write!(f, "{kind}:{path}"),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(text)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_ends_where_a_name_ends() {
        for (scope, reference, covers) in [
            ("*", "ghcr.io/acme/kata:1", true),
            ("ghcr.io", "ghcr.io/acme/kata:1", true),
            ("ghcr.io/acme", "ghcr.io/acme/kata:1", true),
            ("ghcr.io/acme/kata", "ghcr.io/acme/kata@sha256:", true),
            ("ghcr.io/acme", "ghcr.io/acme-evil/kata:1", false),
            ("ghcr.io", "ghcr.io.evil.example/acme/kata", false),
            ("ghcr.io", "ghcr.io:5000/acme/kata", false),
            ("ghcr.io:5000", "ghcr.io:5000/acme/kata", true),
            ("ghcr.io/acme/kata", "ghcr.io/acme", false),
            ("docker.io/library", "kata", true),
            ("ghcr.io/x/x", "ghcr.io/x/x/y:1", true),
        ] {
            let reference = reference.replace("sha256:", &format!("sha256:{}", "0".repeat(64)));
            let reference = Reference::new(reference).unwrap();
            let scope = Scope::new(scope).unwrap();
            assert_eq!(scope.covers(Whence::Registry(&reference)), covers, "{scope} of {reference}");
        }
        for (scope, kind, path, covers) in [
            ("dir:/srv/a", "dir", "/srv/a/kata", true),
            ("dir:/srv/a", "dir", "/srv/ab", false),
            ("dir:/srv/a", "dir", "/srv/a/../../etc", false),
            ("dir:/srv/a", "layout", "/srv/a", false),
            ("layout:", "layout", "/x", true),
            ("dir:/", "dir", "/x", true),
            ("*", "dir", "/x/../y", true),
        ] {
            let scope = Scope::new(scope).unwrap();
            assert_eq!(scope.covers(Whence::Local { kind, path }), covers, "{scope} of {kind}:{path}");
        }
    }

    #[test]
    fn what_cannot_be_a_place_is_refused_with_the_right_one() {
        for (text, words) in [
            ("acme/kata", "write `docker.io/acme/kata`"),
            ("kata", "docker.io/kata"),
            ("ghcr.io/acme:v1", "no tag"),
            ("ghcr.io/acme/*", "plain prefix"),
            ("ghcr.io/acme/", "is no place"),
            ("https://ghcr.io/acme", "scheme"),
            ("dir:srv", "absolute"),
            ("dir:/srv/../etc", "absolute"),
            ("", "is no place"),
        ] {
            let error = Scope::new(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
