//! Checked reads of kernel memory.

use aya_ebpf::helpers::bpf_probe_read_kernel;

use probe_ebpf::facts::ABSENT;

use crate::maps::lost;

/// Reads a `T` at `base + offset`; a failure is counted. A field that this kernel lacks is
/// `None`: the verifier knows the offset and cuts the read away.
#[inline(always)]
pub fn read<T>(base: u64, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    let at = (base + u64::from(offset)) as *const T;
    match unsafe { bpf_probe_read_kernel(at) } {
        Ok(value) => Some(value),
        Err(_) => {
            lost!(reads, 1);
            None
        }
    }
}

/// Reads a pointer; `None` for a null pointer too.
#[inline(always)]
pub fn read_ptr(base: u64, offset: u32) -> Option<u64> {
    match read::<u64>(base, offset) {
        Some(0) | None => None,
        some => some,
    }
}
