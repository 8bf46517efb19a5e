//! What is asked of a package before it is unpacked.

#![allow(unreachable_pub)] // what KubeSchema derives

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked of an image before a byte of it is unpacked: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.keys), has(self.keyless)].filter(x, x).size() == 1").message("give exactly one of keys and keyless"))]
pub struct VerifySpec {
    /// Public keys (PEM, as cosign.pub is): it is signed with one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 16384)))]
    pub keys: Vec<String>,
    /// It is signed by somebody who showed who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyless: Option<KeylessSpec>,
}

/// Who may sign without a key of their own, and whom we believe about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeylessSpec {
    /// Any of them.
    #[schemars(length(min = 1, max = 16))]
    pub signers: Vec<SignerSpec>,
    /// The text of sigstore's trusted_root.json: who certifies signers, and who notes when they signed.
    #[schemars(length(min = 1, max = 65536))]
    pub trust_root: String,
}

/// Somebody who may sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignerSpec {
    /// A mail address, or the address of a workflow. `*` stands for any characters but `/` and `@`, `**` for any.
    #[schemars(length(min = 1, max = 1024))]
    pub identity: String,
    /// Who told the certificate authority so: an address, exactly.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
}
