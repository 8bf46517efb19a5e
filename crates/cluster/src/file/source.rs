//! From what a file says of a package to what the host's worker reads.

use super::Form;
use crate::agent::secrets;
use crate::api::PackageSpec;
use cofferdam_core::class::Class;
use cofferdam_host::error::Result;
use cofferdam_host::package::Source;
use std::path::Path;

/// Where a package of a file comes from. `secrets` is the folder with the mounted pull secrets.
///
/// # Errors
/// If a pull secret is not there or has nothing for the registry, or the reference is none.
pub fn source(package: &PackageSpec, secrets: &Path) -> Result<Source> {
    crate::source::source(package, |name| pull_secret(secrets, name))
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

/// What to do where a package that k8s-kata-manager's schema names is found to be none.
#[must_use]
pub fn advice(form: Form, class: Class) -> Option<&'static str> {
    (form == Form::KataManager && class == Class::Invalid).then_some(
        "k8s-kata-manager's artifacts hold a guest kernel, an image and a configuration, but not the Kata that runs them. \
         Install Kata, and say in a descriptor with `[base]` how the artifact goes with it; or put both into one folder with a \
         runtime.toml, push that with `cofferdam pack DIR -t REFERENCE --push`, and write its reference as `url`: \
         docs/moving.md shows each step",
    )
}
