//! The types that pinscope's kernel side and its user space share.
//!
//! Everything that crosses the border is here and nowhere else: the catalogue of hooks
//! ([`hooks`]), what the programs need to know about the running kernel ([`layout`]), the words
//! that both sides use ([`words`]), how a verdict is reached ([`verdict`]), how a value finds its
//! histogram bucket ([`hist`]), and the keys and values of every map ([`maps`]), with sizes
//! asserted at compile time.
//!
//! For the BPF target the crate has neither dependencies nor `std`. The feature `user` adds
//! checked conversions to and from bytes for user space.
#![no_std]

pub mod hist;
pub mod hooks;
pub mod layout;
pub mod maps;
mod shared;
pub mod verdict;
pub mod words;

pub use hist::Hist;
pub use hooks::Hook;
pub use layout::{KernelLayout, VictimsBy};
pub use verdict::{Evidence, Verdict, decide};
pub use words::{Memory, Reclaimer, Road};
