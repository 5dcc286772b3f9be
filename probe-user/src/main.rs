//! The `pinscope` binary.

use std::process::ExitCode;

use pinscope::{cli::Cli, commands};

fn main() -> ExitCode {
    commands::run(&Cli::read())
}
