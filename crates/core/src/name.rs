//! Names, paths and digests as types: once constructed, they are valid.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Why a name, path or digest was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an RFC 1123 DNS label.
    #[error(
        "`{0}` is not a DNS label (1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit)"
    )]
    Label(String),
    /// Not an RFC 1123 DNS subdomain.
    #[error(
        "`{0}` is not a node's name (1 to 253 of a-z, 0-9, `-` and `.`: DNS labels with dots between them)"
    )]
    Node(String),
    /// Not usable as a version, which becomes part of a folder's name.
    #[error(
        "`{0}` is not a version (1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `+` and -, beginning with a letter or digit)"
    )]
    Version(String),
    /// Not an absolute, normal path.
    #[error("`{0}` is not an absolute path without `.`, `..`, doubled `/` or control characters")]
    HostPath(String),
    /// Not a path inside a package.
    #[error("`{0}` leaves the package, or is not a plain relative path")]
    PackagePath(String),
    /// Not a digest of that kind.
    #[error("`{found}` is not `{algorithm}:` and 64 hexadecimal digits")]
    Digest {
        /// What it should begin with.
        algorithm: &'static str,
        /// What it is.
        found: String,
    },
}

fn is_label(s: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&s.len())
        && s.bytes().all(|b| inner(b) || b == b'-')
        && s.bytes().next().is_some_and(inner)
        && s.bytes().last().is_some_and(inner)
}

fn is_subdomain(s: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    s.len() <= 253
        && s.split('.').all(|part| {
            part.bytes().all(|b| inner(b) || b == b'-')
                && part.bytes().next().is_some_and(inner)
                && part.bytes().last().is_some_and(inner)
        })
}

fn is_version(s: &str) -> bool {
    (1..=64).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-'))
        && s.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

fn is_plain_relative(s: &str) -> bool {
    !s.is_empty()
        && !s.chars().any(char::is_control)
        && s.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn is_host_path(s: &str) -> bool {
    s == "/" || s.strip_prefix('/').is_some_and(is_plain_relative)
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path, $error:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `value`.
            ///
            /// # Errors
            /// If it does not have the form that the type promises.
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                if $check(&value) { Ok(Self(value)) } else { Err($error(value)) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A runtime's name: a DNS label.
    RuntimeName, is_label, NameError::Label
);
name_type!(
    /// A handler's name: a DNS label, since `RuntimeClass.handler` must be one.
    HandlerName, is_label, NameError::Label
);
name_type!(
    /// A Kubernetes node's name: a DNS subdomain.
    NodeName, is_subdomain, NameError::Node
);
name_type!(
    /// A runtime's version. It is compared for equality only; it becomes part of a folder's name.
    Version, is_version, NameError::Version
);
name_type!(
    /// An absolute, normal path on a host (or beneath an offline root).
    HostPath, is_host_path, NameError::HostPath
);
name_type!(
    /// A path inside a package: relative, without `.` and `..`.
    PackagePath, is_plain_relative, NameError::PackagePath
);

/// Whether a symbolic link at `path` of a package, with this target, ends in the package.
pub fn inner_target(path: &str, target: &str) -> bool {
    if target.starts_with('/') {
        return false;
    }
    let mut depth = path.split('/').count() - 1;
    let mut went_down = false;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            // Behind a name, which may be a link itself, `..` leads elsewhere than the text says.
            ".." if depth == 0 || went_down => return false,
            ".." => depth -= 1,
            _ => went_down = true,
        }
    }
    true
}

impl HostPath {
    /// `self` with a relative path appended.
    ///
    /// # Errors
    /// If `relative` is not a plain relative path.
    pub fn join(&self, relative: &str) -> Result<Self, NameError> {
        let relative = PackagePath::new(relative)?;
        Ok(self.with(&relative))
    }

    /// `self` with a package's path appended.
    pub fn with(&self, relative: &PackagePath) -> Self {
        Self(format!("{}/{relative}", self.0.trim_end_matches('/')))
    }

    /// `text` as seen from the folder `self`, or as it is if it is absolute: `.` and doubled `/` go, `..` goes up but
    /// never above `/`. Links are not looked at.
    ///
    /// # Errors
    /// If it holds control characters.
    pub fn resolve(&self, text: &str) -> Result<Self, NameError> {
        let above = if text.starts_with('/') { "" } else { self.as_str() };
        let mut parts = Vec::new();
        for part in above.split('/').chain(text.split('/')) {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        Self::new(format!("/{}", parts.join("/")))
    }

    /// The folder that holds this path; none for `/`.
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/')? {
            ("", "") => None,
            ("", _) => Some(Self("/".to_owned())),
            (parent, _) => Some(Self(parent.to_owned())),
        }
    }

    /// The last component; empty for `/`.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// Whether `self` is `folder` or lies beneath it.
    pub fn is_within(&self, folder: &Self) -> bool {
        self.0
            .strip_prefix(folder.0.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A SHA-256 digest, shown as `sha256:<64 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    const ALGORITHM: &str = "sha256";

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 12 hexadecimal digits: enough to tell versions apart in a folder's name.
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }
}

/// The BLAKE3 digest of a file in a tree, shown as `blake3:<64 hex>`.
///
/// Every file of a package is digested while it is written, and again whenever someone asks whether a tree is sound.
/// BLAKE3 does that several times as fast as SHA-256, which everything has that others look at as well: blobs, layers,
/// images, signatures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileDigest([u8; 32]);

impl FileDigest {
    const ALGORITHM: &str = "blake3";

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

/// What digests of each kind have in common.
macro_rules! digest {
    ($kind:ty) => {
        impl $kind {
            /// A digest that was computed elsewhere (streamed).
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The digest itself.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// All 64 hexadecimal digits, without a prefix.
            pub fn hex(&self) -> String {
                self.0.iter().map(|b| format!("{b:02x}")).collect()
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", Self::ALGORITHM, self.hex())
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $kind {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                let hex = value.split_once(':').filter(|(algorithm, _)| *algorithm == Self::ALGORITHM);
                let parsed = hex.and_then(|(_, hex)| unhex(hex)).map(Self);
                parsed.ok_or(NameError::Digest { algorithm: Self::ALGORITHM, found: value })
            }
        }
    };
}

digest!(Digest);
digest!(FileDigest);

/// The bytes that 64 hexadecimal digits stand for.
fn unhex(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0u8; 32];
    for (slot, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_up_only_before_it_leads_down() {
        assert!(inner_target("a/b/c", "../../d/e"));
        assert!(inner_target("a", "b/c"));
        assert!(!inner_target("a", "../b"), "out of the package");
        // Where a/b/c/d is a link to the top, this one leaves the package.
        assert!(!inner_target("x", "a/b/c/d/../../../../etc/shadow"));
        assert!(!inner_target("x", "/etc/shadow"));
    }

    #[test]
    fn labels_are_dns_labels() {
        for good in ["a", "kata-qemu", "0", &"a".repeat(63)] {
            assert!(HandlerName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            assert!(HandlerName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_have_names_with_dots() {
        for good in ["n1", "ip-10-0-0-1.ec2.internal", &format!("{}.{}", "a".repeat(126), "b".repeat(126))] {
            assert!(NodeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a..b", "a.", "A", "-a", "a.-b", "a_b", &"a".repeat(254)] {
            assert!(NodeName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn package_paths_stay_inside() {
        for bad in ["", "/etc", "../x", "a/../b", "a//b", "./a", "a/", "a\nb"] {
            assert!(PackagePath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn host_paths_know_their_parents() {
        let path = HostPath::new("/etc/containerd/config.toml").unwrap();
        assert_eq!(path.parent().unwrap().as_str(), "/etc/containerd");
        assert!(path.is_within(&HostPath::new("/etc").unwrap()));
        assert!(!path.is_within(&HostPath::new("/et").unwrap()));
        assert!(path.is_within(&HostPath::new("/").unwrap()));
    }

    #[test]
    fn paths_resolve_without_leaving_the_root() {
        let folder = HostPath::new("/etc/containerd").unwrap();
        for (text, expected) in [
            ("conf.d/./a.toml", "/etc/containerd/conf.d/a.toml"),
            ("../x", "/etc/x"),
            ("../../../../x", "/x"),
            ("/a//b/../c/", "/a/c"),
            ("", "/etc/containerd"),
        ] {
            assert_eq!(folder.resolve(text).unwrap().as_str(), expected, "{text}");
        }
    }

    #[test]
    fn digests_survive_their_text() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::try_from(digest.to_string()).unwrap(), digest);
        assert!(Digest::try_from("sha256:xyz".to_owned()).is_err());
        let file = FileDigest::of(b"x");
        assert_eq!(FileDigest::try_from(file.to_string()).unwrap(), file);
        assert!(Digest::try_from(file.to_string()).is_err(), "one is not the other");
    }
}
