//! The command line.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::kernel::plan::{AttachMode, HookOverride};

/// Shows memory that reclaim unmapped in vain because somebody holds it.
///
/// The kernel removes a page's mappings first, and learns only then that a pin keeps the page:
/// the mapping is gone, every MMU notifier subscriber (KVM, a GPU driver, RDMA) was disturbed,
/// the process faults it all back in, and nothing was freed. pinscope counts it: how much,
/// whose memory, who was reclaiming, and what it cost.
#[derive(Debug, Parser)]
#[command(name = "pinscope", version, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 done; 1 failed; 2 usage; 77 this machine can't run it; \
                        with CMD its own, 124 when the duration ended it."
)]
pub struct Cli {
    /// What to do; without one, on a terminal: the live dashboard.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// More about what pinscope does, on stderr; twice: with the end of the verifier's log.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// No progress and no warnings.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// When to colour text.
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN")]
    pub color: Color,

    /// Keep text to ASCII.
    #[arg(long, global = true)]
    pub ascii: bool,
}

/// When to colour text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it live, on a terminal; or a recording, as if it were.
    Live(Live),
    /// Watch the whole host for a while, or while CMD runs, and report.
    Capture(Capture),
    /// Say what this kernel and these privileges allow, hook by hook.
    Doctor(Doctor),
    /// Provoke every verdict on memory of its own, and check that the probes saw exactly that.
    Selftest(Selftest),
    /// Print a capture's report again from its recording, JSON or NDJSON.
    Report(Report),
    /// Say what changed between two captures, in rates, with the noise in mind.
    Diff(Diff),
    /// Give the counters to Prometheus, over HTTP.
    Export(Export),
    /// Print the completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    Man,
    /// Runs one scenario of the selftest and prints its truth.
    #[command(hide = true)]
    Provoke {
        /// Its name.
        scenario: String,
        /// Pages of memory.
        pages: usize,
        /// Rounds.
        rounds: u32,
    },
}

/// How to hook, common to all commands that do.
#[derive(Args, Clone, Debug)]
pub struct Hooking {
    /// How to attach to kernel functions.
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub attach: AttachMode,

    /// Leave a hook out, insist on it, or attach it to another symbol; may be given several
    /// times.
    #[arg(long, value_name = "HOOK=off|on|SYMBOL")]
    pub hook: Vec<HookOverride>,

    /// Forward what the probes themselves have to say (aya-log) to stderr.
    #[arg(long)]
    pub probe_log: bool,
}

/// `pinscope live`.
#[derive(Args, Debug)]
pub struct Live {
    /// How often to look.
    #[arg(short, long, value_name = "TIME", default_value = "1s")]
    pub interval: Time,

    /// Show a recording of `capture --record`; needs no privileges.
    #[arg(long, value_name = "RECORDING")]
    pub replay: Option<PathBuf>,

    /// Carry out single futile unmaps, at most N for each CPU and second.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub events: u32,

    /// How to hook.
    #[command(flatten)]
    pub hooking: Hooking,
}

/// `pinscope capture`.
#[derive(Args, Debug)]
pub struct Capture {
    /// For how long, such as 500ms, 30s or 5m; with CMD, the time after which it is ended.
    /// Without either until Ctrl-C.
    #[arg(short, long, value_name = "TIME")]
    pub duration: Option<Time>,

    /// How often to look: progress, and the intervals of NDJSON.
    #[arg(short, long, value_name = "TIME", default_value = "1s")]
    pub interval: Time,

    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,

    /// Where to print it; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Keep a recording too, to be looked at again by `report` and `live --replay`: a look at
    /// each interval, with single futile unmaps, 20 for each CPU and second if --events doesn't
    /// say otherwise.
    #[arg(short, long, value_name = "RECORDING")]
    pub record: Option<PathBuf>,

    /// Carry out single futile unmaps too, at most N for each CPU and second.
    #[arg(long, value_name = "N")]
    pub events: Option<u32>,

    /// Let the kernel time every run of the probes (`self` in the report). It costs about a
    /// fifth of what the probes themselves do.
    #[arg(long)]
    pub self_cost: bool,

    /// How to hook.
    #[command(flatten)]
    pub hooking: Hooking,

    /// Watch while this runs. Its stdout is sent to stderr unless -o names a file.
    #[arg(last = true, value_name = "CMD")]
    pub cmd: Vec<std::ffi::OsString>,
}

/// What a capture is printed as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A report for people, 80 columns wide.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// JSON line by line as it goes; the last line is the whole capture.
    Ndjson,
}

/// `pinscope doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: TextOrJson,

    /// How to hook.
    #[command(flatten)]
    pub hooking: Hooking,
}

/// Text for people or JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// `pinscope selftest`.
#[derive(Args, Debug)]
pub struct Selftest {
    /// Only this scenario; may be given several times. All, if none is given.
    #[arg(short, long, value_name = "NAME")]
    pub scenario: Vec<String>,

    /// Pages of memory in each scenario.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub pages: u32,

    /// How often each is touched and reclaimed.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: TextOrJson,

    /// How to hook.
    #[command(flatten)]
    pub hooking: Hooking,
}

/// `pinscope report`.
#[derive(Args, Debug)]
pub struct Report {
    /// A recording, or what `capture --format json` or `ndjson` wrote; `-` is stdin.
    pub file: PathBuf,

    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: ReportFormat,

    /// Where to print it; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `pinscope diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// What to compare: a recording, or what `capture --format json` or `ndjson` wrote; `-` is
    /// stdin.
    pub a: PathBuf,

    /// With what.
    pub b: PathBuf,

    /// What to print.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: TextOrJson,

    /// Where to print it; `-` is stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `pinscope export`. A flag goes before the environment, that before the file, and that before
/// what is built in.
#[derive(Args, Debug)]
pub struct Export {
    /// Where to listen [default: 127.0.0.1:9723]. Sockets that systemd passes on go before.
    #[arg(long, value_name = "ADDRESS:PORT", env = "PINSCOPE_LISTEN")]
    pub listen: Option<std::net::SocketAddr>,

    /// Listen where others than this host can reach it.
    #[arg(long, value_name = "BOOL", env = "PINSCOPE_ALLOW_REMOTE", num_args = 0..=1,
          require_equals = true, default_missing_value = "true")]
    pub allow_remote: Option<bool>,

    /// TLS and passwords, in the format of Prometheus' exporter-toolkit.
    #[arg(long, value_name = "FILE", env = "PINSCOPE_WEB_CONFIG")]
    pub web_config: Option<PathBuf>,

    /// A configuration in TOML: the names of these flags with _ for -.
    #[arg(long, value_name = "FILE", env = "PINSCOPE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Check the configuration, say what would hold, and end: 0 if it is good, 2 if not.
    #[arg(long)]
    pub check_config: bool,

    /// Count the N costliest cgroups by name, and all others as `other` [default: 0, none].
    #[arg(long, value_name = "N", env = "PINSCOPE_CGROUPS")]
    pub cgroups: Option<usize>,

    /// Time series at most [default: 2000]; what is left out is counted.
    #[arg(long, value_name = "N", env = "PINSCOPE_MAX_SERIES")]
    pub max_series: Option<usize>,

    /// Read the kernel at most this often [default: 1s]; scrapes in between get the same.
    #[arg(long, value_name = "TIME", env = "PINSCOPE_INTERVAL")]
    pub interval: Option<Time>,

    /// Let the kernel time every run of the probes. It costs about a fifth of what they do.
    #[arg(long, value_name = "BOOL", env = "PINSCOPE_SELF_COST", num_args = 0..=1,
          require_equals = true, default_missing_value = "true")]
    pub self_cost: Option<bool>,

    /// Serve a recording of `capture --record`, look by look, in place of the live kernel: to
    /// try a dashboard or an alert.
    #[arg(long, value_name = "RECORDING")]
    pub replay: Option<PathBuf>,

    /// Push the same to an OpenTelemetry collector: the address of its OTLP/HTTP metrics
    /// endpoint, such as http://127.0.0.1:4318/v1/metrics.
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL", env = "PINSCOPE_OTLP")]
    pub otlp: Option<String>,

    /// How often to push [default: 60s].
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "TIME", env = "PINSCOPE_OTLP_INTERVAL")]
    pub otlp_interval: Option<Time>,

    /// How to attach to kernel functions [default: auto].
    #[arg(long, value_enum, value_name = "HOW", env = "PINSCOPE_ATTACH")]
    pub attach: Option<AttachMode>,

    /// Leave a hook out, insist on it, or attach it to another symbol; may be given several
    /// times.
    #[arg(long, value_name = "HOOK=off|on|SYMBOL")]
    pub hook: Vec<HookOverride>,

    /// Forward what the probes themselves have to say (aya-log) to stderr.
    #[arg(long)]
    pub probe_log: bool,
}

/// What a capture is printed as again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people, 80 columns wide.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// One self-contained page: no network, no script.
    Html,
}

/// A length of time from the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let time = humantime::parse_duration(s)
            .map_err(|_| format!("{s:?} is no length of time: write 500ms, 30s or 5m"))?;
        // Nothing is told from less, and a longer one is a slip.
        if time < Duration::from_millis(10) || time > Duration::from_secs(366 * 24 * 3600) {
            return Err(format!("{s:?} is out of range: 10ms to 366days"));
        }
        Ok(Time(time))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
