//! What is asked of a package before it is unpacked.

use clap::Args;
use cofferdam_core::trust::Policy;
use cofferdam_host::error::Result;
use cofferdam_host::signature;
use std::path::PathBuf;

/// What is asked of a package before it is unpacked.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Verification")]
pub(crate) struct TrustArgs {
    /// Install only what is signed with this public key (PEM, as cosign.pub; repeatable: any of them)
    #[arg(long, value_name = "FILE", conflicts_with = "policy")]
    pub(crate) verify_key: Vec<PathBuf>,
    /// Install only what this policy accepts (docs/verification.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

impl TrustArgs {
    /// The policy, with the keys that it names. None: nothing is asked.
    pub(crate) fn policy(&self) -> Result<Option<Policy>> {
        match (&self.policy, self.verify_key.as_slice()) {
            (Some(file), _) => signature::read_policy(file).map(Some),
            (None, []) => Ok(None),
            (None, keys) => signature::policy_of_keys(keys).map(Some),
        }
    }
}
