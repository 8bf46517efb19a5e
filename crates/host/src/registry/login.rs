//! Who we are: a `dockerconfigjson` file to the one login that a reference needs.

use super::RegistryError;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use cofferdam_core::reference::{DEFAULT_REGISTRY, Reference};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a registry is told about who we are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "login", deny_unknown_fields)]
pub enum Login {
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that is exchanged for others (`identitytoken`).
    Identity {
        /// The token.
        token: String,
    },
    /// A token that is used as it is (`registrytoken`).
    Bearer {
        /// The token.
        token: String,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Login::Basic(..)",
            Self::Identity { .. } => "Login::Identity(..)",
            Self::Bearer { .. } => "Login::Bearer(..)",
        })
    }
}

/// A `dockerconfigjson` file. What else stands in it (credential helpers, proxies) is of no use on a node.
#[derive(Deserialize)]
struct File {
    auths: Option<BTreeMap<String, Entry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Login {
    /// The login for `reference` in a `dockerconfigjson` text, which is in `file` for people: of the keys that fit, the
    /// longest one. A key is a registry, perhaps with the beginning of a repository, perhaps with `*` for parts of
    /// the host's name.
    ///
    /// # Errors
    /// If the text is not one, or has nothing for this registry.
    pub fn find(text: &str, file: &str, reference: &Reference) -> Result<Self, RegistryError> {
        let refuse = |reason: String| RegistryError::AuthFile { file: file.to_owned(), reason };
        // What serde says quotes the text, which holds secrets.
        let parsed: File = serde_json::from_str(text).map_err(|error| {
            refuse(format!("it is no JSON of that form (line {}, column {})", error.line(), error.column()))
        })?;
        let auths = parsed.auths.ok_or_else(|| refuse("it has no `auths`".to_owned()))?;
        let fitting = auths.iter().filter_map(|(key, entry)| Some((fit(key, reference)?, key, entry)));
        let Some((_, key, entry)) = fitting.max_by_key(|(length, ..)| *length) else {
            let keys: Vec<&str> = auths.keys().map(String::as_str).collect();
            let keys = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
            return Err(refuse(format!("it has nothing for {} (it has {keys})", reference.registry())));
        };
        entry.login().map_err(|reason| refuse(format!("`{key}`: {reason}")))
    }

    /// The value of a basic `Authorization` header.
    pub(super) fn basic(username: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
    }
}

impl Entry {
    fn login(&self) -> Result<Login, &'static str> {
        if !self.registrytoken.is_empty() {
            return Ok(Login::Bearer { token: self.registrytoken.clone() });
        }
        if !self.identitytoken.is_empty() {
            return Ok(Login::Identity { token: self.identitytoken.clone() });
        }
        if !self.username.is_empty() {
            return Ok(Login::Basic { username: self.username.clone(), password: self.password.clone() });
        }
        if self.auth.is_empty() {
            return Err("it has neither `auth`, `username`, `identitytoken` nor `registrytoken`");
        }
        let auth = self.auth.trim();
        let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth));
        let text = bytes
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("`auth` is no base64 of text")?;
        let (username, password) = text.split_once(':').ok_or("`auth` is not the base64 of NAME:PASSWORD")?;
        // Docker's own files end some passwords with a zero byte.
        let password = password.trim_end_matches('\0');
        Ok(Login::Basic { username: username.to_owned(), password: password.to_owned() })
    }
}

/// How well a key fits: the longer it is, the better. None: not at all.
fn fit(key: &str, reference: &Reference) -> Option<usize> {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.trim_end_matches('/');
    // Docker's old keys name the API's version.
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let host = host.to_ascii_lowercase();
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        host => host,
    };
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    let in_path = path.is_empty() || reference.repository().strip_prefix(path).is_some_and(below);
    (is_host(host, reference.registry()) && in_path).then_some(bare.len())
}

/// Whether `pattern` stands for `host`; `*` stands for one part of a name.
fn is_host(pattern: &str, host: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('.'), host.split('.'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(pattern), Some(part)) if pattern == part => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, reference: &str) -> Result<Login, RegistryError> {
        Login::find(text, "pull.json", &Reference::new(reference).unwrap())
    }

    fn named(username: &str) -> Login {
        Login::Basic { username: username.to_owned(), password: "secret".to_owned() }
    }

    fn auths(keys: &[&str]) -> String {
        let entry = |key: &&str| format!("\"{key}\": {{\"username\": \"{key}\", \"password\": \"secret\"}}");
        format!("{{\"auths\": {{{}}}}}", keys.iter().map(entry).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn each_form_of_a_login_is_read() {
        for (entry, login) in [
            (r#"{"auth": "YW5uOnNlY3JldA=="}"#, named("ann")),
            (r#"{"auth": "YW5uOnNlY3JldA"}"#, named("ann")),
            (r#"{"auth": "YW5uOnNlY3JldA==", "email": "a@b"}"#, named("ann")),
            (r#"{"username": "ann", "password": "secret"}"#, named("ann")),
            (r#"{"auth": "x", "identitytoken": "tok"}"#, Login::Identity { token: "tok".to_owned() }),
            (r#"{"registrytoken": "tok"}"#, Login::Bearer { token: "tok".to_owned() }),
        ] {
            let text = format!(r#"{{"auths": {{"r.example": {entry}}}, "credsStore": "x"}}"#);
            assert_eq!(find(&text, "r.example/a").unwrap(), login, "{entry}");
        }
        let colons = format!(r#"{{"auths": {{"r.example": {{"auth": "{}"}}}}}}"#, STANDARD.encode("a:b:c"));
        let expected = Login::Basic { username: "a".to_owned(), password: "b:c".to_owned() };
        assert_eq!(find(&colons, "r.example/a").unwrap(), expected);
    }

    #[test]
    fn the_longest_key_that_fits_wins() {
        let keys =
            ["r.example", "r.example/team", "r.example/team/kata", "*.example", "https://r.example:5000/v2/"];
        for (reference, key) in [
            ("r.example/other", Some("r.example")),
            ("r.example/team/x", Some("r.example/team")),
            ("r.example/team/kata", Some("r.example/team/kata")),
            ("r.example/team/kata-2", Some("r.example/team")),
            ("r.example/teams/x", Some("r.example")),
            ("s.example/x", Some("*.example")),
            ("a.s.example/x", None),
            ("r.example:5000/x", Some("https://r.example:5000/v2/")),
            ("r.example:6000/x", None),
        ] {
            let found = find(&auths(&keys), reference).ok();
            assert_eq!(found, key.map(named), "{reference}");
        }
        for key in ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", "index.docker.io"] {
            assert_eq!(find(&auths(&[key]), "team/kata").unwrap(), named(key), "{key}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for (text, reason) in [
            ("hunter2", "no JSON"),
            (r#"{"auths": "hunter2"}"#, "no JSON"),
            (r#"{"r.example": {"auth": "hunter2"}}"#, "no `auths`"),
            (r#"{"auths": {}}"#, "nothing for r.example (it has nothing)"),
            (r#"{"auths": {"other": {"auth": "hunter2"}}}"#, "(it has other)"),
            (r#"{"auths": {"r.example": {}}}"#, "neither"),
            (r#"{"auths": {"r.example": {"auth": "hunter2!"}}}"#, "base64"),
            (r#"{"auths": {"r.example": {"auth": "aHVudGVyMg=="}}}"#, "NAME:PASSWORD"),
        ] {
            let error = find(text, "r.example/a").unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("pull.json"), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", named("ann")).contains("secret"));
    }
}
