//! A configuration's files: the root and whatever it imports, live or on an offline tree.

use crate::error::{HostError, Result};
use crate::root::HostRoot;
use cofferdam_core::class::Class;
use cofferdam_core::engine::containerd::{import_matches, import_patterns};
use cofferdam_core::name::HostPath;
use std::collections::BTreeMap;

/// Configurations do not nest deeper; one that imports itself ends here.
const MOST: usize = 1000;

/// Reads the root file `config` (its key is its real path) and all files that it imports (under the names by which they
/// are loaded). A missing file has no key.
///
/// # Errors
/// If one cannot be read, or is not UTF-8.
pub(crate) fn read(root: &HostRoot, config: &HostPath) -> Result<(HostPath, BTreeMap<HostPath, String>)> {
    let resolved = root.real(config)?;
    let mut files = BTreeMap::new();
    let mut waiting = vec![(config.clone(), resolved.clone())];
    while let Some((named, path)) = waiting.pop() {
        if files.contains_key(&path) || files.len() > MOST {
            continue;
        }
        let Some(bytes) = root.read(&path)? else { continue };
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(&path, &error))?;
        for pattern in import_patterns(&named, &text) {
            for found in expand(root, &pattern)? {
                if root.real(&found)? != resolved {
                    waiting.push((found.clone(), found));
                }
            }
        }
        files.insert(path, text);
    }
    Ok((resolved, files))
}

fn not_utf8(path: &HostPath, error: &std::string::FromUtf8Error) -> HostError {
    let at = error.utf8_error().valid_up_to();
    HostError::new(Class::Invalid, format!("{path} is not UTF-8 text (byte {at})"))
        .with_hint("containerd cannot load it either: mend the file first")
}

/// The paths that `pattern` names and that exist, sorted.
fn expand(root: &HostRoot, pattern: &str) -> Result<Vec<HostPath>> {
    let mut found = vec![String::new()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if !part.contains('*') {
            found.iter_mut().for_each(|path| *path = format!("{path}/{part}"));
            continue;
        }
        let mut deeper = Vec::new();
        for folder in found {
            let Ok(path) = HostPath::new(if folder.is_empty() { "/" } else { folder.as_str() }) else {
                continue;
            };
            let names = root.list(&path)?.into_iter().map(|entry| entry.name);
            deeper.extend(
                names.filter(|name| import_matches(part, name)).map(|name| format!("{folder}/{name}")),
            );
        }
        found = deeper;
    }
    Ok(found.into_iter().filter_map(|path| HostPath::new(path).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_followed_with_globs_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        let etc = folder.path().join("etc/containerd");
        std::fs::create_dir_all(etc.join("conf.d")).unwrap();
        std::fs::create_dir_all(folder.path().join("srv")).unwrap();
        std::fs::write(folder.path().join("srv/real.toml"), "imports = [\"conf.d/*.toml\", \"/nowhere\"]\n")
            .unwrap();
        std::os::unix::fs::symlink("/srv/real.toml", etc.join("config.toml")).unwrap();
        std::fs::write(etc.join("conf.d/b.toml"), "version = 2\n").unwrap();
        std::fs::write(etc.join("conf.d/a.toml"), "imports = [\"../config.toml\"]\n").unwrap();
        std::fs::write(etc.join("conf.d/ignored"), "x").unwrap();

        let config = HostPath::new("/etc/containerd/config.toml").unwrap();
        let (resolved, files) = read(&root, &config).unwrap();
        assert_eq!(resolved.as_str(), "/srv/real.toml");
        let names: Vec<_> = files.keys().map(HostPath::as_str).collect();
        assert_eq!(
            names,
            ["/etc/containerd/conf.d/a.toml", "/etc/containerd/conf.d/b.toml", "/srv/real.toml"]
        );
    }

    #[test]
    fn a_file_that_is_not_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("config.toml"), [0xff, 0xfe]).unwrap();
        let error = read(&root, &HostPath::new("/config.toml").unwrap()).unwrap_err();
        assert!(error.to_string().contains("/config.toml is not UTF-8"), "{error}");
    }
}
