//! The text of the root file and of everything that it imports, found as containerd finds it.
//!
//! `resolveImports` in containerd's `cmd/containerd/server/config` (1.7 and 2.4 alike): a relative path belongs to
//! the folder of the file that names it, only `*` makes a pattern, imported files import in turn, each file counts once.

use super::daemon::clean;
use super::{ObserveError, resolve};
use cofferdam_core::name::HostPath;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// More files than any configuration has.
const LIMIT: usize = 500;

/// The root file (under `resolved`) and all imported files (under the names by which they are loaded). A file that
/// does not exist has no entry.
pub(super) fn load(
    config: &HostPath,
    resolved: &HostPath,
) -> Result<BTreeMap<HostPath, String>, ObserveError> {
    let mut files = BTreeMap::new();
    let Some(text) = read(resolved)? else { return Ok(files) };
    let mut pending: VecDeque<HostPath> = imports(config, &text)?.into();
    files.insert(resolved.clone(), text);
    while let Some(path) = pending.pop_front() {
        if files.contains_key(&path) || path == *config || resolve(&path)? == *resolved {
            continue;
        }
        if files.len() >= LIMIT {
            return Err(ObserveError::TooManyImports { path: PathBuf::from(config.as_str()), limit: LIMIT });
        }
        if let Some(text) = read(&path)? {
            pending.extend(imports(&path, &text)?);
            files.insert(path, text);
        }
    }
    Ok(files)
}

fn read(path: &HostPath) -> Result<Option<String>, ObserveError> {
    let name = PathBuf::from(path.as_str());
    match std::fs::read(&name) {
        Ok(bytes) => {
            String::from_utf8(bytes).map(Some).map_err(|_| ObserveError::NotText { path: name.clone() })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ObserveError::Read { path: name, source }),
    }
}

/// The files that `text`, which is in `file`, imports. A text that is not TOML imports nothing: the engine's own dump
/// says what is wrong with it.
fn imports(file: &HostPath, text: &str) -> Result<Vec<HostPath>, ObserveError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Ok(document) = toml_edit::Document::parse(text) else { return Ok(Vec::new()) };
    let listed = document.get("imports").and_then(toml_edit::Item::as_array);
    let patterns = listed.into_iter().flatten().filter_map(toml_edit::Value::as_str);
    let folder = file.parent().map(String::from).unwrap_or_default();
    let mut found = Vec::new();
    for pattern in patterns {
        let whole =
            if pattern.starts_with('/') { clean(pattern) } else { clean(&format!("{folder}/{pattern}")) };
        found.extend(expand(&whole)?);
    }
    let path =
        |text| HostPath::new(text).map_err(|source| ObserveError::Path { what: "an imported file", source });
    found.into_iter().map(path).collect()
}

/// The paths that match, in lexical order. Without a `*` the path itself, whether or not it exists.
fn expand(pattern: &str) -> Result<Vec<String>, ObserveError> {
    if !pattern.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let mut paths = vec![String::new()];
    for part in pattern.split('/').skip(1) {
        let mut next = Vec::new();
        for path in paths {
            if part.contains('*') {
                next.extend(
                    names(&path)?.into_iter().filter(|n| matches(part, n)).map(|n| format!("{path}/{n}")),
                );
            } else {
                next.push(format!("{path}/{part}"));
            }
        }
        paths = next;
    }
    paths.retain(|path| std::fs::symlink_metadata(path).is_ok());
    Ok(paths)
}

fn names(folder: &str) -> Result<Vec<String>, ObserveError> {
    let folder = if folder.is_empty() { "/" } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| ObserveError::Read { path: PathBuf::from(folder), source })?;
        if let Some(name) = entry.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Go's filepath.Match, as far as `*` goes: containerd calls it for patterns with a `*` only.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(tail) = name.strip_prefix(head) else { return false };
    (0..=tail.len()).filter_map(|at| tail.get(at..)).any(|tail| matches(rest, tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn path(path: &Path) -> HostPath {
        HostPath::new(path.to_str().unwrap()).unwrap()
    }

    #[test]
    fn imports_are_found_as_the_engine_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("etc/conf.d")).unwrap();
        std::fs::create_dir_all(base.join("real")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(base.join(name), text).unwrap();
        // The root file is a link: relative imports belong to the folder of its name, not of its target.
        write("real/config.toml", "\u{feff}version = 2\nimports = [\"conf.d/*.toml\", \"absent.toml\"]\n");
        std::os::unix::fs::symlink("../real/config.toml", base.join("etc/config.toml")).unwrap();
        write("etc/conf.d/b.toml", "imports = [\"../nested.toml\", \"../config.toml\"]\n");
        write("etc/conf.d/a.toml", "not toml [\n");
        write("etc/conf.d/c.conf", "");
        write("etc/nested.toml", "imports = [\"conf.d/b.toml\"]\n");
        let config = path(&base.join("etc/config.toml"));
        let files = load(&config, &path(&base.join("real/config.toml"))).unwrap();
        let names: Vec<String> = files
            .keys()
            .map(|p| p.as_str().strip_prefix(base.to_str().unwrap()).unwrap().to_owned())
            .collect();
        assert_eq!(
            names,
            ["/etc/conf.d/a.toml", "/etc/conf.d/b.toml", "/etc/nested.toml", "/real/config.toml"]
        );
    }

    #[test]
    fn no_root_file_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let config = path(&folder.path().canonicalize().unwrap().join("config.toml"));
        assert!(load(&config, &config).unwrap().is_empty());
    }

    #[test]
    fn stars_match_as_in_go() {
        assert!(matches("*.toml", "a.toml") && matches("a*b*c", "a-b-c") && matches("*", "x"));
        assert!(!matches("*.toml", "a.toml~") && !matches("a*b", "ac"));
    }
}
