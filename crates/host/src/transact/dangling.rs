//! Who imports a file of ours by its name: containerd does not start with a name that leads nowhere, while our own
//! import is a glob, which may match nothing.

use crate::config_files;
use crate::error::{HostError, Result};
use crate::observe::{DEFAULT_CONFIG, DaemonArgs};
use crate::root::HostRoot;
use cofferdam_core::class::Class;
use cofferdam_core::engine::containerd::imported_by_name;
use cofferdam_core::name::HostPath;
use cofferdam_core::record::Journal;

/// The file of the engine's present configuration that names `path` among its imports. None, if nobody does or the
/// configuration cannot be read (then containerd cannot read it either).
pub(super) fn importer(root: &HostRoot, journal: &Journal, path: &HostPath) -> Result<Option<HostPath>> {
    let config = config(journal)?;
    let Ok((resolved, files)) = config_files::read(root, &config) else { return Ok(None) };
    Ok(imported_by_name(&config, &resolved, &files, path).cloned())
}

/// The configuration file of the engine that the transaction was about: at boot it does not run.
fn config(journal: &Journal) -> Result<HostPath> {
    let given = journal.engine.as_ref().and_then(|engine| DaemonArgs::parse(&engine.args).config);
    HostPath::new(given.unwrap_or_else(|| DEFAULT_CONFIG.to_owned()))
        .map_err(|error| HostError::new(Class::Internal, format!("the engine's configuration file: {error}")))
}
