//! Log-linear histograms: exact below 32, then 16 buckets per power of two.
//!
//! The width of a bucket is at most 1/16 of its lower bound, so taking the middle of the bucket
//! for a value is wrong by at most [`RELATIVE_ERROR`]. The kernel counts into these buckets, and
//! user space passes them to hdrhistogram, whose own error at 3 significant digits is far
//! smaller.

use crate::shared::shared;

/// log2 of the number of buckets per power of two.
const SUB_BITS: u32 = 4;
/// The largest exponent with its own buckets: values from 2^36 on share the last bucket. In
/// nanoseconds that is 68 s.
const MAX_EXP: u32 = 35;
/// The number of buckets.
pub const BUCKETS: usize = ((MAX_EXP - SUB_BITS + 2) << SUB_BITS) as usize;
/// The largest relative error of the middle of a bucket, taken for a value in it.
pub const RELATIVE_ERROR: f64 = 1.0 / 32.0;

/// A de Bruijn sequence: every pattern of six bits occurs in it once.
const DE_BRUIJN: u64 = 0x03f7_9d71_b4cb_0a89;

/// log2 of 2^(n+1) − 1, found by the upper six bits of its product with [`DE_BRUIJN`].
static LOG2: [u8; 64] = {
    let mut table = [0; 64];
    let mut exp = 0;
    while exp < 64 {
        let smeared = u64::MAX >> (63 - exp);
        table[(smeared.wrapping_mul(DE_BRUIJN) >> 58) as usize] = exp as u8;
        exp += 1;
    }
    table
};

/// Returns log2 of `v`, which isn't 0. BPF has no instruction for it, and the code that the
/// compiler generates for `leading_zeros` is half as long again.
#[inline(always)]
fn log2(mut v: u64) -> u32 {
    v |= v >> 1;
    v |= v >> 2;
    v |= v >> 4;
    v |= v >> 8;
    v |= v >> 16;
    v |= v >> 32;
    u32::from(LOG2[(v.wrapping_mul(DE_BRUIJN) >> 58) as usize])
}

/// The bound below which every value has its own bucket, whose number is the value.
pub const EXACT: u64 = 2 << SUB_BITS;

/// Returns the bucket that counts `v`.
///
/// Without branches except the clamp: every branch here would multiply the verifier's paths.
#[inline(always)]
pub fn bucket_of(v: u64) -> usize {
    // Masked, as the verifier doesn't know the table's values.
    let exp = log2(v | 1 << SUB_BITS) & 63;
    // Below 32 this is the value itself: exp is 4, so nothing is shifted out.
    let sub = (v >> (exp - SUB_BITS)) as usize;
    let index = (((exp - SUB_BITS) as usize) << SUB_BITS) + sub;
    if index >= BUCKETS { BUCKETS - 1 } else { index }
}

/// Returns the smallest value that `bucket` counts.
pub const fn lower(bucket: usize) -> u64 {
    if bucket < 2 << SUB_BITS {
        return bucket as u64;
    }
    let exp = (bucket >> SUB_BITS) as u32 - 1;
    let sub = (bucket & ((1 << SUB_BITS) - 1)) as u64;
    ((1 << SUB_BITS) + sub) << exp
}

/// Returns the largest value that `bucket` counts; `u64::MAX` for the last.
pub const fn upper(bucket: usize) -> u64 {
    if bucket + 1 >= BUCKETS {
        u64::MAX
    } else {
        lower(bucket + 1) - 1
    }
}

/// The number of octaves: runs of 16 buckets, each of which is one power of two, except that the
/// first two have the values below 16 and below 32.
pub const OCTAVES: usize = BUCKETS >> SUB_BITS;

/// Returns the octave that `bucket` belongs to.
#[inline(always)]
pub const fn octave_of(bucket: usize) -> usize {
    bucket >> SUB_BITS
}

/// Returns the bucket in the middle of `octave`.
pub const fn middle_of(octave: usize) -> usize {
    (octave << SUB_BITS) + (1 << (SUB_BITS - 1))
}

shared! {
    /// One CPU's histogram with one bucket per octave, where 16 would cost too much memory.
    pub struct Octaves {
        /// The exact sum of all values, in the histogram's unit.
        pub sum: u64,
        /// Counts by [`octave_of`].
        pub counts: [u64; OCTAVES],
    }
    size 8 + 8 * OCTAVES
}

shared! {
    /// One CPU's histogram. Counts only grow, except in the buckets of
    /// [`crate::maps::FolioHists::per_folio`], where one CPU may subtract what another has added:
    /// sum those over the CPUs with wrapping.
    pub struct Hist {
        /// The exact sum of all values, in the histogram's unit.
        pub sum: u64,
        /// The bitwise complement of the smallest value, so that 0 means "none yet".
        pub min_inverted: u64,
        /// The largest value.
        pub max: u64,
        /// Counts by [`bucket_of`].
        pub buckets: [u64; BUCKETS],
    }
    size 24 + 8 * BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_holds_its_bounds() {
        for b in 0..BUCKETS {
            assert_eq!(bucket_of(lower(b)), b, "lower of {b}");
            assert_eq!(bucket_of(upper(b)), b, "upper of {b}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(BUCKETS, 528);
    }

    #[test]
    fn an_octave_is_a_power_of_two() {
        assert_eq!(OCTAVES, 33);
        for octave in 1..OCTAVES - 1 {
            let first = lower(octave << SUB_BITS);
            assert_eq!(first, 8 << octave);
            for value in [first, 2 * first - 1] {
                assert_eq!(octave_of(bucket_of(value)), octave, "{value}");
            }
            assert_eq!(octave_of(middle_of(octave)), octave);
        }
        assert_eq!(octave_of(bucket_of(u64::MAX)), OCTAVES - 1);
    }

    #[test]
    fn log2_is_that_of_the_standard_library() {
        for exp in 0..64 {
            for v in [1 << exp, (1 << exp) | 1, u64::MAX >> (63 - exp)] {
                assert_eq!(log2(v), v.ilog2(), "{v}");
            }
        }
    }

    #[test]
    fn buckets_are_adjacent_and_narrow() {
        for b in 0..BUCKETS - 1 {
            assert_eq!(upper(b) + 1, lower(b + 1));
            let half = (upper(b) - lower(b)) as f64 / 2.0;
            assert!(
                half <= RELATIVE_ERROR * lower(b).max(1) as f64,
                "bucket {b}"
            );
        }
    }

    #[test]
    fn small_values_are_exact() {
        for v in 0..32 {
            assert_eq!(lower(bucket_of(v)), v);
            assert_eq!(upper(bucket_of(v)), v);
        }
    }
}
