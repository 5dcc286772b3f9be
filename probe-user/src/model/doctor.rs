//! What `doctor` and `selftest` found out.

use serde::{Deserialize, Serialize};

use crate::snapshot::HookStatus;

/// The value of `schema` in `doctor --format json`.
pub const SCHEMA: &str = "pinscope.doctor/1";

/// One condition that this machine meets or doesn't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do where it isn't ok.
    pub remedy: Option<String>,
}

/// What this kernel and these privileges allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whether a capture can measure anything here.
    pub can_run: bool,
    /// The kernel's release.
    pub kernel: String,
    /// Condition by condition.
    pub checks: Vec<Check>,
    /// Hook by hook.
    pub hooks: Vec<HookStatus>,
}

impl DoctorReport {
    /// A report with the schema's name filled in.
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

/// How a scenario of `selftest` went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The probes saw exactly what was provoked.
    Pass,
    /// They saw something else.
    Fail,
    /// It couldn't be provoked here.
    Skip,
}

/// One scenario of `selftest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelftestRow {
    /// Its name.
    pub scenario: String,
    /// What was provoked.
    pub expected: String,
    /// What the probes saw.
    pub seen: String,
    /// How it went.
    pub outcome: Outcome,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
}
