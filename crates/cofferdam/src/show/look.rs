//! How much is printed, and in which colours. Set once, before anything is printed.

use crate::cli::{Color, OutputArgs};
use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use std::sync::OnceLock;

/// What failed.
pub(super) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Why.
pub(super) const CAUSE: Style = AnsiColor::Cyan.on_default();
/// What to do next.
pub(super) const HINT: Style = AnsiColor::Cyan.on_default().bold();
/// What went well.
pub(super) const DONE: Style = AnsiColor::Green.on_default();
/// What is there for those who look for it.
pub(super) const FADED: Style = Style::new().dimmed();

/// How much is printed beside results and errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Volume {
    /// Nothing.
    Quiet,
    /// What is being done.
    #[default]
    Normal,
    /// And how long it took.
    Verbose,
}

static VOLUME: OnceLock<Volume> = OnceLock::new();

pub(super) fn volume() -> Volume {
    VOLUME.get().copied().unwrap_or_default()
}

/// Follows the command line. Without `--color`: colours on terminals only, and `NO_COLOR`, `CLICOLOR` and
/// `CLICOLOR_FORCE` are heeded, as in clap's own output.
pub(crate) fn set_up(args: &OutputArgs) {
    let volume = match (args.quiet, args.verbose) {
        (true, _) => Volume::Quiet,
        (false, true) => Volume::Verbose,
        (false, false) => Volume::Normal,
    };
    let _ = VOLUME.set(volume);
    let choice = match args.color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    choice.write_global();
}
