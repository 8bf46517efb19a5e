//! The `cofferdam` command: CLI and host worker in one static binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cofferdam::run()
}
