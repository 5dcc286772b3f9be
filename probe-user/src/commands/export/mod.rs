//! `pinscope export`: the counters for Prometheus, over HTTP.
//!
//! | file | does |
//! |---|---|
//! | `config` | flags, environment and file, in that order, to settings |
//! | `web_config` | TLS and passwords, in the format of Prometheus' exporter-toolkit |
//! | `source` | the thread that owns the probes, and the readings it gives |
//! | `server` | connections, bounded in number, size and time |
//! | `pages` | what is answered |
//! | `auth` | who may ask |
//! | `otlp` | the same pushed to an OpenTelemetry collector (feature `otlp`) |

mod auth;
mod config;
#[cfg(feature = "otlp")]
mod otlp;
mod pages;
mod server;
mod source;
mod web_config;

use std::{net::TcpListener, sync::Arc, time::SystemTime};

use anyhow::{Context, Result};

use self::{
    config::Settings,
    pages::State,
    source::{Counters, Replayed, Source},
    web_config::{Web, WebConfig},
};
use crate::{
    cli::{Cli, Export},
    kernel::probes::{ProbeOptions, Probes},
    recording::{Frames, Recording},
};

/// The exit status for a configuration that is wrong: that of a wrong command line.
const BAD_CONFIG: u8 = 2;
/// Single futile unmaps carried out for each CPU and second, as exemplars.
const EXEMPLARS: u32 = 1;

pub(super) fn run(cli: &Cli, args: &Export) -> Result<u8> {
    let (settings, web) = match configured(args) {
        Ok(both) => both,
        Err(error) => {
            eprintln!("pinscope: {error:#}");
            return Ok(BAD_CONFIG);
        }
    };
    if args.check_config {
        eprintln!("pinscope: the configuration is good:\n{settings}");
        return Ok(0);
    }
    let listeners = listeners(&settings)?;
    let (counters, since): (Box<dyn Counters>, _) = match &args.replay {
        Some(path) => {
            let recording =
                Recording::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            let start = recording.start();
            (Box::new(Replayed::new(recording)), start)
        }
        None => (Box::new(attach(args, &settings)?), SystemTime::now()),
    };
    let source =
        Source::start(counters, since, &settings).context("cannot start the reading thread")?;
    let web = WebConfig::shared(settings.web_config.clone(), web);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("cannot start the server")?;
    let quiet = cli.quiet;
    runtime.block_on(async move {
        #[cfg(feature = "otlp")]
        if let Some(to) = settings.otlp.clone() {
            otlp::start(to, settings.otlp_interval, source.clone());
        }
        let state = Arc::new(State::new(source, Arc::clone(&web)));
        server::serve(listeners, state, web, quiet).await
    })?;
    Ok(0)
}

/// Attaches the probes, and lets go of what they took.
fn attach(args: &Export, settings: &Settings) -> Result<Probes> {
    let options = ProbeOptions {
        attach: settings.attach,
        hooks: settings.hooks.clone(),
        events_per_second: EXEMPLARS,
        measure_self: settings.self_cost,
        probe_log: args.probe_log,
        victims_by: if settings.cgroups > 0 {
            probe_ebpf::VictimsBy::Cgroup
        } else {
            probe_ebpf::VictimsBy::Nothing
        },
    };
    let mut probes = Probes::attach(&options)?;
    if settings.self_cost && !probes.measures_itself() {
        tracing::warn!(
            "the kernel doesn't time the probes (self_cost): it takes CAP_SYS_ADMIN, and Linux 5.8"
        );
    }
    probes
        .drop_privileges()
        .context("cannot drop capabilities")?;
    Ok(probes)
}

fn configured(args: &Export) -> Result<(Settings, Web)> {
    let settings = Settings::new(args)?;
    let web = match &settings.web_config {
        Some(path) => web_config::read(path)?,
        None => Web::default(),
    };
    Ok((settings, web))
}

/// Sockets that systemd passed on, or one of our own.
fn listeners(settings: &Settings) -> Result<Vec<TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let socket = passed
            .take_tcp_listener(index)
            .context("systemd passed on a socket that isn't TCP")?;
        listeners.extend(socket);
    }
    if listeners.is_empty() {
        let listener = TcpListener::bind(settings.listen).with_context(|| {
            format!(
                "cannot listen on {}: is another exporter running? --listen takes another \
                 address",
                settings.listen
            )
        })?;
        listeners.push(listener);
    }
    for listener in &listeners {
        listener
            .set_nonblocking(true)
            .context("cannot prepare a socket")?;
    }
    Ok(listeners)
}
