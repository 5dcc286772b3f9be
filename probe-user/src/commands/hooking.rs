//! The options of attaching that all commands with probes share.

use crate::{cli::Hooking, kernel::probes::ProbeOptions};

/// Translates the command line's options.
pub(super) fn options(hooking: &Hooking) -> ProbeOptions {
    ProbeOptions {
        attach: hooking.attach,
        hooks: hooking.hook.clone(),
        probe_log: hooking.probe_log,
        ..ProbeOptions::default()
    }
}
