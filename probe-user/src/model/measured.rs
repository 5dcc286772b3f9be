//! What the attached hooks let pinscope know. What they don't is absent, never 0.

use probe_ebpf::{Hook, Reclaimer, Verdict};

use super::capture::Gap;
use crate::snapshot::{HookState, HookStatus};

/// Which hooks are active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    active: [bool; Hook::COUNT],
}

impl Measured {
    /// From the rows of a snapshot; a hook without a row isn't active.
    pub fn new(hooks: &[HookStatus]) -> Self {
        Self {
            active: Hook::ALL.map(|hook| {
                hooks
                    .iter()
                    .any(|row| row.name == hook.name() && row.state == HookState::Active)
            }),
        }
    }

    /// Whether `hook` is active.
    pub fn by(self, hook: Hook) -> bool {
        self.active[hook as usize]
    }

    /// Whether `verdict` is ever given.
    pub fn verdict(self, verdict: Verdict) -> bool {
        self.by(Hook::Unmap)
            && match verdict {
                Verdict::FutilePinned
                | Verdict::FutileReferenced
                | Verdict::Restored
                | Verdict::Undecided => true,
                Verdict::Freed | Verdict::Writeback | Verdict::Kept => self.by(Hook::ShrinkList),
                Verdict::Migrated => false,
            }
    }

    /// Where a count of `verdict` belongs: what can't be told is undecided.
    pub fn attribute(self, verdict: Verdict) -> Verdict {
        if self.verdict(verdict) {
            verdict
        } else {
            Verdict::Undecided
        }
    }

    /// Who was reclaiming, as far as the hooks tell it.
    pub fn reclaimer(self, said: Reclaimer) -> Reclaimer {
        match said {
            _ if !self.by(Hook::ShrinkList) => Reclaimer::Unknown,
            // reclaim_pages is what tells these three apart.
            Reclaimer::Direct | Reclaimer::Madvise | Reclaimer::Damon
                if !self.by(Hook::ReclaimPages) =>
            {
                Reclaimer::Unknown
            }
            said => said,
        }
    }
}

/// The answers that depend on the hook called `name`; empty: none of which pinscope knows.
pub fn depends_on(name: &str) -> &'static str {
    let Some(hook) = Hook::ALL.into_iter().find(|hook| hook.name() == name) else {
        return match name {
            "try_to_migrate" => "unmaps by migration and splits",
            _ => "",
        };
    };
    match hook {
        Hook::ShrinkList => "freed, writeback, kept; who was reclaiming",
        Hook::ReclaimPages => "direct reclaim apart from madvise and DAMON",
        Hook::Unmap => "everything",
        Hook::UnmapOne => "who lost the mappings",
        Hook::NotifierStart => "MMU notifiers: calls, time, subscribers",
        Hook::NotifierEnd => "MMU notifiers: time in the end calls",
        Hook::RemoveMapping => "freed: seen as it happens, not inferred",
        Hook::WriteFolio => "writeback: seen as it starts",
        Hook::RefFreeze => "confirms failed freezes; no answer needs it",
    }
}

/// Why `hook` isn't active, in words.
fn why(hooks: &[HookStatus], hook: Hook) -> String {
    hooks
        .iter()
        .find(|row| row.name == hook.name())
        .map_or_else(|| format!("hook {} is not there", hook.name()), reason)
}

/// Why a hook isn't active, in words.
pub fn reason(row: &HookStatus) -> String {
    let state = match row.state {
        HookState::Active => "active",
        HookState::Unsupported => "unsupported here",
        HookState::Disabled => "disabled",
        HookState::Failed => "failed",
    };
    match &row.reason {
        Some(reason) => format!("hook {}, {state}: {reason}", row.name),
        None => format!("hook {}, {state}", row.name),
    }
}

/// Answers that are absent.
pub fn not_measured(hooks: &[HookStatus]) -> Vec<Gap> {
    let measured = Measured::new(hooks);
    let mut gaps = Vec::new();
    let mut gap = |what: &str, why: String| {
        gaps.push(Gap {
            what: what.to_owned(),
            why,
        });
    };
    if !measured.by(Hook::Unmap) {
        gap("everything: unmaps are not seen", why(hooks, Hook::Unmap));
        return gaps;
    }
    for (hook, what) in [
        (
            Hook::ShrinkList,
            "freed, writeback and kept (counted as undecided), and who was reclaiming",
        ),
        (
            Hook::ReclaimPages,
            "direct reclaim, madvise and DAMON apart (reclaimer unknown)",
        ),
        (Hook::UnmapOne, "who lost the mappings"),
        (
            Hook::NotifierStart,
            "MMU notifiers: calls, time and subscribers",
        ),
        (
            Hook::NotifierEnd,
            "time in the end calls of MMU notifiers (times cover the starts)",
        ),
    ] {
        let implied = match hook {
            Hook::NotifierEnd => !measured.by(Hook::NotifierStart),
            Hook::ReclaimPages => !measured.by(Hook::ShrinkList),
            _ => false,
        };
        if !measured.by(hook) && !implied {
            gap(what, why(hooks, hook));
        }
    }
    let migrate = hooks.iter().find(|row| row.name == "try_to_migrate");
    gap(
        "migration and splits",
        migrate
            .filter(|row| row.state != HookState::Active)
            .map_or_else(|| "this version watches reclaim only".to_owned(), reason),
    );
    gap(
        "refaults of what was unmapped in vain",
        "not measured by this version".to_owned(),
    );
    gaps
}

/// Answers that are there, on weaker evidence than usual.
pub fn weaker(hooks: &[HookStatus]) -> Vec<Gap> {
    let measured = Measured::new(hooks);
    let mut gaps = Vec::new();
    if !measured.by(Hook::Unmap) {
        return gaps;
    }
    for (hook, what) in [
        (
            Hook::ShrinkList,
            "futile: judged by the references at the return of the unmap alone",
        ),
        (
            Hook::RemoveMapping,
            "freed: inferred from the folio's state when reclaim moves on",
        ),
        (
            Hook::WriteFolio,
            "writeback: judged by the folio's flag when reclaim moves on",
        ),
    ] {
        // Without shrink_list nobody follows the folio, so the other two say nothing more.
        let implied = hook != Hook::ShrinkList && !measured.by(Hook::ShrinkList);
        if !measured.by(hook) && !implied {
            gaps.push(Gap {
                what: what.to_owned(),
                why: why(hooks, hook),
            });
        }
    }
    // An active hook may still say how it is weaker than usual.
    for row in hooks.iter().filter(|row| row.state == HookState::Active) {
        if let Some(reason) = &row.reason {
            gaps.push(Gap {
                what: format!("hook {}", row.name),
                why: reason.clone(),
            });
        }
    }
    gaps
}
