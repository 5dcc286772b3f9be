//! The conditions that `pinscope doctor` checks: privileges, the kernel's files and settings, and
//! how the attach went.

use std::{fs, path::Path, time::Duration};

use super::{
    attach::AttachError,
    host,
    layout::{ResolvedLayout, VMLINUX_BTF, running_kernel},
    privileges,
    symbols::KALLSYMS,
};
use crate::snapshot::{Attach, Check, HookStatus};

/// Describes a failed attach.
pub fn not_attached(error: &AttachError) -> Check {
    let (detail, remedy) = match error {
        AttachError::CannotRun { reason, remedy } => (reason.clone(), Some(remedy.clone())),
        other => (other.to_string(), None),
    };
    Check {
        name: "attach".into(),
        ok: false,
        detail,
        remedy,
    }
}

/// Describes a successful attach that took so long.
pub fn attached(hooks: &[HookStatus], took: Duration) -> Check {
    let by = |how| hooks.iter().filter(|h| h.attach == Some(how)).count();
    let fentry = by(Attach::Fentry);
    let cheaper = if fentry > 0 {
        "; fentry and fexit cost less than kprobes and miss no return"
    } else {
        match host::preempts() {
            Some(true) => {
                "; fentry would cost less, but this kernel preempts its own code and would skip an \
                 fentry program in which another task was preempted"
            }
            None => {
                "; fentry would cost less, but it misses calls where the kernel preempts its own \
                 code, and whether this one does is unknown (/sys/kernel/debug/sched/preempt)"
            }
            Some(false) => {
                "; fentry would cost less (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, BTF)"
            }
        }
    };
    Check {
        name: "attach".into(),
        ok: true,
        detail: format!(
            "loaded and attached in {} ms: {fentry} by fentry, {} by kprobe, {} raw tracepoint{cheaper}",
            took.as_millis(),
            by(Attach::Kprobe),
            by(Attach::RawTracepoint),
        ),
        remedy: None,
    }
}

/// Checks every condition, in the order of the report.
pub fn conditions() -> Vec<Check> {
    let mut checks = Vec::new();
    for need in &privileges::NEEDS {
        let ok = privileges::has(need);
        let remedy = if privileges::in_container() {
            format!(
                "give it to the container: --cap-add {}",
                need.name.trim_start_matches("CAP_")
            )
        } else {
            "sudo, or setcap cap_bpf,cap_perfmon,cap_syslog+ep on the binary".to_owned()
        };
        checks.push(Check {
            name: need.name.into(),
            ok: ok || !need.required,
            detail: format!(
                "{}: to {}",
                match (ok, need.required) {
                    (true, _) => "effective",
                    (false, true) => "missing",
                    (false, false) => "missing, but not required",
                },
                need.purpose
            ),
            remedy: (!ok).then_some(remedy),
        });
    }
    let lockdown = privileges::lockdown();
    let locked = lockdown.as_deref() == Some("confidentiality");
    checks.push(Check {
        name: "lockdown".into(),
        ok: !locked,
        detail: match &lockdown {
            Some(mode) => {
                format!("{mode}; confidentiality forbids BPF programs to read kernel memory")
            }
            None => "not in use".into(),
        },
        remedy: locked.then(|| "boot with lockdown=integrity or none".into()),
    });
    checks.push(btf());
    checks.push(readable(
        "kallsyms",
        KALLSYMS,
        "CONFIG_KALLSYMS=y, with /proc mounted",
    ));
    let kprobes = "/sys/bus/event_source/devices/kprobe/type";
    checks.push(readable(
        "kprobes",
        kprobes,
        "CONFIG_KPROBES=y; not needed where fentry works",
    ));
    checks.push(paranoid());
    checks.push(notifiers());
    checks
}

fn btf() -> Check {
    match running_kernel().and_then(|b| ResolvedLayout::resolve(VMLINUX_BTF, &b, &[])) {
        Ok(layout) => {
            let lacking: Vec<&str> = layout
                .missing
                .iter()
                .filter(|(_, hook)| hook.is_some())
                .map(|(name, _)| name.as_str())
                .collect();
            Check {
                name: "BTF".into(),
                ok: lacking.is_empty(),
                detail: if lacking.is_empty() {
                    format!("{VMLINUX_BTF} has every required field")
                } else {
                    format!("{VMLINUX_BTF} lacks {}", lacking.join(", "))
                },
                remedy: (!lacking.is_empty())
                    .then(|| "report this kernel to pinscope's developers".into()),
            }
        }
        Err(error) => Check {
            name: "BTF".into(),
            ok: false,
            detail: error.to_string(),
            remedy: Some(error.remedy().into()),
        },
    }
}

fn readable(name: &str, path: &str, needs: &str) -> Check {
    let ok = fs::File::open(path).is_ok();
    Check {
        name: name.into(),
        // What counts is whether the hooks attach: this only says why not.
        ok,
        detail: if ok {
            format!("{path} is readable")
        } else {
            format!("{path} cannot be read")
        },
        remedy: (!ok).then(|| format!("needs a kernel with {needs}")),
    }
}

fn paranoid() -> Check {
    let level = privileges::paranoid();
    Check {
        name: "perf events".into(),
        ok: level.is_none(),
        detail: match level {
            Some(level) => format!(
                "kernel.perf_event_paranoid is {level}: kprobes need CAP_SYS_ADMIN; fentry is not \
                 affected"
            ),
            None => "allowed (kprobes need them)".into(),
        },
        remedy: level.map(|_| "sysctl kernel.perf_event_paranoid=2".into()),
    }
}

fn notifiers() -> Check {
    let ok = Path::new("/dev/kvm").exists();
    Check {
        name: "kvm".into(),
        ok: true,
        detail: if ok {
            "/dev/kvm is available: selftest can subscribe to its own MMU notifiers".into()
        } else {
            "no /dev/kvm: selftest runs without an MMU notifier subscriber".into()
        },
        remedy: None,
    }
}
