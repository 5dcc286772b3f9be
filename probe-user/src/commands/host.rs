//! The machine that is captured.

use crate::snapshot::Host;

/// Describes this machine.
pub(super) fn host() -> Host {
    let name = nix::sys::utsname::uname().ok();
    let text = |s: Option<&std::ffi::OsStr>| {
        s.map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    Host {
        kernel: text(name.as_ref().map(|n| n.release())),
        hostname: text(name.as_ref().map(|n| n.nodename())),
        cpus: std::thread::available_parallelism()
            .map_or(0, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
    }
}
