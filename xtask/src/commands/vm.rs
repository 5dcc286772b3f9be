//! `cargo xtask vm`: a command in a guest kernel.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::guest::files::{self, GuestFile};
use crate::guest::machine::{AccelChoice, Machine, Swap};
use crate::guest::{self, kernels, stream};
use crate::host::setup::{self, Purpose};
use crate::host::tool::Tool;
use crate::host::{ebpf_build, paths, user_build};

/// Options of `vm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A series that Debian's archive carries (5.10, 6.12, …), or the path of a kernel image
    #[arg(long, value_name = "SERIES|VMLINUZ")]
    kernel: String,
    /// The directory lib/modules/VERSION that belongs to the kernel image
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Look for a newer kernel of the series than the one fetched before
    #[arg(long)]
    refresh: bool,
    /// Put a file or directory into the guest (default: into /root, which is on PATH)
    #[arg(long = "file", value_name = "HOST[:GUEST]")]
    files: Vec<String>,
    /// Number of processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Number of NUMA nodes that memory and processors are split over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    nodes: u32,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(192..))]
    memory: u32,
    /// More arguments for the kernel
    #[arg(long, value_name = "KERNELARGS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// Seconds after which the guest is stopped (exit status 125)
    #[arg(long, default_value_t = 600, value_name = "SECS")]
    timeout: u64,
    /// The guest's swap device
    #[arg(long, value_enum, default_value_t = Swap::Disk)]
    swap: Swap,
    /// How the processors run (default: $PINSCOPE_ACCEL, or tcg)
    #[arg(long, value_enum)]
    accel: Option<AccelChoice>,
    /// Put this program of this machine into the guest; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    tool: Vec<Tool>,
    /// Use the programs of the last build
    #[arg(long)]
    no_build: bool,
    /// Print on stderr how long the boot and the command took
    #[arg(long)]
    verbose: bool,
    /// The command to run in the guest
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command; the exit status is the command's.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let mut files = args
        .files
        .iter()
        .map(|f| GuestFile::parse(f))
        .collect::<Result<Vec<_>>>()?;
    let kernel = kernels::absolute(&args.kernel)?;
    let modules = args.modules.as_ref().map(paths::absolute).transpose()?;
    paths::enter_root()?;
    let mut purposes = vec![Purpose::Guests];
    purposes.extend((!args.no_build).then_some(Purpose::Build));
    purposes.extend(args.tool.iter().map(|t| Purpose::Tool(*t)));
    setup::ready(&purposes)?;
    let programs = if args.no_build {
        user_build::built()
    } else {
        ebpf_build::build()?;
        user_build::build()?
    };
    // The caller's files come last, so that they replace ours.
    files.splice(0..0, files::of_programs(&programs));
    let kernel = kernels::find(&kernel, modules.as_deref(), args.refresh)?;
    let machine = Machine {
        kernel,
        files,
        cpus: args.cpus,
        nodes: args.nodes,
        memory_mib: args.memory,
        append: args.append,
        timeout: Duration::from_secs(args.timeout),
        swap: args.swap,
        tools: args.tool,
        accel: args.accel,
        command: args.command,
    };
    let exit = guest::run(&machine, stream::raw_stdout()?, stream::raw_stderr())?;
    if args.verbose {
        eprintln!(
            "kernel {} ({}), boot {:.1} s, whole {:.1} s, clocksource {}",
            machine.kernel.name,
            machine.kernel.version,
            exit.boot.as_secs_f64(),
            exit.wall.as_secs_f64(),
            exit.clocksource
        );
    }
    Ok(ExitCode::from(exit.status))
}
