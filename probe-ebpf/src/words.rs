//! The words both sides use, as small numbers in the maps.

/// Who was reclaiming. The kernel side decides it once for each shrink call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reclaimer {
    /// Not known, because a hook that tells it apart isn't attached.
    Unknown = 0,
    /// The kernel thread kswapd (`mm/vmscan.c`: `kswapd`).
    Kswapd = 1,
    /// A task that ran short itself (`try_to_free_pages`), no cgroup limit involved.
    Direct = 2,
    /// A cgroup's `memory.high` or `memory.max` (`scan_control.target_mem_cgroup`).
    Memcg = 3,
    /// `memory.reclaim` (`scan_control.proactive`).
    Proactive = 4,
    /// `MADV_PAGEOUT`, by way of `reclaim_pages`.
    Madvise = 5,
    /// The kernel thread kdamond, by way of `reclaim_pages`.
    Damon = 6,
}

impl Reclaimer {
    /// All, in the order of their numbers.
    pub const ALL: [Reclaimer; 7] = [
        Reclaimer::Unknown,
        Reclaimer::Kswapd,
        Reclaimer::Direct,
        Reclaimer::Memcg,
        Reclaimer::Proactive,
        Reclaimer::Madvise,
        Reclaimer::Damon,
    ];

    /// The word that outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            Reclaimer::Unknown => "unknown",
            Reclaimer::Kswapd => "kswapd",
            Reclaimer::Direct => "direct",
            Reclaimer::Memcg => "memcg",
            Reclaimer::Proactive => "proactive",
            Reclaimer::Madvise => "madvise",
            Reclaimer::Damon => "damon",
        }
    }

    /// From the number in a map; a number from elsewhere is `Unknown`.
    pub fn from_u8(n: u8) -> Self {
        Self::ALL.get(n as usize).copied().unwrap_or(Self::Unknown)
    }
}

/// What kind of memory a folio is, as reclaim sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Memory {
    /// The folio couldn't be read.
    Unknown = 0,
    /// Anonymous and swap-backed.
    Anon = 1,
    /// Swap-backed and in a page cache: shmem, tmpfs, memfd.
    Shmem = 2,
    /// In a file's page cache.
    File = 3,
    /// Anonymous, marked by `MADV_FREE`: not swap-backed.
    Lazyfree = 4,
    /// hugetlb; never on an LRU list, so only migration sees it.
    Hugetlb = 5,
}

impl Memory {
    /// All, in the order of their numbers.
    pub const ALL: [Memory; 6] = [
        Memory::Unknown,
        Memory::Anon,
        Memory::Shmem,
        Memory::File,
        Memory::Lazyfree,
        Memory::Hugetlb,
    ];

    /// The word that outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            Memory::Unknown => "unknown",
            Memory::Anon => "anon",
            Memory::Shmem => "shmem",
            Memory::File => "file",
            Memory::Lazyfree => "lazyfree",
            Memory::Hugetlb => "hugetlb",
        }
    }

    /// From the number in a map; a number from elsewhere is `Unknown`.
    pub fn from_u8(n: u8) -> Self {
        Self::ALL.get(n as usize).copied().unwrap_or(Self::Unknown)
    }
}

/// Why the kernel tried an unmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Road {
    /// To free the folio (`shrink_folio_list`).
    #[default]
    Reclaim = 0,
    /// To move it (`try_to_migrate`).
    Migration = 1,
    /// To split a large folio.
    Split = 2,
    /// To collapse pages into a large folio (khugepaged).
    Collapse = 3,
    /// To merge equal pages (KSM).
    Ksm = 4,
}

impl Road {
    /// All, in the order of their numbers.
    pub const ALL: [Road; 5] = [
        Road::Reclaim,
        Road::Migration,
        Road::Split,
        Road::Collapse,
        Road::Ksm,
    ];

    /// The word that outputs use.
    pub const fn name(self) -> &'static str {
        match self {
            Road::Reclaim => "reclaim",
            Road::Migration => "migration",
            Road::Split => "split",
            Road::Collapse => "collapse",
            Road::Ksm => "ksm",
        }
    }
}

/// The places in the kernel that pinscope hooks; each may be absent on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Hook {
    /// `shrink_folio_list` (5.10: `shrink_page_list`): one batch of reclaim.
    ShrinkList = 0,
    /// `reclaim_pages`: reclaim that `MADV_PAGEOUT` or DAMON asked for.
    ReclaimPages = 1,
    /// `try_to_unmap`: all mappings of one folio.
    Unmap = 2,
    /// `try_to_unmap_one`: one folio in one VMA.
    UnmapOne = 3,
    /// `__mmu_notifier_invalidate_range_start`.
    NotifierStart = 4,
    /// `__mmu_notifier_invalidate_range_end`.
    NotifierEnd = 5,
    /// `__remove_mapping`: where `page_ref_freeze` decides.
    RemoveMapping = 6,
    /// Raw tracepoint `mm_vmscan_write_folio` (5.10: `mm_vmscan_writepage`).
    WriteFolio = 7,
    /// Raw tracepoint `page_ref_freeze`, with CONFIG_DEBUG_PAGE_REF only.
    RefFreeze = 8,
}

impl Hook {
    /// How many there are.
    pub const COUNT: usize = 9;

    /// All, in the order of their numbers.
    pub const ALL: [Hook; Hook::COUNT] = [
        Hook::ShrinkList,
        Hook::ReclaimPages,
        Hook::Unmap,
        Hook::UnmapOne,
        Hook::NotifierStart,
        Hook::NotifierEnd,
        Hook::RemoveMapping,
        Hook::WriteFolio,
        Hook::RefFreeze,
    ];

    /// The name by which outputs, flags and metrics call the hook.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::ShrinkList => "shrink_list",
            Hook::ReclaimPages => "reclaim_pages",
            Hook::Unmap => "try_to_unmap",
            Hook::UnmapOne => "try_to_unmap_one",
            Hook::NotifierStart => "notifier_start",
            Hook::NotifierEnd => "notifier_end",
            Hook::RemoveMapping => "remove_mapping",
            Hook::WriteFolio => "write_folio",
            Hook::RefFreeze => "page_ref_freeze",
        }
    }
}
