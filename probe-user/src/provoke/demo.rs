//! A story to look at: three services, of which two have memory that reclaim can't free.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroup, CgroupName};
use super::child::{ChildReport, Holding, Launcher, Order, Role, Worker};
use super::error::{Error, Result};
use super::memory::{Memory, default_directory};
use super::reference::Reference;

/// One service of the story, as it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Its cgroup.
    pub cgroup: CgroupName,
    /// What it knows for certain.
    pub process: ChildReport,
    /// Unmaps in vain: at least so many.
    pub futile_at_least: u64,
}

/// What happened in the demo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Story {
    /// `pinscope.demo/1`.
    pub schema: String,
    /// `memory.reclaim` or `memory.high`.
    pub pressure: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The services.
    pub services: Vec<Service>,
}

/// Fields are dropped in their order: the process goes before its cgroup.
struct Actor {
    worker: Worker,
    cgroup: Cgroup,
}

/// Plays the demo for about `duration`, telling `say` each step in words.
pub fn play(launcher: &Launcher, duration: Duration, say: impl Fn(&str)) -> Result<Story> {
    let start = Instant::now();
    let above = Cgroup::create("/demo.slice")?;
    let mut actors = Vec::new();
    for (role, what) in cast() {
        let cgroup = Cgroup::create(&format!("/demo.slice/{}.service", role.comm))?;
        if cgroup.usage().is_err() {
            return Err(Error::lacking(
                "the memory controller can't be turned on for cgroups here",
                "mount cgroup v2 with the memory controller, and run as root",
            ));
        }
        let mut worker = Worker::start(launcher, &role)?;
        cgroup.add(worker.pid())?;
        let report = worker.obey(Order::Start)?;
        let kvm = if report.subscriber {
            ", a KVM guest beside it"
        } else {
            ""
        };
        say(&format!(
            "{:12} (pid {}) holds {what}{kvm}",
            role.comm, report.pid
        ));
        actors.push(Actor { worker, cgroup });
    }
    let proactive = matches!(
        actors.first().map(|actor| actor.cgroup.reclaim(4096)),
        Some(Ok(_))
    );
    let pressure = if proactive {
        "memory.reclaim"
    } else {
        "memory.high"
    };
    say(&format!(
        "reclaiming from all three by {pressure}, while they go on working …"
    ));
    while start.elapsed() < duration {
        for actor in &mut actors {
            actor.worker.order(Order::Loop {
                millis: 600,
                pause: 100,
            })?;
        }
        std::thread::sleep(Duration::from_millis(200));
        for Actor { cgroup, .. } in &actors {
            let usage = cgroup.usage()?;
            if proactive {
                cgroup.reclaim(usage)?;
            } else {
                cgroup.squeeze(usage / 4)?;
            }
        }
        for actor in &mut actors {
            actor.worker.answer()?;
        }
    }
    let mut services = Vec::new();
    for Actor { worker, cgroup } in &mut actors {
        let process = worker.obey(Order::Round)?;
        let futile_at_least = process
            .holdings
            .iter()
            .filter(|holding| holding.reference != Reference::None)
            .map(|holding| holding.found.unmapped_in_memory)
            .sum();
        say(&format!(
            "{:12} found its held pages unmapped {futile_at_least} times, none of them freed",
            process.comm
        ));
        services.push(Service {
            cgroup: cgroup.name(),
            process,
            futile_at_least,
        });
    }
    drop(actors);
    drop(above);
    Ok(Story {
        schema: "pinscope.demo/1".to_owned(),
        pressure: pressure.to_owned(),
        seconds: start.elapsed().as_secs_f64(),
        services,
    })
}

/// The services, each with what it holds in words. Pages of 4 KiB.
fn cast() -> [(Role, &'static str); 3] {
    let role = |comm: &str, subscriber, holdings: &[(Memory, usize, Reference)]| Role {
        comm: comm.to_owned(),
        subscriber,
        directory: default_directory(),
        holdings: holdings
            .iter()
            .map(|&(memory, pages, reference)| Holding {
                memory,
                pages,
                reference,
            })
            .collect(),
    };
    // Where temporary files are in memory, the cache is a memfd.
    let file = match super::memory::Region::new(Memory::File, 1, &default_directory()) {
        Ok(_) => Memory::File,
        Err(_) => Memory::Memfd,
    };
    [
        (
            role(
                "gpu-trainer",
                true,
                &[(Memory::Memfd, 16384, Reference::IoUring)],
            ),
            "64 MiB of memfd, pinned by io_uring",
        ),
        (
            role(
                "pipe-relay",
                false,
                &[(Memory::Memfd, 4096, Reference::Vmsplice)],
            ),
            "16 MiB of memfd, in pipes",
        ),
        (
            role(
                "web-cache",
                false,
                &[
                    (file, 4096, Reference::None),
                    (Memory::Anon, 4096, Reference::None),
                ],
            ),
            "16 MiB of cached file and 16 MiB of its own memory, pinned by nobody",
        ),
    ]
}
