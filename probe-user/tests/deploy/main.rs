//! What is deployed beside the binary fits it: the chart and the manifests, the rules and the
//! dashboard.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics fails"
)]
#![allow(clippy::indexing_slicing, reason = "a test that panics fails")]
#![allow(missing_docs, reason = "not a library")]

#[path = "../common/promql.rs"]
mod promql;

mod chart;
mod dashboard;
mod manifests;
mod rules;
mod support;
