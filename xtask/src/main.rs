//! Developer commands.

mod accel;
mod apt;
mod bench;
mod cpio;
mod debver;
mod demo;
mod ebpf;
mod initramfs;
mod kernels;
mod modules;
mod packages;
mod qemu;
mod quote;
mod results;
mod setup;
mod sh;
mod stream;
mod test;
mod test_guests;
mod test_packages;
mod tools_disk;
mod user;
mod vm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

/// pinscope's developer commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show a real capture of a real workload, in a guest kernel or on this machine
    Demo(demo::Args),
    /// Set up what is missing, and pass every test
    Test(test::Args),
    /// Run a command in a guest kernel under QEMU
    Vm(VmArgs),
    /// Build the kernel side and the static binaries
    Build,
    /// Build the static binary as it is handed out, and print its path
    Dist,
    /// Run the benchmarks
    Bench(bench::Args),
    /// Build the Debian and the RPM package, and print their paths
    Packages,
}

/// Options of `vm`.
#[derive(Debug, Args)]
struct VmArgs {
    /// A series that Debian's archive carries (5.10, 6.12, …), or a kernel image's path
    #[arg(long, value_name = "SERIES|VMLINUZ")]
    kernel: String,
    /// The directory lib/modules/VERSION of a kernel of one's own
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Look for a newer kernel of the series than the one fetched before
    #[arg(long)]
    refresh: bool,
    /// Put a file or directory into the guest (default: below /root, which is on PATH)
    #[arg(long = "file", value_name = "HOST[:GUEST]")]
    files: Vec<String>,
    /// Processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// NUMA nodes to split memory and processors over
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
    /// Where the guest swaps to
    #[arg(long, value_enum, default_value_t = qemu::Swap::Disk)]
    swap: qemu::Swap,
    /// How the processors run (default: $PINSCOPE_ACCEL, or tcg)
    #[arg(long, value_enum)]
    accel: Option<qemu::Accel>,
    /// Put this program of this machine into the guest; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    tool: Vec<tools_disk::Tool>,
    /// Take the programs as they were built last
    #[arg(long)]
    no_build: bool,
    /// Say on stderr how long the boot and the command took
    #[arg(long)]
    verbose: bool,
    /// The command to run in the guest
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let _ = sh::started();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<vm::GuestFailed>() {
                ExitCode::from(vm::GUEST_FAILED)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Task::Vm(args) => run_vm(args),
        Task::Demo(args) => enter_root().and_then(|()| demo::run(&args)),
        Task::Test(args) => enter_root().and_then(|()| test::run(&args)),
        Task::Bench(args) => enter_root().and_then(|()| bench::run(&args)),
        Task::Packages => enter_root().and_then(|()| packages::run()),
        Task::Build => run_build(),
        Task::Dist => run_dist(),
    }
}

/// Works from the repository's root from here on. Paths that the caller gave
/// must have been made absolute before.
fn enter_root() -> Result<()> {
    let root = sh::root()?;
    std::env::set_current_dir(&root).with_context(|| format!("cannot enter {}", root.display()))
}

/// Sets up, builds the release binary, and prints its path.
fn run_dist() -> Result<ExitCode> {
    enter_root()?;
    setup::ready(&[setup::For::Build])?;
    ebpf::build()?;
    println!("{}", user::dist()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Sets up, builds both sides, and prints the paths.
fn run_build() -> Result<ExitCode> {
    enter_root()?;
    setup::ready(&[setup::For::Build])?;
    let object = ebpf::build()?;
    let programs = user::build()?;
    println!("{}", object.display());
    for file in programs.files() {
        println!("{}", file.host.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn run_vm(args: VmArgs) -> Result<ExitCode> {
    let mut files = args
        .files
        .iter()
        .map(|f| initramfs::GuestFile::parse(f))
        .collect::<Result<Vec<_>>>()?;
    let kernel = if kernels::is_series(&args.kernel) {
        args.kernel.clone()
    } else {
        sh::absolute(&args.kernel)?.to_string_lossy().into_owned()
    };
    let modules = args.modules.as_ref().map(sh::absolute).transpose()?;
    enter_root()?;
    let mut purposes = vec![setup::For::Guests];
    purposes.extend((!args.no_build).then_some(setup::For::Build));
    purposes.extend(args.tool.iter().map(|t| setup::For::Tool(*t)));
    setup::ready(&purposes)?;
    let programs = if args.no_build {
        user::built()
    } else {
        ebpf::build()?;
        user::build()?
    };
    // The caller's own files come last: they win.
    files.splice(0..0, programs.files());
    let kernel = kernels::find(&kernel, modules.as_deref(), args.refresh)?;
    let spec = vm::Spec {
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
    let outcome = vm::run(&spec, stream::raw_stdout()?, stream::raw_stderr())?;
    if args.verbose {
        eprintln!(
            "kernel {} ({}), boot {:.1} s, whole {:.1} s, clocksource {}",
            spec.kernel.name,
            spec.kernel.version,
            outcome.boot.as_secs_f64(),
            outcome.wall.as_secs_f64(),
            outcome.clocksource
        );
    }
    Ok(ExitCode::from(outcome.status))
}
