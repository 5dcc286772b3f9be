//! The commands, which connect the kernel, the model and the renderers.

mod capture;
mod child;
mod diff;
mod doctor;
mod export;
mod hooking;
mod kept;
mod live;
mod logging;
mod output;
mod report;
mod selftest;
mod status;
mod terminal;

use std::{process::ExitCode, sync::Arc};

use clap::CommandFactory;

use hooking::options;
pub use status::{CANNOT_RUN, TIMED_OUT};

use crate::{
    cli::{Cli, Command, LogFormat},
    kernel::attach::AttachError,
};

/// Runs the command line and returns the exit status of the process.
pub fn run(cli: &Cli) -> ExitCode {
    // A write beyond RLIMIT_FSIZE then fails, as on a full disk, instead of ending the process: the
    // error is reported, and nothing is left behind. A handler, unlike SIG_IGN, is not inherited.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    // export has a format of its own, which its configuration file may set.
    if !matches!(cli.command, Some(Command::Export(_))) {
        logging::init(cli, LogFormat::Text);
    }
    let Some(command) = &cli.command else {
        return exit(live::default(cli));
    };
    exit(match command {
        Command::Live(args) => live::run(cli, args),
        Command::Capture(args) => capture::run(cli, args),
        Command::Doctor(args) => doctor::run(cli, args),
        Command::Selftest(args) => selftest::run(cli, args),
        Command::Diff(args) => diff::run(cli, args),
        Command::Export(args) => export::run(cli, args),
        Command::Report(args) => report::run(cli, args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "pinscope", &mut script);
            output::to_stdout(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(Cli::command()).render(&mut page) {
                Ok(()) => output::to_stdout(&page),
                Err(e) => Err(e.into()),
            }
        }
        Command::Provoke {
            scenario,
            pages,
            rounds,
        } => selftest::provoke(scenario, *pages, *rounds),
    })
}

fn exit(outcome: anyhow::Result<u8>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // A pipe whose reader is gone is not worth a complaint.
            if output::is_closed(&error) {
                return ExitCode::SUCCESS;
            }
            logging::failure(&error);
            let cannot = matches!(
                error.downcast_ref::<AttachError>(),
                Some(AttachError::CannotRun { .. })
            );
            ExitCode::from(if cannot { CANNOT_RUN } else { 1 })
        }
    }
}
