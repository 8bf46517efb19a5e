//! `cofferdam pull`.

use super::carry_out;
use crate::cli::PullArgs;
use cofferdam_host::error::Result;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::Wish;
use std::process::ExitCode;

pub(crate) fn run(args: &PullArgs) -> Result<ExitCode> {
    args.node.require_root()?;
    let source = args.package.source()?;
    carry_out(Wish::Pull { source }, Options::default(), args.node.survey(), &args.node)
}
