//! A source to what the policy has verified of it.

use super::{Place, Source};
use crate::error::Result;
use crate::registry::Attached;
use crate::signature;
use cofferdam_core::name::Digest;
use cofferdam_core::record::Ledger;
use cofferdam_core::trust::{Policy, Verified, Whence};

impl Source {
    /// Asks the policy about the image `image` of `origin`, which is this source's. What was verified of the very same
    /// image when it was installed is not asked for again.
    ///
    /// # Errors
    /// If the policy does not accept it.
    pub(super) fn verify(
        &self,
        origin: &dyn Attached,
        image: Digest,
        ledger: Option<&Ledger>,
    ) -> Result<Option<Verified>> {
        let earlier: Vec<&Verified> = ledger
            .into_iter()
            .flat_map(Ledger::trees)
            .filter(|(_, installed)| installed.image == Some(image))
            .filter_map(|(_, installed)| installed.verified.as_ref())
            .collect();
        self.all(|policy, whence| signature::verify(policy, whence, origin, image, &earlier))
    }

    /// Asks the policy about files that are no image.
    ///
    /// # Errors
    /// If it does not accept them.
    pub(super) fn verify_files(&self) -> Result<Option<Verified>> {
        self.all(signature::verify_files)
    }

    /// Asks each policy. What its own one found is what is kept.
    fn all(&self, ask: impl Fn(&Policy, Whence<'_>) -> Result<Verified>) -> Result<Option<Verified>> {
        let mut verified = None;
        for policy in self.policy.iter().chain(&self.besides) {
            let found = self.at(|whence| ask(policy, whence))?;
            verified.get_or_insert(found);
        }
        Ok(verified)
    }

    fn at<T>(&self, ask: impl FnOnce(Whence<'_>) -> Result<T>) -> Result<T> {
        let local = |kind, path: &std::path::Path| (kind, path.display().to_string());
        let (kind, path) = match &self.place {
            Place::Oci(remote) => return ask(Whence::Registry(&remote.reference)),
            Place::Dir(path) => local("dir", path),
            Place::Layout(path) => local("layout", path),
            Place::Tar(path) => local("tar", path),
        };
        ask(Whence::Local { kind, path: &path })
    }
}
