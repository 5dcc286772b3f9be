//! Metrics of the hooks: what is measured, and how completely.

use super::labels::HOOK;
use crate::{
    render::metrics::{
        family::{Kind, Metric, Unit},
        value::Value,
    },
    snapshot::HookState,
};

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
        for hook in &input.snapshot.hooks {
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
        for hook in &input.snapshot.hooks {
            if let (HookState::Active, Some(missed)) = (hook.state, hook.missed) {
                family.push([hook.name.clone()], Value::Count(missed));
            }
        }
    },
};
