//! Which hooks there are, what they are called on each kernel, and which programs serve them.

use std::{collections::BTreeSet, io, str::FromStr};

use probe_ebpf::Hook;

use super::{layout::Facts, preempt, privileges, symbols};
use crate::snapshot::HookState;

/// How to attach to functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// fentry/fexit where the kernel takes them and they miss nothing, else kprobes.
    #[default]
    Auto,
    /// kprobes and kretprobes only.
    Kprobe,
    /// fentry/fexit only.
    Fentry,
}

impl AttachMode {
    /// What `auto` comes to on this kernel; see [`super::preempt`].
    #[must_use]
    pub fn resolve(self) -> AttachMode {
        match self {
            // Where kprobes aren't allowed, fentry with misses that are told beats nothing.
            AttachMode::Auto
                if preempt::preempts() != Some(false) && privileges::kprobes_allowed() =>
            {
                AttachMode::Kprobe
            }
            mode => mode,
        }
    }
}

/// What the user wants of one hook: `NAME=off`, `NAME=on` or `NAME=SYMBOL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOverride {
    /// Which hook.
    pub hook: Hook,
    /// What is wanted.
    pub wish: Wish,
}

/// What is wanted of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Leave it out.
    Off,
    /// Attach it, even where it is left out by default.
    On,
    /// Attach it to this symbol.
    Symbol(String),
}

impl HookOverride {
    /// The symbol that it names, if it names one.
    pub fn symbol(&self) -> Option<&str> {
        match &self.wish {
            Wish::Symbol(symbol) => Some(symbol),
            Wish::Off | Wish::On => None,
        }
    }
}

impl FromStr for HookOverride {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let names = || Hook::ALL.map(Hook::name).join(", ");
        let (name, value) = s
            .split_once('=')
            .filter(|(_, v)| !v.is_empty())
            .ok_or("expected HOOK=off, HOOK=on or HOOK=SYMBOL")?;
        let hook = Hook::ALL
            .into_iter()
            .find(|h| h.name() == name)
            .ok_or_else(|| format!("no hook is called {name}; there are {}", names()))?;
        if !value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        {
            return Err(format!("{value} is no symbol"));
        }
        let wish = match value {
            "off" => Wish::Off,
            "on" => Wish::On,
            symbol => Wish::Symbol(symbol.to_owned()),
        };
        Ok(HookOverride { hook, wish })
    }
}

/// What a hook is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A function.
    Function,
    /// A raw tracepoint.
    Tracepoint,
}

/// One hook as it is defined for all kernels.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Which.
    pub hook: Hook,
    /// What it is attached to.
    pub target: Target,
    /// The names it had over the years, the newest first.
    pub names: &'static [&'static str],
    /// Programs for kprobes, in the order of attaching: a return before its entry, so that no
    /// entry is seen whose return isn't.
    pub kprobe: &'static [&'static str],
    /// Programs for fentry and fexit, in the same order; a raw tracepoint's one program.
    pub fentry: &'static [&'static str],
}

/// All hooks in the order of attaching: what happens inside an unmap first, the bracket that
/// starts the counting last.
pub const DEFINITIONS: [Definition; Hook::COUNT] = [
    Definition {
        hook: Hook::NotifierEnd,
        target: Target::Function,
        names: &["__mmu_notifier_invalidate_range_end"],
        kprobe: &["k_end_exit", "k_end_enter"],
        fentry: &["f_end_exit", "f_end_enter"],
    },
    Definition {
        hook: Hook::NotifierStart,
        target: Target::Function,
        names: &["__mmu_notifier_invalidate_range_start"],
        kprobe: &["k_start_exit", "k_start_enter"],
        fentry: &["f_start_exit", "f_start_enter"],
    },
    Definition {
        hook: Hook::UnmapOne,
        target: Target::Function,
        names: &["try_to_unmap_one"],
        kprobe: &["k_unmap_one"],
        fentry: &["f_unmap_one"],
    },
    Definition {
        hook: Hook::RefFreeze,
        target: Target::Tracepoint,
        names: &["page_ref_freeze"],
        kprobe: &[],
        fentry: &["ref_freeze"],
    },
    Definition {
        hook: Hook::WriteFolio,
        target: Target::Tracepoint,
        names: &["mm_vmscan_write_folio", "mm_vmscan_writepage"],
        kprobe: &[],
        fentry: &["write_folio"],
    },
    Definition {
        hook: Hook::RemoveMapping,
        target: Target::Function,
        names: &["__remove_mapping"],
        kprobe: &["k_remove_exit", "k_remove_enter"],
        fentry: &["f_remove_exit"],
    },
    Definition {
        hook: Hook::Unmap,
        target: Target::Function,
        names: &["try_to_unmap"],
        kprobe: &["k_unmap_exit", "k_unmap_enter"],
        fentry: &["f_unmap_exit", "f_unmap_enter"],
    },
    Definition {
        hook: Hook::ReclaimPages,
        target: Target::Function,
        names: &["reclaim_pages"],
        kprobe: &["k_reclaim_exit", "k_reclaim_enter"],
        fentry: &["f_reclaim_exit", "f_reclaim_enter"],
    },
    Definition {
        hook: Hook::ShrinkList,
        target: Target::Function,
        names: &["shrink_folio_list", "shrink_page_list"],
        kprobe: &["k_shrink_exit", "k_shrink_enter"],
        fentry: &["f_shrink_exit", "f_shrink_enter"],
    },
];

/// What is to be done about one hook on this kernel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its definition.
    pub definition: Definition,
    /// The symbol or tracepoint that this kernel has; the newest name where it has none.
    pub symbol: String,
    /// Why it isn't to be attached, if so.
    pub obstacle: Option<(HookState, String)>,
}

/// Decides for each hook, in the order of [`DEFINITIONS`].
///
/// By kprobes alone the notifier's end is left out unless it is asked for: its two probes
/// would cost a fifth of all, for the time of callbacks that mostly do little.
///
/// # Errors
/// When the kernel's symbols can't be listed.
pub fn plan(facts: &Facts, mode: AttachMode, overrides: &[HookOverride]) -> io::Result<Vec<Plan>> {
    // BTF knows nearly every function. One that it lacks may be there all the same, and a
    // kprobe needs no BTF: then, and only then, the long list of symbols is read.
    let lacking = |d: &Definition| {
        d.target == Target::Function && !d.names.iter().any(|n| facts.present.contains(*n))
    };
    let mut wanted: BTreeSet<&str> = DEFINITIONS
        .iter()
        .filter(|d| lacking(d))
        .flat_map(|d| d.names.iter().copied())
        .collect();
    wanted.extend(
        overrides
            .iter()
            .filter_map(HookOverride::symbol)
            .filter(|symbol| !facts.present.contains(*symbol)),
    );
    let mut present = facts.present.clone();
    if !wanted.is_empty() {
        present.extend(symbols::present(&wanted)?);
    }
    Ok(DEFINITIONS
        .iter()
        .map(|d| plan_one(*d, facts, mode, overrides, &present))
        .collect())
}

fn plan_one(
    definition: Definition,
    facts: &Facts,
    mode: AttachMode,
    overrides: &[HookOverride],
    present: &BTreeSet<String>,
) -> Plan {
    let newest = definition.names[0].to_owned();
    // The last word counts, as with other flags.
    let wish = overrides
        .iter()
        .rev()
        .find(|o| o.hook == definition.hook)
        .map(|o| &o.wish);
    let off = match wish {
        Some(Wish::Off) => Some("turned off by --hook"),
        None if mode == AttachMode::Kprobe && definition.hook == Hook::NotifierEnd => {
            Some("by kprobe it would cost a fifth of all; --hook notifier_end=on attaches it")
        }
        _ => None,
    };
    if let Some(why) = off {
        return Plan {
            definition,
            symbol: newest,
            obstacle: Some((HookState::Disabled, why.to_owned())),
        };
    }
    let names: Vec<&str> = match wish {
        Some(Wish::Symbol(symbol)) => vec![symbol],
        _ => definition.names.to_vec(),
    };
    let found = names.iter().find(|name| present.contains(**name));
    let obstacle = match (found, facts.lacks(definition.hook)) {
        (None, _) => {
            let what = match (definition.target, definition.hook) {
                (_, Hook::RefFreeze) => {
                    "this kernel was built without CONFIG_DEBUG_PAGE_REF, so page_ref_freeze is \
                     inline and can't be seen; __remove_mapping, which calls it, is hooked instead"
                        .to_owned()
                }
                (Target::Function, _) => {
                    format!("this kernel has no function {}", names.join(" or "))
                }
                (Target::Tracepoint, _) => {
                    format!("this kernel has no tracepoint {}", names.join(" or "))
                }
            };
            Some((HookState::Unsupported, what))
        }
        (Some(_), Some(field)) => Some((
            HookState::Unsupported,
            format!("this kernel's BTF has no {field}"),
        )),
        (Some(_), None) => None,
    };
    let symbol = found.or(names.first()).map_or(newest, |s| (*s).to_owned());
    Plan {
        definition,
        symbol,
        obstacle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            kernel: probe_ebpf::KernelFacts::UNKNOWN,
            missing: Vec::new(),
            functions: std::collections::BTreeMap::new(),
            present: BTreeSet::new(),
        }
    }

    fn of(hook: Hook) -> Definition {
        *DEFINITIONS.iter().find(|d| d.hook == hook).unwrap()
    }

    #[test]
    fn every_hook_is_defined_once_and_the_bracket_comes_last() {
        for hook in Hook::ALL {
            assert_eq!(DEFINITIONS.iter().filter(|d| d.hook == hook).count(), 1);
        }
        assert_eq!(DEFINITIONS[Hook::COUNT - 1].hook, Hook::ShrinkList);
    }

    #[test]
    fn older_names_are_found() {
        let present = BTreeSet::from(["shrink_page_list".to_owned()]);
        let plan = plan_one(
            of(Hook::ShrinkList),
            &facts(),
            AttachMode::Auto,
            &[],
            &present,
        );
        assert_eq!(plan.symbol, "shrink_page_list");
        assert!(plan.obstacle.is_none());
    }

    #[test]
    fn what_is_missing_is_said() {
        let plan = plan_one(
            of(Hook::RemoveMapping),
            &facts(),
            AttachMode::Auto,
            &[],
            &BTreeSet::new(),
        );
        let (state, reason) = plan.obstacle.unwrap();
        assert_eq!(state, HookState::Unsupported);
        assert_eq!(reason, "this kernel has no function __remove_mapping");
        let mut lacking = facts();
        lacking
            .missing
            .push(("folio._refcount".into(), Some(Hook::Unmap)));
        let present = BTreeSet::from(["try_to_unmap".to_owned()]);
        let plan = plan_one(of(Hook::Unmap), &lacking, AttachMode::Auto, &[], &present);
        assert_eq!(
            plan.obstacle.unwrap().1,
            "this kernel's BTF has no folio._refcount"
        );
    }

    #[test]
    fn the_user_decides() {
        let off: HookOverride = "remove_mapping=off".parse().unwrap();
        let present = BTreeSet::from(["__remove_mapping".to_owned()]);
        let plan = plan_one(
            of(Hook::RemoveMapping),
            &facts(),
            AttachMode::Auto,
            &[off],
            &present,
        );
        assert_eq!(plan.obstacle.unwrap().0, HookState::Disabled);
        for bad in [
            "",
            "remove_mapping",
            "remove_mapping=",
            "nosuch=off",
            "try_to_unmap=a b",
        ] {
            assert!(bad.parse::<HookOverride>().is_err(), "{bad}");
        }
    }
}
