//! Pull secrets, as mounted files: the agent's token reads none from the API.
//!
//! ```text
//! <folder>/<name>/.dockerconfigjson     a mounted Secret of type kubernetes.io/dockerconfigjson
//! <folder>/<name>/.dockercfg            one of the older type kubernetes.io/dockercfg
//! ```

use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use std::path::Path;

/// What a pull secret has, by its type; the older one last.
pub(crate) const KEYS: [&str; 2] = [".dockerconfigjson", ".dockercfg"];

/// The text of the pull secret of that name.
///
/// # Errors
/// If it is not mounted; the hint names the setting.
pub(crate) fn read(folder: &Path, name: &str) -> Result<String> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if !plain || name.starts_with('.') {
        return Err(HostError::new(Class::Invalid, format!("`{name}` is not the name of a Secret")));
    }
    let [path, older] = KEYS.map(|key| folder.join(name).join(key));
    let found = std::fs::read_to_string(&path);
    let found = found.or_else(|error| std::fs::read_to_string(older).map_err(|_| error));
    found.map_err(|error| {
        let text = format!("the pull secret `{name}` is not mounted: {}: {error}", path.display());
        HostError::new(Class::Invalid, text).with_hint(format!(
            "add it to the chart's value agent.pullSecrets: [{name}], and make the Secret (type \
             kubernetes.io/dockerconfigjson) in the agent's namespace"
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::read;

    #[test]
    fn a_mounted_secret_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mine")).unwrap();
        std::fs::write(folder.path().join("mine/.dockerconfigjson"), "{}").unwrap();
        assert_eq!(read(folder.path(), "mine").unwrap(), "{}");
        std::fs::create_dir(folder.path().join("old")).unwrap();
        std::fs::write(folder.path().join("old/.dockercfg"), "{ }").unwrap();
        assert_eq!(read(folder.path(), "old").unwrap(), "{ }");
    }

    #[test]
    fn a_missing_one_names_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path(), "other").unwrap_err();
        assert!(error.hint().unwrap().contains("agent.pullSecrets: [other]"));
        for escape in ["../x", "", ".", "..", "a/b"] {
            assert!(read(folder.path(), escape).unwrap_err().to_string().contains("not the name"));
        }
    }
}
