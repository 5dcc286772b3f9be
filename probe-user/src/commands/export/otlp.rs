//! The metrics pushed to an OpenTelemetry collector: OTLP over HTTP, as protobuf.

use std::time::Duration;

use prost::Message;

use super::source::Source;
use crate::render::metrics::otlp::request;

/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts pushing. A collector that is away is told of once, and when it is back.
pub(super) fn start(to: String, every: Duration, source: Source) {
    tokio::spawn(async move {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut away = false;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let outcome = push(&agent, &to, &source).await;
            match (&outcome, away) {
                (Err(why), false) => tracing::warn!("{to} doesn't take metrics: {why}"),
                (Ok(()), true) => tracing::warn!("{to} takes metrics again"),
                _ => {}
            }
            away = outcome.is_err();
        }
    });
}

async fn push(agent: &ureq::Agent, to: &str, source: &Source) -> Result<(), String> {
    let reading = source.reading().await?;
    let host = &reading.hostname;
    let body = request(&reading.families, host, reading.attached, reading.at).encode_to_vec();
    let (agent, to) = (agent.clone(), to.to_owned());
    let sent = tokio::task::spawn_blocking(move || {
        agent
            .post(&to)
            .header("Content-Type", "application/x-protobuf")
            .send(&body)
            .map(drop)
            .map_err(|e| e.to_string())
    });
    sent.await.map_err(|e| e.to_string())?
}
