//! Reads a folio: its kind, its mappings and its references.

use probe_ebpf::{
    Memory,
    layout::{GUP_PIN_COUNTING_BIAS, LargeMapcount},
};

use core::mem::MaybeUninit;

use crate::{
    maps::layout,
    read::{read_into, read_or},
};

/// `PAGE_MAPPING_ANON` (include/linux/page-flags.h); set for KSM pages too.
const MAPPING_ANON: u64 = 1;
/// The number of pages of the largest folio on an LRU list whose mappings are counted per
/// page: a PMD.
const MAX_PER_PAGE: u32 = 512;
/// The number of words in `struct page`, with which every folio begins.
const HEAD_WORDS: usize = 8;

/// The first 64 bytes of a folio, read with one helper call instead of four.
#[repr(transparent)]
pub struct Head {
    words: [u64; HEAD_WORDS],
}

impl Head {
    /// Reads the head of the folio at `folio` into `place`.
    #[inline(always)]
    pub fn read(place: &mut MaybeUninit<Head>, folio: u64) -> Option<&Head> {
        if read_into(place, folio, 0) {
            Some(unsafe { place.assume_init_ref() })
        } else {
            None
        }
    }

    // The offsets are constants to the verifier; the masks keep the access in bounds for the
    // compiler.
    #[inline(always)]
    fn u64_at(&self, offset: u32) -> u64 {
        unsafe {
            *self
                .words
                .as_ptr()
                .cast::<u8>()
                .add((offset & 56) as usize)
                .cast::<u64>()
        }
    }

    #[inline(always)]
    fn u32_at(&self, offset: u32) -> u32 {
        unsafe {
            *self
                .words
                .as_ptr()
                .cast::<u8>()
                .add((offset & 60) as usize)
                .cast::<u32>()
        }
    }

    /// `folio.flags`.
    #[inline(always)]
    pub fn flags(&self) -> u64 {
        self.u64_at(layout!(folio_flags))
    }

    /// `folio.mapping`, with its low bits.
    #[inline(always)]
    pub fn mapping(&self) -> u64 {
        self.u64_at(layout!(folio_mapping))
    }

    /// `folio._refcount`.
    #[inline(always)]
    pub fn refcount(&self) -> u32 {
        self.u32_at(layout!(folio_refcount))
    }

    /// The number of mappings of a small folio.
    #[inline(always)]
    pub fn small_mapcount(&self) -> u32 {
        self.u32_at(layout!(folio_mapcount)).wrapping_add(1)
    }

    /// Whether the folio has more than one page.
    #[inline(always)]
    pub fn is_large(&self) -> bool {
        self.flags() & layout!(pg_head) != 0
    }

    /// The kind of memory, by the tests of `shrink_folio_list` itself.
    #[inline(always)]
    pub fn memory(&self) -> Memory {
        let swapbacked = self.flags() & layout!(pg_swapbacked) != 0;
        match (self.mapping() & MAPPING_ANON != 0, swapbacked) {
            (true, true) => Memory::Anon,
            (true, false) => Memory::Lazyfree,
            (false, true) => Memory::Shmem,
            (false, false) => Memory::File,
        }
    }

    /// Whether the folio is under writeback.
    #[inline(always)]
    pub fn writeback(&self) -> bool {
        self.flags() & layout!(pg_writeback) != 0
    }

    /// The number of references beyond those of reclaim's isolation, of the cache and of
    /// private data. Mappings are not subtracted, so this is right only where none is left.
    #[inline(always)]
    pub fn excess(&self, nr_pages: u32) -> i64 {
        let flags = self.flags();
        let mut expected = 1;
        if self.mapping() & MAPPING_ANON != 0 {
            let both = layout!(pg_swapcache) | layout!(pg_swapbacked);
            if flags & both == both {
                expected += i64::from(nr_pages);
            }
        } else if self.mapping() != 0 {
            expected += i64::from(nr_pages);
            if flags & layout!(pg_private) != 0 {
                expected += 1;
            }
        }
        i64::from(self.refcount()) - expected
    }
}

/// The number of pages of a large folio.
#[inline(always)]
pub fn nr_pages(folio: u64) -> u32 {
    read_or(folio, layout!(folio_nr_pages), 1u32)
}

/// log2 of a folio's pages.
#[inline(always)]
pub fn order(nr_pages: u32) -> u8 {
    (31 - (nr_pages | 1).leading_zeros()) as u8
}

/// The number of mappings of a large folio where one field counts them; 0 with
/// [`LargeMapcount::PerPage`], whose pages [`large_mapped`] reads only once.
#[inline(always)]
pub fn large_mapcount(folio: u64) -> u32 {
    if layout!(large_mapcount) == LargeMapcount::Total as u32 {
        read_or(folio, layout!(folio_large_mapcount), u32::MAX).wrapping_add(1)
    } else {
        0
    }
}

/// The number of mappings of a large folio as a whole (by a PMD).
#[inline(always)]
pub fn entire_mapcount(folio: u64) -> u32 {
    read_or(folio, layout!(folio_entire_mapcount), u32::MAX).wrapping_add(1)
}

/// Whether any mapping of a large folio is left (`folio_mapped`).
#[inline(always)]
pub fn large_mapped(folio: u64, nr_pages: u32) -> bool {
    if layout!(large_mapcount) == LargeMapcount::Total as u32 {
        return large_mapcount(folio) != 0;
    }
    if entire_mapcount(folio) != 0 {
        return true;
    }
    let mut page = folio;
    for i in 0..MAX_PER_PAGE {
        if i >= nr_pages {
            break;
        }
        if read_or(page, layout!(folio_mapcount), -1i32) >= 0 {
            return true;
        }
        page += u64::from(layout!(page_size_of));
    }
    false
}

/// The answer of the running kernel's `folio_maybe_dma_pinned` (5.10:
/// `page_maybe_dma_pinned`).
#[inline(always)]
pub fn maybe_pinned(folio: u64, refcount: u32, order: u8) -> bool {
    if order > 0 && u32::from(order) >= layout!(pincount_min_order) {
        read_or(folio, layout!(folio_pincount), 0i32) > 0
    } else {
        refcount >= GUP_PIN_COUNTING_BIAS
    }
}
