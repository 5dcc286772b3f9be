//! The live kernel: what it is made of, the hooks in it, and the maps they fill.
//!
//! [`layout`] reads the running kernel's BTF, [`symbols`] its kallsyms; [`plan`] plans which
//! program goes where, [`attach`] loads and attaches them, [`probes`] takes snapshots, [`privileges`]
//! says what this process may do and lets go of what it no longer needs.

pub mod attach;
pub mod btf;
pub mod cgroups;
pub mod events;
pub mod layout;
mod maps;
pub mod plan;
pub mod preempt;
pub mod privileges;
pub mod probes;
mod status;
pub mod symbols;
mod unfinished;
