//! The report: its text against stored snapshots, its JSON against the schemas, and both with
//! arbitrary snapshots.

// clippy.toml allows these in tests, and takes the helpers beside them for something else.
#![allow(clippy::unwrap_used)]

mod agreement;
mod fixtures;
mod html;
mod machines;
mod properties;
mod texts;
