//! `pinscope doctor`: what works here, what that costs in answers, and the remedy.

use std::{
    fs,
    io::{self, IsTerminal},
    path::Path,
    time::Instant,
};

use anyhow::Result;

use super::{CANNOT_RUN, host::host, options, output};
use crate::{
    cli::{Cli, Doctor, TextOrJson},
    kernel::{
        attach::AttachError,
        layout::{Facts, VMLINUX_BTF, running_kernel},
        preempt, privileges,
        probes::Probes,
        symbols::KALLSYMS,
    },
    model::{Check, DoctorReport},
    render,
    snapshot::{Attach, HookStatus},
};

pub(super) fn run(cli: &Cli, args: &Doctor) -> Result<u8> {
    let mut checks = conditions();
    let started = Instant::now();
    // Attaching is the one test that can't be wrong.
    let (can_run, hooks) = match Probes::attach(&options(&args.hooking)) {
        Ok(mut probes) => {
            let hooks = probes.snapshot()?.hooks;
            checks.push(attached(&hooks, started));
            (true, hooks)
        }
        Err(error) => {
            let (detail, remedy) = match &error {
                AttachError::CannotRun { reason, remedy } => (reason.clone(), Some(remedy.clone())),
                other => (other.to_string(), None),
            };
            checks.push(Check {
                name: "attach".into(),
                ok: false,
                detail,
                remedy,
            });
            (false, Vec::new())
        }
    };
    let report = DoctorReport::new(can_run, host().kernel, checks, hooks);
    match args.format {
        TextOrJson::Text => {
            let style = output::style(cli, io::stdout().is_terminal());
            output::to_stdout(render::text::doctor::report(&report, &style).as_bytes())?;
        }
        TextOrJson::Json => {
            let mut bytes = Vec::new();
            render::json::write_doctor(&mut bytes, &report)?;
            output::to_stdout(&bytes)?;
        }
    }
    Ok(if can_run { 0 } else { CANNOT_RUN })
}

fn attached(hooks: &[HookStatus], started: Instant) -> Check {
    let by = |how| hooks.iter().filter(|h| h.attach == Some(how)).count();
    let fentry = by(Attach::Fentry);
    let cheaper = if fentry > 0 {
        "; fentry and fexit are the cheaper way, and miss no return"
    } else {
        match preempt::preempts() {
            Some(true) => {
                "; fentry would cost less, but this kernel preempts its own code, and would \
                 skip an fentry program that another task was preempted in"
            }
            None => {
                "; fentry would cost less, but whether this kernel preempts its own code can't \
                 be told (/sys/kernel/debug/sched/preempt), and if it does, it misses calls"
            }
            Some(false) => {
                "; by fentry it would cost less (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, BTF)"
            }
        }
    };
    Check {
        name: "attach".into(),
        ok: true,
        detail: format!(
            "loaded and attached in {} ms: {fentry} by fentry, {} by kprobe, {} raw tracepoint{cheaper}",
            started.elapsed().as_millis(),
            by(Attach::Kprobe),
            by(Attach::RawTracepoint),
        ),
        remedy: None,
    }
}

fn conditions() -> Vec<Check> {
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
                    (false, false) => "missing, and not required",
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
            Some(mode) => format!("{mode}; confidentiality forbids BPF to read kernel memory"),
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
    match running_kernel().and_then(|b| Facts::resolve(VMLINUX_BTF, &b, &[])) {
        Ok(facts) => {
            let lacking: Vec<&str> = facts
                .missing
                .iter()
                .filter(|(_, hook)| hook.is_some())
                .map(|(name, _)| name.as_str())
                .collect();
            Check {
                name: "BTF".into(),
                ok: lacking.is_empty(),
                detail: if lacking.is_empty() {
                    format!("{VMLINUX_BTF} has every field that is needed")
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
            remedy: Some("run a kernel with CONFIG_DEBUG_INFO_BTF=y".into()),
        },
    }
}

fn readable(name: &str, path: &str, needs: &str) -> Check {
    let ok = fs::File::open(path).is_ok();
    Check {
        name: name.into(),
        // What counts is whether the hooks attach: these say only why not.
        ok,
        detail: if ok {
            format!("{path} is there")
        } else {
            format!("{path} can't be read")
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
                "kernel.perf_event_paranoid is {level}: no kprobe without CAP_SYS_ADMIN; \
                 fentry isn't concerned"
            ),
            None => "allowed, which kprobes need".into(),
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
            "/dev/kvm is there: selftest can subscribe to its own MMU notifiers".into()
        } else {
            "no /dev/kvm: selftest runs without an MMU notifier subscriber".into()
        },
        remedy: None,
    }
}
