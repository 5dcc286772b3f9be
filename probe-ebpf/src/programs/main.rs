//! pinscope's BPF programs: one thin entry for each hook and way to attach.
//!
//! Each hook has its body in a module, shared by the kprobe and the fentry flavour, so both
//! count the same. User space loads one flavour of each.
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
mod folio;
mod maps;
mod notifier;
mod read;
mod reclaim;
mod record;
mod task;
mod unmap;
mod victim;

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe, raw_tracepoint},
    programs::{FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext},
};

/// The kernel runs GPL-only helpers (`bpf_probe_read_kernel`) for these licences.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Nothing here can panic; the verifier would refuse a loop.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Defines the kprobe and the fentry flavour of a program that runs at a function's entry.
macro_rules! at_entry {
    ($kprobe:ident, $fentry:ident, ($ctx:ident $(, $arg:ident = $n:literal)*) $body:expr) => {
        #[kprobe]
        fn $kprobe($ctx: ProbeContext) -> u32 {
            $(let Some($arg) = $ctx.arg::<u64>($n) else { return 0 };)*
            let _ = $body;
            0
        }
        #[fentry]
        fn $fentry($ctx: FEntryContext) -> i32 {
            $(let $arg: u64 = $ctx.arg($n);)*
            let _ = $body;
            0
        }
    };
}

/// The same for a function's return, where no argument and no return value is needed.
macro_rules! at_return {
    ($kretprobe:ident, $fexit:ident, ($ctx:ident) $body:expr) => {
        #[kretprobe]
        fn $kretprobe($ctx: RetProbeContext) -> u32 {
            let _ = $body;
            0
        }
        #[fexit]
        fn $fexit($ctx: FExitContext) -> i32 {
            let _ = $body;
            0
        }
    };
}

// shrink_page_list(list, pgdat, sc, stat, …), shrink_folio_list(…): the same on all kernels.
at_entry!(k_shrink_enter, f_shrink_enter, (ctx, sc = 2) reclaim::shrink_enter(&ctx, sc));
at_return!(k_shrink_exit, f_shrink_exit, (ctx) reclaim::shrink_exit(&ctx));
at_entry!(k_reclaim_enter, f_reclaim_enter, (_ctx) reclaim::reclaim_enter());
at_return!(k_reclaim_exit, f_reclaim_exit, (_ctx) reclaim::reclaim_exit());
// try_to_unmap(folio, flags)
at_entry!(k_unmap_enter, f_unmap_enter, (ctx, folio = 0, flags = 1) unmap::enter(folio, flags));
at_return!(k_unmap_exit, f_unmap_exit, (_ctx) unmap::exit());
// try_to_unmap_one(folio, vma, address, arg)
at_entry!(k_unmap_one, f_unmap_one, (ctx, vma = 1, address = 2) unmap::one(vma, address));
// __mmu_notifier_invalidate_range_start(range), …_end(range)
at_entry!(k_start_enter, f_start_enter, (ctx, range = 0) notifier::start_enter(range));
at_return!(k_start_exit, f_start_exit, (_ctx) notifier::start_exit());
at_entry!(k_end_enter, f_end_enter, (_ctx) notifier::end_enter());
at_return!(k_end_exit, f_end_exit, (_ctx) notifier::end_exit());

// __remove_mapping(mapping, folio, reclaimed, target_memcg): the kretprobe has no arguments,
// so a kprobe keeps the folio; fexit has both.
#[kprobe]
fn k_remove_enter(ctx: ProbeContext) -> u32 {
    if let Some(folio) = ctx.arg::<u64>(1) {
        let _ = unmap::remove_enter(folio);
    }
    0
}

#[kretprobe]
fn k_remove_exit(ctx: RetProbeContext) -> u32 {
    let _ = unmap::remove_exit(ctx.ret::<u64>() as i32);
    0
}

#[fexit]
fn f_remove_exit(ctx: FExitContext) -> i32 {
    // The return value stands behind the four arguments; `bpf_get_func_ret` came only in 5.17.
    let (folio, ret): (u64, u64) = (ctx.arg(1), ctx.arg(4));
    if unmap::remove_enter(folio).is_some() {
        let _ = unmap::remove_exit(ret as i32);
    }
    0
}

/// `mm_vmscan_write_folio(folio)`, on 5.10 `mm_vmscan_writepage(page)`.
#[raw_tracepoint]
fn write_folio(ctx: RawTracePointContext) -> i32 {
    let _ = unmap::written(ctx.arg(0));
    0
}

/// `page_ref_freeze(page, v, ret)`.
#[raw_tracepoint]
fn ref_freeze(ctx: RawTracePointContext) -> i32 {
    let _ = unmap::ref_freeze(ctx.arg(0), ctx.arg::<u64>(2) as i32);
    0
}
