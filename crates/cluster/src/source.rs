//! From what the API or a file says of a package to what the host's worker reads.

use crate::api::{OciSource, PackageSpec};
use cofferdam_core::class::Class;
use cofferdam_core::reference::Reference;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::package::{Access, Place, Remote, Source};
use cofferdam_host::registry::Keyring;

/// Where a package comes from, with all that is needed to get it. `pull_secret` gives a pull secret's text by its name.
///
/// # Errors
/// If a pull secret is not there or cannot be read, or the reference is none.
pub(crate) fn source(
    package: &PackageSpec,
    pull_secret: impl FnOnce(&str) -> Result<String>,
) -> Result<Source> {
    let place = match (&package.source.directory, &package.source.oci) {
        (Some(folder), None) => Place::Dir(folder.into()),
        (None, Some(oci)) => Place::Oci(remote(oci, pull_secret)?),
        _ => {
            let text = "the package's source is neither a directory nor an image";
            return Err(HostError::new(Class::Invalid, text));
        }
    };
    Ok(Source {
        place,
        preset: package.preset.clone(),
        version: package.version.clone(),
        descriptor: package.descriptor.clone(),
    })
}

fn remote(oci: &OciSource, pull_secret: impl FnOnce(&str) -> Result<String>) -> Result<Remote> {
    let reference = Reference::new(&*oci.reference)
        .map_err(|error| HostError::new(Class::Invalid, format!("source.oci.reference: {error}")))?;
    let keyring = match oci.pull_secret.as_deref() {
        Some(name) => Keyring::parse(&pull_secret(name)?, &format!("the pull secret `{name}`"))?,
        None => Keyring::default(),
    };
    let (ca, plain_http) = (oci.ca_bundle.clone(), oci.plain_http);
    let access = Access { keyring, ca, plain_http, ..Access::default() };
    Ok(Remote { reference, access })
}
