//! Who we are: what stands in Docker's files, and which of it is for whom. No I/O.
//!
//! The rules are the kubelet's, so that a pull secret works here as it does for pods.

use super::RegistryError;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use cofferdam_core::reference::DEFAULT_REGISTRY;
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

impl Login {
    /// The value of a basic `Authorization` header.
    pub(super) fn basic(username: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
    }
}

/// Logins, each with the registry, and perhaps the beginning of the repositories, that it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyring {
    /// What they were read from, for people.
    file: String,
    /// By key: a host, perhaps with a path. More specific ones come first.
    keys: Vec<(String, Login)>,
}

/// Docker's own file beside the logins. Whatever has one of these is no file of the old form.
const OTHER_SETTINGS: [&str; 12] = [
    "credsStore",
    "credHelpers",
    "HttpHeaders",
    "proxies",
    "plugins",
    "aliases",
    "features",
    "currentContext",
    "psFormat",
    "detachKeys",
    "cliPluginsExtraDirs",
    "experimental",
];

/// The keys of Docker's registry.
const DOCKER_KEYS: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// A login as Docker's files and containerd's configuration have it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) auth: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) identitytoken: String,
    pub(super) registrytoken: String,
}

impl Keyring {
    /// The logins in a text, which is in `file` for people: Docker's `config.json`, a `dockerconfigjson`, or the older
    /// `dockercfg`. Entries without a login, as credential helpers leave them, are passed over.
    ///
    /// # Errors
    /// If the text is none of them, or one of its logins cannot be read.
    pub fn parse(text: &str, file: &str) -> Result<Self, RegistryError> {
        let refuse = |reason: String| RegistryError::AuthFile { file: file.to_owned(), reason };
        // What serde says quotes the text, which holds secrets.
        let broken = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            refuse(format!("it is no JSON of that form (line {line}, column {column})"))
        };
        let mut whole: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).map_err(broken)?;
        let is_old = !OTHER_SETTINGS.iter().any(|name| whole.contains_key(*name));
        let auths = match whole.remove("auths") {
            Some(serde_json::Value::Null) => BTreeMap::new(),
            Some(auths) => serde_json::from_value(auths)
                .map_err(|_| refuse("it is no JSON of that form: `auths` holds no logins".to_owned()))?,
            None if is_old => whole,
            None => BTreeMap::new(),
        };
        let mut keys = Vec::new();
        for (key, entry) in auths {
            let bad = |reason: &str| refuse(format!("`{key}`: {reason}"));
            let entry: Entry = serde_json::from_value(entry).map_err(|_| bad("it is no login"))?;
            if let Some(login) = entry.login().map_err(bad)? {
                keys.push((normal(&key), login));
            }
        }
        // Backwards: then of two keys that fit the one that says more comes first, and a name before a pattern.
        keys.sort_by(|(one, _), (other, _)| other.cmp(one));
        Ok(Self { file: file.to_owned(), keys })
    }

    /// The same with `login` for all of `registry`, before anything else.
    #[must_use]
    pub fn and(mut self, registry: &str, login: Login) -> Self {
        self.keys.insert(0, (registry.to_owned(), login));
        self
    }

    /// The logins for `repository` in `registry`, in the order in which they are tried.
    pub fn find(&self, registry: &str, repository: &str) -> Vec<Login> {
        let fitting = self.keys.iter().filter(|(key, _)| fits(key, registry, repository));
        let found: Vec<Login> = fitting.map(|(_, login)| login.clone()).collect();
        if !found.is_empty() || registry != DEFAULT_REGISTRY {
            return found;
        }
        let of_docker = self.keys.iter().filter(|(key, _)| DOCKER_KEYS.contains(&key.as_str()));
        of_docker.map(|(_, login)| login.clone()).collect()
    }

    /// What to say if it has nothing for a registry; nothing if there is no file.
    pub(super) fn lacks(&self, registry: &str, repository: &str) -> Option<String> {
        if self.file.is_empty() {
            return None;
        }
        let keys: Vec<&str> = self.keys.iter().map(|(key, _)| key.as_str()).collect();
        let keys = if keys.is_empty() { "no login at all".to_owned() } else { keys.join(", ") };
        Some(format!("{} has nothing for {registry}/{repository} (it has {keys})", self.file))
    }
}

impl Entry {
    /// Its login, if it has one.
    pub(super) fn login(&self) -> Result<Option<Login>, &'static str> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Login::Bearer { token: self.registrytoken.clone() }));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::Identity { token: self.identitytoken.clone() }));
        }
        let auth = self.auth.trim();
        if auth.is_empty() {
            let basic = || Login::Basic { username: self.username.clone(), password: self.password.clone() };
            return Ok((!self.username.is_empty()).then(basic));
        }
        let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth));
        let text = bytes
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("`auth` is no base64 of text")?;
        let (username, password) = text.split_once(':').ok_or("`auth` is not the base64 of NAME:PASSWORD")?;
        // Docker's own files end some passwords with a zero byte.
        let password = password.trim_end_matches('\0');
        Ok(Some(Login::Basic { username: username.to_owned(), password: password.to_owned() }))
    }
}

/// A key without what does not count in it: the scheme, the API's version, a last `/`.
fn normal(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = match path {
        "v1" | "v2" => "",
        path => path.strip_prefix("v1/").or_else(|| path.strip_prefix("v2/")).unwrap_or(path),
    };
    let host = host.to_ascii_lowercase();
    if path.is_empty() { host } else { format!("{host}/{path}") }
}

/// Whether a key names all of `registry`.
pub(super) fn names(key: &str, registry: &str) -> bool {
    let key = normal(key);
    key == registry || registry == DEFAULT_REGISTRY && DOCKER_KEYS.contains(&key.as_str())
}

/// Whether a key is for `repository` in `registry`. The path is a beginning, character by character.
fn fits(key: &str, registry: &str, repository: &str) -> bool {
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let ((pattern, port), (name, own_port)) = (split_port(host), split_port(registry));
    let parts = |name: &str| name.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (patterns, parts) = (parts(pattern), parts(name));
    port == own_port
        && patterns.len() == parts.len()
        && patterns.iter().zip(&parts).all(|(pattern, part)| glob(pattern, part))
        && repository.starts_with(path)
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    }
}

/// Whether `text` is as `pattern` has it, where `*`, `?`, `[a-z]` and `\` mean what they mean in file names.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    let mut rest = text.chars();
    let Some(first) = pattern.next() else { return text.is_empty() };
    let after = pattern.as_str();
    match first {
        '*' => {
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.any(|at| text.get(at..).is_some_and(|rest| glob(after, rest)))
        }
        '?' => rest.next().is_some() && glob(after, rest.as_str()),
        '[' => {
            let Some((class, after)) = after.split_once(']') else { return false };
            let Some(found) = rest.next() else { return false };
            in_class(class, found) && glob(after, rest.as_str())
        }
        '\\' => {
            let Some(literal) = pattern.next() else { return false };
            rest.next() == Some(literal) && glob(pattern.as_str(), rest.as_str())
        }
        literal => rest.next() == Some(literal) && glob(after, rest.as_str()),
    }
}

/// Whether `found` is one of a class as `a-z_` or, for all others, `^a-z_`.
fn in_class(class: &str, found: char) -> bool {
    let (class, not) = class.strip_prefix('^').map_or((class, false), |class| (class, true));
    let all: Vec<char> = class.chars().collect();
    let mut at = 0;
    let mut hit = false;
    while let Some(&low) = all.get(at) {
        let high = match (all.get(at + 1), all.get(at + 2)) {
            (Some('-'), Some(&high)) => high,
            _ => low,
        };
        at += if all.get(at + 1) == Some(&'-') { 3 } else { 1 };
        hit |= low <= found && found <= high;
    }
    hit != not
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_core::reference::Reference;

    fn find(text: &str, reference: &str) -> Vec<Login> {
        let reference = Reference::new(reference).unwrap();
        Keyring::parse(text, "pull.json").unwrap().find(reference.registry(), reference.repository())
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
            (r#"{"auth": "YW5uOnNlY3JldA==", "username": "bob", "password": "x"}"#, named("ann")),
            (r#"{"username": "ann", "password": "secret"}"#, named("ann")),
            (r#"{"auth": "x", "identitytoken": "tok"}"#, Login::Identity { token: "tok".to_owned() }),
            (r#"{"registrytoken": "tok"}"#, Login::Bearer { token: "tok".to_owned() }),
        ] {
            let text = format!(r#"{{"auths": {{"r.example": {entry}}}, "credsStore": "x"}}"#);
            assert_eq!(find(&text, "r.example/a"), std::slice::from_ref(&login), "{entry}");
            let old = format!(r#"{{"https://r.example": {entry}}}"#);
            assert_eq!(find(&old, "r.example/a"), [login], "{entry}");
        }
        let colons = format!(r#"{{"auths": {{"r.example": {{"auth": "{}"}}}}}}"#, STANDARD.encode("a:b:c"));
        let expected = Login::Basic { username: "a".to_owned(), password: "b:c".to_owned() };
        assert_eq!(find(&colons, "r.example/a"), [expected]);
        for nothing in [
            "{}",
            r#"{"auths": null}"#,
            r#"{"auths": {}}"#,
            r#"{"auths": {"r.example": {}}, "credsStore": "desktop"}"#,
            r#"{"credHelpers": {"r.example": "gcloud"}}"#,
        ] {
            assert_eq!(find(nothing, "r.example/a"), [], "{nothing}");
        }
    }

    #[test]
    fn keys_fit_as_for_the_kubelet_and_the_one_that_says_more_comes_first() {
        let keys = [
            "r.example",
            "r.example/team",
            "https://r.example/v1/team/kata",
            "*.example",
            "https://r.example:5000/v2/",
            "*.*.example:5000",
            "r?.ex[a-c]mple",
            "R.EXAMPLE/upper",
        ];
        for (reference, expected) in [
            ("r.example/other", vec!["r.example", "*.example"]),
            ("r.example/team/x", vec!["r.example/team", "r.example", "*.example"]),
            (
                "r.example/team/kata",
                vec!["https://r.example/v1/team/kata", "r.example/team", "r.example", "*.example"],
            ),
            // Character by character, as the kubelet has it.
            ("r.example/teams/x", vec!["r.example/team", "r.example", "*.example"]),
            ("s.example/x", vec!["*.example"]),
            ("a.s.example/x", vec![]),
            ("a.s.example:5000/x", vec!["*.*.example:5000"]),
            ("r.example:5000/x", vec!["https://r.example:5000/v2/"]),
            ("r.example:6000/x", vec![]),
            ("r1.exbmple/x", vec!["r?.ex[a-c]mple"]),
            ("r1.exdmple/x", vec![]),
            ("r.example/upper/x", vec!["R.EXAMPLE/upper", "r.example", "*.example"]),
        ] {
            let expected: Vec<Login> = expected.into_iter().map(named).collect();
            assert_eq!(find(&auths(&keys), reference), expected, "{reference}");
        }
    }

    #[test]
    fn dockers_own_registry_has_several_names() {
        for key in ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io", "index.docker.io"] {
            assert_eq!(find(&auths(&[key]), "team/kata"), [named(key)], "{key}");
        }
        let keys = ["https://index.docker.io/v1/", "docker.io/team"];
        assert_eq!(find(&auths(&keys), "team/kata"), [named("docker.io/team")]);
        assert_eq!(find(&auths(&keys), "kata"), [named("https://index.docker.io/v1/")]);
    }

    #[test]
    fn patterns_mean_what_they_mean_in_file_names() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*-eu-*", "x-eu-1", true),
            ("?", "", false),
            ("[^a-c]x", "dx", true),
            ("[^a-c]x", "bx", false),
            ("[a", "a", false),
            ("[a-]x", "ax", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for (text, reason) in [
            ("hunter2", "no JSON"),
            (r#"["hunter2"]"#, "no JSON"),
            (r#"{"auths": "hunter2"}"#, "no JSON"),
            (r#"{"r.example": "hunter2"}"#, "no login"),
            (r#"{"auths": {"r.example": {"auth": 1}}}"#, "no login"),
            (r#"{"auths": {"r.example": {"auth": "hunter2!"}}}"#, "base64"),
            (r#"{"auths": {"r.example": {"auth": "aHVudGVyMg=="}}}"#, "NAME:PASSWORD"),
        ] {
            let error = Keyring::parse(text, "pull.json").unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("pull.json"), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let keyring = Keyring::parse(&auths(&["other.example/team"]), "pull.json").unwrap();
        let lacks = keyring.lacks("r.example", "a").unwrap();
        assert_eq!(lacks, "pull.json has nothing for r.example/a (it has other.example/team)");
        assert!(!format!("{keyring:?} {:?}", named("ann")).contains("secret"));
    }
}
