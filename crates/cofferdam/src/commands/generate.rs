//! `cofferdam completions` and `cofferdam man`: files that follow from the command line's definition.

use crate::cli::Cli;
use crate::show;
use clap::{Arg, Command, CommandFactory};
use cofferdam_host::error::{HostError, Result};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const NAME: &str = "cofferdam";

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), NAME, &mut script);
    print(&script)
}

/// Prints the manual's first page, or writes all of them.
pub(crate) fn man(out: Option<&Path>) -> Result<ExitCode> {
    let Some(folder) = out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command().disable_help_subcommand(true))
            .render(&mut page)
            .map_err(|error| HostError::std_io("print", "the manual", error))?;
        return print(&page);
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| HostError::std_io("write manual pages into", folder.display(), error))?;
    show::say(&format!("the manual is in {}", folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// The command without what only Cofferdam itself calls: scripts for bash would complete that, too.
fn visible() -> Command {
    let whole = Cli::command();
    let commands: Vec<Command> = whole.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    let args: Vec<Arg> = whole.get_arguments().cloned().collect();
    Command::new(NAME).version(env!("CARGO_PKG_VERSION")).args(args).subcommands(commands)
}

/// A reader that went away is no error.
fn print(bytes: &[u8]) -> Result<ExitCode> {
    let _ = std::io::stdout().lock().write_all(bytes);
    Ok(ExitCode::SUCCESS)
}
