//! `cofferdam follow`.

use crate::cli::FollowArgs;
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::event::{Ending, Outcome};
use cofferdam_host::root::HostRoot;
use cofferdam_host::store::Store;
use cofferdam_host::worker;
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn run(args: &FollowArgs) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        return Err(HostError::new(Class::Unsupported, "this needs root").with_hint("try again with sudo"));
    }
    let Some(submitted) = worker::running()? else {
        let root = HostRoot::open(Path::new("/"))?;
        let generation = Store::new(&root)?.ledger()?.map_or(0, |ledger| ledger.generation);
        let outcome = Outcome::new(Ending::Unchanged, generation, "no change is under way");
        return Ok(show::outcome(&outcome, args.json));
    };
    let mut progress = show::Progress::new(args.json);
    let outcome = submitted.follow(&mut progress)?;
    progress.finish();
    Ok(show::outcome(&outcome, args.json))
}
