//! Which version a configuration has, and whether the engine reads it.

use super::ConfigVersion;
use super::error::{DialectError, Place};
use super::imports::Loaded;
use super::layout::ConfigInput;
use super::tree::Tree;

const MIGRATE: &str = "`containerd config migrate` prints it in a newer version: check that, put it in place and restart \
                       containerd first";

/// The configuration's version, and whether the root file must be given it.
///
/// A file that we make, and one that has neither a version nor plugins (which means the same in every version), gets
/// version 2: every release from 1.6 to 2.4 reads it, so the engine may be replaced by an older or newer one.
pub(super) fn version(
    input: &ConfigInput<'_>,
    files: &[Loaded<'_>],
) -> Result<(ConfigVersion, bool), DialectError> {
    let Some((root, imported)) = files.split_first() else { return Ok((ConfigVersion::V2, true)) };
    if let Some(version) = stated(input, root)? {
        return Ok((version, false));
    }
    if let Some(key) = plugin_key(root) {
        return first(input, root, key).map(|version| (version, false));
    }
    let mut newest = None;
    for file in imported {
        let version = match (stated(input, file)?, plugin_key(file)) {
            (None, Some(key)) => Some(first(input, file, key)?),
            (version, _) => version,
        };
        newest = newest.max(version);
    }
    let version = newest.unwrap_or(ConfigVersion::V2);
    Ok((version, version >= ConfigVersion::V2))
}

/// Version 1, unless the engine does not apply it: 2.0 to 2.2 take such a file and drop its CRI settings.
fn first(input: &ConfigInput<'_>, file: &Loaded<'_>, key: &str) -> Result<ConfigVersion, DialectError> {
    match input.engine {
        Some(engine) if engine.major == 2 && engine.minor < 3 => Err(unsupported(
            file,
            key,
            format!("a configuration of version 1, whose CRI settings containerd {engine} ignores"),
            MIGRATE,
        )),
        _ => Ok(ConfigVersion::V1),
    }
}

/// What makes a file without `version` one of version 1: names of plugins.
fn plugin_key(file: &Loaded<'_>) -> Option<&'static str> {
    let keys = ["plugins", "required_plugins", "disabled_plugins"];
    keys.into_iter().find(|key| file.scan.tree.get(&[key]).is_some_and(|tree| !tree.is_empty()))
}

/// The file's version, if it states one that the engine can load and we can write.
fn stated(input: &ConfigInput<'_>, file: &Loaded<'_>) -> Result<Option<ConfigVersion>, DialectError> {
    let found = match file.scan.tree.get(&["version"]) {
        None | Some(Tree::Integer(0)) => return Ok(None),
        Some(Tree::Integer(number)) => *number,
        Some(other) => {
            let place =
                Place::at(file.path, file.scan.text, file.scan.offset(&["version"]).unwrap_or_default());
            return Err(DialectError::Parse {
                place,
                message: format!("`version` is {other}, not a number"),
            });
        }
    };
    let newer = "this Cofferdam does not know it: use a newer one";
    let version = ConfigVersion::try_from(found).map_err(|what| unsupported(file, "version", what, newer))?;
    let since = match version {
        ConfigVersion::V1 => return first(input, file, "version").map(Some),
        ConfigVersion::V2 => (1, 3),
        ConfigVersion::V3 => (2, 0),
        ConfigVersion::V4 => (2, 3),
    };
    match input.engine {
        Some(engine) if (engine.major, engine.minor) < since => Err(unsupported(
            file,
            "version",
            format!("a configuration of version {found}, which containerd {engine} cannot load"),
            "the running containerd would not start again with this file: mend it first",
        )),
        _ => Ok(Some(version)),
    }
}

fn unsupported(file: &Loaded<'_>, key: &str, what: String, hint: &str) -> DialectError {
    let offset = file.scan.offset(&[key]);
    let place = offset.map_or_else(|| Place::file(file.path), |at| Place::at(file.path, file.scan.text, at));
    DialectError::Unsupported { place, what, hint: hint.to_owned() }
}
