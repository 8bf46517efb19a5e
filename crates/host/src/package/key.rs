//! What a layer is known by.

use cofferdam_core::name::{Digest, NameError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A layer's blob, and what it is taken for: the same bytes may be an archive for one image, and a plain file for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LayerKey {
    /// The compressed archive with that digest, shown as `sha256:…`.
    Archive(Digest),
    /// The plain file with that digest, shown as `file sha256:…`.
    File(Digest),
}

/// Before the digest of a plain file.
const FILE: &str = "file ";

impl fmt::Display for LayerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(digest) => write!(f, "{digest}"),
            Self::File(digest) => write!(f, "{FILE}{digest}"),
        }
    }
}

impl From<LayerKey> for String {
    fn from(key: LayerKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for LayerKey {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        match text.strip_prefix(FILE) {
            Some(digest) => Digest::try_from(digest.to_owned()).map(Self::File),
            None => Digest::try_from(text).map(Self::Archive),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_not_the_file_of_the_same_bytes() {
        let digest = Digest::of(b"blob");
        let (archive, file) = (LayerKey::Archive(digest), LayerKey::File(digest));
        for key in [archive, file] {
            assert_eq!(LayerKey::try_from(key.to_string()), Ok(key));
        }
        assert_eq!(archive.to_string(), digest.to_string());
        assert_ne!(archive.to_string(), file.to_string());
        assert!(LayerKey::try_from("file sha256:7".to_owned()).is_err());
    }
}
