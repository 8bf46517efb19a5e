//! `cofferdam store`.

use super::{GcArgs, NodeArgs};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// List the installed trees, and what keeps each
    Ls(NodeArgs),
    /// Show what the trees take up, and what they share
    Du(NodeArgs),
    /// Delete trees that nothing needs any more (the same as `cofferdam gc`)
    Gc(GcArgs),
    /// Compare every file of every tree with what was installed; exit code 4: something differs
    Verify(NodeArgs),
}

impl StoreArgs {
    pub(crate) const fn json(&self) -> bool {
        match &self.command {
            StoreCommand::Ls(node) | StoreCommand::Du(node) | StoreCommand::Verify(node) => node.json,
            StoreCommand::Gc(args) => args.node.json,
        }
    }
}
