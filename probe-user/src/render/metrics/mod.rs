//! Metrics for Prometheus: pure functions from a snapshot to families, and from families to bytes.
//!
//! | file | what it has |
//! |---|---|
//! | [`registry`] | the definition of every metric |
//! | [`family`] | the types of a definition and of its family; the series budget |
//! | [`input`] | what the collectors read |
//! | [`value`] | series and their values |
//! | [`births`] | when the count of each series began |
//! | [`buckets`] | the kernel's buckets as classic and as native histograms |
//! | [`mod@encode`] | families as OpenMetrics text, Prometheus text or protobuf (`protobuf`) |
//! | [`format`](mod@format) | the format that a scraper wants |
//! | [`mod@reference`] | the tables of docs/numbers.md |

pub mod births;
pub mod buckets;
pub mod encode;
pub mod family;
pub mod format;
pub mod input;
#[cfg(feature = "otlp")]
pub mod otlp;
mod protobuf;
pub mod reference;
pub mod registry;
pub mod value;

pub use births::Births;
pub use encode::encode;
pub use family::Family;
pub use format::Format;
pub use input::{Input, ProcessStats, Reads, Reload};
pub use reference::reference;
pub use registry::families;
pub use value::{Series, Value};
