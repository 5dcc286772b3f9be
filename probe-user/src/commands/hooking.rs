//! The options of attaching that all commands with probes share.

use crate::{cli::Hooking, kernel::probes::Options};

/// Translates the command line's options.
pub(super) fn options(hooking: &Hooking) -> Options {
    Options {
        attach: hooking.attach,
        hooks: hooking.hook.clone(),
        probe_log: hooking.probe_log,
        ..Options::default()
    }
}
