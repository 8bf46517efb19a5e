//! `kubectl cofferdam render`.

use crate::cli::RenderArgs;
use crate::commands::apply;
use crate::show;
use cofferdam_cluster::render::{self, Options};
use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use std::process::ExitCode;

pub(super) fn run(args: &RenderArgs) -> Result<ExitCode> {
    let file = apply::read(&args.file)?;
    // Beside the YAML, which is to be the same wherever the file lies.
    file.notes.iter().for_each(|note| show::note(note));
    let options = Options {
        no_api: args.no_api,
        image: args.image.clone(),
        namespace: args.namespace.clone(),
        prune: args.prune,
        selinux_type: args.selinux_type.clone(),
    };
    let text =
        render::render(&file, &options).map_err(|error| HostError::new(Class::Invalid, error.to_string()))?;
    text.lines().for_each(show::line);
    Ok(ExitCode::SUCCESS)
}
