//! Which proxy stands between us and an address. No I/O: whoever starts us reads the environment.
//!
//! The rules are those of Go's programs, and so those of containerd, CRI-O, Docker and the kubelet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// Proxies as the environment names them: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxies {
    /// For https addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    /// For http addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// For which hosts there is none, with commas between them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub none_for: String,
}

impl fmt::Debug for Proxies {
    /// Without the addresses: they may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("https", &self.https.is_some())
            .field("http", &self.http.is_some())
            .field("none_for", &self.none_for)
            .finish()
    }
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// Its address, without a login.
    pub(super) uri: Uri,
    /// What it is told of who we are.
    pub(super) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.uri)
    }
}

impl Proxies {
    /// Those that `variable` gives by their names. Capital letters count before small ones, as for Go's programs.
    pub fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |large: &str, small: &str| {
            let found =
                [large, small].iter().filter_map(|name| variable(name)).find(|value| !value.is_empty());
            found.map(|value| value.trim().to_owned())
        };
        Self {
            https: either("HTTPS_PROXY", "https_proxy"),
            http: either("HTTP_PROXY", "http_proxy"),
            none_for: either("NO_PROXY", "no_proxy").unwrap_or_default(),
        }
    }

    /// The proxy for `uri`, if there is one.
    ///
    /// # Errors
    /// If what is named is no proxy's address.
    pub(super) fn of(&self, uri: &Uri) -> Result<Option<Proxy>, String> {
        let (text, variable) = match uri.scheme_str() {
            Some("https") => (self.https.as_deref(), "HTTPS_PROXY"),
            _ => (self.http.as_deref(), "HTTP_PROXY"),
        };
        let (Some(text), Some(host)) = (text, uri.host()) else { return Ok(None) };
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        if self.leaves_out(host, port) {
            return Ok(None);
        }
        // The value may hold a password: it is not repeated.
        Proxy::parse(text).map(Some).map_err(|reason| format!("{variable} {reason}"))
    }

    fn leaves_out(&self, host: &str, port: u16) -> bool {
        let host =
            host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.to_canonical().is_loopback()) {
            return true;
        }
        self.none_for.split(',').any(|rule| is_for(&rule.trim().to_ascii_lowercase(), &host, address, port))
    }
}

/// Whether a rule of `NO_PROXY` is for that host.
fn is_for(rule: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if rule.is_empty() {
        return false;
    }
    if rule == "*" {
        return true;
    }
    if let Some((network, bits)) = rule.split_once('/') {
        let network = network.parse::<IpAddr>().ok();
        let bits = bits.parse::<u32>().ok();
        return matches!((network, bits, address), (Some(network), Some(bits), Some(address))
            if is_within(network, bits, address));
    }
    let (name, own_port) = split_port(rule);
    if own_port.is_some_and(|own| own != port) {
        return false;
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(wanted) = bare.parse::<IpAddr>() {
        return address.is_some_and(|address| address.to_canonical() == wanted.to_canonical());
    }
    if address.is_some() {
        return false;
    }
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    match name.strip_prefix('.') {
        // Only the names below it.
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    }
}

/// A name and its port; an address of version 6 has colons of its own.
fn split_port(rule: &str) -> (&str, Option<u16>) {
    match rule.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (rule, None),
        },
        _ => (rule, None),
    }
}

fn is_within(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let shift = 32 - bits;
            let cut = |address: u32| address.checked_shr(shift).unwrap_or(0);
            cut(network.to_bits()) == cut(address.to_bits())
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let shift = 128 - bits;
            let cut = |address: u128| address.checked_shr(shift).unwrap_or(0);
            cut(network.to_bits()) == cut(address.to_bits())
        }
        _ => false,
    }
}

impl Proxy {
    /// Reads `[SCHEME://][NAME[:PASSWORD]@]HOST[:PORT]`.
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !matches!(scheme, "http" | "https") {
            return Err(format!("names a proxy by {scheme}: only http and https are understood"));
        }
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, rest),
        };
        let no_address = || "is no address of a proxy (http://HOST:PORT)".to_owned();
        let uri: Uri = format!("{scheme}://{host}/").parse().map_err(|_| no_address())?;
        if uri.host().unwrap_or_default().is_empty() {
            return Err(no_address());
        }
        let authorization = login.map(|login| {
            let (name, password) = login.split_once(':').unwrap_or((login, ""));
            let mut both = unescaped(name);
            both.push(b':');
            both.extend(unescaped(password));
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(both)))
                .map_err(|_| no_address())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        Ok(Self { uri, authorization: authorization.transpose()? })
    }

    /// Its host, with its port.
    pub(super) fn name(&self) -> String {
        self.uri.authority().map_or_else(String::new, ToString::to_string)
    }
}

/// What `%XX` stands for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        bytes.extend(before.bytes());
        match after.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
    bytes.extend(rest.bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(none_for: &str) -> Proxies {
        let named = |name: &str| Some(format!("{name}.proxy:3128"));
        Proxies { https: named("tls"), http: named("plain"), none_for: none_for.to_owned() }
    }

    fn of(none_for: &str, uri: &str) -> Option<String> {
        proxies(none_for).of(&uri.parse().unwrap()).unwrap().map(|proxy| proxy.name())
    }

    #[test]
    fn each_scheme_has_its_own_and_this_machine_has_none() {
        assert_eq!(of("", "https://r.example/").as_deref(), Some("tls.proxy:3128"));
        assert_eq!(of("", "http://r.example/").as_deref(), Some("plain.proxy:3128"));
        for own in ["http://localhost:5000/", "https://127.0.0.9/", "http://[::1]:5000/", "http://LOCALHOST/"]
        {
            assert_eq!(of("", own), None, "{own}");
        }
        assert_eq!(Proxies::default().of(&"https://r.example/".parse().unwrap()), Ok(None));
    }

    #[test]
    fn hosts_without_a_proxy_are_named_as_for_go() {
        for (rule, uri, without) in [
            ("*", "https://r.example/", true),
            ("r.example", "https://r.example/", true),
            ("R.example", "https://r.EXAMPLE:8443/", true),
            ("r.example", "https://a.r.example/", true),
            ("r.example", "https://ar.example/", false),
            (".r.example", "https://r.example/", false),
            (".r.example", "https://a.r.example/", true),
            ("*.r.example", "https://a.b.r.example/", true),
            ("*.r.example", "https://r.example/", false),
            ("*r.example", "https://ar.example/", false),
            ("r.example:5000", "https://r.example:5000/", true),
            ("r.example:5000", "https://r.example/", false),
            ("r.example:443", "https://r.example/", true),
            ("x, r.example ,y", "https://r.example/", true),
            (",,", "https://r.example/", false),
            ("10.0.0.0/8", "https://10.255.0.1:5000/", true),
            ("10.0.0.0/8", "https://11.0.0.1/", false),
            ("10.0.0.0/8", "https://10.example/", false),
            ("0.0.0.0/0", "https://9.9.9.9/", true),
            ("10.0.0.7/32", "https://10.0.0.7/", true),
            ("10.0.0.7/33", "https://10.0.0.7/", false),
            ("10.0.0.7", "https://10.0.0.7:5000/", true),
            ("10.0.0.7:5000", "https://10.0.0.7:5000/", true),
            ("10.0.0.7:5001", "https://10.0.0.7:5000/", false),
            ("0.7", "https://10.0.0.7/", false),
            ("fd00::/8", "https://[fd00::7]:5000/", true),
            ("fd00::/8", "https://[fe00::7]/", false),
            ("::/0", "https://[fe00::7]/", true),
            ("fd00::7", "https://[fd00::7]/", true),
            ("[fd00::7]:5000", "https://[fd00::7]:5000/", true),
            ("[fd00::7]:5000", "https://[fd00::7]:5001/", false),
            ("::ffff:10.0.0.7", "https://10.0.0.7/", true),
            ("10.0.0.0/x", "https://10.0.0.7/", false),
        ] {
            assert_eq!(of(rule, uri).is_none(), without, "{rule} {uri}");
        }
    }

    #[test]
    fn both_cases_of_the_variables_are_read() {
        let given =
            [("HTTPS_PROXY", "large"), ("https_proxy", "small"), ("http_proxy", "plain"), ("no_proxy", "x")];
        let of =
            |name: &str| given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let found = Proxies::of_variables(of);
        assert_eq!(found.https.as_deref(), Some("large"));
        assert_eq!(found.http.as_deref(), Some("plain"));
        assert_eq!(found.none_for, "x");
        assert_eq!(Proxies::of_variables(|_| Some(String::new())), Proxies::default());
    }

    #[test]
    fn a_login_is_taken_from_the_address_and_not_shown() {
        let with = |text: &str| Proxies { https: Some(text.to_owned()), ..Proxies::default() };
        let of = |text: &str| with(text).of(&"https://r.example/".parse().unwrap());
        let proxy = of("http://ann:hunt%40er2@proxy.example:3128/").unwrap().unwrap();
        assert_eq!(proxy.name(), "proxy.example:3128");
        assert_eq!(proxy.authorization.clone().unwrap(), "Basic YW5uOmh1bnRAZXIy");
        let secure = of("https://proxy.example").unwrap().unwrap();
        assert_eq!((secure.uri.scheme_str(), secure.authorization), (Some("https"), None));
        for bad in
            ["socks5://ann:hunter2@proxy", "http://", "http://ann:hunter2@", "ann:hunter2@b c", ":3128"]
        {
            let error = of(bad).unwrap_err();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("hunter2"), "{bad}: {error}");
        }
        assert!(!format!("{:?} {proxy:?}", with("http://ann:hunter2@proxy")).contains("hunt"));
    }
}
