//! The command line. Each option is declared once, here.

use std::{ffi::OsString, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Arg, ArgAction, Args, CommandFactory, Parser, Subcommand,
    builder::{RangedU64ValueParser, StyledStr},
    error::{ContextKind, ContextValue},
};

mod choices;

#[cfg(feature = "otlp")]
pub use choices::OtlpProtocol;
pub use choices::{Color, Format, LogFormat, OnUnsupported, ReportFormat, TextOrJson};

use crate::kernel::plan::{AttachMode, HookOverride};

/// Finds memory that reclaim keeps unmapping but cannot free because it is pinned.
///
/// The kernel removes a page's mappings before it checks whether a pin keeps the page. By then
/// the mapping is gone, every MMU notifier subscriber (KVM, a GPU driver, RDMA) was disturbed,
/// the process will fault the page back in, and nothing was freed: a futile unmap. pinscope
/// counts futile unmaps: how many, whose memory, who was reclaiming, and what they cost.
#[derive(Debug, Parser)]
#[command(name = "pinscope", version, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 success; 1 failure; 2 usage error; 77 this machine cannot run \
                  pinscope; with CMD: its exit status, 124 if --duration ended it, or 141 if it \
                  was ended because the reader of the output is gone."
)]
pub struct Cli {
    /// The command; without one, pinscope shows the live dashboard if it runs on a terminal.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Log what pinscope does to stderr; twice: include the end of the verifier's log.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Print no progress and no warnings.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// When to colour text.
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN")]
    pub color: Color,

    /// Print text in ASCII only.
    #[arg(long, global = true)]
    pub ascii: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the live dashboard on a terminal, or replay a recording in it.
    Live(Live),
    /// Watch the whole host for some time, or while CMD runs, and print a report.
    Capture(Capture),
    /// Report what this kernel and these privileges allow, hook by hook.
    Doctor(Doctor),
    /// Provoke every verdict on test memory, and check that the probes counted exactly that.
    Selftest(Selftest),
    /// Print the report of an earlier capture from its recording, JSON or NDJSON.
    Report(Report),
    /// Compare the rates of two captures, and report the changes that exceed the noise.
    Diff(Diff),
    /// Serve the counters to Prometheus over HTTP.
    Export(Export),
    /// Print the completion script for a shell.
    Completions {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    Man,
    /// Run one scenario of the selftest and print what it knows to be true.
    #[command(hide = true)]
    Provoke {
        /// The name of the scenario.
        scenario: String,
        /// The number of pages of memory.
        pages: usize,
        /// The number of times that they are touched and reclaimed.
        rounds: u32,
    },
}

/// The options of all commands that attach probes.
#[derive(Args, Clone, Debug)]
pub struct Hooking {
    /// How to attach to kernel functions.
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub attach: AttachMode,

    /// Leave a hook out, require it, or attach it to another symbol; can be repeated.
    #[arg(long, value_name = "HOOK=off|on|SYMBOL")]
    pub hook: Vec<HookOverride>,

    /// Forward the probes' own log messages (aya-log) to stderr.
    #[arg(long)]
    pub probe_log: bool,
}

/// `pinscope live`.
#[derive(Args, Debug)]
pub struct Live {
    /// Sampling interval.
    #[arg(short, long, value_name = "TIME", default_value = "1s")]
    pub interval: Time,

    /// Replay a recording made by `capture --record`; needs no privileges.
    #[arg(long, value_name = "RECORDING")]
    pub replay: Option<PathBuf>,

    /// Record individual futile unmaps, at most N per CPU and second.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub events: u32,

    /// How to attach the probes.
    #[command(flatten)]
    pub hooking: Hooking,
}

/// `pinscope capture`.
#[derive(Args, Debug)]
pub struct Capture {
    /// How long to watch, such as 500ms, 30s or 5m; with CMD, the time after which pinscope ends
    /// it. Without a duration and CMD: until Ctrl-C.
    #[arg(short, long, value_name = "TIME")]
    pub duration: Option<Time>,

    /// Sampling interval, also of the progress line and of NDJSON.
    #[arg(short, long, value_name = "TIME", default_value = "1s")]
    pub interval: Time,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,

    /// Output file; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Also write a recording for `report` and `live --replay`: one sample per interval, with
    /// individual futile unmaps, at most 20 per CPU and second unless --events is given.
    #[arg(short, long, value_name = "RECORDING")]
    pub record: Option<PathBuf>,

    /// Record individual futile unmaps, at most N per CPU and second.
    #[arg(long, value_name = "N")]
    pub events: Option<u32>,

    /// Have the kernel time every run of the probes (`self` in the report), which adds about a
    /// fifth to their cost.
    #[arg(long)]
    pub self_cost: bool,

    /// How to attach the probes.
    #[command(flatten)]
    pub hooking: Hooking,

    /// Watch while this command runs. Its stdout goes to stderr unless -o names a file. If the
    /// capture fails, or the reader of its output goes away, pinscope ends CMD.
    #[arg(last = true, value_name = "CMD")]
    pub cmd: Vec<std::ffi::OsString>,
}

/// `pinscope doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: TextOrJson,

    /// How to attach the probes.
    #[command(flatten)]
    pub hooking: Hooking,
}

/// `pinscope selftest`.
#[derive(Args, Debug)]
pub struct Selftest {
    /// Run this scenario only; can be repeated. Default: all scenarios.
    #[arg(short, long, value_name = "NAME")]
    pub scenario: Vec<String>,

    /// Number of pages of memory in each scenario.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub pages: u32,

    /// Number of times that each page is touched and reclaimed.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: TextOrJson,

    /// How to attach the probes.
    #[command(flatten)]
    pub hooking: Hooking,
}

/// `pinscope report`.
#[derive(Args, Debug)]
pub struct Report {
    /// A recording, or the output of `capture --format json` or `ndjson`; `-` is stdin.
    pub file: PathBuf,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: ReportFormat,

    /// Output file; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `pinscope diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// The capture to compare with: a recording, or the output of `capture --format json` or
    /// `ndjson`; `-` is stdin.
    pub a: PathBuf,

    /// The capture to compare, in the same formats.
    pub b: PathBuf,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: TextOrJson,

    /// Output file; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `pinscope export`. Each option gets its variable from `environment`, and its key in the
/// configuration file where [`may_be_in_file`] allows it.
#[derive(Args, Debug)]
#[command(mut_args = environment)]
pub struct Export {
    /// Address to listen on. Sockets passed by systemd take precedence.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9723")]
    pub listen: std::net::SocketAddr,

    /// Allow --listen to be an address that other hosts can reach.
    #[arg(long, value_name = "BOOL", default_value = "false", num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub allow_remote: bool,

    /// TLS and passwords, in the format of Prometheus's exporter-toolkit.
    #[arg(long, value_name = "FILE")]
    pub web_config: Option<PathBuf>,

    /// Configuration file in TOML. Its keys are the names of these options with _ for -. Flags
    /// take precedence over the environment, and the environment over the file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check the configuration, print the effective settings and exit: with 0 if it is valid,
    /// with 2 if not.
    #[arg(long)]
    pub check_config: bool,

    /// Count the N costliest cgroups by name, at most 200, and all others as `other`.
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=200))]
    pub cgroups: usize,

    /// Maximum number of time series. Series beyond it are dropped and counted.
    #[arg(long, value_name = "N", default_value_t = 5000,
          value_parser = RangedU64ValueParser::<usize>::new().range(100..=100_000))]
    pub max_series: usize,

    /// Read the counters at most once per interval; all scrapes within it get the same numbers.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub interval: Time,

    /// Have the kernel time every run of the probes, which adds about a fifth to their cost.
    #[arg(long, value_name = "BOOL", default_value = "false", num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub self_cost: bool,

    /// Lock the exporter's memory, so that it runs when memory is short. Needs an unlimited
    /// RLIMIT_MEMLOCK or CAP_SYS_RESOURCE.
    #[arg(long, value_name = "BOOL", default_value = "false", num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub lock_memory: bool,

    /// What to do on a machine that cannot run pinscope.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub on_unsupported: OnUnsupported,

    /// Format of the log on stderr.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Serve a recording made by `capture --record`, sample by sample, instead of the live kernel:
    /// to try out a dashboard or an alert.
    #[arg(long, value_name = "RECORDING")]
    pub replay: Option<PathBuf>,

    /// Also push the metrics to an OpenTelemetry collector, such as http://127.0.0.1:4318. The path
    /// is /v1/metrics if the URL has none. Default: OTEL_EXPORTER_OTLP_ENDPOINT. The other OTEL_*
    /// variables of an OTLP exporter apply too; headers can be set only by them.
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,

    /// Protocol of the pushes. Default: OTEL_EXPORTER_OTLP_PROTOCOL, or http/protobuf.
    #[cfg(feature = "otlp")]
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub otlp_protocol: Option<OtlpProtocol>,

    /// Interval between pushes. Default: OTEL_METRIC_EXPORT_INTERVAL, or 60s.
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "TIME")]
    pub otlp_interval: Option<Time>,

    /// How to attach the probes.
    #[command(flatten)]
    pub hooking: Hooking,
}

/// Options of `export` that only a flag sets: they choose what one run does.
const ONLY_FLAGS: [&str; 3] = ["check_config", "replay", "probe_log"];

/// Gives an option of `export` its environment variable, such as `PINSCOPE_LISTEN`. A list is
/// separated by commas there.
fn environment(arg: Arg) -> Arg {
    let id = arg.get_id().as_str();
    if ONLY_FLAGS.contains(&id) {
        return arg;
    }
    let variable = format!("PINSCOPE_{}", id.to_uppercase());
    let arg = arg.env(variable);
    if matches!(arg.get_action(), ArgAction::Append) {
        return arg.value_delimiter(',');
    }
    arg
}

/// Returns whether the configuration file of `export` may set this option of it. The key is the
/// option's id.
#[must_use]
pub fn may_be_in_file(arg: &Arg) -> bool {
    arg.get_env().is_some() && arg.get_id() != "config"
}

impl Cli {
    /// Reads the command line and the environment. On a usage error, prints it and exits.
    #[must_use]
    pub fn read() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        Self::try_parse_from(&words).unwrap_or_else(|mut error| {
            name_variable(&mut error, &words);
            error.exit()
        })
    }
}

/// Names the environment variable in an error about a value that no flag has set.
fn name_variable(error: &mut clap::Error, words: &[OsString]) {
    let Some(ContextValue::String(usage)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    let name = |text: &str| {
        let end = text.find([' ', '=', '[']).unwrap_or(text.len());
        text[..end].to_owned()
    };
    let flag = name(usage);
    if words.iter().any(|w| name(&w.to_string_lossy()) == flag) {
        return;
    }
    let command = Cli::command();
    let variable = command
        .find_subcommand("export")
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .find(|a| a.get_long().is_some_and(|l| flag == format!("--{l}")))
        .and_then(Arg::get_env)
        .filter(|v| std::env::var_os(v).is_some());
    if let Some(variable) = variable {
        let tip = format!(
            "the environment variable {} has this value",
            variable.display()
        );
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![StyledStr::from(tip)]),
        );
    }
}

/// A duration on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(s)
            .map_err(|_| format!("{s:?} is not a duration: write 500ms, 30s or 5m"))?;
        // A shorter sample shows nothing, and a longer one is a typing error.
        if time < Duration::from_millis(10) || time > Duration::from_secs(366 * 24 * 3600) {
            return Err(format!("{s:?} is out of range: 10ms to 366days"));
        }
        Ok(Time(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times() {
        assert_eq!("500ms".parse(), Ok(Time(Duration::from_millis(500))));
        assert_eq!("5m".parse(), Ok(Time(Duration::from_secs(300))));
        for bad in ["", "5", "0s", "-1s", "1ms", "forever", "400days", "1e9s"] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }
}
