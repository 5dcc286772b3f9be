//! The page tables of this process: which pages a reclaim left without a mapping.

use std::fs::File;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::error::{Result, at_file};
use super::region::{Backing, Region};

/// The state of pages according to the page tables and caches, right after a reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// The number of pages inspected.
    pub seen: u64,
    /// Pages without a mapping: reclaim unmapped them.
    pub unmapped: u64,
    /// Pages without a mapping that are still in memory, in the page or swap cache: unmapped and
    /// not freed (yet). A page that is just being migrated isn't counted; compaction tries pinned
    /// pages too.
    pub unmapped_in_memory: u64,
    /// Pages with a swap entry in the page table (anonymous memory only).
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

/// This process's page tables, as /proc/self/pagemap shows them.
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

    /// Inspects every page of a region without touching it, and returns the state of the pages
    /// for which `chosen` is true and that of the others.
    pub fn inspect(&self, region: &Region, chosen: impl Fn(usize) -> bool) -> Result<[Pages; 2]> {
        let map = region.mapping();
        let mut bytes = vec![0_u8; map.pages() * 8];
        let offset = (map.address() / map.page_size() * 8) as u64;
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(at_file("reading", "/proc/self/pagemap", "please report it"))?;
        let in_memory = map.in_memory()?;
        // Shared memory has no swap entries in page tables: what looks like one is a migration
        // entry (fs/proc/task_mmu.c: pte_to_pagemap_entry), and will soon be a mapping again.
        let private = matches!(region.memory(), Backing::Anon | Backing::Lazyfree);
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

#[cfg(test)]
mod tests {
    use super::super::region::default_directory;
    use super::*;

    #[test]
    fn an_entry_is_present_swapped_or_neither() {
        let state = |entry, cached| {
            let pages = classify(entry, cached, true);
            (pages.unmapped, pages.unmapped_in_memory, pages.swap_entries)
        };
        assert_eq!(state(PRESENT | SWAPPED, true), (0, 0, 0));
        assert_eq!(state(SWAPPED, true), (1, 1, 1));
        assert_eq!(state(0, false), (1, 0, 0));
        // In shared memory this is a migration entry.
        assert_eq!(classify(SWAPPED, true, false).unmapped, 0);
        assert_eq!(classify(0, true, false).unmapped_in_memory, 1);
    }

    #[test]
    fn touched_pages_are_mapped_and_forgotten_ones_are_not() {
        let table = PageTable::open().unwrap();
        let region = Region::new(Backing::Anon, 10, &default_directory()).unwrap();
        region.touch(1);
        region.forget(std::slice::from_ref(&(3..5))).unwrap();
        let [chosen, others] = table.inspect(&region, |page| page < 4).unwrap();
        assert_eq!((chosen.seen, chosen.unmapped), (4, 1));
        assert_eq!((others.seen, others.unmapped), (6, 1));
    }
}
