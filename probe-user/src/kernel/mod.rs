//! The live kernel: what it is made of, the hooks in it, and the maps they fill.
//!
//! [`facts`] reads the running kernel's BTF, [`symbols`] its kallsyms; [`hooks`] plans which
//! program goes where, [`attach`] loads and attaches them, [`probes`] takes snapshots, [`privileges`]
//! says what this process may do and lets go of what it no longer needs.

pub mod attach;
pub mod btf;
pub mod cgroups;
pub mod events;
pub mod facts;
mod fold;
pub mod hooks;
pub mod preempt;
pub mod privileges;
pub mod probes;
mod read;
mod status;
pub mod symbols;
