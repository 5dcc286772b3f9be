//! What this program does when a test starts it again as a helper.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, Write},
    os::unix::{fs::FileExt, process::CommandExt},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    rc::Rc,
};

use anyhow::{Context, Result, bail};
use caps::{CapSet, Capability};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use pinscope::provoke::{
    Backing, Cgroup, Mapping, Reference, References, Region, Subset, page_size, set_comm,
};
use procfs::Current;
use serde::{Deserialize, Serialize};

use crate::soak;

pub(crate) fn main(helper: &str, arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match (helper, arguments.as_slice()) {
        ("unprivileged", [capabilities, cmd @ ..]) => unprivileged(capabilities, cmd),
        ("barred", [what, cmd @ ..]) => barred(what, cmd),
        ("soak", [plan]) => soak::helper(plan),
        ("hog", []) => hog(),
        ("shared", [pages, rounds]) => shared(pages, rounds),
        ("sharer", [comm, pages, from @ ..]) => sharer(comm, pages, from.first().copied()),
        _ => Err(anyhow::anyhow!(
            "there is no helper {helper} with the arguments {arguments:?}"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{helper}: {error:#}");
            ExitCode::from(99)
        }
    }
}

/// Becomes CMD as nobody, with these capabilities (`cap_bpf,cap_perfmon`, or `none`) alone.
fn unprivileged(capabilities: &str, cmd: &[&str]) -> Result<()> {
    let kept: HashSet<Capability> = capabilities
        .split(',')
        .filter(|name| *name != "none")
        .map(|name| name.to_uppercase().parse())
        .collect::<Result<_, _>>()?;
    let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
    setgroups(&[])?;
    caps::securebits::set_keepcaps(true)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Inheritable, &kept)?;
    caps::set(None, CapSet::Ambient, &kept)?;
    let (program, arguments) = cmd.split_first().context("no CMD")?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// Becomes CMD in a namespace where something is missing.
fn barred(what: &str, cmd: &[&str]) -> Result<()> {
    let hidden = match what {
        "no-btf" => Some("/sys/kernel/btf/vmlinux"),
        "no-kallsyms" => Some("/proc/kallsyms"),
        "user-namespace" => None,
        _ => anyhow::bail!("cannot hide {what}: unknown name"),
    };
    match hidden {
        Some(path) => {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some("/dev/null"), path, none, MsFlags::MS_BIND, none)?;
        }
        None => {
            unshare(CloneFlags::CLONE_NEWUSER)?;
            // Root with every capability inside, nobody outside.
            std::fs::write("/proc/self/uid_map", "0 0 1")?;
        }
    }
    let (program, arguments) = cmd.split_first().context("no CMD")?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// Takes memory until the kernel kills this process, before any other.
fn hog() -> Result<()> {
    std::fs::write("/proc/self/oom_score_adj", "1000")?;
    let total = procfs::Meminfo::current()?.mem_total;
    let map = Mapping::anonymous(total as usize / page_size())?;
    (0..map.pages()).for_each(|page| map.write(page, 1));
    bail!("this process has all memory and still runs")
}

/// What the helper `shared` knows for certain.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shared {
    /// The process that made and pinned the memory.
    pub(crate) first: u32,
    /// The process that maps it as well.
    pub(crate) second: u32,
    /// Pages found without a mapping in the first process, summed over the reclaims.
    pub(crate) in_first: u64,
    /// The same for the second process.
    pub(crate) in_second: u64,
    /// The greatest possible number: pages × rounds.
    pub(crate) pages: u64,
}

/// Has memory reclaimed that two processes map, and prints what each found.
fn shared(pages: &str, rounds: &str) -> Result<()> {
    let cgroup = Cgroup::create(&format!("/guest-tests-{}", std::process::id()))?;
    let mut first = Sharer::start(&["shared-first", pages])?;
    cgroup.add(first.child.id())?;
    let place = first.ask("make")?;
    let mut second = Sharer::start(&["shared-second", pages, &place])?;
    cgroup.add(second.child.id())?;
    second.ask("make")?;
    let rounds: u64 = rounds.parse()?;
    let mut found = [0; 2];
    for _ in 0..rounds {
        for sharer in [&mut first, &mut second] {
            sharer.ask("touch")?;
        }
        // In lock step: both processes wait during the reclaim.
        if cgroup.reclaim(cgroup.usage()?).is_err() {
            cgroup.squeeze(0)?;
        }
        for (sum, sharer) in found.iter_mut().zip([&mut first, &mut second]) {
            *sum += sharer.ask("count")?.parse::<u64>()?;
        }
    }
    let report = Shared {
        first: first.child.id(),
        second: second.child.id(),
        in_first: found[0],
        in_second: found[1],
        pages: pages.parse::<u64>()? * rounds,
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

struct Sharer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: std::io::BufReader<ChildStdout>,
}

impl Sharer {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--helper", "sharer"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = std::io::BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self {
            orders: child.stdin.take(),
            child,
            answers,
        })
    }

    fn ask(&mut self, order: &str) -> Result<String> {
        writeln!(self.orders.as_mut().context("no stdin")?, "{order}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if answer.is_empty() {
            bail!("a sharer ended before it answered {order}");
        }
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// Runs a process that maps memory: its own, which it pins, or that of the file `from`.
fn sharer(comm: &str, pages: &str, from: Option<&str>) -> Result<()> {
    set_comm(comm);
    let pages: usize = pages.parse()?;
    let mut memory = None;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (map, _) = match &memory {
            Some(memory) => memory,
            None => memory.insert(make(pages, from)?),
        };
        let answer = match line.as_str() {
            "make" => place(map),
            "touch" => {
                (0..pages).for_each(|page| map.write(page, 1));
                "touched".to_owned()
            }
            "count" => unmapped(map)?.to_string(),
            _ => bail!("unknown order: {line}"),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn make(pages: usize, from: Option<&str>) -> Result<(Rc<Mapping>, Option<(Region, References)>)> {
    if let Some(path) = from {
        let file = File::options().read(true).write(true).open(path);
        let file = file.with_context(|| path.to_owned())?;
        return Ok((Rc::new(Mapping::shared(file, pages)?), None));
    }
    let region = Region::new(Backing::Memfd, pages, Path::new("/mnt"))?;
    region.touch(1);
    let references = References::take(&region, Reference::IoUring, Subset::All)?;
    Ok((Rc::clone(region.mapping()), Some((region, references))))
}

/// Returns the path through which another process finds a mapping's file.
fn place(map: &Mapping) -> String {
    let start = map.address();
    let end = start + map.pages() * map.page_size();
    format!("/proc/{}/map_files/{start:x}-{end:x}", std::process::id())
}

/// Counts the pages of a mapping that are not in the page table.
fn unmapped(map: &Mapping) -> Result<u64> {
    let mut bytes = vec![0; map.pages() * 8];
    let offset = (map.address() / map.page_size() * 8) as u64;
    File::open("/proc/self/pagemap")?.read_exact_at(&mut bytes, offset)?;
    // Bit 63, little-endian: present.
    Ok(bytes
        .chunks_exact(8)
        .filter(|entry| entry[7] & 0x80 == 0)
        .count() as u64)
}
