//! Who signed an image: asked before a byte of it is unpacked.
//!
//! ```text
//! find     signatures where the image is: under a tag, or as bundles that refer to it
//! crypto   whether a key made a signature
//! keyless  whether somebody without a key did: certificate, log, identity
//! ```
//!
//! The policy, the reading of signatures and the reasons are in `cofferdam_core::trust`.

mod crypto;
mod find;
mod keyless;

use crate::error::{HostError, Result};
use crate::registry::{Attached, Lineage};
use cofferdam_core::class::Class;
use cofferdam_core::descriptor::Findings;
use cofferdam_core::name::Digest;
use cofferdam_core::trust::{
    Accept, Covers, Evidence, Form, NamedKey, Policy, PublicKey, Refusal, Rule, Signer, TrustError, Verified,
    Whence, parse_policy,
};
use std::io::Read;
use std::path::Path;

/// The largest file of a policy, a key or a trust root.
const MOST_FILE: u64 = 2 << 20;

/// Reads the policy in `file`. Keys and trust roots are looked for beside it.
///
/// # Errors
/// Everything that is wrong with it, with its place; or that it cannot be read.
pub fn read_policy(file: &Path) -> Result<Policy> {
    let shown = file.display().to_string();
    let text = read(file).map_err(|error| HostError::std_io("read", &shown, error))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let parsed =
        parse_policy(&shown, &text, &mut |name| read(&folder.join(name)).map_err(|error| error.to_string()));
    parsed.map_err(|findings: Findings| HostError::new(Class::Invalid, findings.to_string()))
}

/// The policy that everything is signed with one of the keys in `files`.
///
/// # Errors
/// If one is no public key, or cannot be read.
pub fn policy_of_keys(files: &[impl AsRef<Path>]) -> Result<Policy> {
    let mut keys = Vec::new();
    for file in files {
        let name = file.as_ref().display().to_string();
        let text = read(file.as_ref()).map_err(|error| HostError::std_io("read", &name, error))?;
        let key = PublicKey::from_pem(&text).map_err(|reason| {
            HostError::new(Class::Invalid, format!("{name} is no key to verify with: {reason}"))
        })?;
        keys.push(NamedKey { name, key });
    }
    Ok(Policy::of_keys("--verify-key", keys))
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(MOST_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// What the policy wants to know of the image `image` of `origin`, which lies at `whence`. `earlier` is what was verified
/// of the very same image when it was installed: that holds, if the policy still accepts it.
///
/// # Errors
/// If it is not what the policy accepts, or its signatures cannot be had.
pub(crate) fn verify(
    policy: &Policy,
    whence: Whence<'_>,
    origin: &dyn Attached,
    image: Digest,
    earlier: &[&Verified],
) -> Result<Verified> {
    let rule = policy.rule(whence)?;
    if let Some(earlier) = earlier.iter().find(|earlier| rule.accepts(earlier, image)) {
        return Ok((*earlier).clone());
    }
    match &rule.accept {
        Accept::Anything => Ok(unsigned(rule, Signer::Nobody, None)),
        Accept::Digest => Ok(unsigned(rule, Signer::Digest, Some(image))),
        Accept::Key(_) | Accept::Keyless(_) => signed(policy, rule, whence, origin, image),
    }
}

/// What the policy wants to know of a package that is no image: it can only be accepted as it is.
///
/// # Errors
/// If that is not accepted.
pub(crate) fn verify_files(policy: &Policy, whence: Whence<'_>) -> Result<Verified> {
    let rule = policy.rule(whence)?;
    match &rule.accept {
        Accept::Anything => Ok(unsigned(rule, Signer::Nobody, None)),
        _ => Err(HostError::new(Class::Internal, "a rule wants a signature of what cannot have one")),
    }
}

fn unsigned(rule: &Rule, by: Signer, subject: Option<Digest>) -> Verified {
    Verified { by, subject, covers: Covers::Nothing, rule: rule.scope.to_string() }
}

/// The first signature that the rule accepts.
fn signed(
    policy: &Policy,
    rule: &Rule,
    whence: Whence<'_>,
    origin: &dyn Attached,
    image: Digest,
) -> Result<Verified> {
    let Lineage { subjects, .. } = Lineage::of(origin, image)?;
    let what = match whence.to_string() {
        text if text.contains(&image.to_string()) => text,
        text => format!("{text} ({image})"),
    };
    let (scope, policy) = (rule.scope.to_string(), policy.name.clone());
    let mut refusals: Vec<(Form, Refusal)> = Vec::new();
    // What could not be asked may be unsigned or not. A mirror without its registry has what it has: that may be enough.
    let mut unasked = None;
    for form in [Form::Tag, Form::Bundle] {
        for subject in &subjects {
            let found = match find::signatures(origin, form, subject, &subjects) {
                Ok(Ok(found)) => found,
                Ok(Err(find::TooMany(count))) => {
                    return Err(TrustError::TooMany { what, form, count, limit: find::MOST }.into());
                }
                Err(error) => {
                    unasked.get_or_insert(error);
                    continue;
                }
            };
            for evidence in found {
                match evidence.and_then(|evidence| judge(rule, &evidence).map(|by| (evidence, by))) {
                    Ok((Evidence { subject, covers, .. }, by)) => {
                        return Ok(Verified { by, subject: Some(subject), covers, rule: scope });
                    }
                    Err(refusal) => refusals.push((form, refusal)),
                }
            }
        }
    }
    if let Some(error) = unasked {
        return Err(error);
    }
    if refusals.is_empty() {
        let tags: Vec<String> =
            subjects.iter().map(|subject| format!("sha256-{}.sig", subject.digest.hex())).collect();
        let looked_for = format!("{} and bundles that refer to it", tags.join(", "));
        return Err(TrustError::Unsigned { what, scope, policy, looked_for }.into());
    }
    Err(TrustError::WrongSigner { what, scope, policy, refusals }.into())
}

/// Who made a signature, if the rule accepts them.
fn judge(rule: &Rule, evidence: &Evidence) -> std::result::Result<Signer, Refusal> {
    match &rule.accept {
        Accept::Key(keys) => {
            let message = evidence.signed.message();
            let by = keys.iter().find(|named| crypto::is_by(&named.key, &message, &evidence.signature));
            let NamedKey { name, key } = by.ok_or(Refusal::WrongKey)?;
            Ok(Signer::Key { key: key.fingerprint(), name: name.clone(), form: evidence.form })
        }
        Accept::Keyless(keyless) => keyless::check(keyless, evidence),
        // Nothing is looked for where no signature is asked for.
        Accept::Anything | Accept::Digest => Err(Refusal::WrongKey),
    }
}
