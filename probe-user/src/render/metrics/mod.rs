//! Metrics for Prometheus: pure functions from a reading to families, and from those to bytes.
//!
//! | file | does |
//! |---|---|
//! | [`family`] | what a family, a series and a value are; the series budget |
//! | [`collect`] | a snapshot's numbers as families |
//! | [`buckets`] | the kernel's buckets as classic and as native ones |
//! | [`encode`] | families as OpenMetrics text, Prometheus text or protobuf |
//! | [`format`] | which of those a scraper wants |

pub mod buckets;
pub mod collect;
pub mod encode;
pub mod family;
pub mod format;
#[cfg(feature = "otlp")]
pub mod otlp;

pub use collect::{ProcessStats, View, families};
pub use encode::encode;
pub use family::{Family, Series, Value};
pub use format::Format;
