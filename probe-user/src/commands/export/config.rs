//! Flags, then the environment, then the file, then what is built in.

use std::{
    fmt,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use crate::{
    cli::{Export, Time},
    kernel::plan::{AttachMode, HookOverride},
};

/// Where it listens if nothing else is said.
const LISTEN: &str = "127.0.0.1:9723";
/// Time series at most.
const MAX_SERIES: usize = 2000;
/// Cgroups with a label of their own, at most.
const MOST_CGROUPS: usize = 200;
/// The largest configuration file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The file, as TOML. A key that it doesn't know is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    allow_remote: Option<bool>,
    web_config: Option<PathBuf>,
    cgroups: Option<usize>,
    max_series: Option<usize>,
    interval: Option<String>,
    attach: Option<String>,
    #[serde(default)]
    hook: Vec<String>,
    self_cost: Option<bool>,
    #[cfg(feature = "otlp")]
    otlp: Option<String>,
    #[cfg(feature = "otlp")]
    otlp_interval: Option<String>,
}

/// What holds in the end.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) listen: SocketAddr,
    pub(super) web_config: Option<PathBuf>,
    pub(super) cgroups: usize,
    pub(super) max_series: usize,
    pub(super) interval: Duration,
    pub(super) attach: AttachMode,
    pub(super) hooks: Vec<HookOverride>,
    pub(super) self_cost: bool,
    #[cfg(feature = "otlp")]
    pub(super) otlp: Option<String>,
    #[cfg(feature = "otlp")]
    pub(super) otlp_interval: Duration,
}

impl Settings {
    /// Reads the file, if there is to be one, and puts flags and environment before it.
    pub(super) fn new(args: &Export) -> Result<Self> {
        let file = match &args.config {
            Some(path) => {
                read(path).with_context(|| format!("the configuration {}", path.display()))?
            }
            None => File::default(),
        };
        let listen = match args.listen {
            Some(listen) => listen,
            None => parsed(file.listen.as_deref().unwrap_or(LISTEN), "listen")?,
        };
        let allow_remote = args.allow_remote.or(file.allow_remote).unwrap_or(false);
        ensure!(
            listen.ip().is_loopback() || allow_remote,
            "{listen} can be reached from elsewhere: say so with --allow-remote (allow_remote = \
             true), and think of --web-config for TLS and passwords"
        );
        let interval = match (args.interval, &file.interval) {
            (Some(time), _) => time,
            (None, Some(text)) => parsed(text, "interval")?,
            (None, None) => Time(Duration::from_secs(1)),
        };
        let attach = match (args.attach, &file.attach) {
            (Some(mode), _) => mode,
            (None, Some(word)) => AttachMode::from_str(word, false)
                .map_err(|_| anyhow!("attach = {word:?}: it is auto, kprobe or fentry"))?,
            (None, None) => AttachMode::default(),
        };
        let hooks = if args.hook.is_empty() {
            file.hook
                .iter()
                .map(|text| parsed(text, "hook"))
                .collect::<Result<_>>()?
        } else {
            args.hook.clone()
        };
        let cgroups = args.cgroups.or(file.cgroups).unwrap_or(0);
        ensure!(
            cgroups <= MOST_CGROUPS,
            "cgroups = {cgroups}: at most {MOST_CGROUPS} get a label of their own"
        );
        let max_series = args.max_series.or(file.max_series).unwrap_or(MAX_SERIES);
        ensure!(
            (100..=100_000).contains(&max_series),
            "max_series = {max_series}: it is 100 to 100000"
        );
        #[cfg(feature = "otlp")]
        let otlp = args.otlp.clone().or(file.otlp);
        #[cfg(feature = "otlp")]
        ensure!(
            otlp.as_ref().is_none_or(|url| url.starts_with("http://")),
            "otlp takes http:// only: push to a collector on this host, which does TLS"
        );
        Ok(Self {
            listen,
            web_config: args.web_config.clone().or(file.web_config),
            cgroups,
            max_series,
            interval: interval.0,
            attach,
            hooks,
            self_cost: args.self_cost.or(file.self_cost).unwrap_or(false),
            #[cfg(feature = "otlp")]
            otlp,
            #[cfg(feature = "otlp")]
            otlp_interval: match (args.otlp_interval, &file.otlp_interval) {
                (Some(time), _) => time.0,
                (None, Some(text)) => parsed::<Time>(text, "otlp_interval")?.0,
                (None, None) => Duration::from_secs(60),
            },
        })
    }
}

fn read(path: &Path) -> Result<File> {
    Ok(toml::from_str(&text(path)?)?)
}

/// A configuration file's text; not more than one can have, whatever the path leads to.
pub(super) fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    ensure!(
        text.len() as u64 <= MAX_BYTES,
        "it is larger than {MAX_BYTES} bytes"
    );
    Ok(text)
}

fn parsed<T: FromStr>(text: &str, key: &str) -> Result<T>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|e| anyhow!("{key} = {text:?}: {e}"))
}

/// What `--check-config` prints.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  listen = {:?}", self.listen.to_string())?;
        if let Some(path) = &self.web_config {
            writeln!(f, "  web_config = {:?}", path.display().to_string())?;
        }
        writeln!(f, "  cgroups = {}", self.cgroups)?;
        writeln!(f, "  max_series = {}", self.max_series)?;
        let interval = humantime::format_duration(self.interval);
        writeln!(f, "  interval = \"{interval}\"")?;
        let attach = self.attach.to_possible_value();
        let attach = attach.as_ref().map_or("auto", |v| v.get_name());
        writeln!(f, "  attach = {attach:?}")?;
        writeln!(f, "  hooks set = {}", self.hooks.len())?;
        write!(f, "  self_cost = {}", self.self_cost)
    }
}
