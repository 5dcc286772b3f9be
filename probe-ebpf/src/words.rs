//! The words that both sides use, stored as small numbers in the maps.

/// Defines an enum whose values have a number and a word each.
macro_rules! words {
    (
        $(#[$about:meta])*
        pub enum $kind:ident {
            $($(#[$doc:meta])* $value:ident = $number:literal => $word:literal,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $kind {
            $($(#[$doc])* $value = $number,)*
        }

        impl $kind {
            /// All values, in the order of their numbers.
            pub const ALL: [$kind; $kind::COUNT] = [$($kind::$value),*];

            /// The number of values.
            pub const COUNT: usize = [$($kind::$value),*].len();

            /// The word that outputs use.
            pub const fn name(self) -> &'static str {
                match self {
                    $($kind::$value => $word,)*
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Who was reclaiming. The kernel side decides this once per shrink call.
    pub enum Reclaimer {
        /// Unknown, because a hook that distinguishes reclaimers isn't attached.
        Unknown = 0 => "unknown",
        /// The kernel thread kswapd (`mm/vmscan.c`: `kswapd`).
        Kswapd = 1 => "kswapd",
        /// A task that ran out of memory itself (`try_to_free_pages`), with no cgroup limit involved.
        Direct = 2 => "direct",
        /// A cgroup's `memory.high` or `memory.max` (`scan_control.target_mem_cgroup`).
        Memcg = 3 => "memcg",
        /// `memory.reclaim` (`scan_control.proactive`).
        Proactive = 4 => "proactive",
        /// `MADV_PAGEOUT`, through `reclaim_pages`.
        Madvise = 5 => "madvise",
        /// The kernel thread kdamond, through `reclaim_pages`.
        Damon = 6 => "damon",
    }
}

impl Reclaimer {
    /// The value for a number in a map; `Unknown` for any other number.
    pub fn from_u8(n: u8) -> Self {
        Self::ALL.get(n as usize).copied().unwrap_or(Self::Unknown)
    }
}

words! {
    /// The kind of memory that a folio is, as reclaim sees it.
    pub enum Memory {
        /// The folio couldn't be read.
        Unknown = 0 => "unknown",
        /// Anonymous and swap-backed.
        Anon = 1 => "anon",
        /// Swap-backed and in a page cache: shmem, tmpfs, memfd.
        Shmem = 2 => "shmem",
        /// In a file's page cache.
        File = 3 => "file",
        /// Anonymous, marked by `MADV_FREE`: not swap-backed.
        Lazyfree = 4 => "lazyfree",
        /// hugetlb, which is never on an LRU list: only migration sees it.
        Hugetlb = 5 => "hugetlb",
    }
}

impl Memory {
    /// The value for a number in a map; `Unknown` for any other number.
    pub fn from_u8(n: u8) -> Self {
        Self::ALL.get(n as usize).copied().unwrap_or(Self::Unknown)
    }
}

words! {
    /// Why the kernel tried an unmap.
    #[derive(Default)]
    pub enum Road {
        /// To free the folio (`shrink_folio_list`).
        #[default]
        Reclaim = 0 => "reclaim",
        /// To move the folio (`try_to_migrate`).
        Migration = 1 => "migration",
        /// To split a large folio.
        Split = 2 => "split",
        /// To collapse pages into a large folio (khugepaged).
        Collapse = 3 => "collapse",
        /// To merge equal pages (KSM).
        Ksm = 4 => "ksm",
    }
}
