//! The hidden `cofferdam uninstall`: the chart's hook before an uninstall.

use crate::cli::UninstallArgs;
use cofferdam_cluster::uninstall::{self, UninstallError};
use cofferdam_core::class::Class;
use cofferdam_host::error::{HostError, Result};
use std::process::ExitCode;

pub(crate) fn run(args: &UninstallArgs) -> Result<ExitCode> {
    let gone = uninstall::run(args.timeout, |line| println!("{line}")).map_err(failed)?;
    match gone.as_slice() {
        [] => println!("No SandboxRuntime is there: nothing to clean."),
        names => println!("Gone from every node: {}.", names.join(", ")),
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: UninstallError) -> HostError {
    let (class, hint) = match &error {
        UninstallError::InUse(_) => (
            Class::InUse,
            "delete or move these pods, then uninstall again; to leave the nodes as they are: \
             helm uninstall --no-hooks (nobody will look after them then)",
        ),
        UninstallError::TimeOut { .. } => (
            Class::Unavailable,
            "the controller goes on as long as it runs: look with kubectl get sandboxruntimes,sandboxnodes, mend what \
             stands in the way, then uninstall again",
        ),
        UninstallError::Api(_) | UninstallError::Client(_) => (
            Class::Unavailable,
            "look whether the API server answers and this pod has its token, then try again",
        ),
        UninstallError::Start(_) => (Class::Internal, "look at the limits of this pod"),
    };
    HostError::new(class, error.to_string()).with_hint(hint)
}
