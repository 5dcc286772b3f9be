//! Labels that several metrics have.

use crate::render::metrics::family::Label;

/// Why the unmap was tried.
pub(super) const ROAD: Label = Label {
    name: "road",
    meaning: "why the unmap was tried: `reclaim`; this version hooks no other",
};

/// Who was reclaiming.
pub(super) const RECLAIMER: Label = Label {
    name: "reclaimer",
    meaning: "who was reclaiming: `kswapd`, `direct`, `memcg` (a cgroup's limit), `proactive` \
              (memory.reclaim), `madvise` (MADV_PAGEOUT), `damon`, or `unknown`",
};

/// The kind of memory.
pub(super) const MEMORY: Label = Label {
    name: "memory",
    meaning: "the kind of memory: `anon`, `shmem`, `file`, `lazyfree` (MADV_FREE), `hugetlb`, \
              or `unknown`",
};

/// The verdict of an unmap.
pub(super) const VERDICT: Label = Label {
    name: "verdict",
    meaning: "one of [the verdicts](#the-verdicts)",
};

/// A hook.
pub(super) const HOOK: Label = Label {
    name: "hook",
    meaning: "the hook's name, as in `pinscope doctor`",
};

/// How a hook is attached.
pub(super) const ATTACH: Label = Label {
    name: "attach",
    meaning: "`kprobe`, `fentry`, or `raw_tracepoint`; empty if the hook is not attached",
};

/// A map of the kernel side.
pub(super) const MAP: Label = Label {
    name: "map",
    meaning: "`tasks`, `groups`, `victims`, `mappings`, `folios`, `subscribers`, `events`, or \
              `reads`: see [what each loses](runbooks.md#pinscopelosingcounts)",
};

/// A BPF program.
pub(super) const PROGRAM: Label = Label {
    name: "program",
    meaning: "the name of the BPF program",
};
