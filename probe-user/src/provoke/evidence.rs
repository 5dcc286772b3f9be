//! What can be known of a provocation without any probe: counters of the kernel, and the page
//! tables of this process.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::error::{Result, at_file};
use super::memory::{Memory, Region};

/// The counters of /proc/vmstat that a provocation moves. They count the whole machine.
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

/// Counters of the kernel at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    vmstat: BTreeMap<String, u64>,
    minor_faults: u64,
    major_faults: u64,
    user_seconds: f64,
    system_seconds: f64,
}

impl Snapshot {
    /// Takes one. Counters this kernel doesn't have are left out.
    #[must_use]
    pub fn take() -> Self {
        let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
        let mut snapshot = Self {
            vmstat: parse_vmstat(&text),
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

    /// What changed since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Change {
        let vmstat = self
            .vmstat
            .iter()
            .filter_map(|(name, now)| {
                let before = earlier.vmstat.get(name)?;
                Some((name.clone(), now.saturating_sub(*before)))
            })
            .collect();
        Change {
            vmstat,
            minor_faults: self.minor_faults.saturating_sub(earlier.minor_faults),
            major_faults: self.major_faults.saturating_sub(earlier.major_faults),
            user_seconds: self.user_seconds - earlier.user_seconds,
            system_seconds: self.system_seconds - earlier.system_seconds,
        }
    }
}

/// The difference of two [`Snapshot`]s.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// Counters of /proc/vmstat, of the whole machine, in the unit the kernel counts them in.
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

/// What the page tables and caches say of pages, right after a reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// How many were looked at.
    pub seen: u64,
    /// Those without a mapping: reclaim unmapped them.
    pub unmapped: u64,
    /// Those without a mapping that are in memory nevertheless, in the page or swap cache:
    /// unmapped and not freed (yet). One that is just being migrated (compaction tries its hand
    /// at pinned pages too) is none of them.
    pub unmapped_in_memory: u64,
    /// Those with a swap entry in the page table (anonymous memory only).
    pub swap_entries: u64,
}

impl std::ops::AddAssign for Pages {
    fn add_assign(&mut self, more: Self) {
        self.seen += more.seen;
        self.unmapped += more.unmapped;
        self.unmapped_in_memory += more.unmapped_in_memory;
        self.swap_entries += more.swap_entries;
    }
}

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

/// Looks at this process's page tables and at the caches.
#[derive(Debug)]
pub struct PageTable {
    file: File,
}

impl PageTable {
    /// Opens /proc/self/pagemap.
    pub fn open() -> Result<Self> {
        let path = "/proc/self/pagemap";
        let file = File::open(path).map_err(at_file("opening", path, "mount /proc"))?;
        Ok(Self { file })
    }

    /// The state of each page of a region, without touching any: those of which `chosen` is
    /// true, and the others.
    pub fn look(&self, region: &Region, chosen: impl Fn(usize) -> bool) -> Result<[Pages; 2]> {
        let map = region.mapping();
        let mut bytes = vec![0_u8; map.pages() * 8];
        let offset = (map.address() / map.page_size() * 8) as u64;
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(at_file("reading", "/proc/self/pagemap", "please report it"))?;
        let in_memory = map.in_memory()?;
        // Shared memory keeps no swap entries in page tables: what looks like one is a migration
        // entry (fs/proc/task_mmu.c: pte_to_pagemap_entry), and soon a mapping again.
        let private = matches!(region.memory(), Memory::Anon | Memory::Lazyfree);
        let mut answer = [Pages::default(); 2];
        for (page, (entry, in_memory)) in bytes.chunks_exact(8).zip(in_memory).enumerate() {
            let entry = entry
                .iter()
                .rev()
                .fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
            answer[usize::from(!chosen(page))] += classify(entry, in_memory, private);
        }
        Ok(answer)
    }
}

fn classify(entry: u64, in_memory: bool, private: bool) -> Pages {
    let unmapped = entry & PRESENT == 0 && (private || entry & SWAPPED == 0);
    Pages {
        seen: 1,
        unmapped: u64::from(unmapped),
        unmapped_in_memory: u64::from(unmapped && in_memory),
        swap_entries: u64::from(unmapped && entry & SWAPPED != 0),
    }
}

fn parse_vmstat(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            // 5.10 splits no anon from file; a prefix takes all that a kernel has.
            COUNTERS
                .iter()
                .any(|counter| name.starts_with(counter))
                .then(|| Some((name.to_owned(), value.trim().parse().ok()?)))?
        })
        .collect()
}

/// The swap space this process could still use, in pages: what is free, and what its cgroups
/// allow. 0 where there is none.
#[must_use]
pub fn free_swap_pages() -> u64 {
    let page = super::mapping::page_size() as u64;
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = meminfo_kib(&meminfo, "SwapFree").unwrap_or(0) * 1024 / page;
    super::cgroup::Cgroup::of_self()
        .and_then(|cgroup| cgroup.swap_headroom())
        .map_or(free, |bytes| free.min(bytes / page))
}

/// One line of /proc/meminfo, in KiB.
pub(crate) fn meminfo_kib(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::super::memory::default_directory;
    use super::*;

    #[test]
    fn vmstat_is_read_by_prefix() {
        let parsed = parse_vmstat("nr_free_pages 4\npgactivate 17\npgsteal_kswapd 3\nx\n");
        assert_eq!(
            parsed.into_iter().collect::<Vec<_>>(),
            [
                ("pgactivate".to_owned(), 17),
                ("pgsteal_kswapd".to_owned(), 3)
            ]
        );
    }

    #[test]
    fn meminfo_lines() {
        let text = "SwapTotal:       2048 kB\nSwapFree:  1024 kB\n";
        assert_eq!(meminfo_kib(text, "SwapFree"), Some(1024));
        assert_eq!(meminfo_kib(text, "Swap"), None);
    }

    #[test]
    fn an_entry_is_present_swapped_or_neither() {
        let state = |entry, cached| {
            let pages = classify(entry, cached, true);
            (pages.unmapped, pages.unmapped_in_memory, pages.swap_entries)
        };
        assert_eq!(state(PRESENT | SWAPPED, true), (0, 0, 0));
        assert_eq!(state(SWAPPED, true), (1, 1, 1));
        assert_eq!(state(0, false), (1, 0, 0));
        // Of shared memory that is a migration entry.
        assert_eq!(classify(SWAPPED, true, false).unmapped, 0);
        assert_eq!(classify(0, true, false).unmapped_in_memory, 1);
    }

    #[test]
    fn touched_pages_are_mapped_and_forgotten_ones_are_not() {
        let table = PageTable::open().unwrap();
        let region = Region::new(Memory::Anon, 10, &default_directory()).unwrap();
        region.touch(1);
        region.forget(std::slice::from_ref(&(3..5))).unwrap();
        let [chosen, others] = table.look(&region, |page| page < 4).unwrap();
        assert_eq!((chosen.seen, chosen.unmapped), (4, 1));
        assert_eq!((others.seen, others.unmapped), (6, 1));
    }
}
