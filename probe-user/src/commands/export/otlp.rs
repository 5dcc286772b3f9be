//! Pushes the metrics to an OpenTelemetry collector: OTLP over HTTP, as protobuf.

use std::time::Duration;

use prost::Message;

use super::reader::ReaderHandle;
use crate::render::metrics::otlp::request;

/// The time that the collector has to respond.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts pushing. Warns once when the collector fails, and once when it works again.
pub(super) fn start(to: String, every: Duration, reader: ReaderHandle) {
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
            let outcome = push(&agent, &to, &reader).await;
            match (&outcome, away) {
                (Err(why), false) => tracing::warn!("cannot push metrics to {to}: {why}"),
                (Ok(()), true) => tracing::warn!("{to} accepts metrics again"),
                _ => {}
            }
            away = outcome.is_err();
        }
    });
}

async fn push(agent: &ureq::Agent, to: &str, reader: &ReaderHandle) -> Result<(), String> {
    let scrape = reader.scrape().await?;
    let host = &scrape.hostname;
    let body = request(&scrape.families, host, scrape.attached, scrape.at).encode_to_vec();
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
