//! Decides what to attach on this kernel: which way, which hooks, and to which symbols.

use std::{collections::BTreeSet, io, str::FromStr};

use probe_ebpf::{Hook, hooks::Target};

use super::{host, layout::ResolvedLayout, privileges, symbols};
use crate::snapshot::HookState;

/// How to attach to functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// fentry/fexit where the kernel supports them and they miss no call, otherwise kprobes.
    #[default]
    Auto,
    /// kprobes and kretprobes only.
    Kprobe,
    /// fentry/fexit only.
    Fentry,
}

impl AttachMode {
    /// Returns what `auto` means on this kernel; see [`host`].
    #[must_use]
    pub fn resolve(self) -> AttachMode {
        match self {
            // Where kprobes aren't allowed, fentry with counted misses is better than nothing.
            AttachMode::Auto
                if host::preempts() != Some(false) && privileges::kprobes_allowed() =>
            {
                AttachMode::Kprobe
            }
            mode => mode,
        }
    }
}

/// The user's wish for one hook: `NAME=off`, `NAME=on` or `NAME=SYMBOL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOverride {
    /// The hook.
    pub hook: Hook,
    /// The wish.
    pub wish: Wish,
}

/// What the user wants of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Leave the hook out.
    Off,
    /// Attach the hook, even if it is left out by default.
    On,
    /// Attach the hook to this symbol.
    Symbol(String),
}

impl HookOverride {
    /// Returns the symbol that the wish names, if it names one.
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
        let (name, value) = s
            .split_once('=')
            .filter(|(_, v)| !v.is_empty())
            .ok_or("expected HOOK=off, HOOK=on or HOOK=SYMBOL")?;
        let hook = Hook::named(name).ok_or_else(|| {
            let names = Hook::ALL.map(Hook::name).join(", ");
            format!("no hook is called {name}; the hooks are {names}")
        })?;
        if !value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        {
            return Err(format!("{value} is not a symbol"));
        }
        let wish = match value {
            "off" => Wish::Off,
            "on" => Wish::On,
            symbol => Wish::Symbol(symbol.to_owned()),
        };
        match (&wish, hook.entry().target) {
            (Wish::Off, _) if hook == Hook::Unmap => Err(format!(
                "{name} cannot be left out, because without it nothing can be measured"
            )),
            (Wish::Symbol(_), Target::Tracepoint { .. }) => Err(format!(
                "{name} is a tracepoint, which has no other symbol: expected {name}=off or {name}=on"
            )),
            _ => Ok(HookOverride { hook, wish }),
        }
    }
}

/// What to do about one hook on this kernel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The hook.
    pub hook: Hook,
    /// The symbol or tracepoint that this kernel has; the newest name if it has none.
    pub symbol: String,
    /// Why the hook is not to be attached, if so.
    pub obstacle: Option<(HookState, String)>,
}

/// Plans each hook, in the order of attaching.
///
/// # Errors
/// When the kernel's symbols can't be listed.
pub fn plan(
    layout: &ResolvedLayout,
    mode: AttachMode,
    overrides: &[HookOverride],
) -> io::Result<Vec<Plan>> {
    // BTF has nearly every function. One that it lacks may exist all the same, and a kprobe
    // needs no BTF: only then is the long list of symbols read.
    let lacking = |hook: &Hook| {
        let entry = hook.entry();
        matches!(entry.target, Target::Function { .. })
            && !entry.symbols.iter().any(|n| layout.present.contains(*n))
    };
    let mut wanted_too: BTreeSet<&str> = Hook::ALL
        .into_iter()
        .filter(lacking)
        .flat_map(|hook| hook.entry().symbols.iter().copied())
        .collect();
    wanted_too.extend(
        overrides
            .iter()
            .filter_map(HookOverride::symbol)
            .filter(|symbol| !layout.present.contains(*symbol)),
    );
    let mut functions = layout.present.clone();
    if !wanted_too.is_empty() {
        functions.extend(symbols::present(&wanted_too)?);
    }
    Ok(Hook::in_attach_order()
        .into_iter()
        .map(|hook| plan_one(hook, layout, mode, overrides, &functions))
        .collect())
}

fn plan_one(
    hook: Hook,
    layout: &ResolvedLayout,
    mode: AttachMode,
    overrides: &[HookOverride],
    functions: &BTreeSet<String>,
) -> Plan {
    let entry = hook.entry();
    let (what, present) = match entry.target {
        Target::Function { .. } => ("function", functions),
        Target::Tracepoint { .. } => ("tracepoint", &layout.tracepoints),
    };
    let newest = entry.symbols[0].to_owned();
    // The last wish for a hook counts, as with other flags.
    let wish = overrides
        .iter()
        .rev()
        .find(|o| o.hook == hook)
        .map(|o| &o.wish);
    let off = match wish {
        Some(Wish::Off) => Some("turned off by --hook"),
        None if mode == AttachMode::Kprobe => entry.off_by_kprobe,
        _ => None,
    };
    if let Some(why) = off {
        return Plan {
            hook,
            symbol: newest,
            obstacle: Some((HookState::Disabled, why.to_owned())),
        };
    }
    let named = match wish {
        Some(Wish::Symbol(symbol)) => Some(symbol.as_str()),
        _ => None,
    };
    let names = named.map_or_else(|| entry.symbols.to_vec(), |symbol| vec![symbol]);
    let found = names.iter().find(|name| present.contains(**name));
    let unsupported = match (found, layout.lacks(hook)) {
        (None, _) => Some(match entry.usually_absent {
            Some(why) => why.to_owned(),
            None => format!("this kernel has no {what} {}", names.join(" or ")),
        }),
        (Some(_), Some(field)) => Some(format!("this kernel's BTF has no {field}")),
        (Some(_), None) => None,
    };
    let symbol = found.or(names.first()).map_or(newest, |s| (*s).to_owned());
    Plan {
        hook,
        symbol,
        obstacle: unsupported.map(|why| (HookState::Unsupported, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> ResolvedLayout {
        ResolvedLayout {
            kernel: probe_ebpf::KernelLayout::UNKNOWN,
            missing: Vec::new(),
            functions: std::collections::BTreeMap::new(),
            present: BTreeSet::new(),
            tracepoints: BTreeSet::new(),
        }
    }

    #[test]
    fn older_names_are_found() {
        let present = BTreeSet::from(["shrink_page_list".to_owned()]);
        let plan = plan_one(
            Hook::ShrinkList,
            &nothing(),
            AttachMode::Auto,
            &[],
            &present,
        );
        assert_eq!(plan.symbol, "shrink_page_list");
        assert!(plan.obstacle.is_none());
    }

    #[test]
    fn the_plan_says_what_is_missing() {
        let plan = plan_one(
            Hook::RemoveMapping,
            &nothing(),
            AttachMode::Auto,
            &[],
            &BTreeSet::new(),
        );
        let (state, reason) = plan.obstacle.unwrap();
        assert_eq!(state, HookState::Unsupported);
        assert_eq!(reason, "this kernel has no function __remove_mapping");
        let mut lacking = nothing();
        lacking
            .missing
            .push(("folio._refcount".into(), Some(Hook::Unmap)));
        let present = BTreeSet::from(["try_to_unmap".to_owned()]);
        let plan = plan_one(Hook::Unmap, &lacking, AttachMode::Auto, &[], &present);
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
            Hook::RemoveMapping,
            &nothing(),
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
            "try_to_unmap=off",
            "ref_freeze=other",
        ] {
            assert!(bad.parse::<HookOverride>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hook_that_stock_kernels_lack_says_why() {
        let plan = plan_one(
            Hook::RefFreeze,
            &nothing(),
            AttachMode::Auto,
            &[],
            &BTreeSet::new(),
        );
        let (state, reason) = plan.obstacle.unwrap();
        assert_eq!(state, HookState::Unsupported);
        assert!(reason.contains("CONFIG_DEBUG_PAGE_REF"), "{reason}");
    }

    #[test]
    fn a_tracepoint_hook_takes_no_symbol() {
        let refused = "write_folio=own_name".parse::<HookOverride>().unwrap_err();
        assert!(refused.contains("write_folio is a tracepoint"), "{refused}");
        // A function of the tracepoint's name does not help.
        let functions = BTreeSet::from(["mm_vmscan_write_folio".to_owned()]);
        let plan_with = |layout: &ResolvedLayout| {
            plan_one(Hook::WriteFolio, layout, AttachMode::Auto, &[], &functions)
        };
        let (state, reason) = plan_with(&nothing()).obstacle.unwrap();
        assert_eq!(state, HookState::Unsupported);
        assert!(
            reason.starts_with("this kernel has no tracepoint"),
            "{reason}"
        );
        let mut layout = nothing();
        layout
            .tracepoints
            .insert("mm_vmscan_write_folio".to_owned());
        assert!(plan_with(&layout).obstacle.is_none());
    }

    #[test]
    fn by_kprobe_a_hook_may_be_left_out_unless_the_user_wants_it() {
        let symbol = Hook::NotifierEnd.entry().symbols[0].to_owned();
        let present = BTreeSet::from([symbol]);
        let state = |mode, overrides: &[HookOverride]| {
            plan_one(Hook::NotifierEnd, &nothing(), mode, overrides, &present)
                .obstacle
                .map(|(state, _)| state)
        };
        let on: HookOverride = "notifier_end=on".parse().unwrap();
        assert_eq!(state(AttachMode::Kprobe, &[]), Some(HookState::Disabled));
        assert_eq!(state(AttachMode::Kprobe, &[on]), None);
        assert_eq!(state(AttachMode::Fentry, &[]), None);
    }
}
