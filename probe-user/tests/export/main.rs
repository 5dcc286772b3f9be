//! `pinscope export` over a recording: formats, configuration, TLS and passwords, hostile clients,
//! and a real server. What needs a live kernel is in tests/guest/export.rs.

// clippy.toml allows these in tests, and takes the helpers beside them for something else.
#![allow(clippy::unwrap_used, clippy::panic)]

mod config;
mod formats;
mod hostile;
#[cfg(feature = "otlp")]
mod otlp;
mod server;
mod support;
mod web;
