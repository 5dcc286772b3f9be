//! Renders captures, checks and progress: as text and HTML for people, as JSON and metrics for
//! programs.
//!
//! A renderer reads the [`crate::model`] and nothing else, and writes where it is told to.

pub mod html;
pub mod json;
pub mod metrics;
pub mod text;
