//! Metrics of the hooks: what is measured, and how completely. Only hooks that this version
//! attaches have series: a recording may name others.

use probe_ebpf::Hook;

use super::labels::{ATTACH, HOOK};
use crate::{
    render::metrics::{
        family::{Kind, Label, Metric, Unit},
        input::Page,
        value::Value,
    },
    snapshot::{HookState, HookStatus},
};

fn hooks<'a>(input: &'a Page<'_>) -> impl Iterator<Item = &'a HookStatus> {
    let hooks = input.snapshot.hooks.iter();
    hooks.filter(|hook| Hook::named(&hook.name).is_some())
}

pub(super) static ACTIVE: Metric = Metric {
    name: "pinscope_hook_active",
    unit: Unit::Of("1 or 0"),
    kind: Kind::Gauge,
    help: "Whether a hook is attached; /readyz gives the reason if it is not",
    details: "",
    labels: &[HOOK],
    needs: &[],
    option: None,
    collect: |input, family| {
        for hook in hooks(input) {
            let active = hook.state == HookState::Active;
            family.push([hook.name.clone()], Value::Count(u64::from(active)));
        }
    },
};

pub(super) static MISSED: Metric = Metric {
    name: "pinscope_hook_missed",
    unit: Unit::Of("calls"),
    kind: Kind::Counter,
    help: "Missed calls or returns of a hook: the kernel did not run its program",
    details: "While it does not grow, no missed calls were detected.",
    labels: &[HOOK],
    needs: &[],
    option: None,
    collect: |input, family| {
        for hook in hooks(input) {
            if let (HookState::Active, Some(missed)) = (hook.state, hook.missed) {
                family.push([hook.name.clone()], Value::Count(missed));
            }
        }
    },
};

pub(super) static INFO: Metric = Metric {
    name: "pinscope_hook",
    unit: Unit::Of("always 1"),
    kind: Kind::Info,
    help: "What a hook is attached to, how, and its state",
    details: "",
    labels: &[
        HOOK,
        Label {
            name: "symbol",
            meaning: "the function or tracepoint on this kernel",
        },
        ATTACH,
        Label {
            name: "state",
            meaning: "`active`, `unsupported`, `disabled`, or `failed`",
        },
    ],
    needs: &[],
    option: None,
    collect: |input, family| {
        for hook in hooks(input) {
            let labels = [
                hook.name.clone(),
                hook.symbol.clone(),
                hook.attach.map_or("", |a| a.name()).to_owned(),
                hook.state.name().to_owned(),
            ];
            family.push(labels, Value::Count(1));
        }
    },
};
