//! The reports of `doctor` and `selftest`.

use serde::{Deserialize, Serialize};

pub use crate::snapshot::Check;
use crate::snapshot::HookStatus;

/// The value of `schema` in `doctor --format json`.
pub const SCHEMA: &str = "pinscope.doctor/1";

/// The report of `doctor`: what this kernel and the privileges allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whether a capture can measure anything here.
    pub can_run: bool,
    /// The kernel's release.
    pub kernel: String,
    /// The conditions, one by one.
    pub checks: Vec<Check>,
    /// The hooks, one by one.
    pub hooks: Vec<HookStatus>,
}

impl DoctorReport {
    /// Makes a report, with the schema's name filled in.
    pub fn new(can_run: bool, kernel: String, checks: Vec<Check>, hooks: Vec<HookStatus>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            can_run,
            kernel,
            checks,
            hooks,
        }
    }
}

/// The outcome of a scenario of `selftest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The probes saw exactly what was provoked.
    Pass,
    /// They saw something else.
    Fail,
    /// The scenario couldn't be provoked here.
    Skip,
}

/// One scenario of `selftest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelftestRow {
    /// The scenario's name.
    pub scenario: String,
    /// What was provoked.
    pub expected: String,
    /// What the probes saw.
    pub seen: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Why the scenario failed or was skipped.
    pub reason: Option<String>,
}
