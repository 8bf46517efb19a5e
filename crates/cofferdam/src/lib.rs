//! The `cofferdam` command: one file per subcommand, and how results are shown.

mod cli;
mod commands;
mod show;

use clap::Parser;
use cli::{Cli, Command, Kubectl};
use cofferdam_host::rehearse;
use std::path::Path;
use std::process::ExitCode;

/// Parses the command line, does what it says, and gives the exit code of docs/exit-codes.md.
pub fn run() -> ExitCode {
    if is_plugin() {
        return plugin();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return show::usage(&error, std::env::args_os().any(|argument| argument == "--json")),
    };
    show::set_up(&cli.output);
    let json = cli.command.json();
    let result = match cli.command {
        Command::Catalog(args) => commands::catalog::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Plan(args) => commands::install::plan(&args),
        Command::Install(args) => commands::install::run(&args),
        Command::Pull(args) => commands::pull::run(&args),
        Command::Upgrade(args) => commands::install::upgrade(&args),
        Command::Apply(args) => commands::apply::run(&args),
        Command::Cluster(args) => commands::kubectl::run(&args.command),
        Command::Pause => commands::pause::run(),
        Command::Uninstall(args) => commands::uninstall::run(&args),
        Command::Rollback(args) => commands::rollback::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Repair(args) => commands::repair::run(&args),
        Command::Gc(args) => commands::gc::run(&args),
        Command::Store(args) => commands::store::run(&args),
        Command::Remove(args) => commands::remove::run(&args),
        Command::Recover(args) => commands::recover::run(&args),
        Command::Pack(args) => commands::pack::run(&args),
        Command::Log(args) => commands::log::run(&args),
        Command::SupportBundle(args) => commands::support_bundle::run(&args),
        Command::Follow(args) => commands::follow::run(&args),
        Command::Completions { shell } => commands::generate::completions(shell),
        Command::Man { out } => commands::generate::man(out.as_deref()),
        Command::Agent(args) => commands::cluster::agent(&args),
        Command::Controller(args) => commands::cluster::controller(&args),
        Command::Worker(args) => commands::worker::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::RehearseChild { args } => return rehearse::child_main(args),
    };
    result.unwrap_or_else(|error| show::error(&error, json))
}

/// Whether kubectl started it as its plugin: it looks for programs of that name.
fn is_plugin() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == "kubectl-cofferdam"))
}

fn plugin() -> ExitCode {
    let kubectl = match Kubectl::try_parse() {
        Ok(kubectl) => kubectl,
        Err(error) => return show::usage(&error, std::env::args_os().any(|argument| argument == "--json")),
    };
    show::set_up(&kubectl.output);
    commands::kubectl::run(&kubectl.command)
        .unwrap_or_else(|error| show::error(&error, kubectl.command.json()))
}
