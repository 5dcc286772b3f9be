//! `pinscope export` over a recording: formats, configuration, TLS and passwords, hostile clients,
//! health, logs, service managers, and a real Prometheus server. Tests that need a live kernel are in tests/guest/export.rs.

// clippy.toml allows these in tests, but doesn't count the helpers beside them as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

#[cfg(feature = "otlp")]
mod collector;
mod config;
mod formats;
mod hostile;
#[cfg(feature = "otlp")]
mod otlp;
mod scrape;
mod server;
mod service;
mod support;
mod web;
