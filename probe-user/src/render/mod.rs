//! Renders captures, checks and progress: as text and HTML for people, as JSON and metrics for
//! programs.
//!
//! A renderer reads the [`crate::model`] and nothing else, and returns text or writes to what
//! the caller passes.

pub mod html;
pub mod json;
pub mod metrics;
pub mod text;
