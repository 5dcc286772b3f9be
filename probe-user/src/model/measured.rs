//! What the attached hooks measure. What they don't measure is absent, never 0.

use probe_ebpf::{
    Hook, Reclaimer, Verdict,
    hooks::{Entry, PLANNED},
};

use super::capture::Gap;
use crate::snapshot::{HookState, HookStatus};

/// The set of active hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    active: [bool; Hook::COUNT],
}

impl Measured {
    /// Makes the set from the rows of a snapshot; a hook without a row isn't active.
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

    /// Whether every hook that `hook` needs is active.
    fn needs_of(self, hook: Hook) -> bool {
        let next = |hook: &Hook| hook.entry().needs;
        std::iter::successors(next(&hook), next).all(|needed| self.by(needed))
    }

    /// Whether `verdict` can occur.
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

    /// Returns the verdict that a count of `verdict` belongs to: `Undecided` if the hooks can't
    /// decide it.
    pub fn attribute(self, verdict: Verdict) -> Verdict {
        if self.verdict(verdict) {
            verdict
        } else {
            Verdict::Undecided
        }
    }

    /// Returns who was reclaiming, as far as the hooks distinguish reclaimers.
    pub fn reclaimer(self, said: Reclaimer) -> Reclaimer {
        match said {
            _ if !self.by(Hook::ShrinkList) => Reclaimer::Unknown,
            // Only reclaim_pages distinguishes these three.
            Reclaimer::Direct | Reclaimer::Madvise | Reclaimer::Damon
                if !self.by(Hook::ReclaimPages) =>
            {
                Reclaimer::Unknown
            }
            said => said,
        }
    }
}

/// Returns the answers that depend on the hook called `name`; nothing if this version doesn't
/// know the hook.
pub fn depends_on(name: &str) -> &'static str {
    match Hook::named(name) {
        Some(hook) => hook.entry().answers,
        None => "",
    }
}

/// Says why `hook` isn't active.
fn why(hooks: &[HookStatus], hook: Hook) -> String {
    hooks
        .iter()
        .find(|row| row.name == hook.name())
        .map_or_else(|| format!("hook {} is not attached", hook.name()), reason)
}

/// Says why a hook isn't active.
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

/// Returns the answers that are absent.
pub fn not_measured(hooks: &[HookStatus]) -> Vec<Gap> {
    let measured = Measured::new(hooks);
    let mut gaps = without(measured, hooks, |entry| entry.not_measured);
    if !measured.by(Hook::Unmap) {
        return gaps;
    }
    gaps.extend(PLANNED.iter().map(|planned| Gap {
        what: planned.not_measured.to_owned(),
        why: planned.reason.to_owned(),
    }));
    gaps
}

/// Returns the answers that are given on weaker evidence than usual.
pub fn weaker(hooks: &[HookStatus]) -> Vec<Gap> {
    let measured = Measured::new(hooks);
    if !measured.by(Hook::Unmap) {
        return Vec::new();
    }
    let mut gaps = without(measured, hooks, |entry| entry.weaker);
    // An active hook may still have a reason why it is weaker than usual.
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

/// Returns the gaps of inactive hooks, except of those that add nothing while another is missing.
fn without(
    measured: Measured,
    hooks: &[HookStatus],
    gap: impl Fn(&Entry) -> Option<&'static str>,
) -> Vec<Gap> {
    let missing = Hook::ALL
        .into_iter()
        .filter(|hook| !measured.by(*hook) && measured.needs_of(*hook));
    missing
        .filter_map(|hook| {
            Some(Gap {
                what: gap(hook.entry())?.to_owned(),
                why: why(hooks, hook),
            })
        })
        .collect()
}
