//! `pinscope export`: serves the counters to Prometheus over HTTP.
//!
//! | file | contains |
//! |---|---|
//! | `config` | the settings, from flags, environment and file |
//! | `web_config` | TLS and passwords, in the format of Prometheus's exporter-toolkit |
//! | `reload` | the web configuration in effect, which follows its files |
//! | `reader` | the thread that owns the probes, and the scrapes that it makes |
//! | `status` | how the exporter is: the reading thread, the last read, the last reload |
//! | `unsupported` | the counters of a host on which nothing can be measured |
//! | `server` | the server |
//! | `connections` | which connections may be open, and how long |
//! | `pages` | the pages |
//! | `encoding` | compression, and the choice of metrics |
//! | `auth` | password checks |
//! | `guesses` | the order of passwords that wait for a check |
//! | `limited` | messages at a bounded rate |
//! | `manager` | what systemd learns |
//! | `lock` | locking the memory |
//! | `otlp` | pushing the metrics to an OpenTelemetry collector (feature `otlp`) |

mod auth;
mod config;
mod connections;
mod encoding;
mod guesses;
mod limited;
mod lock;
mod manager;
#[cfg(feature = "otlp")]
mod otlp;
mod pages;
mod reader;
mod reload;
mod server;
mod status;
mod unsupported;
mod web_config;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context, Result};

use self::{
    config::Settings,
    pages::State,
    reader::{Counters, ReaderHandle, Replayed},
    reload::WebConfig,
    status::Status,
    unsupported::Unsupported,
    web_config::Web,
};
use super::logging;
use crate::{
    cli::{Cli, Export, OnUnsupported},
    kernel::{
        attach::AttachError,
        privileges,
        probes::{ProbeOptions, Probes},
    },
    recording::{Frames, Recording},
};

/// The exit status for an invalid configuration, the same as for a usage error.
const BAD_CONFIG: u8 = 2;
/// Individual futile unmaps recorded per CPU and second, for exemplars.
const EXEMPLARS: u32 = 1;

pub(super) fn run(cli: &Cli, args: &Export) -> Result<u8> {
    let (settings, web) = match configured(args) {
        Ok(both) => both,
        Err(error) => {
            logging::init(cli, args.log_format);
            logging::failure(&error);
            return Ok(BAD_CONFIG);
        }
    };
    let options = &settings.options;
    logging::init(cli, options.log_format);
    if options.check_config {
        eprintln!("pinscope: the configuration is valid:\n{settings}");
        #[cfg(feature = "otlp")]
        if let Some(push) = otlp::Settings::new(options)? {
            eprintln!("pinscope: {push}");
        }
        return Ok(0);
    }
    let listeners = listeners(options.listen)?;
    let mut unsupported = None;
    let (counters, since): (Box<dyn Counters>, _) = match &options.replay {
        Some(path) => {
            let recording =
                Recording::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            let start = recording.start();
            (Box::new(Replayed::new(recording)), start)
        }
        None => match attach(options) {
            Ok(probes) => {
                let started = probes.started();
                (Box::new(probes), started)
            }
            Err(error) => {
                let why = to_serve(options, error)?;
                tracing::error!("{why}\n  nothing is measured: /metrics and /readyz say so");
                let counters = Unsupported::new(why.lines().next().unwrap_or_default());
                unsupported = Some(why);
                (Box::new(counters), SystemTime::now())
            }
        },
    };
    if options.lock_memory
        && let Err(why) = lock::lock_memory()
    {
        tracing::warn!("cannot lock all memory: {why}");
    }
    let status = Arc::new(Status::new(unsupported));
    let reader = ReaderHandle::start(counters, since, options, Arc::clone(&status))
        .context("cannot start the reading thread")?;
    let web = WebConfig::shared(options.web_config.clone(), web, &status);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("cannot start the server")?;
    let quiet = cli.quiet;
    let served = runtime.block_on(async move {
        #[cfg(feature = "otlp")]
        let pusher = otlp::Settings::new(options)?
            .map(|settings| otlp::Pusher::start(settings, reader.clone()));
        let state = Arc::new(State::new(reader, Arc::clone(&web), status));
        server::serve(listeners, state, web, quiet).await?;
        // The counts since the last push would be lost otherwise.
        #[cfg(feature = "otlp")]
        if let Some(pusher) = pusher {
            pusher.finish().await;
        }
        anyhow::Ok(())
    });
    // A password check, or a file system, may take its time.
    runtime.shutdown_background();
    served.map(|()| 0)
}

/// Returns why nothing can be measured here if the exporter is to serve all the same, otherwise the
/// error. It does not try again: what is missing is part of the kernel, or a privilege that the
/// process cannot get while it runs.
fn to_serve(options: &Export, error: anyhow::Error) -> Result<String> {
    let unsupported = matches!(
        error.downcast_ref::<AttachError>(),
        Some(AttachError::CannotRun { .. })
    );
    if !unsupported || options.on_unsupported == OnUnsupported::Exit {
        return Err(error);
    }
    privileges::drop_all(&[], || true).context("cannot drop capabilities")?;
    Ok(format!("{error:#}"))
}

/// Attaches the probes, and drops the privileges that this needed.
fn attach(export: &Export) -> Result<Probes> {
    let options = ProbeOptions {
        events_per_second: EXEMPLARS,
        measure_self: export.self_cost,
        victims_by: if export.cgroups > 0 {
            probe_ebpf::VictimsBy::Cgroup
        } else {
            probe_ebpf::VictimsBy::Nothing
        },
        ..super::options(&export.hooking)
    };
    let mut probes = Probes::attach(&options)?;
    if export.self_cost && !probes.measures_itself() {
        tracing::warn!(
            "self_cost has no effect: the kernel times the probes only with CAP_SYS_ADMIN, from Linux 5.8 on"
        );
    }
    probes
        .drop_privileges()
        .context("cannot drop capabilities")?;
    Ok(probes)
}

/// Reads and checks the settings, and the web configuration that they name.
fn configured(args: &Export) -> Result<(Settings, Web)> {
    let settings = Settings::new(args.config.as_ref())?;
    let web = match &settings.options.web_config {
        Some(path) => web_config::read(path)?,
        None => Web::default(),
    };
    #[cfg(feature = "otlp")]
    otlp::Settings::new(&settings.options)?;
    Ok((settings, web))
}

/// Returns the sockets passed by systemd, or a new one if there are none.
fn listeners(address: SocketAddr) -> Result<Vec<TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let socket = passed
            .take_tcp_listener(index)
            .context("systemd passed a socket that is not TCP")?;
        listeners.extend(socket);
    }
    if listeners.is_empty() {
        let listener = TcpListener::bind(address).with_context(|| {
            format!(
                "cannot listen on {address}: if another exporter is running, choose another \
                 address with --listen"
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
