//! The log, on stderr: text to read, or JSON, one object per line.

use std::{
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering},
};

use tracing_subscriber::EnvFilter;

use super::output;
use crate::cli::{Cli, LogFormat};

/// The target of messages that only --quiet leaves out.
const NOTICE: &str = "pinscope::notice";

/// Whether everything that is said must be JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Starts the log. RUST_LOG takes precedence over the flags.
pub(super) fn init(cli: &Cli, format: LogFormat) {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    if !cli.quiet
        && let Ok(notices) = format!("{NOTICE}=info").parse()
    {
        filter = filter.add_directive(notices);
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Fails if there is a log already, which only a test has.
    let _ = match format {
        LogFormat::Text => log
            .without_time()
            .with_ansi(output::style(cli, std::io::stderr().is_terminal()).color)
            .try_init(),
        LogFormat::Json => {
            JSON.store(true, Ordering::Relaxed);
            log.json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .try_init()
        }
    };
}

/// Says something that is worth knowing and no cause for concern, unless --quiet is given.
pub(super) fn say(quiet: bool, text: &str) {
    if JSON.load(Ordering::Relaxed) {
        tracing::info!(target: NOTICE, "{text}");
    } else if !quiet {
        eprintln!("pinscope: {text}");
    }
}

/// Says why the command failed.
pub(super) fn failure(error: &anyhow::Error) {
    if JSON.load(Ordering::Relaxed) {
        tracing::error!("{error:#}");
    } else {
        eprintln!("pinscope: {error:#}");
    }
}
