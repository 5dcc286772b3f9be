//! The emulator's command line, and the files a machine needs for one run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

use crate::sh;
use crate::vm::Spec;

/// Size of the swap disk and of the ext4 disk; both are sparse files.
const SWAP_BYTES: u64 = 2 << 30;
const EXT4_BYTES: u64 = 1 << 30;

/// How the guest's processors run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accel {
    /// Emulated: slow, works everywhere.
    Tcg,
    /// Emulated, with a clock that counts instructions: what is timed is nearly the same each
    /// time, whatever the host is doing and wherever the code lies.
    Icount,
    /// By the host's processors.
    Kvm,
    /// KVM where a stock kernel boots with it, emulated elsewhere.
    Auto,
}

/// Where the guest swaps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Swap {
    /// A virtio disk.
    Disk,
    /// Compressed memory.
    Zram,
    /// Nowhere.
    None,
}

impl Swap {
    /// The word the guest's init reads.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Zram => "zram",
            Self::None => "none",
        }
    }
}

/// The files of one run; gone when dropped, but for the console's log.
#[derive(Debug)]
pub(crate) struct RunDir {
    dir: PathBuf,
    /// The console's log.
    pub(crate) log: PathBuf,
}

impl RunDir {
    /// Makes a directory for a new run, and removes what dead runs left.
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let home = Path::new("target/vm");
        sh::create_dir(home)?;
        sweep(home);
        let id = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = home.join(&id);
        let _ = std::fs::remove_dir_all(&dir);
        sh::create_dir(&dir)?;
        Ok(Self {
            dir,
            log: home.join(format!("{id}.log")),
        })
    }

    /// A file of this run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn disk(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.file(name);
        File::create(&path)
            .and_then(|f| f.set_len(bytes))
            .with_context(|| format!("cannot make the disk {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Removes directories of runs whose process is gone, and all but the newest
/// logs.
fn sweep(home: &Path) {
    let entries = || std::fs::read_dir(home).into_iter().flatten().flatten();
    for entry in entries() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let dead = name.split_once('-').is_some_and(|(pid, _)| {
            pid.bytes().all(|b| b.is_ascii_digit()) && !Path::new("/proc").join(pid).exists()
        });
        if dead && entry.path().is_dir() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let mut logs: Vec<_> = entries()
        .filter(|e| e.path().extension().is_some_and(|x| x == "log"))
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    logs.sort();
    for (_, path) in logs.iter().rev().skip(60) {
        let _ = std::fs::remove_file(path);
    }
}

/// The names of the three channels, in the order of their sockets.
pub(crate) const CHANNELS: [&str; 3] = ["out", "err", "status"];

/// The emulator's command for a run, with its disks made. For each channel
/// there is a socket NAME of the virtio port and one `ttyNAME` of the serial
/// line that stands in where a kernel has no virtio ports.
pub(crate) fn command(
    spec: &Spec,
    accel: Accel,
    run: &RunDir,
    initramfs: &Path,
) -> Result<Command> {
    let qemu = sh::which("qemu-system-x86_64")
        .context("qemu-system-x86_64 is missing: install the package qemu-system-x86")?;
    // The emulator must not outlive us, however we end.
    let mut q = if let Some(setpriv) = sh::which("setpriv") {
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
        // Several threads lose against live patching of the kernel's text.
        Accel::Tcg | Accel::Auto => q.args(["-accel", "tcg,thread=single", "-cpu", "max"]),
        // An instruction is 2 ns.
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
        .arg(spec.cpus.to_string())
        .arg("-m")
        .arg(spec.memory_mib.to_string());
    nodes(&mut q, spec)?;
    q.arg("-kernel")
        .arg(&spec.kernel.image)
        .arg("-initrd")
        .arg(initramfs);
    q.arg("-append").arg(kernel_line(spec));
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
    if spec.swap == Swap::Disk {
        disk(
            &mut q,
            "pinscope-swap",
            &run.disk("swap", SWAP_BYTES)?,
            false,
        );
    }
    let ext4 = run.disk("ext4", EXT4_BYTES)?;
    make_ext4(&ext4, None)?;
    disk(&mut q, "pinscope-ext4", &ext4, false);
    if !spec.tools.is_empty() {
        disk(
            &mut q,
            "pinscope-tools",
            &crate::tools_disk::image(&spec.tools)?,
            true,
        );
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

/// Splits memory and processors over the NUMA nodes asked for.
fn nodes(q: &mut Command, spec: &Spec) -> Result<()> {
    if spec.nodes <= 1 {
        return Ok(());
    }
    if spec.nodes > spec.memory_mib / 128 {
        bail!(
            "{} nodes of at least 128 MiB don't fit into --memory {}",
            spec.nodes,
            spec.memory_mib
        );
    }
    let each = spec.memory_mib / spec.nodes;
    q.arg("-m").arg((each * spec.nodes).to_string());
    for node in 0..spec.nodes {
        q.arg("-object")
            .arg(format!("memory-backend-ram,id=mem{node},size={each}M"));
        let cpus: String = (0..spec.cpus)
            .filter(|cpu| cpu % spec.nodes == node)
            .map(|cpu| format!(",cpus={cpu}"))
            .collect();
        q.arg("-numa")
            .arg(format!("node,nodeid={node},memdev=mem{node}{cpus}"));
    }
    Ok(())
}

fn kernel_line(spec: &Spec) -> String {
    // An oops ends the guest, so that it cannot pass as a slow one.
    let mut line = "console=ttyS0 quiet oops=panic panic=-1 tsc=reliable".to_string();
    for arg in &spec.append {
        line.push(' ');
        line.push_str(arg);
    }
    line
}

/// Makes an ext4 file system, filled from a directory where one is given.
pub(crate) fn make_ext4(path: &Path, from: Option<&Path>) -> Result<()> {
    let mkfs =
        sh::which("mkfs.ext4").context("mkfs.ext4 is missing: install the package e2fsprogs")?;
    let mut command = Command::new(mkfs);
    command.args([
        "-q",
        "-F",
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
    ]);
    if let Some(dir) = from {
        command.arg("-d").arg(dir);
    }
    sh::output(command.arg(path)).context("making an ext4 file system failed")?;
    Ok(())
}
