//! What this machine has and builds: commands, Debian packages, and both sides of pinscope.
//!
//! Nothing here knows of guests or of the developer commands.

pub(crate) mod bpf_toolchain;
pub(crate) mod cargo_tools;
pub(crate) mod debian_version;
pub(crate) mod deploy_tools;
pub(crate) mod ebpf_build;
pub(crate) mod paths;
pub(crate) mod private_apt;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod setup;
pub(crate) mod shell_quote;
pub(crate) mod tool;
pub(crate) mod user_build;
