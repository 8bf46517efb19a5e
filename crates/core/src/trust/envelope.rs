//! DSSE envelopes, and the in-toto statements in them.

use super::{Refusal, Subject};
use crate::name::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What an envelope must hold.
pub(super) const IN_TOTO: &str = "application/vnd.in-toto+json";

const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// What a statement must say: that the image is signed. Others (where it was built, what is in it, what is wrong with it)
/// are signed with the same keys, and mean something else.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// How many subjects a statement may have.
const MOST_SUBJECTS: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Named>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// Which of `subjects` the statement signs.
pub(super) fn subject<'s>(payload: &[u8], subjects: &'s [Subject]) -> Result<&'s Subject, Refusal> {
    let statement: Statement =
        serde_json::from_slice(payload).map_err(|error| Refusal::malformed("its statement", error))?;
    if !STATEMENTS.contains(&statement.kind.as_str()) {
        return Err(Refusal::unknown("statement's type", &statement.kind));
    }
    if statement.predicate_type != SIGNED {
        return Err(Refusal::OtherPredicate { found: super::error::presentable(&statement.predicate_type) });
    }
    if statement.subject.len() > MOST_SUBJECTS {
        return Err(Refusal::malformed("its statement", "it has too many subjects"));
    }
    let mut other = None;
    for named in &statement.subject {
        let Some(hex) = named.digest.get("sha256") else { continue };
        let found = Digest::try_from(format!("sha256:{hex}"))
            .map_err(|error| Refusal::malformed("its statement", error))?;
        if let Some(subject) = subjects.iter().find(|subject| subject.digest == found) {
            return Ok(subject);
        }
        other = Some(found);
    }
    Err(other.map_or(Refusal::NoSubject, |found| Refusal::OtherSubject { found }))
}
