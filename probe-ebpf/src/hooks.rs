//! The catalogue of hooks: everything known about a hook before it meets a kernel.
//!
//! A hook is one entry here and one file in `programs/hooks/` with its body and its programs.
//! Attaching, `doctor`, the model and docs/hooks.md all read the entry. The compiler refuses an
//! entry that lacks a field, and the tests refuse a program that no entry names.

use core::cmp::Reverse;

/// What a hook attaches to, and the programs that serve it there.
///
/// Programs are in the order of attaching: a return before its entry, so that no entry is
/// counted whose return goes uncounted. A name ends in `_enter` if another program waits for
/// the return, and in `_exit` if the program runs at a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A kernel function.
    Function {
        /// kprobes and kretprobes.
        kprobe: &'static [&'static str],
        /// fentry and fexit programs.
        fentry: &'static [&'static str],
    },
    /// A raw tracepoint.
    Tracepoint {
        /// Raw tracepoint programs.
        programs: &'static [&'static str],
    },
}

/// Where a hook sits on the path of reclaim. Hooks attach in this order: what happens inside
/// an unmap first, the bracket that starts the counting last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Inside an unmap.
    WithinUnmap,
    /// Between an unmap and the next one: what becomes of the folio.
    AfterUnmap,
    /// The unmap itself.
    Unmap,
    /// Around a batch of unmaps. The entries are the first programs to be detached.
    Bracket,
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The hook.
    pub hook: Hook,
    /// What the hook sees, in one sentence.
    pub about: &'static str,
    /// The file of the kernel's source that has the function or tracepoint.
    pub source: &'static str,
    /// The name that outputs, flags and metrics use.
    pub name: &'static str,
    /// The names of the function or tracepoint over the years, newest first.
    pub symbols: &'static [&'static str],
    /// What the hook attaches to, and its programs.
    pub target: Target,
    /// Where the hook sits on the path of reclaim.
    pub stage: Stage,
    /// The hook without which this one has nothing to add. While that one is missing, the
    /// reports leave this one's gaps out.
    pub needs: Option<Hook>,
    /// Why the hook is left out by default where functions are attached to by kprobe.
    pub off_by_kprobe: Option<&'static str>,
    /// Why stock kernels lack the hook. Where this is set, a missing hook is no finding.
    pub usually_absent: Option<&'static str>,
    /// The answers that depend on the hook.
    pub answers: &'static str,
    /// What cannot be measured without the hook.
    pub not_measured: Option<&'static str>,
    /// What rests on weaker evidence without the hook, and on which.
    pub weaker: Option<&'static str>,
}

impl Target {
    /// Every program, of either way to attach.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> + use<> {
        let (first, second) = match *self {
            Target::Function { kprobe, fentry } => (kprobe, fentry),
            Target::Tracepoint { programs } => (programs, &[][..]),
        };
        first.iter().chain(second).copied()
    }
}

/// Whether a program runs at an entry whose return another program waits for.
pub fn is_enter(program: &str) -> bool {
    program.ends_with("_enter")
}

/// Whether a program runs at a return.
pub fn is_exit(program: &str) -> bool {
    program.ends_with("_exit")
}

/// Defines [`Hook`] and its catalogue from the entries.
macro_rules! hooks {
    ($($hook:ident { about: $about:literal, $($field:tt)* })*) => {
        /// A place in the kernel that pinscope hooks. Each may be absent on its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Hook {
            $(#[doc = $about] $hook,)*
        }

        impl Hook {
            /// All hooks, in the order of their numbers.
            pub const ALL: [Hook; Hook::COUNT] = [$(Hook::$hook),*];

            /// The number of hooks.
            pub const COUNT: usize = [$(Hook::$hook),*].len();
        }

        static CATALOGUE: [Entry; Hook::COUNT] = [
            $(Entry { hook: Hook::$hook, about: $about, $($field)* }),*
        ];
    };
}

// The position is the hook's number, by which the maps are indexed: append new hooks.
hooks! {
    ShrinkList {
        about: "One batch of reclaim: who is reclaiming, and when reclaim is done with a folio.",
        source: "mm/vmscan.c",
        name: "shrink_list",
        symbols: &["shrink_folio_list", "shrink_page_list"],
        target: Target::Function {
            kprobe: &["k_shrink_exit", "k_shrink_enter"],
            fentry: &["f_shrink_exit", "f_shrink_enter"],
        },
        stage: Stage::Bracket,
        needs: Some(Hook::Unmap),
        off_by_kprobe: None,
        usually_absent: None,
        answers: "freed, writeback, kept; who was reclaiming",
        not_measured: Some(
            "freed, writeback and kept (counted as undecided), and who was reclaiming",
        ),
        weaker: Some("futile: judged only by the references at the return of the unmap"),
    }
    ReclaimPages {
        about: "Reclaim requested by `MADV_PAGEOUT` or DAMON.",
        source: "mm/vmscan.c",
        name: "reclaim_pages",
        symbols: &["reclaim_pages"],
        target: Target::Function {
            kprobe: &["k_reclaim_exit", "k_reclaim_enter"],
            fentry: &["f_reclaim_exit", "f_reclaim_enter"],
        },
        stage: Stage::Bracket,
        needs: Some(Hook::ShrinkList),
        off_by_kprobe: None,
        usually_absent: None,
        answers: "direct reclaim, separate from madvise and DAMON",
        not_measured: Some("direct reclaim, madvise and DAMON apart (reclaimer unknown)"),
        weaker: None,
    }
    Unmap {
        about: "The removal of all mappings of one folio.",
        source: "mm/rmap.c",
        name: "try_to_unmap",
        symbols: &["try_to_unmap"],
        target: Target::Function {
            kprobe: &["k_unmap_exit", "k_unmap_enter"],
            fentry: &["f_unmap_exit", "f_unmap_enter"],
        },
        stage: Stage::Unmap,
        needs: None,
        off_by_kprobe: None,
        usually_absent: None,
        answers: "everything",
        not_measured: Some("everything: unmaps are not seen"),
        weaker: None,
    }
    UnmapOne {
        about: "The removal of one folio's mapping in one VMA.",
        source: "mm/rmap.c",
        name: "try_to_unmap_one",
        symbols: &["try_to_unmap_one"],
        target: Target::Function {
            kprobe: &["k_unmap_one"],
            fentry: &["f_unmap_one"],
        },
        stage: Stage::WithinUnmap,
        needs: Some(Hook::Unmap),
        off_by_kprobe: None,
        usually_absent: None,
        answers: "who lost the mappings",
        not_measured: Some("who lost the mappings"),
        weaker: None,
    }
    NotifierStart {
        about: "The MMU notifier call before a range is unmapped.",
        source: "mm/mmu_notifier.c",
        name: "notifier_start",
        symbols: &["__mmu_notifier_invalidate_range_start"],
        target: Target::Function {
            kprobe: &["k_start_exit", "k_start_enter"],
            fentry: &["f_start_exit", "f_start_enter"],
        },
        stage: Stage::WithinUnmap,
        needs: Some(Hook::Unmap),
        off_by_kprobe: None,
        usually_absent: None,
        answers: "MMU notifiers: calls, time, subscribers",
        not_measured: Some("MMU notifiers: calls, time and subscribers"),
        weaker: None,
    }
    NotifierEnd {
        about: "The MMU notifier call after a range was unmapped.",
        source: "mm/mmu_notifier.c",
        name: "notifier_end",
        symbols: &["__mmu_notifier_invalidate_range_end"],
        target: Target::Function {
            kprobe: &["k_end_exit", "k_end_enter"],
            fentry: &["f_end_exit", "f_end_enter"],
        },
        stage: Stage::WithinUnmap,
        needs: Some(Hook::NotifierStart),
        // Two probes that add a fifth to the cost of all, for the time of callbacks that mostly
        // do little.
        off_by_kprobe: Some(
            "by kprobe it would add a fifth to pinscope's cost; --hook notifier_end=on attaches it",
        ),
        usually_absent: None,
        answers: "MMU notifiers: time in the end calls",
        not_measured: Some("time in the end calls of MMU notifiers (times cover the starts)"),
        weaker: None,
    }
    RemoveMapping {
        about: "The removal of a folio from its cache, where `page_ref_freeze` decides.",
        source: "mm/vmscan.c",
        name: "remove_mapping",
        symbols: &["__remove_mapping"],
        target: Target::Function {
            kprobe: &["k_remove_exit", "k_remove_enter"],
            fentry: &["f_remove_exit"],
        },
        stage: Stage::AfterUnmap,
        needs: Some(Hook::ShrinkList),
        off_by_kprobe: None,
        usually_absent: None,
        answers: "freed: seen as it happens, not inferred",
        not_measured: None,
        weaker: Some("freed: inferred from the folio's state when reclaim moves on"),
    }
    WriteFolio {
        about: "The start of a folio's writeback, to its file or to swap.",
        source: "include/trace/events/vmscan.h",
        name: "write_folio",
        symbols: &["mm_vmscan_write_folio", "mm_vmscan_writepage"],
        target: Target::Tracepoint { programs: &["write_folio"] },
        stage: Stage::AfterUnmap,
        needs: Some(Hook::ShrinkList),
        off_by_kprobe: None,
        usually_absent: None,
        answers: "writeback: seen as it starts",
        not_measured: None,
        weaker: Some("writeback: judged by the folio's flag when reclaim moves on"),
    }
    RefFreeze {
        about: "An attempt to freeze a folio's reference count.",
        source: "include/trace/events/page_ref.h",
        name: "page_ref_freeze",
        symbols: &["page_ref_freeze"],
        target: Target::Tracepoint { programs: &["ref_freeze"] },
        stage: Stage::AfterUnmap,
        needs: Some(Hook::ShrinkList),
        off_by_kprobe: None,
        usually_absent: Some(
            "this kernel was built without CONFIG_DEBUG_PAGE_REF, so page_ref_freeze is inlined \
             and cannot be hooked; __remove_mapping, which calls it, is hooked instead",
        ),
        answers: "confirms failed freezes; no answer needs it",
        not_measured: None,
        weaker: None,
    }
    TaskExit {
        about: "The end of a task that left reclaim unseen: what it counted is kept.",
        source: "include/trace/events/sched.h",
        name: "task_exit",
        symbols: &["sched_process_exit"],
        target: Target::Tracepoint { programs: &["task_exit"] },
        stage: Stage::AfterUnmap,
        needs: Some(Hook::Unmap),
        off_by_kprobe: None,
        usually_absent: None,
        answers: "tasks that end while their return from reclaim was missed",
        not_measured: None,
        // A recording of a version without this hook is no weaker: its counts were taken at the
        // stop.
        weaker: None,
    }
}

impl Hook {
    /// The hook's catalogue entry.
    pub const fn entry(self) -> &'static Entry {
        &CATALOGUE[self as usize]
    }

    /// The name that outputs, flags and metrics use.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// The hook of this name, if this version has it.
    pub fn named(name: &str) -> Option<Hook> {
        Hook::ALL.into_iter().find(|hook| hook.name() == name)
    }

    /// All hooks in the order of attaching: by [`Stage`], and within one the last number first.
    pub fn in_attach_order() -> [Hook; Hook::COUNT] {
        let mut hooks = Hook::ALL;
        hooks.sort_unstable_by_key(|hook| (hook.entry().stage, Reverse(*hook)));
        hooks
    }
}

/// A hook that a later version will have. Outputs list what it would measure as not measured, and
/// never list it among the hooks.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// The name under which earlier versions listed it.
    pub name: &'static str,
    /// The kernel function that will be hooked.
    pub symbol: &'static str,
    /// Why this version does not measure it.
    pub reason: &'static str,
    /// What is not measured until then.
    pub not_measured: &'static str,
}

/// All planned hooks, in the order of outputs.
pub static PLANNED: [Planned; 2] = [
    Planned {
        name: "migration",
        symbol: "try_to_migrate",
        reason: "this version measures reclaim; migration and THP splits are not hooked",
        not_measured: "migration and splits",
    },
    Planned {
        name: "refault",
        symbol: "handle_mm_fault",
        reason: "this version does not follow refaults",
        not_measured: "refaults after futile unmaps",
    },
];

impl Planned {
    /// The planned hook of this name. The first version's recordings use the symbol as the name.
    pub fn named(name: &str) -> Option<&'static Planned> {
        PLANNED
            .iter()
            .find(|planned| planned.name == name || planned.symbol == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for hook in Hook::ALL {
            assert_eq!(hook.entry().hook, hook);
            assert_eq!(Hook::named(hook.name()), Some(hook));
            assert!(Planned::named(hook.name()).is_none());
        }
    }

    #[test]
    fn every_entry_is_complete() {
        for hook in Hook::ALL {
            let entry = hook.entry();
            for text in [entry.about, entry.source, entry.name, entry.answers] {
                assert!(!text.is_empty(), "{hook:?}");
            }
            assert!(!entry.symbols.is_empty(), "{hook:?}");
            match entry.target {
                Target::Function { kprobe, fentry } => {
                    assert!(!kprobe.is_empty() && !fentry.is_empty(), "{hook:?}");
                }
                Target::Tracepoint { programs } => assert!(!programs.is_empty(), "{hook:?}"),
            }
        }
    }

    #[test]
    fn no_hook_needs_itself() {
        for hook in Hook::ALL {
            let mut needed = hook.entry().needs;
            for _ in Hook::ALL {
                needed = needed.and_then(|h| h.entry().needs);
            }
            assert_eq!(needed, None, "{hook:?}");
        }
    }

    #[test]
    fn the_unmap_attaches_after_what_happens_in_it_and_before_its_bracket() {
        let order = Hook::in_attach_order();
        let at = |hook| order.iter().position(|h| *h == hook);
        for hook in Hook::ALL {
            assert!(at(hook).is_some(), "{hook:?}");
            match hook.entry().stage {
                Stage::Unmap => assert_eq!(hook, Hook::Unmap),
                Stage::Bracket => assert!(at(hook) > at(Hook::Unmap), "{hook:?}"),
                Stage::WithinUnmap | Stage::AfterUnmap => {
                    assert!(at(hook) < at(Hook::Unmap), "{hook:?}");
                }
            }
        }
        assert_eq!(order.last(), Some(&Hook::ShrinkList));
    }
}
