//! Makes memory, references and reclaim whose truth is known: the workload that pinscope's
//! tests, benchmarks and demo look at. JSON goes to stdout, words for people to stderr.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use pinscope::provoke::{self, Options, SCENARIOS, Scenario, Snapshot, Truth};

/// Provokes unmapping in vain, and tells exactly how much of it there was.
#[derive(Parser)]
#[command(name = "workload", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the scenarios.
    List,
    /// Runs one scenario, or all of them by the name `all`.
    Run(Run),
    /// Unmaps a pinned memfd in vain as fast as it goes, and prints the CPU time it took.
    Burst(Burst),
    /// Ends with this exit status.
    Exit {
        /// The status, 0 to 255.
        code: u8,
    },
    /// Ends by this signal.
    Kill {
        /// Its name (SIGTERM) or number.
        signal: String,
    },
}

#[derive(Args)]
struct Run {
    /// Its name, see `workload list`; `all` for all of them.
    scenario: String,
    /// Pages of memory.
    #[arg(long, default_value_t = 256)]
    pages: usize,
    /// How often it is touched and reclaimed.
    #[arg(long, default_value_t = 4)]
    rounds: u32,
    /// Directory for files, on a disk file system [default: that of temporary files].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Makes no KVM virtual machine: nobody listens to the MMU notifiers.
    #[arg(long)]
    no_kvm: bool,
    /// Prints the truth as JSON.
    #[arg(long)]
    json: bool,
    /// Keeps memory and references until standard input ends.
    #[arg(long)]
    hold: bool,
}

#[derive(Args)]
struct Burst {
    /// Pages of memory.
    #[arg(long, default_value_t = 256)]
    pages: usize,
    /// How often it is touched and reclaimed.
    #[arg(long, default_value_t = 400)]
    rounds: u32,
    /// Makes no KVM virtual machine: nobody listens to the MMU notifiers.
    #[arg(long)]
    no_kvm: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("workload: {error:#}");
            let lacking = error
                .downcast_ref::<provoke::Error>()
                .is_some_and(provoke::Error::is_not_applicable);
            ExitCode::from(if lacking { 77 } else { 1 })
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List => {
            for scenario in SCENARIOS {
                println!("{:16} {}", scenario.name, scenario.summary);
            }
        }
        Command::Run(run) => return scenarios(&run),
        Command::Burst(burst) => {
            let options = Options {
                pages: burst.pages,
                rounds: burst.rounds,
                subscriber: !burst.no_kvm,
                ..Options::default()
            };
            println!("{}", serde_json::to_string(&provoke::burst(&options)?)?);
        }
        Command::Exit { code } => return Ok(ExitCode::from(code)),
        Command::Kill { signal } => return end_by(&signal),
    }
    Ok(ExitCode::SUCCESS)
}

fn scenarios(run: &Run) -> Result<ExitCode> {
    let options = Options {
        pages: run.pages,
        rounds: run.rounds,
        directory: run.dir.clone().unwrap_or_else(provoke::default_directory),
        subscriber: !run.no_kvm,
    };
    if run.scenario != "all" {
        let outcome = Scenario::named(&run.scenario)?.run(&options)?;
        tell(&outcome.truth, run.json)?;
        if run.hold {
            eprintln!("holding it until standard input ends");
            std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    for scenario in SCENARIOS {
        match scenario.run(&options) {
            Ok(outcome) => tell(&outcome.truth, run.json)?,
            Err(error) if error.is_not_applicable() => eprintln!("{}: {error}", scenario.name),
            Err(error) => return Err(error).context(scenario.name),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(truth: &Truth, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(truth)?);
    }
    eprintln!(
        "{:16} {} pages x {} rounds, {} referenced: {} unmaps{}",
        truth.scenario,
        truth.pages,
        truth.rounds,
        truth.referenced_pages,
        truth.unmaps_expected,
        if truth.disagreements.is_empty() {
            ", and the page tables agree".to_owned()
        } else {
            format!("; BUT {}", truth.disagreements.join("; "))
        }
    );
    Ok(())
}

fn end_by(signal: &str) -> Result<ExitCode> {
    use nix::sys::signal::{Signal, raise};
    let signal = match signal.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) => signal.parse().ok(),
    };
    let Some(signal) = signal else {
        bail!("there is no such signal; give its name, such as SIGTERM, or its number");
    };
    raise(signal)?;
    bail!("{signal} doesn't end a process")
}

#[allow(unused)]
fn unused(_: Snapshot) {}
