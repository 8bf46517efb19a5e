//! Whose packages are installed: the policy, what signatures say, and what is decided about them.
//!
//! ```text
//! policy       rules by place: what is asked for before a byte is unpacked;  file: their text
//! scope        which places a rule is about
//! key          public keys
//! identity     who may have signed without a key: names and patterns of them
//! root         the trust root: authorities that certify signers, logs that note signatures
//! certificate  a signer's certificate
//! published    that logs have seen it (certificate transparency)
//! payload      what an old signature (tag `sha256-<digest>.sig`) signs
//! bundle       a sigstore bundle;  envelope: DSSE and in-toto, which stand in it
//! log          an entry of the log: its promise, its proof, what it notes
//! evidence     one signature, read and not believed
//! verified     what was verified, and who signed
//! ```
//!
//! Everything here is untrusted until `cofferdam_host` has done the arithmetic: nothing here computes a signature, and
//! time is what the log says, never a clock.

mod bundle;
mod certificate;
mod envelope;
mod error;
mod evidence;
mod file;
mod identity;
mod key;
mod log;
mod payload;
mod policy;
mod published;
mod root;
mod scope;
mod verified;

pub use bundle::{BUNDLE, read_bundle};
pub use certificate::Certificate;
pub use error::{Refusal, TrustError};
pub use evidence::{Evidence, Signed, Subject};
pub use file::parse_policy;
pub use identity::{Identity, Pattern};
pub use key::{KeyAlgorithm, PublicKey};
pub use log::{Checkpoint, LogEntry, Proof};
pub use payload::{TagSignature, read_tag};
pub use policy::{Accept, Keyless, NamedKey, Policy, Rule};
pub use published::{Published, Stamp};
pub use root::{Authority, Log, TrustRoot, Window};
pub use scope::{Scope, Whence};
pub use verified::{Covers, Form, Signer, Verified};
