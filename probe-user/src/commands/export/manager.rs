//! What the service manager learns (sd_notify(3)): without one, nothing is sent.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;

use super::status::Status;

/// How often a thread that does not respond is looked for, at least.
const SLOWEST: Duration = Duration::from_secs(10);

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("cannot notify the service manager: {error}");
    }
}

/// The server listens, and the probes are attached.
pub(super) fn ready(status: &Status, urls: &[String]) {
    let urls = urls.join(", ");
    let text = match status.unsupported() {
        Some(why) => format!("Nothing is measured: {}", why.lines().next().unwrap_or("")),
        None => format!("Metrics at {urls}"),
    };
    send(&[NotifyState::Ready, NotifyState::Status(&text)]);
}

/// A reload that the manager may have asked for begins.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("cannot notify the service manager: {error}"),
    }
}

/// The reload has ended.
pub(super) fn reloaded() {
    send(&[NotifyState::Ready]);
}

/// The server ends.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Feeds the manager's watchdog, if it has one, while the thread that reads the counters responds.
pub(super) async fn watchdog(status: Arc<Status>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let pause = (limit / 3).clamp(Duration::from_millis(1), SLOWEST);
    let mut ticks = tokio::time::interval(pause);
    loop {
        ticks.tick().await;
        if status.stuck().is_none() {
            send(&[NotifyState::Watchdog]);
        }
    }
}
