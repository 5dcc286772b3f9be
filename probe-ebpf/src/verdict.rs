//! How an unmap gets its one verdict. Pure code, shared by both sides and the tests.

use crate::words::words;

words! {
    /// What became of one unmapped folio. Every unmap ends in exactly one verdict.
    pub enum Verdict {
        /// The folio left its cache, or the lazyfree path freed it, in the same pass.
        Freed = 0 => "freed",
        /// Excess references, pinned, not freed.
        FutilePinned = 1 => "futile_pinned",
        /// Excess references, not pinned, not freed.
        FutileReferenced = 2 => "futile_referenced",
        /// Reclaim started to write the folio out: ordinary swap-out.
        Writeback = 3 => "writeback",
        /// No excess, not freed, not written: dirty file, private data, a lost race.
        Kept = 4 => "kept",
        /// Still mapped after the unmap: the notifier fired for nothing.
        Restored = 5 => "restored",
        /// Migration only: the move succeeded.
        Migrated = 6 => "migrated",
        /// No verdict could be reached, because a hook that it needs isn't attached or a probe
        /// didn't run. Outputs show this verdict only where it occurs.
        Undecided = 7 => "undecided",
    }
}

impl Verdict {
    /// Whether references made the unmap futile.
    #[inline(always)]
    pub const fn is_futile(self) -> bool {
        matches!(self, Verdict::FutilePinned | Verdict::FutileReferenced)
    }
}

/// The folio left its cache: `__remove_mapping` returned 1, or the folio's state shows it.
pub const FREED: u32 = 1 << 0;
/// `__remove_mapping` was reached and returned 0.
pub const REMOVE_FAILED: u32 = 1 << 1;
/// `pageout` submitted the folio for writing, or it is under writeback.
pub const WRITTEN: u32 = 1 << 2;
/// The state of the folio after `try_to_unmap` is known.
pub const EXAMINED: u32 = 1 << 3;
/// A mapping was left after `try_to_unmap`.
pub const MAPPED: u32 = 1 << 4;
/// The running kernel's `folio_maybe_dma_pinned` would return true.
pub const PINNED: u32 = 1 << 5;
/// Nothing followed what became of the folio after `try_to_unmap`.
pub const UNWATCHED: u32 = 1 << 6;
/// The return of `try_to_unmap` was missed: the folio was examined when reclaim moved on.
pub const LATE: u32 = 1 << 7;
/// `page_ref_freeze` failed on this folio (kernels with CONFIG_DEBUG_PAGE_REF only).
pub const FREEZE_FAILED: u32 = 1 << 8;
/// Inside `__remove_mapping` with this folio.
pub const REMOVING: u32 = 1 << 9;

/// No VMA was walked: the mappings were gone before the walk began (for example, the process was
/// exiting and held the last reference itself). Nothing was unmapped, so nothing was futile.
pub const UNTOUCHED: u32 = 1 << 10;

/// What is known about one unmap when reclaim moves on to the next folio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// A set of the bits above.
    pub bits: u32,
    /// References beyond those that reclaim accounts for, at the return of the unmap.
    pub excess: i64,
}

/// Returns the one verdict of an unmap.
///
/// The order of the tests matters: a folio that was freed is never futile, whatever its count was
/// for a moment; a folio that is still mapped wasn't unmapped; and a folio that `pageout` took for
/// writing had passed its reference check, so the excess seen before was gone.
#[inline(always)]
pub const fn decide(e: Evidence) -> Verdict {
    if e.bits & FREED != 0 {
        Verdict::Freed
    } else if e.bits & EXAMINED == 0 {
        Verdict::Undecided
    } else if e.bits & MAPPED != 0 {
        Verdict::Restored
    } else if e.bits & (WRITTEN | REMOVE_FAILED) == WRITTEN {
        Verdict::Writeback
    } else if e.excess > 0 && e.bits & UNTOUCHED == 0 {
        if e.bits & PINNED != 0 {
            Verdict::FutilePinned
        } else {
            Verdict::FutileReferenced
        }
    } else if e.bits & UNWATCHED != 0 {
        Verdict::Undecided
    } else {
        Verdict::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bits: u32, excess: i64) -> Verdict {
        decide(Evidence { bits, excess })
    }

    #[test]
    fn freed_wins_over_any_count() {
        for bits in 0..512 {
            for excess in [-1, 0, 1, 1024] {
                assert_eq!(verdict(bits | FREED, excess), Verdict::Freed);
            }
        }
    }

    #[test]
    fn futile_needs_excess_and_no_mapping() {
        assert_eq!(verdict(EXAMINED | PINNED, 1024), Verdict::FutilePinned);
        assert_eq!(verdict(EXAMINED, 1), Verdict::FutileReferenced);
        assert_eq!(
            verdict(EXAMINED | REMOVE_FAILED, 1),
            Verdict::FutileReferenced
        );
        for bits in 0..512u32 {
            for excess in [-1, 0, 1, 1024] {
                let v = verdict(bits, excess);
                if v.is_futile() {
                    assert!(excess > 0 && bits & (MAPPED | FREED) == 0 && bits & EXAMINED != 0);
                }
            }
        }
    }

    #[test]
    fn other_verdicts() {
        assert_eq!(verdict(EXAMINED | MAPPED | PINNED, 1024), Verdict::Restored);
        assert_eq!(verdict(EXAMINED | WRITTEN, 0), Verdict::Writeback);
        // Written in the same pass, then kept by a reference taken since.
        assert_eq!(
            verdict(EXAMINED | WRITTEN | REMOVE_FAILED, 0),
            Verdict::Kept
        );
        assert_eq!(verdict(EXAMINED, 0), Verdict::Kept);
        // Excess references, but reclaim removed no mapping: a lost race.
        assert_eq!(verdict(EXAMINED | UNTOUCHED, 1), Verdict::Kept);
        assert_eq!(
            verdict(EXAMINED | UNTOUCHED | WRITTEN, 0),
            Verdict::Writeback
        );
        assert_eq!(verdict(0, 0), Verdict::Undecided);
        assert_eq!(verdict(EXAMINED | UNWATCHED, 0), Verdict::Undecided);
        assert_eq!(verdict(EXAMINED | UNWATCHED, 1), Verdict::FutileReferenced);
    }
}
