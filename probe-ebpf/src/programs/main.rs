//! pinscope's BPF programs.
//!
//! [`hooks`] has one file a hook: its body, and the programs that run it by kprobe and by
//! fentry. User space loads one of the two. The other modules are what the bodies share.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
// Programs read kernel memory by address and write map values through pointers that the
// verifier has proven; there is no safe interface to either.
#![allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    clippy::undocumented_unsafe_blocks
)]

mod close;
mod examine;
mod flavours;
mod folio;
mod maps;
mod notifier;
mod read;
mod record;
mod subscribers;
mod task;
mod victim;

mod hooks {
    mod notifier_end;
    mod notifier_start;
    mod page_ref_freeze;
    mod reclaim_pages;
    mod remove_mapping;
    mod shrink_list;
    mod task_exit;
    mod try_to_unmap;
    mod try_to_unmap_one;
    mod write_folio;
}

/// The kernel lets programs of this licence call GPL-only helpers (`bpf_probe_read_kernel`).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Nothing here can panic; the verifier would refuse a loop.
    unsafe { core::hint::unreachable_unchecked() }
}
