//! What the programs must know about the running kernel, and the options that they take.
//!
//! User space fills [`KernelLayout`] from `/sys/kernel/btf/vmlinux` and passes it to the programs
//! as read-only data, so the verifier sees constants and removes what can't happen. Nothing in it
//! is guessed from a version number. The offset of a field that the kernel lacks is [`ABSENT`].

use crate::shared::shared;

/// The offset of a field that the kernel lacks.
pub const ABSENT: u32 = u32::MAX;

/// How the kernel counts the mappings of a large folio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LargeMapcount {
    /// One field has the whole count, minus one (`folio._large_mapcount`, from 6.11).
    Total = 0,
    /// One field has the count of the whole folio, minus one, and each page has its own.
    PerPage = 1,
}

/// The key that victims, and with them groups, are kept by. Processes come and go: a capture of
/// weeks needs a bounded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum VictimsBy {
    /// By process.
    #[default]
    Process = 0,
    /// By cgroup, whose id is in [`crate::maps::VictimKey`].
    Cgroup = 1,
    /// Victims are not kept.
    Nothing = 2,
}

shared! {
    /// The layout of the running kernel's structures, and the options.
    ///
    /// Offsets are in bytes, flag bits are masks. On 5.10 `folio` means `struct page`, with the
    /// offsets of tail pages' fields counted from the head.
    #[derive(PartialEq, Eq)]
    pub struct KernelLayout {
        /// `1 << PG_head`: a large folio (`enum pageflags`).
        pub pg_head: u64,
        /// `1 << PG_swapbacked`.
        pub pg_swapbacked: u64,
        /// `1 << PG_swapcache`, a bit that has this meaning only together with swapbacked.
        pub pg_swapcache: u64,
        /// `1 << PG_writeback`.
        pub pg_writeback: u64,
        /// `PAGE_FLAGS_PRIVATE`: `1 << PG_private | 1 << PG_private_2`.
        pub pg_private: u64,

        /// `folio.flags`.
        pub folio_flags: u32,
        /// `folio.mapping`.
        pub folio_mapping: u32,
        /// `folio._mapcount`.
        pub folio_mapcount: u32,
        /// `folio._refcount`.
        pub folio_refcount: u32,
        /// The number of pages of a large folio, a `u32`.
        pub folio_nr_pages: u32,
        /// `folio._pincount` (5.10: `hpage_pinned_refcount`, only above order 1).
        pub folio_pincount: u32,
        /// The smallest order that has its own pincount: 1; on 5.10: 2.
        pub pincount_min_order: u32,
        /// The mapcount of the folio as a whole (`_entire_mapcount`, `compound_mapcount`), minus one.
        pub folio_entire_mapcount: u32,
        /// `folio._large_mapcount`, or [`ABSENT`] with [`LargeMapcount::PerPage`].
        pub folio_large_mapcount: u32,
        /// A [`LargeMapcount`].
        pub large_mapcount: u32,
        /// `sizeof(struct page)`, the distance between per-page mapcounts.
        pub page_size_of: u32,

        /// `vm_area_struct.vm_mm`.
        pub vma_mm: u32,
        /// `mm_struct.owner`.
        pub mm_owner: u32,
        /// `mm_struct.notifier_subscriptions`.
        pub mm_subscriptions: u32,
        /// `task_struct.group_leader`.
        pub task_group_leader: u32,
        /// `task_struct.tgid`.
        pub task_tgid: u32,
        /// `task_struct.comm`.
        pub task_comm: u32,
        /// `task_struct.mm`: null for a kernel thread.
        pub task_mm: u32,
        /// `task_struct.cgroups`, a `css_set`.
        pub task_cgroups: u32,
        /// `css_set.dfl_cgrp`: the task's cgroup in the v2 hierarchy.
        pub css_set_dfl_cgrp: u32,
        /// `cgroup.kn`.
        pub cgroup_kn: u32,
        /// `kernfs_node.id`: the inode number of the cgroup's directory.
        pub kernfs_id: u32,
        /// `kernfs_node.name`, or [`ABSENT`] if no names are to be sent.
        pub kernfs_name: u32,
        /// `kernfs_node.parent`, from 6.15 on `__parent`; null at the root.
        pub kernfs_parent: u32,

        /// `scan_control.nr_to_reclaim`: 0 in `reclaim_pages` and nowhere else in reclaim.
        pub sc_nr_to_reclaim: u32,
        /// `scan_control.target_mem_cgroup`.
        pub sc_target_memcg: u32,
        /// The byte that holds `scan_control.proactive`, or [`ABSENT`] (5.10).
        pub sc_proactive: u32,
        /// The mask of `proactive` in that byte.
        pub sc_proactive_mask: u32,

        /// `mmu_notifier_range.mm`.
        pub range_mm: u32,
        /// `mmu_notifier_subscriptions.list.first`.
        pub subscriptions_list: u32,
        /// `mmu_notifier_subscriptions.has_itree`.
        pub subscriptions_itree: u32,
        /// `mmu_notifier.hlist.next`.
        pub notifier_next: u32,
        /// `mmu_notifier.ops`.
        pub notifier_ops: u32,
        /// `mmu_notifier_ops.invalidate_range_start`.
        pub ops_start: u32,
        /// `mmu_notifier_ops.invalidate_range_end`.
        pub ops_end: u32,

        /// The TTU flags that every reclaim call has (`TTU_BATCH_FLUSH`).
        pub ttu_required: u32,
        /// The TTU flags that no reclaim call has.
        pub ttu_excluded: u32,

        /// Bit N: user space is going to attach hook N ([`crate::Hook`]).
        pub hooks: u32,
        /// The number of futile unmaps recorded individually, at most, per CPU and second; 0: none.
        pub events_per_second: u32,
        /// 1: the programs log what they do (aya-log); otherwise the verifier removes the logging.
        pub probe_log: u32,
        /// 1: another task that runs the same programs on the same CPU may preempt a program.
        pub preemptible: u32,
        /// 1: count the futile unmaps of each folio.
        pub follow_folios: u32,
        /// The key of victims: a [`VictimsBy`].
        pub victims_by: u32,
        /// Zero.
        pub pad: u32,
    }
    size 40 + 44 * 4
}

/// The number of references that one pin of a small folio takes (`GUP_PIN_COUNTING_BIAS`,
/// include/linux/mm.h: a macro, so not in BTF; unchanged since it was added in 5.7).
pub const GUP_PIN_COUNTING_BIAS: u32 = 1024;

impl KernelLayout {
    /// The layout before user space fills it in: no field is known, no hook attached.
    pub const UNKNOWN: KernelLayout = KernelLayout {
        pg_head: 0,
        pg_swapbacked: 0,
        pg_swapcache: 0,
        pg_writeback: 0,
        pg_private: 0,
        folio_flags: ABSENT,
        folio_mapping: ABSENT,
        folio_mapcount: ABSENT,
        folio_refcount: ABSENT,
        folio_nr_pages: ABSENT,
        folio_pincount: ABSENT,
        pincount_min_order: 0,
        folio_entire_mapcount: ABSENT,
        folio_large_mapcount: ABSENT,
        large_mapcount: 0,
        page_size_of: ABSENT,
        vma_mm: ABSENT,
        mm_owner: ABSENT,
        mm_subscriptions: ABSENT,
        task_group_leader: ABSENT,
        task_tgid: ABSENT,
        task_comm: ABSENT,
        task_mm: ABSENT,
        task_cgroups: ABSENT,
        css_set_dfl_cgrp: ABSENT,
        cgroup_kn: ABSENT,
        kernfs_id: ABSENT,
        kernfs_name: ABSENT,
        kernfs_parent: ABSENT,
        sc_nr_to_reclaim: ABSENT,
        sc_target_memcg: ABSENT,
        sc_proactive: ABSENT,
        sc_proactive_mask: 0,
        range_mm: ABSENT,
        subscriptions_list: ABSENT,
        subscriptions_itree: ABSENT,
        notifier_next: ABSENT,
        notifier_ops: ABSENT,
        ops_start: ABSENT,
        ops_end: ABSENT,
        ttu_required: 0,
        ttu_excluded: 0,
        hooks: 0,
        events_per_second: 0,
        probe_log: 0,
        preemptible: 0,
        follow_folios: 0,
        victims_by: VictimsBy::Process as u32,
        pad: 0,
    };
}
