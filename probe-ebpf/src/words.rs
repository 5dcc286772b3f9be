//! The words that both sides use, stored as small numbers in the maps.

/// Who was reclaiming. The kernel side decides this once per shrink call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reclaimer {
    /// Unknown, because a hook that distinguishes reclaimers isn't attached.
    Unknown = 0,
    /// The kernel thread kswapd (`mm/vmscan.c`: `kswapd`).
    Kswapd = 1,
    /// A task that ran out of memory itself (`try_to_free_pages`), with no cgroup limit involved.
    Direct = 2,
    /// A cgroup's `memory.high` or `memory.max` (`scan_control.target_mem_cgroup`).
    Memcg = 3,
    /// `memory.reclaim` (`scan_control.proactive`).
    Proactive = 4,
    /// `MADV_PAGEOUT`, through `reclaim_pages`.
    Madvise = 5,
    /// The kernel thread kdamond, through `reclaim_pages`.
    Damon = 6,
}

impl Reclaimer {
    /// All reclaimers, in the order of their numbers.
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

    /// The word for a number in a map; `Unknown` for any other number.
    pub fn from_u8(n: u8) -> Self {
        Self::ALL.get(n as usize).copied().unwrap_or(Self::Unknown)
    }
}

/// The kind of memory that a folio is, as reclaim sees it.
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
    /// hugetlb, which is never on an LRU list: only migration sees it.
    Hugetlb = 5,
}

impl Memory {
    /// All kinds, in the order of their numbers.
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

    /// The word for a number in a map; `Unknown` for any other number.
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
    /// To move the folio (`try_to_migrate`).
    Migration = 1,
    /// To split a large folio.
    Split = 2,
    /// To collapse pages into a large folio (khugepaged).
    Collapse = 3,
    /// To merge equal pages (KSM).
    Ksm = 4,
}

impl Road {
    /// All roads, in the order of their numbers.
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
