//! Rules by place: what is asked for before a byte is unpacked.

use super::{Identity, PublicKey, Scope, Signer, TrustError, TrustRoot, Verified, Whence};
use crate::name::Digest;
use serde::{Deserialize, Serialize};

/// What is installed, by where it comes from. What no rule covers is refused. It holds all that it needs (keys, trust
/// roots) and so can travel to where it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What it is called in messages.
    pub name: String,
    /// The rules. Of those that cover a place, the narrowest counts.
    pub rules: Vec<Rule>,
}

/// What is asked of packages from some places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which places.
    pub scope: Scope,
    /// What is accepted from there.
    pub accept: Accept,
}

/// What is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accept {
    /// Anything.
    Anything,
    /// What the reference names by its digest.
    Digest,
    /// What somebody signed who has one of these keys.
    Key(Vec<NamedKey>),
    /// What somebody signed who could show who they are.
    Keyless(Keyless),
}

/// A public key and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedKey {
    /// Its file's name, for people.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// Who may sign without a key of their own, and whom we believe about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyless {
    /// Any of them.
    pub signers: Vec<Identity>,
    /// Who certifies signers, and who notes when they signed.
    pub root: TrustRoot,
}

impl Policy {
    /// The policy of one who names keys only: everything is signed with one of them.
    pub fn of_keys(name: impl Into<String>, keys: Vec<NamedKey>) -> Self {
        let rule = Rule { scope: Scope::everything(), accept: Accept::Key(keys) };
        Self { name: name.into(), rules: vec![rule] }
    }

    /// The rule for what comes from `whence`. A digest in the reference is looked for here, since nothing has to be
    /// fetched for that.
    ///
    /// # Errors
    /// If no rule covers it, the reference is not pinned and has to be, or nothing there can be signed.
    pub fn rule(&self, whence: Whence<'_>) -> Result<&Rule, TrustError> {
        let covering = self.rules.iter().filter(|rule| rule.scope.covers(whence));
        let Some(rule) = covering.max_by_key(|rule| rule.scope.depth()) else {
            return Err(TrustError::NoRule { what: whence.to_string(), policy: self.name.clone() });
        };
        let refused = || (whence.to_string(), rule.scope.to_string(), self.name.clone());
        match (&rule.accept, whence) {
            (Accept::Digest, Whence::Registry(reference)) if reference.digest().is_some() => Ok(rule),
            (Accept::Digest, _) => {
                let (what, scope, policy) = refused();
                Err(TrustError::NotPinned { what, scope, policy })
            }
            (Accept::Key(_) | Accept::Keyless(_), Whence::Local { kind, .. }) if kind != "layout" => {
                let (what, scope, policy) = refused();
                Err(TrustError::CannotBeSigned { what, scope, policy })
            }
            _ => Ok(rule),
        }
    }
}

impl Rule {
    /// Whether it accepts what was verified earlier of the very same image: then it is not asked for again.
    pub fn accepts(&self, earlier: &Verified, image: Digest) -> bool {
        // An index names what is beneath it: whoever signed one of its manifests has not signed the index.
        earlier.subject == Some(image)
            && match (&self.accept, &earlier.by) {
                (Accept::Key(keys), Signer::Key { key, .. }) => {
                    keys.iter().any(|named| named.key.fingerprint() == *key)
                }
                (Accept::Keyless(keyless), Signer::Identity { identity, issuer, .. }) => {
                    keyless.allows(identity, issuer)
                }
                _ => false,
            }
    }
}

impl Keyless {
    /// Whether somebody with this identity may sign.
    pub fn allows(&self, identity: &str, issuer: &str) -> bool {
        self.signers.iter().any(|signer| signer.issuer == issuer && signer.identity.fits(identity))
    }
}
