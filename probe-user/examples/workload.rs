//! Makes memory, references and reclaim whose truth is known: the workload of pinscope's tests,
//! benchmarks and demo. JSON goes to stdout, text for people to stderr.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pinscope::provoke::child::{self, Launcher};
use pinscope::provoke::{
    self, SCENARIOS, Scenario, ScenarioOptions, Truth, balloon,
    churn::{ChurnPlan, churn},
    demo,
    pressure::{self, PressureMode, PressurePlan},
};

/// Provokes futile unmaps, and reports exactly how many there were.
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
    /// Runs one scenario, or every scenario with the name `all`.
    Run(Run),
    /// Unmaps a pinned memfd as fast as possible, and prints the CPU time.
    Burst(Burst),
    /// Puts processes with pinned memory, each in a cgroup of its own, under memory pressure.
    Pressure(Pressure),
    /// Plays a demo of three services, two of which have memory that cannot be freed.
    Demo {
        /// The duration, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Prints what is known for certain as JSON.
        #[arg(long)]
        json: bool,
        /// Writes what is known for certain to this file, as JSON.
        #[arg(long)]
        truth: Option<PathBuf>,
    },
    /// Plays the demo under `pinscope capture`, which prints its report, and fails unless both
    /// counts agree.
    Show {
        /// The duration, in seconds.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Runs processes one after the other, each with a name of its own; each has a pinned memfd
    /// reclaimed, then ends.
    ShortLived {
        /// The number of processes.
        count: u32,
        /// The pages of memory of each.
        #[arg(long, default_value_t = 64)]
        pages: usize,
        /// How many times the memory is touched and reclaimed.
        #[arg(long, default_value_t = 2)]
        rounds: u32,
    },
    /// Runs short-lived processes in short-lived cgroups; each has memory reclaimed, then ends.
    Churn(Churn),
    /// Runs as a child of `pressure` or `demo`.
    #[command(hide = true)]
    Child {
        /// The role, as JSON.
        role: String,
    },
    /// Ends with this exit status.
    Exit {
        /// The status, 0 to 255.
        code: u8,
    },
    /// Ends through this signal.
    Kill {
        /// The name (SIGTERM) or number of the signal.
        signal: String,
    },
}

#[derive(Args)]
struct Run {
    /// The name of the scenario (see `workload list`), or `all`.
    scenario: String,
    /// Pages of memory.
    #[arg(long, default_value_t = 256)]
    pages: usize,
    /// How often it is touched and reclaimed.
    #[arg(long, default_value_t = 4)]
    rounds: u32,
    /// Directory for files, on a disk file system [default: that for temporary files].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Makes no KVM virtual machine, so that the MMU notifiers have no subscriber.
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
    /// The reclaimer to provoke.
    mode: Mode,
    /// The number of processes.
    #[arg(long, default_value_t = 2)]
    procs: usize,
    /// The pages that each process pins; each has as many unpinned pages as well.
    #[arg(long, default_value_t = 1024)]
    pages: usize,
    /// The duration, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Makes no KVM virtual machines.
    #[arg(long)]
    no_kvm: bool,
    /// Prints what is known for certain as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Churn {
    /// The number of processes.
    #[arg(long, default_value_t = 1000)]
    processes: u64,
    /// The number of cgroups that the processes are spread over, one after the other; 0: they stay
    /// in the cgroup of this process.
    #[arg(long, default_value_t = 200)]
    cgroups: u64,
    /// The pages of each process whose unmaps are futile.
    #[arg(long, default_value_t = 2)]
    pages: usize,
    /// The pages of each process that are freed.
    #[arg(long, default_value_t = 1)]
    freed: usize,
    /// How many times each process touches its memory and has it reclaimed.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// The number of processes that start the others, at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: u32,
    /// The number of long-lived processes beside them, each in a cgroup of its own.
    #[arg(long, default_value_t = 0)]
    steady: u32,
    /// The pages of each long-lived process.
    #[arg(long, default_value_t = 64)]
    steady_pages: usize,
    /// Has every process count the pages that its page table shows to be unmapped: for a machine
    /// short of memory.
    #[arg(long)]
    inspect_all: bool,
    /// Prints what is known for certain as JSON.
    #[arg(long)]
    json: bool,
    /// Keeps the cgroups of the long-lived processes until standard input ends.
    #[arg(long)]
    hold: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Through memory.reclaim of the cgroups (Linux 5.19 or later).
    MemoryReclaim,
    /// Through memory.high of the cgroups.
    MemoryHigh,
    /// By kswapd: the machine runs out of memory slowly.
    Kswapd,
    /// By allocations: the machine runs out of memory fast.
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
    /// Makes no KVM virtual machine, so that the MMU notifiers have no subscriber.
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
            let options = ScenarioOptions {
                pages: burst.pages,
                rounds: burst.rounds,
                subscriber: !burst.no_kvm,
                ..ScenarioOptions::default()
            };
            println!("{}", serde_json::to_string(&provoke::burst(&options)?)?);
        }
        Command::Pressure(options) => press(&options)?,
        Command::Demo {
            seconds,
            json,
            truth,
        } => {
            let launcher = Launcher::this_program("child")?;
            let duration = Duration::from_secs(seconds);
            let story = demo::play(&launcher, duration, |words| eprintln!("{words}"))?;
            if json {
                println!("{}", serde_json::to_string(&story)?);
            }
            if let Some(file) = truth {
                std::fs::write(&file, serde_json::to_vec(&story)?)
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
        Command::Show { seconds } => return show(seconds),
        Command::ShortLived {
            count,
            pages,
            rounds,
        } => short_lived(count, pages, rounds)?,
        Command::Churn(options) => come_and_go(&options)?,
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

/// Has pinscope capture the demo, and compares both counts.
fn show(seconds: u64) -> Result<ExitCode> {
    let directory = tempfile::tempdir().context("cannot make a directory for the truth")?;
    let truth = directory.path().join("truth.json");
    let recording = directory.path().join("demo.pscope");
    let status = std::process::Command::new("pinscope")
        .args(["-v", "capture", "--record"])
        .arg(&recording)
        .arg("--")
        .arg(std::env::current_exe()?)
        .args(["demo", "--seconds", &seconds.to_string(), "--truth"])
        .arg(&truth)
        .status()
        .context("cannot start pinscope, which must be in PATH")?;
    if !status.success() {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(ExitCode::from(code.unwrap_or(1)));
    }
    let report = std::process::Command::new("pinscope")
        .args(["report", "--format", "json"])
        .arg(&recording)
        .stderr(Stdio::inherit())
        .output()?;
    let capture = serde_json::from_slice(&report.stdout).context("pinscope's report is no JSON")?;
    let story: demo::Story = serde_json::from_slice(&std::fs::read(&truth)?)?;
    match story.compare(&capture) {
        Ok(agreed) => {
            eprintln!("{agreed}");
            Ok(ExitCode::SUCCESS)
        }
        Err(differs) => bail!(differs),
    }
}

fn press(options: &Pressure) -> Result<()> {
    let mode = match options.mode {
        Mode::MemoryReclaim => PressureMode::MemoryReclaim,
        Mode::MemoryHigh => PressureMode::MemoryHigh,
        Mode::Kswapd => PressureMode::Kswapd,
        Mode::Direct => PressureMode::Direct,
    };
    let launcher = Launcher::this_program("child")?;
    let report = pressure::press(&PressurePlan {
        processes: options.procs,
        pages: options.pages,
        duration: Duration::from_secs(options.seconds),
        subscriber: !options.no_kvm,
        ..PressurePlan::new(mode, launcher)
    })?;
    for pressed in &report.processes {
        eprintln!(
            "{} (pid {}, {}): {} pages pinned, at least {} futile unmaps in {} rounds",
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

fn come_and_go(options: &Churn) -> Result<()> {
    let run = churn(&ChurnPlan {
        processes: options.processes,
        cgroups: options.cgroups,
        pages: options.pages,
        freed: options.freed,
        rounds: options.rounds,
        jobs: options.jobs,
        steady: options.steady,
        steady_pages: options.steady_pages,
        inspect_all: options.inspect_all,
    })?;
    let report = &run.report;
    eprintln!(
        "{} processes in {} cgroups in {:.1} s: {} unmaps, {} of them futile; {} page tables inspected",
        report.processes,
        report.cgroups,
        report.seconds,
        report.unmaps_expected,
        report.futile_expected,
        report.inspected,
    );
    if options.json {
        println!("{}", serde_json::to_string(report)?);
    }
    if options.hold {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    }
    Ok(())
}

/// Runs this program repeatedly, and prints a JSON array of the truths.
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
        provoke::set_comm(comm);
    }
    let options = ScenarioOptions {
        pages: run.pages,
        rounds: run.rounds,
        directory: run.dir.clone().unwrap_or_else(provoke::default_directory),
        subscriber: !run.no_kvm,
    };
    if run.scenario != "all" {
        let result = Scenario::named(&run.scenario)?.run(&options)?;
        print(&result.truth, run.json)?;
        if run.hold {
            eprintln!("holding the memory until standard input ends");
            std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    for scenario in SCENARIOS {
        match scenario.run(&options) {
            Ok(result) => print(&result.truth, run.json)?,
            Err(error) if error.is_not_applicable() => eprintln!("{}: {error}", scenario.name),
            Err(error) => return Err(error).context(scenario.name),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(truth: &Truth, json: bool) -> Result<()> {
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
        bail!("unknown signal; give a name such as SIGTERM, or a number");
    };
    raise(signal)?;
    bail!("{signal} did not end this process; give a signal that does")
}
