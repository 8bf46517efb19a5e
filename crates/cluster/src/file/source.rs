//! From what a file says of a package to what the host's worker reads.

use super::Form;
use crate::agent::secrets;
use crate::api::PackageSpec;
use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::package::Source;
use std::path::Path;

/// Where a package of a file comes from. `secrets` is the folder with the mounted pull secrets.
///
/// # Errors
/// If a pull secret is not there, or the source is of a kind that this release cannot read.
pub fn source(package: &PackageSpec, secrets: &Path) -> Result<Source> {
    if package.descriptor.is_some() {
        let text = "a descriptor in the file is not supported yet";
        return Err(HostError::new(Class::Unsupported, text)
            .with_hint("put it into the package, as the file runtime.toml at its top"));
    }
    let (preset, version) = (package.preset.clone(), package.version.clone());
    match (&package.source.directory, &package.source.oci) {
        (Some(folder), None) => Ok(Source { folder: folder.into(), preset, version }),
        (None, Some(oci)) => {
            let _ = oci.pull_secret.as_deref().map(|name| pull_secret(secrets, name)).transpose()?;
            Err(HostError::new(Class::Unsupported, "registries are not supported yet"))
        }
        _ => Err(HostError::new(Class::Invalid, "the package's source is neither a directory nor an image")),
    }
}

/// The text of a pull secret; its absence names what to set.
fn pull_secret(folder: &Path, name: &str) -> Result<String> {
    secrets::read(folder, name).map_err(|error| {
        let file = folder.join(name).join(".dockerconfigjson");
        error.with_hint(format!(
            "put the registry's login at {} (in a pod: make the Secret {name} of type kubernetes.io/dockerconfigjson in the \
             pod's namespace, which kubectl cofferdam render --no-api mounts there); or set pullSecret to another name",
            file.display()
        ))
    })
}

/// What to add to the error of a package that k8s-kata-manager's schema names.
#[must_use]
pub fn explain(form: Form, error: HostError) -> HostError {
    if form != Form::KataManager || error.class() != Class::Invalid {
        return error;
    }
    error.with_hint(
        "this artifact is a kernel, an image and a configuration for a Kata that is there already; this release installs \
         packages that say so in a runtime.toml with [base] (docs/moving.md)",
    )
}
