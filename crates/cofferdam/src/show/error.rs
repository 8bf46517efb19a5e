//! Errors, all in one form: what failed, why, and what to do next.

use super::look::{CAUSE, ERROR};
use super::{hint, note, outcome};
use crate::cli::Cli;
use clap::CommandFactory;
use clap::error::ErrorKind;
use cofferdam_core::class::Class;
use cofferdam_host::error::HostError;
use cofferdam_host::event::Outcome;
use std::process::ExitCode;

/// An error: what failed, its causes, a way out.
pub(crate) fn error(error: &HostError, as_json: bool) -> ExitCode {
    if as_json {
        return outcome(&Outcome::refused(error, 0), true);
    }
    note(&format!("{ERROR}error:{ERROR:#} {error}"));
    let mut source = std::error::Error::source(error);
    while let Some(found) = source {
        cause(&found.to_string());
        source = found.source();
    }
    if let Some(text) = error.hint() {
        hint(&text);
    }
    ExitCode::from(error.class().exit_code())
}

fn cause(text: &str) {
    note(&format!("{CAUSE}cause:{CAUSE:#} {text}"));
}

/// A command line that cannot be understood, or one that asks for help.
pub(crate) fn usage(error: &clap::Error, as_json: bool) -> ExitCode {
    let asks = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayVersion
    );
    if asks {
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Class::Invalid.exit_code()));
    }
    let told = Told::of(&error.render().to_string(), named_command().as_deref());
    if as_json {
        let refused = HostError::new(Class::Invalid, told.one_line()).with_hint(told.hints.join("; "));
        return self::error(&refused, true);
    }
    note(&format!("{ERROR}error:{ERROR:#} {}", told.what));
    told.why.iter().for_each(|text| cause(text));
    told.hints.iter().for_each(|text| hint(text));
    ExitCode::from(Class::Invalid.exit_code())
}

/// The command among the arguments: where a value is wrong, clap does not say whose.
fn named_command() -> Option<String> {
    let names: Vec<String> = Cli::command().get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    std::env::args_os()
        .skip(1)
        .filter_map(|argument| argument.into_string().ok())
        .find(|text| names.contains(text))
}

/// clap's message in our form. It is the same for all kinds of errors: paragraphs, of which the first says what is
/// wrong, `tip:` begins a suggestion, and `Usage:` shows the command.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    what: String,
    why: Option<String>,
    hints: Vec<String>,
}

impl Told {
    fn of(text: &str, command: Option<&str>) -> Self {
        let mut paragraphs = text.split("\n\n");
        let first = paragraphs.next().unwrap_or_default();
        let mut hints = Vec::new();
        let mut said: Vec<&str> = Vec::new();
        for line in first.lines().map(str::trim) {
            match line.strip_prefix("[possible values: ").and_then(|line| line.strip_suffix(']')) {
                Some(values) => hints.push(format!("it takes {values}")),
                None => said.push(line.strip_prefix("error: ").unwrap_or(line)),
            }
        }
        let said = said.join(" ");
        // `invalid value 'x' for '<Y>': why`
        let (what, why) = match said.split_once("': ") {
            Some((what, why)) if what.starts_with("invalid value") => {
                (format!("{what}'"), Some(why.to_owned()))
            }
            _ => (said.clone(), None),
        };
        let mut command = command.map_or_else(|| "cofferdam".to_owned(), |name| format!("cofferdam {name}"));
        for line in paragraphs.flat_map(str::lines).map(str::trim) {
            if let Some(tip) = line.strip_prefix("tip: ") {
                hints.push(tip.to_owned());
            } else if let Some(usage) = line.strip_prefix("Usage: ") {
                let words = usage.split(' ').take_while(|word| !word.starts_with(['<', '[', '-']));
                command = words.collect::<Vec<_>>().join(" ");
            }
        }
        hints.push(format!("{command} --help shows what there is, with examples"));
        Self { what, why, hints }
    }

    fn one_line(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {why}", self.what),
            None => self.what.clone(),
        }
    }
}
