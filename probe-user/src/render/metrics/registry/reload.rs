//! Metrics of what operators act upon: a host that is not supported, and a failed reload.

use std::time::SystemTime;

use probe_ebpf::Hook;

use crate::render::metrics::{
    family::{Kind, Metric, Unit},
    value::Value,
};

pub(super) static SUPPORTED: Metric = Metric {
    name: "pinscope_supported",
    unit: Unit::Of("1 or 0"),
    kind: Kind::Gauge,
    help: "Whether anything can be measured on this host; /readyz gives the reason if not",
    details: "Where not, the exporter runs only with `--on-unsupported=serve`.",
    labels: &[],
    needs: &[],
    option: None,
    collect: |input, family| {
        let supported = input.measured().by(Hook::Unmap);
        family.push([], Value::Count(u64::from(supported)));
    },
};

pub(super) static SUCCESSFUL: Metric = Metric {
    name: "pinscope_config_last_reload_successful",
    unit: Unit::Of("1 or 0"),
    kind: Kind::Gauge,
    help: "Whether the last reload of the web configuration, its certificates and keys succeeded",
    details: "While it is 0, those of the last success are in effect.",
    labels: &[],
    needs: &[],
    option: Some("--web-config"),
    collect: |input, family| {
        if let Some(reload) = input.reload {
            family.push([], Value::Count(u64::from(reload.successful)));
        }
    },
};

pub(super) static SUCCESS_TIME: Metric = Metric {
    name: "pinscope_config_last_reload_success_timestamp",
    unit: Unit::Seconds,
    kind: Kind::Gauge,
    help: "Time of the last successful reload of the web configuration, in seconds since 1970",
    details: "",
    labels: &[],
    needs: &[],
    option: Some("--web-config"),
    collect: |input, family| {
        let time = input.reload.and_then(|reload| reload.success);
        let since = time.and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(since) = since {
            family.push([], Value::Number(since.as_secs_f64()));
        }
    },
};
