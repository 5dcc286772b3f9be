//! How captures, checks and progress look: text for people, JSON and NDJSON for programs.
//!
//! Faces read the [`crate::model`] and nothing else, and write where they are told to.

pub mod dashboard;
pub mod diff;
pub mod doctor;
pub mod html;
pub mod json;
pub mod ndjson;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod page;
pub mod progress;
pub mod prometheus;
pub mod selftest;
pub mod text;

mod chart;
mod sections;

pub use page::Style;
