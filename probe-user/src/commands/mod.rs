//! The commands: what joins the kernel, the model and the renderers.

mod capture;
mod child;
mod diff;
mod doctor;
mod export;
mod live;
mod output;
mod report;
mod selftest;
mod terminal;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::{
    cli::{Cli, Command, Hooking},
    kernel::attach::AttachError,
    kernel::probes::ProbeOptions,
};

/// The exit status for a machine, or privileges, that can't run pinscope.
pub const CANNOT_RUN: u8 = 77;
/// The exit status when the duration ended CMD, as timeout(1) has it.
pub const TIMED_OUT: u8 = 124;

/// Carries out the command line and says how the process is to exit.
pub fn run(cli: &Cli) -> ExitCode {
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
            // A reader that has gone wants no more, and no complaint.
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(output::is_closed_pipe)
            {
                return ExitCode::SUCCESS;
            }
            eprintln!("pinscope: {error:#}");
            let cannot = matches!(
                error.downcast_ref::<AttachError>(),
                Some(AttachError::CannotRun { .. })
            );
            ExitCode::from(if cannot { CANNOT_RUN } else { 1 })
        }
    }
}

fn options(hooking: &Hooking) -> ProbeOptions {
    ProbeOptions {
        attach: hooking.attach,
        hooks: hooking.hook.clone(),
        probe_log: hooking.probe_log,
        ..ProbeOptions::default()
    }
}
