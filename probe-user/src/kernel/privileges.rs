//! What this process may do, and letting go of what it no longer needs.
//!
//! Capabilities count, not uid 0: a binary with `setcap cap_bpf,cap_perfmon,cap_syslog+ep`
//! works for anyone. CAP_SYS_ADMIN includes the first two, and is needed before 5.8, which
//! doesn't know them.

use std::fs;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;

/// A capability and its purpose.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The capabilities of which any one is enough.
    pub any_of: &'static [Capability],
    /// The name that outputs use.
    pub name: &'static str,
    /// The purpose.
    pub purpose: &'static str,
    /// Whether nothing works without the capability.
    pub required: bool,
}

/// All needs, in the order in which the kernel asks for them.
pub const NEEDS: [Need; 4] = [
    Need {
        any_of: &[Capability::CAP_BPF, Capability::CAP_SYS_ADMIN],
        name: "CAP_BPF",
        purpose: "load the programs and read their maps",
        required: true,
    },
    Need {
        any_of: &[Capability::CAP_PERFMON, Capability::CAP_SYS_ADMIN],
        name: "CAP_PERFMON",
        purpose: "attach to kernel functions and read kernel memory",
        required: true,
    },
    Need {
        any_of: &[Capability::CAP_SYSLOG],
        name: "CAP_SYSLOG",
        purpose: "name the subscribers of MMU notifiers (addresses in /proc/kallsyms)",
        required: false,
    },
    Need {
        any_of: &[Capability::CAP_SYS_RESOURCE],
        name: "CAP_SYS_RESOURCE",
        purpose: "lift RLIMIT_MEMLOCK, which counts BPF maps before 5.11",
        required: false,
    },
];

/// Whether the needed capability is effective in this process now.
pub fn has(need: &Need) -> bool {
    need.any_of
        .iter()
        .any(|c| caps::has_cap(None, CapSet::Effective, *c).unwrap_or(false))
}

/// Returns `kernel.perf_event_paranoid` if it keeps this process from kprobes: above 2 (levels of
/// Debian and Ubuntu) the kernel lets only processes with CAP_SYS_ADMIN open a perf event, and a
/// kprobe is one. fentry is not affected.
pub fn paranoid() -> Option<i32> {
    let level: i32 = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let admin = caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN);
    (level > 2 && !admin.unwrap_or(false)).then_some(level)
}

/// Whether this process may open a kprobe: the kernel has them and allows it.
pub fn kprobes_allowed() -> bool {
    fs::metadata("/sys/bus/event_source/devices/kprobe/type").is_ok() && paranoid().is_none()
}

/// Returns the mode of the lockdown LSM; `None` if there is none or it can't be read.
pub fn lockdown() -> Option<String> {
    lockdown_of(&fs::read_to_string("/sys/kernel/security/lockdown").ok()?)
}

fn lockdown_of(modes: &str) -> Option<String> {
    // "none integrity [confidentiality]"
    let (_, rest) = modes.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

/// Whether this process seems to be in a container, by the marks that container managers leave.
pub fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|p| fs::metadata(p).is_ok())
        || fs::read_to_string("/proc/1/environ").is_ok_and(|e| e.contains("container="))
}

/// Lifts RLIMIT_MEMLOCK if that is allowed; before 5.11 the kernel charges BPF maps to it.
pub fn lift_memlock_limit() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    // A refusal is ignored: newer kernels don't need it, and on older ones loading fails with the
    // reason.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}

/// Drops every capability, except those of `needed` that this process has, and except CAP_BPF if
/// `still_works` (a read of a map) fails without it: up to 5.18 the kernel requires it for every
/// read while kernel.unprivileged_bpf_disabled is set.
///
/// Nothing brings them back: `no_new_privs` is set, and the bounding set is emptied where
/// CAP_SETPCAP allows it. Otherwise an execve as uid 0 would regain every capability. This also
/// applies to programs started from now on, so a CMD that needs its privileges must be running.
///
/// Returns whether CAP_BPF (or the capability used in its place) had to be kept. Only the calling
/// thread is affected: call this before starting others.
///
/// # Errors
/// When the kernel refuses, for which it has no reason.
pub fn drop_all(
    needed: &[Capability],
    still_works: impl Fn() -> bool,
) -> Result<bool, caps::errors::CapsError> {
    set_no_new_privs().map_err(|e| format!("PR_SET_NO_NEW_PRIVS failure: {e}"))?;
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        caps::clear(None, CapSet::Bounding)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    let has = |c: &Capability| permitted.contains(c);
    let mut keep: CapsHashSet = needed.iter().copied().filter(has).collect();
    caps::set(None, CapSet::Effective, &keep)?;
    let works = still_works();
    if !works {
        keep.extend(
            [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN]
                .into_iter()
                .find(has),
        );
        caps::set(None, CapSet::Effective, &keep)?;
    }
    caps::set(None, CapSet::Permitted, &keep)?;
    Ok(!works)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lockdown_mode() {
        assert_eq!(
            lockdown_of("none [integrity] confidentiality\n").as_deref(),
            Some("integrity")
        );
        assert_eq!(
            lockdown_of("[none] integrity confidentiality").as_deref(),
            Some("none")
        );
        assert_eq!(lockdown_of("nonsense"), None);
    }
}
