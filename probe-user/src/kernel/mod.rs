//! The live kernel: the layout of its structures, the hooks in it, and the maps that they fill.
//!
//! [`layout`] reads the running kernel's BTF through [`btf`], [`symbols`] its kallsyms. [`plan`]
//! decides which hook of the catalogue attaches where, [`attach`] loads and attaches the
//! programs. [`probes`] is the whole of it, attached: it reads the maps and builds snapshots.
//! [`checks`], [`host`] and [`privileges`] describe the machine and what this process may do.

mod assemble;
pub mod attach;
pub mod btf;
pub mod cgroups;
pub mod checks;
mod counting;
pub mod events;
mod harvest;
mod histograms;
pub mod host;
pub mod layout;
mod maps;
mod names;
pub mod plan;
pub mod privileges;
pub mod probes;
mod programs;
pub mod symbols;
mod unfinished;
