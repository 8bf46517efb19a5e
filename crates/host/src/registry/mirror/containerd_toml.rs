//! containerd's own configuration: the folders with `hosts.toml`, and mirrors, certificates and logins that it lists itself
//! (`registry.mirrors` and `registry.configs`: deprecated since containerd 1.5, and still in many files). No I/O.

use super::hosts_toml::{all_texts, at, one_line};
use crate::registry::login::{Entry, Login};
use crate::registry::site::{Site, Trust};
use cofferdam_core::reference::Reference;
use std::path::PathBuf;
use toml_edit::{DocumentMut, Item, TableLike};

/// The plugins that have a `registry` table: of versions 3, 2 and 1 of the file.
const PLUGINS: [&str; 3] = ["io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri", "cri"];

/// One file of containerd's configuration.
pub(super) struct Containerd(DocumentMut);

impl Containerd {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: toml_edit::TomlError| one_line(&error))
    }

    /// The tables with what it says of registries.
    fn registries(&self) -> impl Iterator<Item = &dyn TableLike> {
        let plugins = self.0.get("plugins");
        PLUGINS.into_iter().filter_map(move |plugin| plugins?.get(plugin)?.get("registry")?.as_table_like())
    }

    /// The folders of `config_path`, which is a list with `:` between them.
    pub(super) fn folders(&self) -> Result<Vec<PathBuf>, String> {
        let mut folders = Vec::new();
        for registry in self.registries() {
            let Some(listed) = registry.get("config_path") else { continue };
            let listed = listed.as_str().ok_or("`registry.config_path` is no text")?;
            folders.extend(listed.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from));
        }
        Ok(folders)
    }

    /// Where `reference` may be had, by `registry.mirrors` and `registry.configs`; none if they do not speak of its
    /// registry.
    pub(super) fn sites(&self, reference: &Reference) -> Result<Option<Vec<Site>>, String> {
        for registry in self.registries() {
            let origin = Site::origin(reference);
            let mirrors = registry.get("mirrors").and_then(Item::as_table_like);
            let listed = mirrors.and_then(|all| all.get(reference.registry()).or_else(|| all.get("*")));
            let mut sites = match listed.and_then(|mirror| mirror.get("endpoint")) {
                None => Vec::new(),
                Some(endpoints) => endpoints_of(endpoints, reference)?,
            };
            let is_said = listed.is_some() || trust(registry, &origin.authority)? != Trust::default();
            if !is_said {
                continue;
            }
            if !sites.iter().any(|site| site.authority == origin.authority) {
                sites.push(origin);
            }
            for site in &mut sites {
                site.trust = trust(registry, &site.authority)?;
            }
            return Ok(Some(sites));
        }
        Ok(None)
    }

    /// Who the engine says that it is at `host`: `registry.configs."HOST".auth`. None: it says nothing.
    pub(super) fn login(&self, host: &str) -> Option<Result<Login, String>> {
        let auth = self.registries().find_map(|registry| config(registry, host, "auth"))?;
        let bad = |reason: &str| format!("`registry.configs.\"{host}\".auth`: {reason}");
        entry(auth).map_err(|reason| bad(&reason)).and_then(|entry| entry.login().map_err(bad)).transpose()
    }
}

/// A login as text. What is wrong is said without what stands there: it may be a secret.
fn entry(auth: &dyn TableLike) -> Result<Entry, String> {
    let text = |key: &str| match auth.get(key).map(Item::as_str) {
        None => Ok(String::new()),
        Some(Some(text)) => Ok(text.to_owned()),
        Some(None) => Err(format!("`{key}` is no text")),
    };
    let (username, password) = (text("username")?, text("password")?);
    // In containerd a name counts before the rest (`ParseAuth`), unlike in Docker's files.
    let others = |key: &str| if username.is_empty() { text(key) } else { Ok(String::new()) };
    let (auth, identitytoken) = (others("auth")?, others("identitytoken")?);
    Ok(Entry { auth, username, password, identitytoken, ..Entry::default() })
}

/// `registry.configs."HOST".KEY`.
fn config<'r>(registry: &'r dyn TableLike, host: &str, key: &str) -> Option<&'r dyn TableLike> {
    registry.get("configs")?.as_table_like()?.get(host)?.get(key)?.as_table_like()
}

fn endpoints_of(endpoints: &Item, reference: &Reference) -> Result<Vec<Site>, String> {
    let texts = all_texts(endpoints).ok_or("`endpoint` is no list of addresses")?;
    let site = |endpoint: &String| {
        let endpoint = match endpoint.split_once("://") {
            Some(_) => endpoint.clone(),
            None if is_loopback(endpoint) => format!("http://{endpoint}"),
            None => format!("https://{endpoint}"),
        };
        // A path is taken as it is, and stands for `/v2`.
        let has_path = endpoint.trim_end_matches('/').matches('/').count() > 2;
        at(&endpoint, has_path, reference).map(|site| Site { mirror: site.namespace.is_some(), ..site })
    };
    texts.iter().map(site).collect()
}

/// Whether an address without a scheme is on this machine: there plain http is spoken.
fn is_loopback(address: &str) -> bool {
    let host = address.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(name, _)| !name.ends_with(':')).map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// `registry.configs."HOST".tls`.
fn trust(registry: &dyn TableLike, host: &str) -> Result<Trust, String> {
    let Some(tls) = config(registry, host, "tls") else { return Ok(Trust::default()) };
    let file = |key: &str| match tls.get(key) {
        None => Ok(None),
        Some(item) => match item.as_str() {
            Some("") => Ok(None),
            Some(file) => Ok(Some(PathBuf::from(file))),
            None => Err(format!("`registry.configs.\"{host}\".tls.{key}` is no text")),
        },
    };
    let identity = match (file("cert_file")?, file("key_file")?) {
        (Some(certificate), key) => Some((certificate, key)),
        (None, _) => None,
    };
    let anyone = tls.get("insecure_skip_verify").and_then(Item::as_bool).unwrap_or(false);
    Ok(Trust { ca: file("ca_file")?.into_iter().collect(), identity, anyone })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, reference: &str) -> Option<Vec<String>> {
        let sites = Containerd::parse(text).unwrap().sites(&Reference::new(reference).unwrap()).unwrap();
        let show = |site: &Site| {
            format!("{:?} {}{}", site.scheme, site.authority, site.place("manifests", "1")).to_lowercase()
        };
        Some(sites?.iter().map(show).collect())
    }

    #[test]
    fn folders_are_known_from_every_version_of_the_file() {
        for plugin in PLUGINS {
            let text = format!("[plugins.\"{plugin}\".registry]\nconfig_path = \"/a/certs.d:/b\"\n");
            let folders = Containerd::parse(&text).unwrap().folders().unwrap();
            assert_eq!(folders, [PathBuf::from("/a/certs.d"), PathBuf::from("/b")], "{plugin}");
        }
        assert_eq!(Containerd::parse("version = 3\n").unwrap().folders().unwrap(), Vec::<PathBuf>::new());
        assert!(Containerd::parse("[plugins.cri.registry]\nconfig_path = 7\n").unwrap().folders().is_err());
    }

    #[test]
    fn listed_mirrors_are_asked_before_the_registry() {
        let text = "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n\
                    endpoint = [\"http://mirror:5000\", \"https://cache.example/hub\"]\n\
                    [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"r.example\"]\n\
                    endpoint = [\"http://r.example\"]\n\
                    [plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"mirror:5000\".tls]\n\
                    ca_file = \"/ca.pem\"\ncert_file = \"/c.pem\"\nkey_file = \"/k.pem\"\n\
                    [plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r.example\".tls]\nca_file = \"/own.pem\"\n\
                    [plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"alone.example\".tls]\n\
                    insecure_skip_verify = true\n";
        let found = shown(text, "team/kata").unwrap();
        assert_eq!(
            found,
            [
                "http mirror:5000/v2/team/kata/manifests/1?ns=docker.io",
                "https cache.example/hub/team/kata/manifests/1?ns=docker.io",
                "https registry-1.docker.io/v2/team/kata/manifests/1",
            ]
        );
        let own = shown(text, "r.example/a").unwrap();
        assert_eq!(own, ["http r.example/v2/a/manifests/1"], "asked in its own way, and once");
        assert_eq!(shown(text, "other.example/a"), None);

        let sites = |reference: &str| {
            let reference = Reference::new(reference).unwrap();
            Containerd::parse(text).unwrap().sites(&reference).unwrap().unwrap()
        };
        let identity = Some((PathBuf::from("/c.pem"), Some(PathBuf::from("/k.pem"))));
        let own = sites("r.example/a");
        assert_eq!(
            own[0].trust.ca,
            [PathBuf::from("/own.pem")],
            "that it is listed itself takes nothing away"
        );
        let found = sites("team/kata");
        assert_eq!(found[0].trust, Trust { ca: vec!["/ca.pem".into()], identity, anyone: false });
        assert_eq!(found[1].trust, Trust::default());
        assert!(sites("alone.example/a")[0].trust.anyone);
    }

    #[test]
    fn logins_are_known_by_their_host_and_never_shown() {
        let of = |auth: &str| {
            let text = format!(
                "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r.example\".auth]\n{auth}\n"
            );
            let file = Containerd::parse(&text).unwrap();
            assert_eq!(file.login("other.example"), None, "{auth}");
            file.login("r.example")
        };
        let ann = Login::Basic { username: "ann".to_owned(), password: "hunter2".to_owned() };
        assert_eq!(of("username = \"ann\"\npassword = \"hunter2\""), Some(Ok(ann.clone())));
        assert_eq!(of("auth = \"YW5uOmh1bnRlcjI=\""), Some(Ok(ann.clone())));
        let stale = "username = \"ann\"\npassword = \"hunter2\"\nauth = \"old\"\nidentitytoken = \"old\"";
        assert_eq!(of(stale), Some(Ok(ann)));
        let token = Login::Identity { token: "hunter2".to_owned() };
        assert_eq!(of("identitytoken = \"hunter2\""), Some(Ok(token)));
        assert_eq!(of(""), None);
        for (auth, reason) in [("password = 7", "`password` is no text"), ("auth = \"hunter2!\"", "base64")] {
            let error = of(auth).unwrap().unwrap_err();
            assert!(
                error.contains(reason) && error.contains("r.example") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn addresses_may_be_without_a_scheme() {
        let text = "[plugins.cri.registry.mirrors.\"*\"]\nendpoint = [\"localhost:5000\", \"cache.example\", \"[::1]:5000\"]\n";
        let found = shown(text, "r.example/a").unwrap();
        let starts = [
            "http localhost:5000/v2/",
            "https cache.example/v2/",
            "http [::1]:5000/v2/",
            "https r.example/v2/",
        ];
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
        }
        assert_eq!(found.len(), starts.len());
    }

    #[test]
    fn one_entry_may_stand_for_all() {
        let text =
            "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"*\"]\nendpoint = [\"https://all\"]\n";
        assert_eq!(shown(text, "r.example/a").unwrap()[0], "https all/v2/a/manifests/1?ns=r.example");
        let bad = "[plugins.cri.registry.mirrors.\"*\"]\nendpoint = 7\n";
        let reference = Reference::new("r.example/a").unwrap();
        assert!(Containerd::parse(bad).unwrap().sites(&reference).is_err());
    }
}
