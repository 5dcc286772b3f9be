//! Checked reads of kernel memory.
//!
//! A failed read is counted and yields the value that the caller names. No function here returns
//! an `Option`: the compiler may copy the payload of a `None`, which is undefined, and the
//! verifier refuses a register that was never written.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use probe_ebpf::layout::ABSENT;

use crate::maps::lost;

/// Reads a `T` at `base + offset` into `to`; returns whether that worked.
#[inline(always)]
pub fn read_into<T>(to: &mut MaybeUninit<T>, base: u64, offset: u32) -> bool {
    let at = base + u64::from(offset);
    let failed = unsafe {
        bpf_probe_read_kernel(
            to.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            at as *const _,
        )
    };
    if failed != 0 {
        lost!(reads, 1);
    }
    failed == 0
}

/// Reads a `T` at `base + offset`; returns `otherwise` if that fails or this kernel lacks the
/// field. The verifier knows the offset and removes the read of an absent field.
#[inline(always)]
pub fn read_or<T: Copy>(base: u64, offset: u32, otherwise: T) -> T {
    if offset == ABSENT {
        return otherwise;
    }
    let mut value = MaybeUninit::new(otherwise);
    if read_into(&mut value, base, offset) {
        unsafe { value.assume_init() }
    } else {
        otherwise
    }
}

/// Reads a pointer; returns 0 if that fails or this kernel lacks the field.
#[inline(always)]
pub fn pointer(base: u64, offset: u32) -> u64 {
    read_or(base, offset, 0)
}
