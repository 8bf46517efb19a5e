//! From what the API or a file says of a package to what the host's worker reads.

use crate::api::{LimitsSpec, OciSource, PackageSpec, SignerSpec, SourceSpec, VerifySpec};
use cofferdam_core::class::Class;
use cofferdam_core::reference::Reference;
use cofferdam_core::trust::{
    Accept, Identity, Keyless, NamedKey, Pattern, Policy, PublicKey, Rule, Scope, TrustRoot,
};
use cofferdam_host::archive::{Asked, Limits};
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
    let place = match &package.source {
        SourceSpec { oci: Some(oci), layout: None, tar: None, directory: None } => {
            Place::Oci(remote(oci, pull_secret)?)
        }
        SourceSpec { oci: None, layout: Some(path), tar: None, directory: None } => {
            Place::Layout(path.into())
        }
        SourceSpec { oci: None, layout: None, tar: Some(path), directory: None } => Place::Tar(path.into()),
        SourceSpec { oci: None, layout: None, tar: None, directory: Some(path) } => Place::Dir(path.into()),
        _ => {
            let text = "the package's source is not exactly one of oci, layout, tar and directory";
            return Err(HostError::new(Class::Invalid, text));
        }
    };
    let source = Source::plain(place);
    Ok(Source {
        preset: package.preset.clone(),
        version: package.version.clone(),
        descriptor: package.descriptor.clone(),
        policy: package.verify.as_ref().map(policy).transpose()?,
        limits: limits(package.limits.unwrap_or_default()),
        ..source
    })
}

fn limits(asked: LimitsSpec) -> Limits {
    let LimitsSpec { max_bytes, max_entries, max_depth, max_ratio, zstd_window } = asked;
    let asked = Asked {
        bytes: max_bytes,
        entries: max_entries,
        depth: max_depth.map(usize::from),
        ratio: max_ratio,
        window: zstd_window,
    };
    asked.over(Limits::NORMAL)
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

/// The policy that a SandboxRuntime has for its own package.
pub(crate) fn policy(verify: &VerifySpec) -> Result<Policy> {
    let invalid = |field: String, reason: String| {
        HostError::new(Class::Invalid, format!("package.verify.{field}: {reason}"))
    };
    let mut keys = Vec::new();
    for (at, text) in verify.keys.iter().enumerate() {
        let key = PublicKey::from_pem(text).map_err(|reason| invalid(format!("keys[{at}]"), reason))?;
        keys.push(NamedKey { name: format!("keys[{at}]"), key });
    }
    let accept = match (&verify.keyless, keys.is_empty()) {
        (None, false) => Accept::Key(keys),
        (Some(keyless), true) => {
            let mut signers = Vec::new();
            for (at, SignerSpec { identity, issuer }) in keyless.signers.iter().enumerate() {
                let identity = Pattern::new(&**identity)
                    .map_err(|reason| invalid(format!("keyless.signers[{at}].identity"), reason))?;
                signers.push(Identity { identity, issuer: issuer.clone() });
            }
            let root = TrustRoot::new(keyless.trust_root.clone())
                .map_err(|reason| invalid("keyless.trustRoot".to_owned(), reason))?;
            Accept::Keyless(Keyless { signers, root })
        }
        _ => {
            return Err(HostError::new(
                Class::Invalid,
                "package.verify: give exactly one of keys and keyless",
            ));
        }
    };
    let rules = vec![Rule { scope: Scope::everything(), accept }];
    Ok(Policy { name: "package.verify".to_owned(), rules })
}
