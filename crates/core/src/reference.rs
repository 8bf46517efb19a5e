//! References to images and artifacts in registries: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
//!
//! The rules are Docker's, which everyone's references follow: without a host it is `docker.io`, there a path of one
//! part lies in `library/`, and without a tag and a digest the tag is `latest`.

use crate::name::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The registry that is meant if none is named.
pub const DEFAULT_REGISTRY: &str = "docker.io";

const DEFAULT_TAG: &str = "latest";

/// The longest repository, and the longest tag, that registries accept.
const MOST_REPOSITORY: usize = 255;
const MOST_TAG: usize = 128;

/// Why a reference was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a reference: {reason}")]
pub struct ReferenceError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A reference. Once constructed, it is valid, and each of its parts is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// If it is none.
    pub fn new(text: impl Into<String>) -> Result<Self, ReferenceError> {
        let text = text.into();
        Self::parse(&text).map_err(|reason| ReferenceError { text, reason })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains("://") {
            return Err("it begins with the host, without a scheme such as https://");
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("it holds white space");
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (text, None),
        };
        let (registry, path) = match rest.split_once('/') {
            Some((host, path)) if is_host_like(host) => {
                let host = normal_host(host)?;
                // Written down it would mean a repository of Docker's registry.
                if !is_host_like(&host) {
                    return Err("a host's name without a dot needs its port, as in `registry:443`");
                }
                (host, path)
            }
            _ => (DEFAULT_REGISTRY.to_owned(), rest),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned())),
            None => (path, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(
                "a tag is 1 to 128 of A-Z, a-z, 0-9, `_`, `.` and -, and does not begin with `.` or -",
            );
        }
        let repository = match path.contains('/') {
            false if registry == DEFAULT_REGISTRY => format!("library/{path}"),
            _ => path.to_owned(),
        };
        if !is_repository(&repository) {
            return Err("the path's parts are lower case letters and digits, joined by `.`, `_`, `__` or -");
        }
        let tag = if tag.is_none() && digest.is_none() { Some(DEFAULT_TAG.to_owned()) } else { tag };
        Ok(Self { registry, repository, tag, digest })
    }

    /// The registry's host, with its port if one is named.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The registry's host without the port.
    pub fn host(&self) -> &str {
        match self.registry.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => &self.registry,
        }
    }

    /// The repository in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. None: there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that it is pinned to. With one, the tag says nothing.
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same, pinned to `digest`.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// What the registry's API is asked for: the digest, else the tag.
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned()),
        }
    }

    /// Whether the registry is on this very machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<core::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, ReferenceError> {
        Self::new(text)
    }
}

impl std::str::FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::new(text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

fn parse_digest(text: &str) -> Result<Digest, &'static str> {
    if text.starts_with("sha256:") && text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("a digest's hexadecimal digits are lower case");
    }
    Digest::try_from(text.to_owned()).map_err(|_| "a digest is sha256: and 64 hexadecimal digits")
}

/// Whether the first part names a host, and not a part of the path.
fn is_host_like(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':', '[']) || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn normal_host(host: &str) -> Result<String, &'static str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or("the `[` of the address is not closed")?;
            address.parse::<core::net::Ipv6Addr>().map_err(|_| "what stands in [] is no IPv6 address")?;
            (None, rest.strip_prefix(':').or(if rest.is_empty() { Some("443") } else { None }))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), Some("443")),
        },
    };
    let port = port.ok_or("after the address comes `:` and the port")?;
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return Err("the port is no number up to 65535");
    }
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if name.is_some_and(|name| name.len() > 253 || !name.split('.').all(is_part)) {
        return Err("the host is no host name or address");
    }
    let host = host.to_ascii_lowercase();
    Ok(if host == "index.docker.io" { DEFAULT_REGISTRY.to_owned() } else { host })
}

fn is_tag(tag: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MOST_TAG).contains(&tag.len())
        && tag.bytes().next().is_some_and(inner)
        && tag.bytes().all(|b| inner(b) || b == b'.' || b == b'-')
}

fn is_repository(repository: &str) -> bool {
    (1..=MOST_REPOSITORY).contains(&repository.len()) && repository.split('/').all(is_repository_part)
}

fn is_repository_part(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(inner) && part.bytes().last().is_some_and(inner);
    let joints = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && joints
        .filter(|joint| !joint.is_empty())
        .all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_read_as_docker_reads_them() {
        let pinned = format!("quay.io/kata/kata@sha256:{HEX}");
        let both = format!("10.0.0.1:5000/a/b_c:v1@sha256:{HEX}");
        for (text, canonical) in [
            ("gvisor", "docker.io/library/gvisor:latest"),
            ("google/gvisor:1", "docker.io/google/gvisor:1"),
            ("docker.io/gvisor", "docker.io/library/gvisor:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:1.2_3", "localhost:5000/x:1.2_3"),
            ("Registry.Example.com/a/b", "registry.example.com/a/b:latest"),
            ("LocalHost/x", "localhost/x:latest"),
            ("Registry:443/x", "registry:443/x:latest"),
            ("[::1]:5000/a/b__c--d.e", "[::1]:5000/a/b__c--d.e:latest"),
            ("[fe80::1]/a", "[fe80::1]/a:latest"),
            (&pinned, &pinned),
            (&both, &both),
        ] {
            let reference = Reference::new(text).unwrap();
            assert_eq!(reference.to_string(), canonical, "{text}");
            assert_eq!(Reference::new(canonical).unwrap(), reference, "{text}");
        }
        let reference = Reference::new(both).unwrap();
        assert_eq!((reference.registry(), reference.host()), ("10.0.0.1:5000", "10.0.0.1"));
        assert_eq!((reference.repository(), reference.tag()), ("a/b_c", Some("v1")));
        assert_eq!(reference.target(), format!("sha256:{HEX}"), "the digest counts");
        assert_eq!(Reference::new("a/b:c").unwrap().target(), "c");
    }

    #[test]
    fn what_is_no_reference_is_refused_with_a_reason() {
        let upper = format!("a@sha256:{}", HEX.to_uppercase());
        let long = format!("a:{}", "x".repeat(129));
        for (text, reason) in [
            ("", "parts"),
            ("https://quay.io/a", "scheme"),
            ("a b", "white space"),
            ("a\n", "white space"),
            ("quay.io/", "parts"),
            ("quay.io/A/b", "lower case"),
            ("a//b", "parts"),
            ("a/../b", "parts"),
            ("a/b-", "parts"),
            ("a/b.-c", "parts"),
            ("a/b___c", "parts"),
            ("a:", "tag"),
            ("a:.b", "tag"),
            (&long, "tag"),
            ("a@sha256:12", "64 hexadecimal"),
            ("a@sha512:12", "64 hexadecimal"),
            ("a@sha256:", "64 hexadecimal"),
            (&upper, "lower case"),
            ("host:99999/a", "port"),
            ("host:/a", "port"),
            ("Registry/a", "needs its port"),
            ("ho_st.x/a", "host"),
            ("-x.example/a", "host"),
            ("[::1/a", "closed"),
            ("[x]/a", "IPv6"),
            ("[::1]5000/a", "port"),
        ] {
            let error = Reference::new(text).unwrap_err();
            assert!(error.to_string().contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn this_machine_is_told_apart() {
        for yes in ["localhost/a", "localhost:5000/a", "127.0.0.1:1/a", "127.9.9.9/a", "[::1]:1/a"] {
            assert!(Reference::new(yes).unwrap().is_loopback(), "{yes}");
        }
        for no in ["localhost.example.com/a", "128.0.0.1/a", "[::2]/a", "a", "127.0.0.1.example.com/a"] {
            assert!(!Reference::new(no).unwrap().is_loopback(), "{no}");
        }
    }
}
