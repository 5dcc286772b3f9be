//! The emulator's command line.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::guest::channels::CHANNELS;
use crate::guest::ext4;
use crate::guest::machine::{Accel, Machine, Swap};
use crate::guest::run_dir::RunDir;
use crate::host::process;

/// The sizes of the swap disk and of the ext4 disk; both are sparse files.
const SWAP_BYTES: u64 = 2 << 30;
const EXT4_BYTES: u64 = 1 << 30;

/// Makes the disks of a run, and returns the emulator's command.
///
/// Each channel has two sockets: NAME for a virtio port, and `ttyNAME` for the serial line that a
/// kernel without virtio ports uses instead.
pub(crate) fn command(
    machine: &Machine,
    accel: Accel,
    run: &RunDir,
    initramfs: &Path,
    tools: Option<&Path>,
) -> Result<Command> {
    let qemu = process::which("qemu-system-x86_64")
        .context("qemu-system-x86_64 is missing: install the package qemu-system-x86")?;
    // The emulator must not outlive us, whatever ends us.
    let mut q = if let Some(setpriv) = process::which("setpriv") {
        let mut wrapped = Command::new(setpriv);
        wrapped.args(["--pdeathsig", "KILL", "--"]).arg(qemu);
        wrapped
    } else {
        Command::new(qemu)
    };
    q.stdin(Stdio::null()).stdout(Stdio::null());
    q.args([
        "-no-user-config",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
    ]);
    match accel {
        // With several threads the emulator crashes the guest when the kernel patches its own code.
        Accel::Tcg => q.args(["-accel", "tcg,thread=single", "-cpu", "max"]),
        // An instruction takes 2 ns of the guest's time.
        Accel::Icount => q.args([
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max",
            "-icount",
            "shift=1,sleep=off",
        ]),
        Accel::Kvm => q.args(["-accel", "kvm", "-cpu", "host"]),
    };
    q.arg("-smp")
        .arg(machine.cpus.to_string())
        .arg("-m")
        .arg(machine.memory_mib.to_string());
    nodes(&mut q, machine)?;
    q.arg("-kernel")
        .arg(&machine.kernel.image)
        .arg("-initrd")
        .arg(initramfs);
    q.arg("-append").arg(kernel_line(machine));
    q.arg("-serial").arg(format!("file:{}", run.log.display()));
    q.args(["-device", "virtio-serial-pci"]);
    for name in CHANNELS {
        q.arg("-chardev").arg(socket(name, &run.file(name)));
        q.arg("-device").arg(format!(
            "virtserialport,chardev={name},name=pinscope.{name}"
        ));
    }
    for name in CHANNELS {
        let tty = format!("tty{name}");
        q.arg("-chardev").arg(socket(&tty, &run.file(&tty)));
        q.arg("-serial").arg(format!("chardev:{tty}"));
    }
    if machine.swap == Swap::Disk {
        disk(
            &mut q,
            "pinscope-swap",
            &run.disk("swap", SWAP_BYTES)?,
            false,
        );
    }
    let ext4 = run.disk("ext4", EXT4_BYTES)?;
    ext4::make(&ext4, None)?;
    disk(&mut q, "pinscope-ext4", &ext4, false);
    if let Some(tools) = tools {
        disk(&mut q, "pinscope-tools", tools, true);
    }
    Ok(q)
}

fn socket(id: &str, path: &Path) -> String {
    format!("socket,id={id},path={}", path.display())
}

fn disk(q: &mut Command, serial: &str, path: &Path, read_only: bool) {
    let mode = if read_only {
        "readonly=on"
    } else {
        "cache=unsafe,discard=unmap"
    };
    q.arg("-drive").arg(format!(
        "if=none,format=raw,id={serial},file={},{mode}",
        path.display()
    ));
    q.arg("-device")
        .arg(format!("virtio-blk-pci,drive={serial},serial={serial}"));
}

/// Splits memory and processors over the NUMA nodes.
fn nodes(q: &mut Command, machine: &Machine) -> Result<()> {
    if machine.nodes <= 1 {
        return Ok(());
    }
    if machine.nodes > machine.memory_mib / 128 {
        bail!(
            "{} nodes of at least 128 MiB do not fit into --memory {}: give more memory, or fewer nodes",
            machine.nodes,
            machine.memory_mib
        );
    }
    let each = machine.memory_mib / machine.nodes;
    q.arg("-m").arg((each * machine.nodes).to_string());
    for node in 0..machine.nodes {
        q.arg("-object")
            .arg(format!("memory-backend-ram,id=mem{node},size={each}M"));
        let cpus: String = (0..machine.cpus)
            .filter(|cpu| cpu % machine.nodes == node)
            .map(|cpu| format!(",cpus={cpu}"))
            .collect();
        q.arg("-numa")
            .arg(format!("node,nodeid={node},memdev=mem{node}{cpus}"));
    }
    Ok(())
}

fn kernel_line(machine: &Machine) -> String {
    // An oops ends the guest at once; otherwise it would look like a slow one.
    let mut line = "console=ttyS0 quiet oops=panic panic=-1 tsc=reliable".to_string();
    for arg in &machine.append {
        line.push(' ');
        line.push_str(arg);
    }
    line
}
