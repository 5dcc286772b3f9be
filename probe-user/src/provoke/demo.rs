//! A demonstration: three services, two of which have memory that reclaim cannot free.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroup, CgroupName};
use super::child::{ChildReport, Holding, Launcher, Order, Role};
use super::error::Result;
use super::member::Member;
use super::reference::Reference;
use super::region::{Backing, Region, default_directory};

/// One service of the demo, at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// The cgroup of the service.
    pub cgroup: CgroupName,
    /// What the process knows for certain.
    pub process: ChildReport,
    /// The least number of futile unmaps.
    pub futile_at_least: u64,
}

/// What happened in the demo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Story {
    /// `pinscope.demo/1`.
    pub schema: String,
    /// What reclaimed: `memory.reclaim` or `memory.high`.
    pub pressure: String,
    /// The duration, in seconds.
    pub seconds: f64,
    /// The services.
    pub services: Vec<Service>,
}

/// Plays the demo for about `duration`, and describes each step through `say`.
pub fn play(launcher: &Launcher, duration: Duration, say: impl Fn(&str)) -> Result<Story> {
    let start = Instant::now();
    let above = Cgroup::create("/demo.slice")?;
    let mut members = Vec::new();
    for (role, what) in cast() {
        let cgroup = format!("/demo.slice/{}.service", role.comm);
        let (member, report) = Member::start(launcher, &role, &cgroup)?;
        let kvm = if report.subscriber {
            ", a KVM guest beside it"
        } else {
            ""
        };
        say(&format!(
            "{:12} (pid {}) holds {what}{kvm}",
            role.comm, report.pid
        ));
        members.push(member);
    }
    let proactive = matches!(
        members.first().map(|member| member.cgroup.reclaim(4096)),
        Some(Ok(_))
    );
    let pressure = if proactive {
        "memory.reclaim"
    } else {
        "memory.high"
    };
    say(&format!(
        "reclaiming from all three through {pressure} while they keep working …"
    ));
    while start.elapsed() < duration {
        for member in &mut members {
            member.worker.order(Order::Loop {
                millis: 600,
                pause: 100,
            })?;
        }
        std::thread::sleep(Duration::from_millis(200));
        for Member { cgroup, .. } in &members {
            let usage = cgroup.usage()?;
            if proactive {
                cgroup.reclaim(usage)?;
            } else {
                cgroup.squeeze(usage / 4)?;
            }
        }
        for member in &mut members {
            member.worker.answer()?;
        }
    }
    let mut services = Vec::new();
    for Member { worker, cgroup } in &mut members {
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
    drop(members);
    drop(above);
    Ok(Story {
        schema: "pinscope.demo/1".to_owned(),
        pressure: pressure.to_owned(),
        seconds: start.elapsed().as_secs_f64(),
        services,
    })
}

/// Returns the services, each with a description of what it holds. The sizes assume pages of 4 KiB.
fn cast() -> [(Role, &'static str); 3] {
    let role = |comm: &str, subscriber, holdings: &[(Backing, usize, Reference)]| Role {
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
    // Where temporary files live in memory, a memfd stands in for the cached file.
    let file = match Region::new(Backing::File, 1, &default_directory()) {
        Ok(_) => Backing::File,
        Err(_) => Backing::Memfd,
    };
    [
        (
            role(
                "gpu-trainer",
                true,
                &[(Backing::Memfd, 16384, Reference::IoUring)],
            ),
            "64 MiB of memfd, pinned by io_uring",
        ),
        (
            role(
                "pipe-relay",
                false,
                &[(Backing::Memfd, 4096, Reference::Vmsplice)],
            ),
            "16 MiB of memfd, in pipes",
        ),
        (
            role(
                "web-cache",
                false,
                &[
                    (file, 4096, Reference::None),
                    (Backing::Anon, 4096, Reference::None),
                ],
            ),
            "16 MiB of cached file and 16 MiB of anonymous memory, neither of it pinned",
        ),
    ]
}
