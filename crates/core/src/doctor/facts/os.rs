//! Which distribution this is.

use serde::{Deserialize, Serialize};

/// /etc/os-release, as far as checks depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsRelease {
    /// `ID`, e.g. `debian`.
    pub id: String,
    /// `VARIANT_ID`, where there is one.
    pub variant: Option<String>,
    /// `PRETTY_NAME`, else `ID`.
    pub name: String,
}

impl OsRelease {
    /// Reads os-release(5).
    pub fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let line =
                text.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
            let value = line.trim_matches(['"', '\'']);
            (!value.is_empty()).then(|| value.to_owned())
        };
        let id = value("ID").unwrap_or_else(|| "linux".to_owned());
        Self { name: value("PRETTY_NAME").unwrap_or_else(|| id.clone()), variant: value("VARIANT_ID"), id }
    }
}

#[cfg(test)]
mod tests {
    use super::OsRelease;

    #[test]
    fn quoted_and_plain_values() {
        let text = "# a comment\nPRETTY_NAME=\"Fedora CoreOS 41\"\nVERSION_ID=41\nID=fedora\nID_LIKE=x\nVARIANT_ID='coreos'\n";
        let os = OsRelease::parse(text);
        assert_eq!((os.id.as_str(), os.variant.as_deref()), ("fedora", Some("coreos")));
        assert_eq!(os.name, "Fedora CoreOS 41");
        assert_eq!(OsRelease::parse("").name, "linux");
    }
}
