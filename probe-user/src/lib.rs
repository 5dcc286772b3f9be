//! pinscope's library: everything behind the `pinscope` binary.
//!
//! Data goes one way: kernel maps ([`kernel`]) → decoded [`snapshot`] → [`model`] (pure, no
//! I/O) → [`render`] (text, HTML, JSON, metrics) and [`tui`] (the dashboard). [`provoke`] makes the memory that `selftest` and the
//! tests let reclaim unmap; [`commands`] joins them as [`cli`] says.

pub mod cli;
pub mod commands;
pub mod kernel;
pub mod model;
pub mod provoke;
pub mod recording;
pub mod render;
pub mod snapshot;
pub mod tui;
pub mod words;
