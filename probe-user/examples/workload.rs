//! Makes memory, references and reclaim whose truth is known: the workload that pinscope's
//! tests, benchmarks and demo look at. JSON goes to stdout, words for people to stderr.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pinscope::provoke::child::{self, Launcher};
use pinscope::provoke::{self, Options, SCENARIOS, Scenario, Truth, balloon, demo, pressure};

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
    /// Puts processes with pinned memory, each in a cgroup of its own, under memory pressure.
    Pressure(Pressure),
    /// Plays a story of three services, of which two have memory that can't be freed.
    Demo {
        /// For how long, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Prints what is known for certain as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs so many processes one after the other, each with a name of its own, that have a
    /// pinned memfd reclaimed and end.
    ShortLived {
        /// How many.
        count: u32,
        /// Pages of memory of each.
        #[arg(long, default_value_t = 64)]
        pages: usize,
        /// How often it is touched and reclaimed.
        #[arg(long, default_value_t = 2)]
        rounds: u32,
    },
    /// A child of `pressure` or `demo`.
    #[command(hide = true)]
    Child {
        /// What it is to be.
        role: String,
    },
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
    /// Names the process (what the kernel calls comm; 15 bytes).
    #[arg(long)]
    comm: Option<String>,
}

#[derive(Args)]
struct Pressure {
    /// Who reclaims.
    mode: Mode,
    /// How many processes.
    #[arg(long, default_value_t = 2)]
    procs: usize,
    /// Pages that each pins; as many again lie beside them unpinned.
    #[arg(long, default_value_t = 1024)]
    pages: usize,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Makes no KVM virtual machines.
    #[arg(long)]
    no_kvm: bool,
    /// Prints what is known for certain as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// By memory.reclaim of the cgroups (Linux 5.19 or later).
    MemoryReclaim,
    /// By memory.high of the cgroups.
    MemoryHigh,
    /// By kswapd: the machine runs slowly out of memory.
    Kswapd,
    /// By allocations: the machine runs fast out of memory.
    Direct,
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
        Command::Pressure(options) => press(&options)?,
        Command::Demo { seconds, json } => {
            let launcher = Launcher::this_program("child")?;
            let duration = Duration::from_secs(seconds);
            let story = demo::play(&launcher, duration, |words| eprintln!("{words}"))?;
            if json {
                println!("{}", serde_json::to_string(&story)?);
            }
        }
        Command::ShortLived {
            count,
            pages,
            rounds,
        } => short_lived(count, pages, rounds)?,
        Command::Child { role } => {
            if !balloon::serve(&role)? {
                child::serve(&role)?;
            }
        }
        Command::Exit { code } => return Ok(ExitCode::from(code)),
        Command::Kill { signal } => return end_by(&signal),
    }
    Ok(ExitCode::SUCCESS)
}

fn press(options: &Pressure) -> Result<()> {
    let mode = match options.mode {
        Mode::MemoryReclaim => pressure::Mode::MemoryReclaim,
        Mode::MemoryHigh => pressure::Mode::MemoryHigh,
        Mode::Kswapd => pressure::Mode::Kswapd,
        Mode::Direct => pressure::Mode::Direct,
    };
    let launcher = Launcher::this_program("child")?;
    let report = pressure::press(&pressure::Options {
        processes: options.procs,
        pages: options.pages,
        duration: Duration::from_secs(options.seconds),
        subscriber: !options.no_kvm,
        ..pressure::Options::new(mode, launcher)
    })?;
    for pressed in &report.processes {
        eprintln!(
            "{} (pid {}, {}): {} pages pinned, at least {} unmaps in vain in {} rounds",
            pressed.process.comm,
            pressed.process.pid,
            pressed.cgroup.path,
            options.pages,
            pressed.futile_at_least,
            pressed.process.rounds,
        );
    }
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

/// Runs this program again and again; prints a JSON array of the truths.
fn short_lived(count: u32, pages: usize, rounds: u32) -> Result<()> {
    let program = std::env::current_exe()?;
    let mut truths: Vec<Truth> = Vec::new();
    for number in 0..count {
        let output = std::process::Command::new(&program)
            .args([
                "run",
                "memfd-pin",
                "--json",
                "--comm",
                &format!("short-{number}"),
            ])
            .args([
                "--pages",
                &pages.to_string(),
                "--rounds",
                &rounds.to_string(),
            ])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!("short-lived process {number} ended with {}", output.status);
        }
        truths.push(serde_json::from_slice(&output.stdout)?);
    }
    println!("{}", serde_json::to_string(&truths)?);
    Ok(())
}

fn scenarios(run: &Run) -> Result<ExitCode> {
    if let Some(comm) = &run.comm {
        child::set_comm(comm);
    }
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
