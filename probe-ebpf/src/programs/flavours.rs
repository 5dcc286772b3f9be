//! The programs around a hook's body: one for each way to attach, which all count the same.

/// Defines the kprobe and the fentry program that run `$body` at a function's entry.
macro_rules! at_entry {
    ($kprobe:ident, $fentry:ident, ($ctx:ident $(, $arg:ident = $n:literal)*) $body:expr) => {
        #[aya_ebpf::macros::kprobe]
        fn $kprobe($ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            $(let Some($arg) = $ctx.arg::<u64>($n) else { return 0 };)*
            let _ = $body;
            0
        }
        #[aya_ebpf::macros::fentry]
        fn $fentry($ctx: aya_ebpf::programs::FEntryContext) -> i32 {
            $(let $arg: u64 = $ctx.arg($n);)*
            let _ = $body;
            0
        }
    };
}
pub(crate) use at_entry;

/// Defines the kretprobe and the fexit program that run `$body` at a function's return, where
/// the body needs neither arguments nor the return value.
macro_rules! at_return {
    ($kretprobe:ident, $fexit:ident, ($ctx:ident) $body:expr) => {
        #[aya_ebpf::macros::kretprobe]
        fn $kretprobe($ctx: aya_ebpf::programs::RetProbeContext) -> u32 {
            let _ = $body;
            0
        }
        #[aya_ebpf::macros::fexit]
        fn $fexit($ctx: aya_ebpf::programs::FExitContext) -> i32 {
            let _ = $body;
            0
        }
    };
}
pub(crate) use at_return;

/// Defines the program that runs `$body` at a raw tracepoint.
macro_rules! at_tracepoint {
    ($program:ident, () $body:expr) => {
        #[aya_ebpf::macros::raw_tracepoint]
        fn $program(_ctx: aya_ebpf::programs::RawTracePointContext) -> i32 {
            let _ = $body;
            0
        }
    };
    ($program:ident, ($($arg:ident = $n:literal),*) $body:expr) => {
        #[aya_ebpf::macros::raw_tracepoint]
        fn $program(ctx: aya_ebpf::programs::RawTracePointContext) -> i32 {
            $(let $arg: u64 = ctx.arg($n);)*
            let _ = $body;
            0
        }
    };
}
pub(crate) use at_tracepoint;
