//! The developer commands, one file or folder each.
//!
//! No command is used by `guest` or `host`.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod dist;
pub(crate) mod packages;
pub(crate) mod soak;
pub(crate) mod sync;
pub(crate) mod test;
pub(crate) mod vm;
