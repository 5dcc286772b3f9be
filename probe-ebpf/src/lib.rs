//! The one contract of types between pinscope's kernel side and its user space.
//!
//! Everything that crosses the border is here and nowhere else: what the programs need to
//! know of the running kernel ([`facts`]), the words both sides use ([`words`]), how a verdict
//! is reached ([`verdict`]), how a value finds its histogram bucket ([`hist`]), and the layout
//! of every map's keys and values ([`maps`]), with sizes asserted at compile time.
//!
//! The crate has no dependencies and no `std` for the BPF target; the feature `user` adds
//! checked conversions from and to bytes for user space.
#![no_std]

pub mod facts;
pub mod hist;
pub mod maps;
pub mod verdict;
pub mod words;

pub use facts::{KernelFacts, VictimsBy};
pub use hist::Hist;
pub use verdict::{Evidence, Verdict, decide};
pub use words::{Hook, Memory, Reclaimer, Road};
