//! The kernel's own counters before and after a provocation: evidence that needs no probe.

use std::collections::BTreeMap;

use nix::sys::resource::{UsageWho, getrusage};
use procfs::{Current, Meminfo};
use serde::{Deserialize, Serialize};

/// The counters of /proc/vmstat that a provocation changes. They cover the whole machine.
const COUNTERS: &[&str] = &[
    "pgactivate",
    "pgdeactivate",
    "pglazyfree",
    "pglazyfreed",
    "pgscan_direct",
    "pgscan_kswapd",
    "pgscan_proactive",
    "pgsteal_anon",
    "pgsteal_direct",
    "pgsteal_file",
    "pgsteal_kswapd",
    "pgsteal_proactive",
    "pswpin",
    "pswpout",
    "nr_foll_pin_acquired",
    "nr_foll_pin_released",
    "workingset_activate_anon",
    "workingset_activate_file",
    "workingset_refault_anon",
    "workingset_refault_file",
    "swap_ra",
    "zswpout",
];

/// The kernel's counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct SystemCounters {
    vmstat: BTreeMap<String, u64>,
    minor_faults: u64,
    major_faults: u64,
    user_seconds: f64,
    system_seconds: f64,
}

impl SystemCounters {
    /// Reads the counters; those that this kernel lacks are left out.
    #[must_use]
    pub fn take() -> Self {
        let vmstat = procfs::vmstat().unwrap_or_default().into_iter();
        let mut snapshot = Self {
            vmstat: vmstat.filter_map(chosen).collect(),
            ..Self::default()
        };
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            snapshot.minor_faults = usage.minor_page_faults().unsigned_abs();
            snapshot.major_faults = usage.major_page_faults().unsigned_abs();
            let seconds =
                |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
            snapshot.user_seconds = seconds(usage.user_time());
            snapshot.system_seconds = seconds(usage.system_time());
        }
        snapshot
    }

    /// Returns the change since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> CounterChange {
        let vmstat = self
            .vmstat
            .iter()
            .filter_map(|(name, now)| {
                let before = earlier.vmstat.get(name)?;
                Some((name.clone(), now.saturating_sub(*before)))
            })
            .collect();
        CounterChange {
            vmstat,
            minor_faults: self.minor_faults.saturating_sub(earlier.minor_faults),
            major_faults: self.major_faults.saturating_sub(earlier.major_faults),
            user_seconds: self.user_seconds - earlier.user_seconds,
            system_seconds: self.system_seconds - earlier.system_seconds,
        }
    }
}

/// The difference between two [`SystemCounters`]s.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CounterChange {
    /// Counters of /proc/vmstat, for the whole machine, in the kernel's own units.
    pub vmstat: BTreeMap<String, u64>,
    /// Minor faults of this process.
    pub minor_faults: u64,
    /// Major faults of this process.
    pub major_faults: u64,
    /// CPU time of this process in user mode, in seconds.
    pub user_seconds: f64,
    /// CPU time of this process in the kernel, in seconds.
    pub system_seconds: f64,
}

/// A counter that a provocation changes; `None` for any other.
fn chosen((name, value): (String, i64)) -> Option<(String, u64)> {
    // 5.10 doesn't count anon and file apart; a prefix matches what either kernel has.
    let wanted = COUNTERS.iter().any(|counter| name.starts_with(counter));
    wanted.then(|| Some((name, u64::try_from(value).ok()?)))?
}

/// Returns the swap space that this process can still use, in pages: the free swap, as far as its
/// cgroups allow it. 0 without swap.
#[must_use]
pub fn free_swap_pages() -> u64 {
    let page = super::mapping::page_size() as u64;
    let free = Meminfo::current().map_or(0, |meminfo| meminfo.swap_free / page);
    super::cgroup::Cgroup::of_self()
        .and_then(|cgroup| cgroup.swap_headroom())
        .map_or(free, |bytes| free.min(bytes / page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_chosen_by_prefix() {
        let chosen = |name: &str, n| chosen((name.to_owned(), n));
        assert_eq!(chosen("nr_free_pages", 4), None);
        assert_eq!(
            chosen("pgsteal_kswapd", 3),
            Some(("pgsteal_kswapd".to_owned(), 3))
        );
    }
}
