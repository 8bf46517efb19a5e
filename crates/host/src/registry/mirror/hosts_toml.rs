//! containerd's `hosts.toml`: where a registry's images may be had. No I/O.

use crate::registry::site::{Can, Scheme, Site, Trust, authority};
use cofferdam_core::reference::Reference;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, TableLike};

/// The places that `text` names for `reference`, in their order. Relative paths in it are in `folder`. Keys that are not
/// known are passed over, as containerd does.
pub(super) fn parse(text: &str, folder: &Path, reference: &Reference) -> Result<Vec<Site>, String> {
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| one_line(&error))?;
    let mut sites = Vec::new();
    if let Some(hosts) = document.get("host") {
        let hosts = hosts.as_table_like().ok_or("`host` is no table")?;
        for (server, settings) in hosts.iter() {
            let settings =
                settings.as_table_like().ok_or_else(|| format!("`host.\"{server}\"` is no table"))?;
            let site = Site { mirror: true, ..at(server, is_overridden(settings), reference)? };
            sites.push(
                with(site, settings, folder).map_err(|reason| format!("`host.\"{server}\"`: {reason}"))?,
            );
        }
    }
    let root = document.as_table();
    let last = match text_of(root, "server")? {
        Some(server) if !server.is_empty() => at(server, is_overridden(root), reference)?,
        _ => Site::origin(reference),
    };
    sites.push(with(last, root, folder)?);
    Ok(sites)
}

/// Whether an address' path stands for `/v2`, and not before it.
fn is_overridden(settings: &dyn TableLike) -> bool {
    settings.get("override_path").and_then(Item::as_bool).unwrap_or(false)
}

/// The place that an address names.
pub(super) fn at(server: &str, overridden: bool, reference: &Reference) -> Result<Site, String> {
    let (scheme, rest) = match server.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(_) => return Err(format!("`{server}` is neither an http nor an https address")),
        None => (Scheme::Https, server),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || host.contains(['@', '?', '#', ' ']) {
        return Err(format!(
            "`{}` is no address of a registry",
            server.split('@').next_back().unwrap_or_default()
        ));
    }
    let path = path.trim_matches('/');
    let path = match (path, overridden) {
        ("", false) => "/v2".to_owned(),
        ("", true) => String::new(),
        (path, true) => format!("/{path}"),
        (path, false) if path == "v2" || path.ends_with("/v2") => format!("/{path}"),
        (path, false) => format!("/{path}/v2"),
    };
    let origin = Site::origin(reference);
    let authority = authority(host).to_owned();
    // A place that is not the registry itself is told which one it stands for.
    let stands_for = (authority != origin.authority).then(|| reference.registry().to_owned());
    let name = if stands_for.is_some() { host.to_owned() } else { origin.name.clone() };
    Ok(Site { name, scheme, authority, path, namespace: stands_for, ..origin })
}

fn with(mut site: Site, settings: &dyn TableLike, folder: &Path) -> Result<Site, String> {
    let texts = |key: &str| match settings.get(key) {
        None => Ok(None),
        Some(item) => {
            all_texts(item).map(Some).ok_or_else(|| format!("`{key}` is neither a text nor a list of them"))
        }
    };
    if let Some(names) = texts("capabilities")?.filter(|names| !names.is_empty()) {
        site.can = Can { resolve: false, pull: false };
        for name in names {
            match name.as_str() {
                "resolve" => site.can.resolve = true,
                "pull" => site.can.pull = true,
                "push" => {}
                _ => return Err(format!("the capability `{name}` is not known")),
            }
        }
    }
    let anyone = match settings.get("skip_verify") {
        None => false,
        Some(item) => item.as_bool().ok_or("`skip_verify` is neither true nor false")?,
    };
    let ca = texts("ca")?.unwrap_or_default().into_iter().map(|path| folder.join(path)).collect();
    let identity = settings.get("client").map(|item| identity(item, folder)).transpose()?.flatten();
    site.trust = Trust { ca, identity, anyone };
    if let Some(headers) = settings.get("header") {
        let headers = headers.as_table_like().ok_or("`header` is no table")?;
        for (name, values) in headers.iter() {
            let values = all_texts(values).ok_or_else(|| format!("the header `{name}` is no text"))?;
            site.headers.extend(values.into_iter().map(|value| (name.to_owned(), value)));
        }
    }
    Ok(site)
}

/// A text, or a list of texts.
pub(super) fn all_texts(item: &Item) -> Option<Vec<String>> {
    if let Some(text) = item.as_str() {
        return Some(vec![text.to_owned()]);
    }
    item.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

/// The first certificate of `client`: a file with both, or a pair of files in a list of pairs.
fn identity(item: &Item, folder: &Path) -> Result<Option<(PathBuf, Option<PathBuf>)>, String> {
    let bad = "`client` is neither a file, a list of files nor a list of pairs of files";
    if let Some(file) = item.as_str() {
        return Ok(Some((folder.join(file), None)));
    }
    let Some(first) = item.as_array().ok_or(bad)?.get(0) else { return Ok(None) };
    if let Some(file) = first.as_str() {
        return Ok(Some((folder.join(file), None)));
    }
    let pair: Option<Vec<&str>> = first.as_array().ok_or(bad)?.iter().map(toml_edit::Value::as_str).collect();
    match pair.ok_or(bad)?.as_slice() {
        [file] | [file, ""] => Ok(Some((folder.join(file), None))),
        [certificate, key] => Ok(Some((folder.join(certificate), Some(folder.join(key))))),
        _ => Err(bad.to_owned()),
    }
}

fn text_of<'t>(table: &'t dyn TableLike, key: &str) -> Result<Option<&'t str>, String> {
    match table.get(key) {
        None => Ok(None),
        Some(item) => item.as_str().map(Some).ok_or_else(|| format!("`{key}` is no text")),
    }
}

/// What the parser says, without the excerpt: it may hold a header that is a secret.
pub(super) fn one_line(error: &toml_edit::TomlError) -> String {
    format!("it is no TOML: {}", error.message().lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(text: &str, reference: &str) -> Result<Vec<Site>, String> {
        parse(text, Path::new("/certs"), &Reference::new(reference).unwrap())
    }

    /// An address of each place's manifest `1`.
    fn shown(text: &str, reference: &str) -> Vec<String> {
        let show = |site: &Site| {
            let scheme = match site.scheme {
                Scheme::Https => "https",
                Scheme::Http => "http",
                Scheme::Either => "any",
            };
            format!("{scheme}://{}{}", site.authority, site.place("manifests", "1"))
        };
        sites(text, reference).unwrap().iter().map(show).collect()
    }

    #[test]
    fn places_are_asked_in_their_order_the_registry_last() {
        let text = "server = \"https://registry-1.docker.io\"\n[host.\"http://mirror:5000\"]\n\
                    [host.\"https://cache.example/hub\"]\n[host.\"https://flat.example/a/v2\"]\noverride_path = true\n\
                    [host.\"bare.example\"]\n";
        assert_eq!(
            shown(text, "team/kata"),
            [
                "http://mirror:5000/v2/team/kata/manifests/1?ns=docker.io",
                "https://cache.example/hub/v2/team/kata/manifests/1?ns=docker.io",
                "https://flat.example/a/v2/team/kata/manifests/1?ns=docker.io",
                "https://bare.example/v2/team/kata/manifests/1?ns=docker.io",
                "https://registry-1.docker.io/v2/team/kata/manifests/1",
            ]
        );
        assert_eq!(shown("", "r.example/a"), ["https://r.example/v2/a/manifests/1"]);
        assert_eq!(shown("", "localhost:5000/a"), ["any://localhost:5000/v2/a/manifests/1"]);
        assert_eq!(
            shown("server = \"http://other\"", "r.example/a"),
            ["http://other/v2/a/manifests/1?ns=r.example"]
        );
        let whole = "[host.\"https://x/prefix\"]\noverride_path = true";
        assert_eq!(shown(whole, "r.example/a")[0], "https://x/prefix/a/manifests/1?ns=r.example");
    }

    #[test]
    fn what_a_place_can_and_whom_it_trusts() {
        let text = "ca = [\"/abs/ca.pem\", \"own.pem\"]\nskip_verify = false\n\
                    [host.\"https://m\"]\ncapabilities = [\"pull\"]\nskip_verify = true\nca = \"m.pem\"\n\
                    client = [[\"c.pem\", \"k.pem\"], [\"d.pem\", \"\"]]\ndial_timeout = \"1s\"\n\
                    [host.\"https://m\".header]\nx-one = \"1\"\nx-two = [\"2\", \"3\"]\n\
                    [host.\"https://n\"]\ncapabilities = [\"pull\", \"resolve\", \"push\"]\nclient = \"both.pem\"\n";
        let found = sites(text, "r.example/a").unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].can.resolve, found[0].can.pull), (false, true));
        let identity = Some(("/certs/c.pem".into(), Some("/certs/k.pem".into())));
        assert_eq!(found[0].trust, Trust { ca: vec!["/certs/m.pem".into()], identity, anyone: true });
        let headers = [("x-one", "1"), ("x-two", "2"), ("x-two", "3")];
        assert_eq!(found[0].headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(found[1].can, Can::ALL);
        assert_eq!(found[1].trust.identity, Some(("/certs/both.pem".into(), None)));
        assert!(found[0].mirror && found[1].mirror && !found[2].mirror);
        let ca = vec!["/abs/ca.pem".into(), "/certs/own.pem".into()];
        assert_eq!(found[2].trust, Trust { ca, ..Trust::default() });
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for (text, reason) in [
            ("server = 5", "`server` is no text"),
            ("server = \"ftp://x\"", "neither an http"),
            ("server = \"https://ann:hunter2@x\"", "no address"),
            ("host = 5", "`host` is no table"),
            ("[host]\nx = 5", "no table"),
            ("[host.\"https://m\"]\ncapabilities = [\"fly\"]", "`fly`"),
            ("[host.\"https://m\"]\ncapabilities = [5]", "neither a text"),
            ("skip_verify = \"yes\"", "neither true nor false"),
            ("client = 5", "`client`"),
            ("client = [[\"a\", \"b\", \"c\"]]", "`client`"),
            ("[header]\nauthorization = 5", "`authorization`"),
            ("[header]\nauthorization = \"hunter2", "no TOML"),
        ] {
            let error = sites(text, "r.example/a").unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
