//! Loads the object and attaches its programs, hook by hook.

use std::io;

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{Program, ProgramError},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use probe_ebpf::{Hook, hooks::Target};
use zerocopy::IntoBytes;

use super::{
    counting::Counting,
    layout::ResolvedLayout,
    maps::ReadError,
    plan::{AttachMode, Plan},
    privileges,
};
use crate::snapshot::{Attach, HookState, HookStatus};

/// The kernel side, built by `cargo xtask build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("PINSCOPE_EBPF_OBJECT"));

/// The number of lines of the verifier's log shown at debug level.
const VERIFIER_LINES: usize = 40;

/// Reasons why nothing could be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// This machine or the privileges don't allow it: exit status 77.
    #[error("{reason}\n  remedy: {remedy}")]
    CannotRun {
        /// The reason in a plain sentence.
        reason: String,
        /// What the user can do.
        remedy: String,
    },
    /// The attach should have worked: exit status 1.
    #[error("{0}")]
    Failed(String),
    /// A map can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Makes an [`AttachError::CannotRun`].
pub(super) fn cannot(reason: impl Into<String>, remedy: impl Into<String>) -> AttachError {
    AttachError::CannotRun {
        reason: reason.into(),
        remedy: remedy.into(),
    }
}

/// Checks what the kernel would refuse later with a less helpful error.
pub(super) fn check_privileges() -> Result<(), AttachError> {
    let lacking: Vec<&privileges::Need> = privileges::NEEDS
        .iter()
        .filter(|n| n.required && !privileges::has(n))
        .collect();
    if let Some(first) = lacking.first() {
        let names: Vec<&str> = lacking.iter().map(|n| n.name).collect();
        let remedy = if privileges::in_container() {
            "give the container these capabilities (docker run --cap-add BPF --cap-add PERFMON --cap-add SYSLOG), or run pinscope on the host"
        } else {
            "run it with sudo, or give the binary its capabilities: setcap cap_bpf,cap_perfmon,cap_syslog+ep pinscope"
        };
        return Err(cannot(
            format!(
                "missing {}: needed to {}",
                names.join(" and "),
                first.purpose
            ),
            remedy,
        ));
    }
    if privileges::lockdown().as_deref() == Some("confidentiality") {
        return Err(cannot(
            "the kernel is locked down (confidentiality): BPF programs may not read its memory",
            "boot with lockdown=integrity or none",
        ));
    }
    Ok(())
}

/// Returns a loader without the kernel's types: no relocation needs them, as offsets are data.
///
/// `EbpfLoader::new` always reads and parses the types, 15 MiB and a quarter of the time to
/// attach, before an option can prevent it. While it can't open a file, it goes on without them.
fn loader<'a>() -> EbpfLoader<'a> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
    if let Some((_, hard)) = limit {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, 0, hard);
    }
    let mut loader = EbpfLoader::new();
    if let Some((soft, hard)) = limit {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    }
    loader.btf(None);
    loader
}

/// Creates the maps and prepares the programs.
pub(super) fn load(layout: &ResolvedLayout) -> Result<Ebpf, AttachError> {
    loader()
        .override_global("LAYOUT", layout.kernel.as_bytes(), true)
        .load(OBJECT)
        .map_err(|e| {
            let text = chain(&e);
            if text.contains("Operation not permitted") || text.contains("EPERM") {
                cannot(
                    format!("the kernel refused to create BPF maps: {text}"),
                    "see `pinscope doctor`: a container's seccomp profile, lockdown or RLIMIT_MEMLOCK may forbid it",
                )
            } else if text.contains("Function not implemented") {
                cannot("this kernel has no bpf(2) system call", "run a kernel with CONFIG_BPF_SYSCALL=y")
            } else {
                AttachError::Failed(format!("cannot create the BPF maps: {text}"))
            }
        })
}

/// A hook, its status and its attached programs.
pub(super) struct Hooked {
    /// The hook.
    pub(super) hook: Hook,
    /// The status, without hits and misses.
    pub(super) status: HookStatus,
    /// The attached programs; none unless the hook is active.
    pub(super) programs: &'static [&'static str],
}

impl Hooked {
    /// Whether the hook is attached.
    pub(super) fn active(&self) -> bool {
        self.status.state == HookState::Active
    }
}

/// The outcome of an attempt to attach everything.
pub(super) enum Attempt {
    /// Everything that the plan attaches is attached; the time in which it counts has begun.
    Attached(Vec<Hooked>, Counting),
    /// This hook should have attached, and why it didn't.
    Failed(Hook, String),
}

/// Attaches every hook of the plans, except those that `failed` before.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    plans: &[Plan],
    failed: &[(Hook, String)],
    mode: AttachMode,
    btf: Option<&Btf>,
) -> Result<Attempt, AttachError> {
    let mut hooks = Vec::new();
    let mut counting = Counting::begin();
    for plan in plans {
        let hook = plan.hook;
        let mut status = HookStatus {
            name: hook.name().into(),
            symbol: plan.symbol.clone(),
            attach: None,
            state: HookState::Failed,
            reason: None,
            hits: None,
            missed: None,
        };
        let mut programs: &'static [&'static str] = &[];
        if let Some((state, reason)) = &plan.obstacle {
            status.state = *state;
            status.reason = Some(reason.clone());
        } else if let Some((_, why)) = failed.iter().find(|(f, _)| *f == hook) {
            status.reason = Some(why.clone());
        } else {
            match attach_one(ebpf, plan, mode, btf) {
                Ok((attach, names, reason)) => {
                    // The bracket around a batch begins the counting; without it, the unmap does.
                    if matches!(hook, Hook::Unmap | Hook::ShrinkList) {
                        counting = Counting::begin();
                    }
                    status.attach = Some(attach);
                    status.state = HookState::Active;
                    status.reason = reason;
                    programs = names;
                }
                Err(why) => return Ok(Attempt::Failed(hook, why)),
            }
        }
        hooks.push(Hooked {
            hook,
            status,
            programs,
        });
    }
    Ok(Attempt::Attached(hooks, counting))
}

type AttachedAs = (Attach, &'static [&'static str], Option<String>);

fn attach_one(
    ebpf: &mut Ebpf,
    plan: &Plan,
    mode: AttachMode,
    btf: Option<&Btf>,
) -> Result<AttachedAs, String> {
    let (kprobe, fentry) = match plan.hook.entry().target {
        Target::Function { kprobe, fentry } => (kprobe, fentry),
        Target::Tracepoint { programs } => {
            attach_programs(ebpf, programs, &plan.symbol, None)?;
            return Ok((Attach::RawTracepoint, programs, None));
        }
    };
    let mut reason = None;
    if mode != AttachMode::Kprobe {
        let outcome = match btf {
            Some(btf) => attach_programs(ebpf, fentry, &plan.symbol, Some(btf)),
            None => Err("the kernel's BTF cannot be read".to_owned()),
        };
        match outcome {
            Ok(()) => return Ok((Attach::Fentry, fentry, None)),
            Err(why) if mode == AttachMode::Fentry => return Err(why),
            Err(why) => reason = Some(format!("by kprobe, because fentry failed: {why}")),
        }
    }
    attach_programs(ebpf, kprobe, &plan.symbol, None).map_err(|why| {
        reason
            .take()
            .map_or_else(|| why.clone(), |fentry| format!("{why}; {fentry}"))
    })?;
    Ok((Attach::Kprobe, kprobe, reason))
}

/// Attaches all programs of `names`, or none.
fn attach_programs(
    ebpf: &mut Ebpf,
    names: &'static [&'static str],
    symbol: &str,
    btf: Option<&Btf>,
) -> Result<(), String> {
    for (done, name) in names.iter().enumerate() {
        let outcome = match ebpf.program_mut(name) {
            Some(program) => attach_program(program, symbol, btf).map_err(|e| explain(name, &e)),
            None => Err(format!("the object has no program {name}")),
        };
        if let Err(why) = outcome {
            for name in &names[..=done] {
                if let Some(program) = ebpf.program_mut(name) {
                    unload(program);
                }
            }
            return Err(why);
        }
    }
    Ok(())
}

fn attach_program(
    program: &mut Program,
    symbol: &str,
    btf: Option<&Btf>,
) -> Result<(), ProgramError> {
    match (program, btf) {
        (Program::KProbe(p), _) => {
            p.load()?;
            p.attach(symbol, 0)?;
        }
        (Program::FEntry(p), Some(btf)) => {
            p.load(symbol, btf)?;
            p.attach()?;
        }
        (Program::FExit(p), Some(btf)) => {
            p.load(symbol, btf)?;
            p.attach()?;
        }
        (Program::RawTracePoint(p), _) => {
            p.load()?;
            p.attach(symbol)?;
        }
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    Ok(())
}

/// Detaches and unloads a program.
pub(super) fn unload(program: &mut Program) {
    // The error of a program that isn't loaded is no problem: unloaded is what is wanted.
    let _ = match program {
        Program::KProbe(p) => p.unload(),
        Program::FEntry(p) => p.unload(),
        Program::FExit(p) => p.unload(),
        Program::RawTracePoint(p) => p.unload(),
        _ => Ok(()),
    };
}

/// Explains a failure in one line. The verifier's log, which is long, goes to the debug log.
fn explain(name: &str, error: &ProgramError) -> String {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        // The end has what was refused; the whole log may have megabytes.
        let log = verifier_log.to_string();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(VERIFIER_LINES)..].join("\n");
        tracing::debug!("the verifier on {name}:\n{tail}");
        return format!("the kernel refused to load {name}: {io_error}");
    }
    chain(error)
}

/// Joins an error and its causes to one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl From<io::Error> for AttachError {
    fn from(e: io::Error) -> Self {
        AttachError::Failed(e.to_string())
    }
}
