//! How arguments' values are read.

use clap::{Args, ValueEnum};
use cofferdam_core::class::Class;
use cofferdam_core::reference::Reference;
use cofferdam_host::archive::Encoding;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::net::{Patience, Proxies};
use cofferdam_host::package::{Access, AccessFiles, Place, Remote};
use cofferdam_host::registry::HelperHost;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A package's place, as it is written.
#[derive(Clone, Debug)]
pub(crate) enum PlaceArg {
    Dir(PathBuf),
    Layout(PathBuf),
    Tar(PathBuf),
    Oci(Reference),
}

const SOURCES: &str = "a source is dir:PATH (a folder that holds the package), tar:FILE (an archive of one), layout:PATH (an \
                       image in a folder or an archive) or oci:REFERENCE (one in a registry)";

impl PlaceArg {
    /// The place that `text` names, if it names one and not a preset.
    pub(crate) fn find(text: &str) -> Result<Option<Self>> {
        if !text.contains([':', '/']) {
            return Ok(None);
        }
        source(text).map(Some).map_err(|error| HostError::new(Class::Invalid, error))
    }
}

/// A package's place. What kind of place it is stands before it, or is told by what is there.
pub(super) fn source(text: &str) -> std::result::Result<PlaceArg, String> {
    match text.split_once(':') {
        Some(("dir" | "tar" | "layout" | "oci", "")) => Err(SOURCES.to_owned()),
        Some(("dir", path)) => Ok(PlaceArg::Dir(path.into())),
        Some(("tar", path)) => Ok(PlaceArg::Tar(path.into())),
        Some(("layout", path)) => Ok(PlaceArg::Layout(path.into())),
        Some(("oci", reference)) => {
            Reference::new(reference).map(PlaceArg::Oci).map_err(|error| error.to_string())
        }
        _ => told_by_what_is_there(text),
    }
}

fn told_by_what_is_there(text: &str) -> std::result::Result<PlaceArg, String> {
    let path = Path::new(text);
    let is_path = text.starts_with(['/', '.']);
    // A name alone may be anything; what names a registry is a reference.
    let registry = text.split_once('/').map(|(host, _)| host);
    let names_one = registry.is_some_and(|host| host == "localhost" || host.contains(['.', ':']));
    let reference = Reference::new(text).ok().filter(|_| names_one && !is_path);
    match (path.exists(), reference) {
        (true, Some(_)) => Err(format!(
            "`{text}` is here, and would be an image's reference, too: write ./{text} or oci:{text}"
        )),
        (true, None) => match Place::of_path(path).map_err(|error| error.chain())? {
            Place::Tar(file) => Ok(PlaceArg::Tar(file)),
            Place::Layout(path) => Ok(PlaceArg::Layout(path)),
            Place::Dir(folder) => Ok(PlaceArg::Dir(folder)),
            Place::Oci(remote) => Ok(PlaceArg::Oci(remote.reference)),
        },
        (false, Some(reference)) => Ok(PlaceArg::Oci(reference)),
        (false, None) if is_path => Err(format!("there is no file or folder `{text}`; {SOURCES}")),
        (false, None) => Err(format!(
            "`{text}` is neither a file or folder here nor a reference with a registry's name (HOST/PATH); {SOURCES}"
        )),
    }
}

/// An image in a registry, with `oci:` before it or without.
pub(super) fn image(text: &str) -> std::result::Result<Reference, String> {
    Reference::new(text.strip_prefix("oci:").unwrap_or(text)).map_err(|error| error.to_string())
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum CompressionArg {
    #[default]
    Gzip,
    Zstd,
}

impl From<CompressionArg> for Encoding {
    fn from(arg: CompressionArg) -> Self {
        match arg {
            CompressionArg::Gzip => Self::Gzip,
            CompressionArg::Zstd => Self::Zstd,
        }
    }
}

/// How a registry is reached.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct AccessArgs {
    /// Credentials: a dockerconfigjson file, as docker login and pull secrets have it
    #[arg(long, visible_alias = "pull-secret", value_name = "FILE")]
    pub(crate) auth_file: Option<PathBuf>,
    /// Certificates (PEM) of authorities to trust beside the public ones
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Run the credential helper that the file with credentials names for the registry
    #[arg(long, requires = "auth_file")]
    credential_helpers: bool,
    /// A certificate (PEM) of ours, for registries that ask for one
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// Its key (PEM) [default: in the same file]
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Speak plain http: whoever is on the way can change what is installed by a tag
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// How often the registry is asked before it counts as unavailable [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    tries: Option<u32>,
    /// How long it may send nothing, e.g. 90s, 5m [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = patience)]
    stall_limit: Option<Duration>,
}

impl AccessArgs {
    /// Whether something is said of a certain registry.
    pub(crate) const fn is_given(&self) -> bool {
        self.auth_file.is_some() || self.ca_file.is_some() || self.client_cert.is_some() || self.plain_http
    }

    /// The image, and all that is needed to reach it.
    pub(crate) fn remote(&self, reference: Reference) -> Result<Remote> {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let helpers =
            self.credential_helpers.then(|| HelperHost::of_variables(std::env::vars_os().filter_map(text)));
        let files = AccessFiles {
            auth: self.auth_file.as_deref(),
            helpers: helpers.as_ref(),
            ca: self.ca_file.as_deref(),
            certificate: self.client_cert.as_deref().map(|file| (file, self.client_key.as_deref())),
            plain_http: self.plain_http,
        };
        let access = Access::of(&reference, &files)?;
        let access = Access { proxies: proxies(), patience: self.patience(), ..access };
        Ok(Remote { reference, access })
    }

    fn patience(&self) -> Patience {
        let usual = Patience::default();
        Patience {
            tries: self.tries.unwrap_or(usual.tries),
            answer: self.stall_limit.unwrap_or(usual.answer),
            silence: self.stall_limit.unwrap_or(usual.silence),
            ..usual
        }
    }

    /// A package's place. The worker has another working directory, so folders are made absolute.
    pub(crate) fn place(&self, place: &PlaceArg) -> Result<Place> {
        let absolute = |folder: &PathBuf| {
            std::fs::canonicalize(folder)
                .map_err(|error| HostError::std_io("open the package", folder.display(), error))
        };
        match place {
            PlaceArg::Dir(folder) => Ok(Place::Dir(absolute(folder)?)),
            PlaceArg::Layout(path) => Ok(Place::Layout(absolute(path)?)),
            PlaceArg::Tar(file) => Ok(Place::Tar(absolute(file)?)),
            PlaceArg::Oci(reference) => Ok(Place::Oci(self.remote(reference.clone())?)),
        }
    }
}

/// The proxies of our environment. The worker has another one: they travel in its request.
pub(crate) fn proxies() -> Proxies {
    Proxies::of_variables(|name| std::env::var(name).ok())
}

/// A label: `KEY=VALUE`.
pub(super) fn label(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE".to_owned()),
    }
}

/// In seconds: a year. A clock cannot count to any end.
const LONGEST: u64 = 366 * 24 * 3600;

/// Seconds, minutes or hours.
pub(super) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a duration is a number with s, m or h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a duration is a number with s, m or h".to_owned())?;
    match number.checked_mul(factor) {
        Some(seconds) if seconds <= LONGEST => Ok(Duration::from_secs(seconds)),
        _ => Err("a duration is at most a year".to_owned()),
    }
}

/// How long something is waited for: not nothing.
fn patience(text: &str) -> std::result::Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("it is at least a second".to_owned()) } else { Ok(duration) }
}

/// An address to listen on: `IP:PORT`, or `:PORT` for every address.
pub(super) fn listen(text: &str) -> std::result::Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| format!("`{text}` is neither IP:PORT nor :PORT"))
}
