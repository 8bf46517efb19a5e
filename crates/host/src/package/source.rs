//! Where packages are, and what opens the places that are not for everyone.

use super::{Using, invalid, tarball};
use crate::archive::Limits;
use crate::error::Result;
use crate::net::{Patience, Proxies};
use crate::registry::{self, HelperHost, HostSettings, Keyring, Login};
use cofferdam_core::name::Digest;
use cofferdam_core::preset;
use cofferdam_core::record::Installed;
use cofferdam_core::reference::Reference;
use cofferdam_core::trust::Policy;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a package is, and what it does not say of itself. It holds all that is needed to read it, secrets included: it
/// travels in a request to the worker, and is never written down elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where it is.
    pub place: Place,
    /// The preset to use if it has no descriptor.
    pub preset: Option<String>,
    /// Its version for that preset, if neither descriptor nor file says it.
    pub version: Option<String>,
    /// The text of a `runtime.toml` to use if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<String>,
    /// What is asked of it before it is unpacked. None: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// What somebody else asks of it besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub besides: Option<Policy>,
    /// How much of it is unpacked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
}

/// Where a package is. Shown as users write it, without what opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant)] // a handful exist in a process
pub enum Place {
    /// A folder that holds its files: `dir:PATH`.
    Dir(PathBuf),
    /// A folder with an image in the OCI layout, or an archive of one or of `docker save`: `layout:PATH`.
    Layout(PathBuf),
    /// An archive that holds its files: `tar:FILE`.
    Tar(PathBuf),
    /// An image in a registry: `oci:REF`.
    Oci(Remote),
}

/// An image in a registry, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// Which.
    pub reference: Reference,
    /// How.
    #[serde(default)]
    pub access: Access,
}

/// How a registry is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Who we are. None: nobody in particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Certificates (PEM) of authorities that are trusted beside the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Logins by what they are for: the registry's, and its mirrors'.
    #[serde(skip_serializing_if = "is_default")]
    pub keyring: Keyring,
    /// Our certificate, for registries that ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<ClientCertificate>,
    /// What stands between us and the registry.
    #[serde(skip_serializing_if = "is_default")]
    pub proxies: Proxies,
    /// Where the settings of this host's engines are: mirrors, certificates, logins.
    #[serde(skip_serializing_if = "is_default")]
    pub settings: HostSettings,
    /// Speak plain http.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// How long is waited for it, and how often it is asked again.
    #[serde(skip_serializing_if = "is_default")]
    pub patience: Patience,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A certificate of ours and its key, as PEM texts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The certificate, and those between it and its authority.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(..)")
    }
}

/// What a user says of how a registry is reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessFiles<'a> {
    /// A file with logins: Docker's `config.json`, a `dockerconfigjson`, a `dockercfg`.
    pub auth: Option<&'a Path>,
    /// Run the credential helpers that this file names.
    pub helpers: Option<&'a HelperHost>,
    /// Certificates of authorities.
    pub ca: Option<&'a Path>,
    /// A certificate of ours, and a file with its key if that one does not hold it.
    pub certificate: Option<(&'a Path, Option<&'a Path>)>,
    /// Speak plain http.
    pub plain_http: bool,
}

impl Access {
    /// What is needed for `reference`, from a file with logins and one with certificates.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn of_files(
        reference: &Reference,
        auth_file: Option<&Path>,
        ca_file: Option<&Path>,
        plain_http: bool,
    ) -> Result<Self> {
        let files = AccessFiles { auth: auth_file, ca: ca_file, plain_http, ..AccessFiles::default() };
        Self::of(reference, &files)
    }

    /// What is needed for `reference`, from what a user says.
    ///
    /// # Errors
    /// If a file cannot be read, or a credential helper fails.
    pub fn of(reference: &Reference, files: &AccessFiles<'_>) -> Result<Self> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|error| crate::error::HostError::std_io("read", path.display(), error))
        };
        let mut access =
            Self { ca: files.ca.map(read).transpose()?, plain_http: files.plain_http, ..Self::default() };
        if let Some(path) = files.auth {
            let (text, name) = (read(path)?, path.display().to_string());
            access.keyring = Keyring::parse(&text, &name)?;
            let asked = files.helpers.map(|host| host.ask(&text, &name, reference.registry())).transpose()?;
            if let Some(login) = asked.flatten() {
                access.keyring = access.keyring.and(reference.registry(), login);
            }
        }
        if let Some((certificate, key)) = files.certificate {
            let certificate = read(certificate)?;
            let key = key.map(read).transpose()?.unwrap_or_else(|| certificate.clone());
            access.identity = Some(ClientCertificate { certificate, key });
        }
        Ok(access)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(folder) => write!(f, "dir:{}", folder.display()),
            Self::Layout(path) => write!(f, "layout:{}", path.display()),
            Self::Tar(file) => write!(f, "tar:{}", file.display()),
            Self::Oci(remote) => write!(f, "oci:{}", remote.reference),
        }
    }
}

impl Place {
    /// Reads what [`Self`] shows. A registry is reached without a login.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "dir" => Some(Self::Dir(rest.into())),
            "layout" => Some(Self::Layout(rest.into())),
            "tar" => Some(Self::Tar(rest.into())),
            "oci" => {
                let reference = Reference::new(rest).ok()?;
                Some(Self::Oci(Remote { reference, access: Access::default() }))
            }
            _ => None,
        }
    }

    /// What the file or folder at `path` is, by what is in it: a package, an image, an archive.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn of_path(path: &Path) -> Result<Self> {
        let fail = |error| crate::error::HostError::std_io("open the package", path.display(), error);
        let kind = std::fs::metadata(path).map_err(fail)?;
        if kind.is_dir() {
            let is_layout = path.join("oci-layout").is_file() && path.join("index.json").is_file();
            return Ok(if is_layout { Self::Layout(path.into()) } else { Self::Dir(path.into()) });
        }
        let file = std::fs::File::open(path).map_err(fail)?;
        let is_image = tarball::is_compressed(path) == Some(false) && registry::is_image_archive(&file);
        Ok(if is_image { Self::Layout(path.into()) } else { Self::Tar(path.into()) })
    }

    /// The same, pinned to the image with that digest.
    #[must_use]
    pub fn pinned(self, image: Option<Digest>) -> Self {
        match (self, image) {
            (Self::Oci(Remote { reference, access }), Some(digest)) => {
                Self::Oci(Remote { reference: reference.pinned(digest), access })
            }
            (place, _) => place,
        }
    }
}

impl Source {
    /// The package at `place`, which describes itself.
    pub const fn plain(place: Place) -> Self {
        let limits = Limits::NORMAL;
        Self { place, preset: None, version: None, descriptor: None, policy: None, besides: None, limits }
    }

    /// The same, if this policy accepts it, too.
    #[must_use]
    pub fn and_policy(self, policy: Option<Policy>) -> Self {
        match self.policy {
            None => Self { policy, ..self },
            Some(_) => Self { besides: policy, ..self },
        }
    }

    /// The same through `proxies`, if it is in a registry.
    #[must_use]
    pub fn through(mut self, proxies: &Proxies) -> Self {
        if let Place::Oci(remote) = &mut self.place {
            remote.access.proxies = proxies.clone();
        }
        self
    }

    /// Where `installed` came from. What opened the place is not known any more.
    pub fn of(installed: &Installed) -> Option<Self> {
        Some(Self::like(Place::parse(&installed.source)?.pinned(installed.image), installed))
    }

    /// The package at `place`, described as `installed` was.
    pub fn like(place: Place, installed: &Installed) -> Self {
        Self {
            place,
            preset: installed.preset.clone(),
            version: installed.preset.as_ref().map(|_| installed.version.to_string()),
            descriptor: None,
            // It must be the very bytes that were verified then, where a policy asked.
            policy: None,
            besides: None,
            limits: Limits::NORMAL,
        }
    }

    /// What describes the package if it does not do so itself.
    pub(super) fn using(&self) -> Result<Option<Using<'_>>> {
        match (&self.preset, &self.descriptor) {
            (Some(_), Some(_)) => {
                Err(invalid("a package is described by a preset or a descriptor, not both"))
            }
            (Some(name), None) => Ok(Some(Using::Preset(preset::find(name)?, self.version.as_deref()))),
            (None, text) => Ok(text.as_deref().map(Using::Text)),
        }
    }
}
