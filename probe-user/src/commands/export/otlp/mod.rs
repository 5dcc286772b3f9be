//! Pushes the metrics to an OpenTelemetry collector: OTLP as protobuf, over HTTP or gRPC.
//!
//! | file | contains |
//! |---|---|
//! | `settings` | the settings, from the options and the `OTEL_*` variables |
//! | `resource` | the attributes of the resource: service, host, operating system |
//! | `client` | one attempt to send, and what its failure means |
//!
//! All counts are cumulative, so a push replaces those that failed before it. A failed push is
//! retried until the next one is due, and then given up.

mod client;
mod resource;
mod settings;

use std::time::Duration;

use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

pub(super) use self::settings::Settings;
use self::{
    client::{Client, Failure},
    settings::TEMPORALITY,
};
use super::reader::{ReaderHandle, Scrape};
use crate::render::metrics::otlp::{About, request};

/// The time that the last push has, with its retries.
const LAST: Duration = Duration::from_secs(5);
/// The pause before the first retry; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, whatever the collector asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A running task that pushes.
pub(super) struct Pusher {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Pusher {
    /// Starts pushing. Warns once when the collector fails, and once when it works again.
    pub(super) fn start(settings: Settings, reader: ReaderHandle) -> Self {
        if settings.wants_delta {
            tracing::warn!(
                "{TEMPORALITY} has no effect: all counts are cumulative; the collector's processor \
                 cumulativetodelta converts them"
            );
        }
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(run(settings, reader, ended));
        Self { end, task }
    }

    /// Pushes the last counts, and waits for that for a limited time.
    pub(super) async fn finish(self) {
        // Fails if the task is gone, which the wait notices too.
        let _ = self.end.send(());
        if timeout(LAST, self.task).await.is_err() {
            tracing::warn!(
                "the last push of metrics did not finish within {} s",
                LAST.as_secs()
            );
        }
    }
}

async fn run(settings: Settings, reader: ReaderHandle, mut end: oneshot::Receiver<()>) {
    let client = Client::new(&settings);
    let mut pushing = Pushing {
        settings,
        client,
        reader,
        fails: false,
        not_before: Instant::now(),
    };
    let mut ticks = interval(pushing.settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut end => break,
        }
        let due = Instant::now() + pushing.settings.interval;
        tokio::select! {
            () = pushing.push(due, false) => {}
            _ = &mut end => break,
        }
    }
    pushing.not_before = Instant::now();
    pushing.push(Instant::now() + LAST, true).await;
}

struct Pushing {
    settings: Settings,
    client: Client,
    reader: ReaderHandle,
    /// Whether the last push failed.
    fails: bool,
    /// The time before which the collector wants no request.
    not_before: Instant,
}

impl Pushing {
    /// Pushes once, with retries until `due`; the last time, all counts up to now.
    async fn push(&mut self, due: Instant, last: bool) {
        let scrape = if last {
            self.reader.fresh().await
        } else {
            self.reader.scrape().await
        };
        let outcome = match scrape {
            Ok(scrape) => self.send(&scrape, due).await,
            Err(why) => Err(why),
        };
        let to = &self.settings.shown();
        match (&outcome, self.fails) {
            (Err(why), false) => {
                let hint = self.settings.hint();
                tracing::warn!("cannot push metrics to {to}: {why}{hint}");
            }
            (Ok(()), true) => tracing::warn!("{to} accepts metrics again"),
            _ => {}
        }
        self.fails = outcome.is_err();
    }

    async fn send(&mut self, scrape: &Scrape, due: Instant) -> Result<(), String> {
        let about = About {
            resource: &self.settings.resource,
            histograms: self.settings.histograms,
            start: scrape.attached,
            now: scrape.at,
        };
        let request = request(&scrape.families, &about);
        let mut pause = FIRST_PAUSE;
        loop {
            sleep_until(self.not_before).await;
            let attempt = timeout(self.settings.timeout, self.client.send(&request));
            let failure = match attempt.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Passing {
                    why: format!("no response within {:?}", self.settings.timeout),
                    after: None,
                },
            };
            let (why, after) = match failure {
                Failure::Passing { why, after } => (why, after),
                Failure::Lasting(why) => return Err(why),
            };
            let wait = after.map_or_else(|| jittered(pause), |after| after.min(LONGEST_PAUSE));
            if after.is_some() {
                self.not_before = Instant::now() + wait;
            }
            if Instant::now() + wait >= due {
                return Err(why);
            }
            tracing::debug!("a push failed, and is retried in {wait:?}: {why}");
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Returns between half and all of a pause, so that hosts that failed together do not retry
/// together.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    // A new state has random keys.
    let random = RandomState::new().hash_one(0u8) % 1024;
    let share = 0.5 + random as f64 / 2048.0;
    pause.mul_f64(share)
}
