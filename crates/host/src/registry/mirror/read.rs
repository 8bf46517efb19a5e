//! The settings of this host: which files say something of a registry.

use super::containerd_toml::Containerd;
use super::hosts_toml;
use super::registries_conf::{Registries, Said};
use crate::config_files;
use crate::error::HostError;
use crate::net::{Identity, Roots, Tls};
use crate::registry::RegistryError;
use crate::registry::site::{Configured, Site, Trust};
use crate::root::HostRoot;
use cofferdam_core::name::HostPath;
use cofferdam_core::reference::Reference;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, RegistryError>;

/// No file of settings or certificates is larger.
const MOST: u64 = 4 << 20;

/// Where this host's engines look for what is special about a registry. What is not there says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostSettings {
    /// containerd's configuration files: they name more folders of the next kind, and may list mirrors themselves.
    pub engines: Vec<PathBuf>,
    /// Folders with a folder for each registry that holds a `hosts.toml`: containerd's `config_path`.
    pub hosts: Vec<PathBuf>,
    /// `registries.conf` and the folders with more of them. Later ones win.
    pub registries: Vec<PathBuf>,
    /// Folders with a folder for each registry that holds certificates, as Docker and Podman have them.
    pub certificates: Vec<PathBuf>,
    /// Where this machine's own list of certificate authorities may be: the first one that is there counts.
    pub authorities: Vec<PathBuf>,
}

impl Default for HostSettings {
    /// Where containerd, its kin in k3s, RKE2 and MicroK8s, CRI-O, Podman and Docker look.
    fn default() -> Self {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Self {
            engines: paths(&[
                "/etc/containerd/config.toml",
                "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
                "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
            ]),
            hosts: paths(&[
                "/etc/containerd/certs.d",
                "/var/lib/rancher/k3s/agent/etc/containerd/certs.d",
                "/var/lib/rancher/rke2/agent/etc/containerd/certs.d",
                "/var/snap/microk8s/current/args/certs.d",
            ]),
            registries: paths(&["/etc/containers/registries.conf", "/etc/containers/registries.conf.d"]),
            certificates: paths(&["/etc/containers/certs.d", "/etc/docker/certs.d"]),
            // Where Go looks on Linux (crypto/x509/root_linux.go), and by that the engines.
            authorities: paths(&[
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/pki/tls/certs/ca-bundle.crt",
                "/etc/ssl/ca-bundle.pem",
                "/etc/pki/tls/cacert.pem",
                "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                "/etc/ssl/cert.pem",
            ]),
        }
    }
}

impl HostSettings {
    /// Nothing is looked at.
    pub const fn none() -> Self {
        Self {
            engines: Vec::new(),
            hosts: Vec::new(),
            registries: Vec::new(),
            certificates: Vec::new(),
            authorities: Vec::new(),
        }
    }

    /// `roots`, and those of this machine's own list.
    pub(in crate::registry) fn with_own_authorities(&self, roots: Roots) -> Result<Roots> {
        for file in &self.authorities {
            if let Some(pem) = read(file)? {
                return Ok(roots.and_usable(pem.as_bytes()));
            }
        }
        Ok(roots)
    }

    /// Where `reference` may be had, in the order in which the places are asked. `hosts.toml` counts before what
    /// containerd's configuration lists, and that before `registries.conf`; folders that a configuration names before those
    /// that nobody names, and in each the registry's own before the one for all (`_default`).
    pub(in crate::registry) fn sites(&self, reference: &Reference) -> Result<Vec<Site>> {
        let engines = self.engines()?;
        let mut sites = self.of_hosts(reference, &engines)?;
        for (file, engine) in &engines {
            if sites.is_none() {
                sites = engine.sites(reference).map_err(|reason| bad(file, reason))?;
            }
        }
        let of_others = if sites.is_none() { self.of_registries(reference)? } else { None };
        let is_of_others = of_others.is_some();
        let mut sites = sites.or(of_others).unwrap_or_else(|| vec![Site::origin(reference)]);
        for site in &mut sites {
            self.with_certificates(site)?;
            // containerd's login goes the way that containerd would go.
            let login = |(file, engine): &(PathBuf, Containerd)| {
                Some(Configured { file: file.clone(), login: engine.login(&site.authority)? })
            };
            site.login = engines.iter().find_map(login).filter(|_| !is_of_others);
        }
        Ok(sites)
    }

    /// containerd's configuration files with those that they import: what is imported counts first, as there.
    fn engines(&self) -> Result<Vec<(PathBuf, Containerd)>> {
        let mut found = Vec::new();
        for config in &self.engines {
            let read = HostPath::new(config.to_string_lossy().as_ref())
                .map_err(|error| error.to_string())
                .and_then(|path| {
                    let root = HostRoot::open(Path::new("/"));
                    root.and_then(|root| config_files::read(&root, &path))
                        .map_err(|error: HostError| error.chain())
                });
            let (own, mut files) = read.map_err(|reason| bad(config, reason))?;
            let own = files.remove_entry(&own);
            for (path, text) in files.into_iter().rev().chain(own) {
                let path = PathBuf::from(path.as_str());
                let engine = Containerd::parse(&text).map_err(|reason| bad(&path, reason))?;
                found.push((path, engine));
            }
        }
        Ok(found)
    }

    fn of_hosts(
        &self,
        reference: &Reference,
        engines: &[(PathBuf, Containerd)],
    ) -> Result<Option<Vec<Site>>> {
        let mut folders = Vec::new();
        for (file, engine) in engines {
            folders.extend(engine.folders().map_err(|reason| bad(file, reason))?);
        }
        folders.extend(self.hosts.iter().cloned());
        let host = reference.registry();
        let with_port = host.rsplit_once(':').map(|(name, port)| format!("{name}_{port}_"));
        let names: Vec<String> =
            with_port.into_iter().chain([host.to_owned(), "_default".to_owned()]).collect();
        for folder in folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))) {
            let file = folder.join("hosts.toml");
            if let Some(text) = read(&file)? {
                let sites = hosts_toml::parse(&text, &folder, reference);
                return sites.map(Some).map_err(|reason| bad(&file, reason));
            }
            // containerd reads certificates there in Docker's way, too.
            if let Some(trust) = certificates(&folder)? {
                return Ok(Some(vec![Site { trust, ..Site::origin(reference) }]));
            }
        }
        Ok(None)
    }

    fn of_registries(&self, reference: &Reference) -> Result<Option<Vec<Site>>> {
        let mut registries = Registries::default();
        for path in &self.registries {
            let files = match list(path)? {
                Some(mut files) => {
                    files.retain(|file| file.extension() == Some(OsStr::new("conf")));
                    files
                }
                None => vec![path.clone()],
            };
            for file in files {
                if let Some(text) = read(&file)? {
                    registries.add(&text).map_err(|reason| bad(&file, reason))?;
                }
            }
        }
        match registries.said(reference) {
            Said::Nothing => Ok(None),
            Said::Sites(sites) => Ok(Some(sites)),
            Said::Blocked(prefix) => Err(RegistryError::Blocked { what: reference.to_string(), prefix }),
        }
    }

    /// Adds the certificates for a place that nothing else is said of.
    fn with_certificates(&self, site: &mut Site) -> Result<()> {
        for folder in &self.certificates {
            let by_name = if site.mirror { None } else { certificates(&folder.join(&site.name))? };
            let found = match by_name {
                Some(trust) => Some(trust),
                None => certificates(&folder.join(&site.authority))?,
            };
            let Some(trust) = found else { continue };
            site.trust.ca.extend(trust.ca);
            if site.trust.identity.is_none() {
                site.trust.identity = trust.identity;
            }
        }
        Ok(())
    }
}

/// `tls`, with what `trust` names.
pub(in crate::registry) fn trusting(mut tls: Tls, trust: &Trust) -> Result<Tls> {
    for file in &trust.ca {
        tls.roots = tls.roots.and_pem(needed(file)?.as_bytes(), &file.display().to_string())?;
    }
    if let Some((certificate, key)) = &trust.identity {
        let origin = certificate.display().to_string();
        let chain = needed(certificate)?;
        let key = key.as_deref().map(needed).transpose()?;
        let identity =
            Identity::of_pem(chain.as_bytes(), key.as_deref().unwrap_or(&chain).as_bytes(), &origin)?;
        tls.identity = Some(identity);
    }
    tls.anyone = trust.anyone;
    Ok(tls)
}

/// Certificates as Docker has them: `*.crt` of authorities, `*.cert` and `*.key` of ours. Nothing if there are none.
fn certificates(folder: &Path) -> Result<Option<Trust>> {
    let with = |files: &[PathBuf], extension: &str| -> Vec<PathBuf> {
        let fits = |file: &&PathBuf| file.extension() == Some(OsStr::new(extension));
        files.iter().filter(fits).cloned().collect()
    };
    let Some(files) = list(folder)? else { return Ok(None) };
    let ca = with(&files, "crt");
    let certificate = with(&files, "cert").into_iter().next();
    let identity = certificate.map(|certificate| {
        let key = certificate.with_extension("key");
        (certificate, Some(key))
    });
    let found = !ca.is_empty() || identity.is_some();
    Ok(found.then_some(Trust { ca, identity, anyone: false }))
}

/// The files in a folder, by name; nothing if it is none.
fn list(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(bad(folder, error.to_string())),
    };
    let files: std::io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = files.map_err(|error| bad(folder, error.to_string()))?;
    files.sort();
    Ok(Some(files))
}

/// A file's text; nothing if there is none.
fn read(file: &Path) -> Result<Option<String>> {
    match fs::metadata(file) {
        Ok(found) if found.len() > MOST => Err(bad(file, format!("it is larger than {MOST} bytes"))),
        Ok(_) => fs::read_to_string(file).map(Some).map_err(|error| bad(file, error.to_string())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(bad(file, error.to_string())),
    }
}

fn needed(file: &Path) -> Result<String> {
    read(file)?.ok_or_else(|| bad(file, "there is no such file".to_owned()))
}

fn bad(file: &Path, reason: String) -> RegistryError {
    RegistryError::Settings { file: file.display().to_string(), reason }
}
