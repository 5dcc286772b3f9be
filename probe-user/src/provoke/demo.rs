//! A demonstration: three services, two of which have memory that reclaim cannot free.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// The number of futile unmaps: of pages that are held, found without a mapping.
    pub futile: u64,
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
        "reclaiming from all three through {pressure}, each time they have used their memory …"
    ));
    // No service uses its memory while it is being reclaimed, and each counts between two
    // reclaims what it finds unmapped: so it misses nothing, and its count is exact.
    let mut reports = use_all(&mut members)?;
    while start.elapsed() < duration {
        for Member { cgroup, .. } in &members {
            let usage = cgroup.usage()?;
            if proactive {
                cgroup.reclaim(usage)?;
            } else {
                cgroup.squeeze(usage / 4)?;
            }
        }
        reports = use_all(&mut members)?;
    }
    let mut services = Vec::new();
    for (Member { cgroup, .. }, process) in members.iter().zip(reports) {
        let held = process
            .holdings
            .iter()
            .filter(|holding| holding.reference != Reference::None);
        let futile = held.map(|holding| holding.found.unmapped_in_memory).sum();
        let service = Service {
            cgroup: cgroup.name(),
            process,
            futile,
        };
        if service.holds() {
            say(&format!(
                "{:12} found its held pages unmapped {} times, none of them freed",
                service.process.comm,
                grouped(futile)
            ));
        }
        services.push(service);
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

/// Has every service count what it finds unmapped, and use all its memory.
fn use_all(members: &mut [Member]) -> Result<Vec<ChildReport>> {
    for member in members.iter_mut() {
        member.worker.order(Order::Round)?;
    }
    members.iter_mut().map(|m| m.worker.answer()).collect()
}

impl Story {
    /// Compares what the services found themselves with `pinscope.capture/1` of the same time, by
    /// process. Returns what both say, or how they disagree.
    pub fn compare(&self, capture: &Value) -> std::result::Result<String, String> {
        let mut rows = Vec::new();
        for service in self.services.iter().filter(|service| service.holds()) {
            let counted = counted(capture, service.process.pid);
            let who = service.process.comm.as_str();
            rows.push((counted == service.futile, who, service.futile, counted));
        }
        if rows.iter().all(|(same, ..)| *same) && rows.iter().any(|(.., n)| *n > 0) {
            let each: Vec<String> = rows
                .iter()
                .map(|(_, who, n, _)| format!("{} of {who}", grouped(*n)))
                .collect();
            return Ok(format!(
                "both counts agree: {} futile unmaps ({}), as the services found them and as \
                 pinscope counted them",
                grouped(rows.iter().map(|(.., n)| n).sum()),
                each.join(", ")
            ));
        }
        let each: Vec<String> = rows
            .iter()
            .map(|(_, who, found, counted)| {
                format!(
                    "{who} found {} unmaps of held pages, and pinscope counted {}",
                    grouped(*found),
                    grouped(*counted)
                )
            })
            .collect();
        Err(format!("the counts disagree: {}", each.join("; ")))
    }
}

impl Service {
    fn holds(&self) -> bool {
        let mut holdings = self.process.holdings.iter();
        holdings.any(|holding| holding.reference != Reference::None)
    }
}

/// Groups digits by thousands, as pinscope's report does.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the futile unmaps that a capture counted of a process.
fn counted(capture: &Value, pid: u32) -> u64 {
    let groups = capture["groups"].as_array().into_iter().flatten();
    groups
        .filter(|group| group["victim"]["pid"] == pid)
        .flat_map(|group| {
            ["futile_pinned", "futile_referenced"]
                .map(|verdict| group["by_verdict"][verdict]["folios"].as_u64())
        })
        .flatten()
        .sum()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::child::HoldingReport;
    use super::super::page_table::Pages;
    use super::*;

    fn service(comm: &str, pid: u32, reference: Reference, futile: u64) -> Service {
        Service {
            cgroup: CgroupName {
                path: format!("/{comm}"),
                id: 1,
            },
            process: ChildReport {
                pid,
                comm: comm.to_owned(),
                subscriber: false,
                rounds: 1,
                minor_faults: 0,
                major_faults: 0,
                holdings: vec![HoldingReport {
                    memory: Backing::Memfd,
                    reference,
                    pages: 1,
                    found: Pages::default(),
                }],
            },
            futile,
        }
    }

    #[test]
    fn the_counts_are_compared_by_process() {
        let story = |futile| Story {
            schema: "pinscope.demo/1".to_owned(),
            pressure: "memory.reclaim".to_owned(),
            seconds: 1.0,
            services: vec![
                service("gpu", 7, Reference::IoUring, futile),
                service("web", 8, Reference::None, 0),
            ],
        };
        let group = |pid, verdict: &str, folios| json!({"victim": {"pid": pid}, "by_verdict": {verdict: {"folios": folios}}});
        let capture = json!({"groups": [
            group(7, "futile_pinned", 30),
            group(7, "futile_referenced", 4),
            group(7, "freed", 100),
            group(8, "futile_referenced", 9),
            {"victim": null, "by_verdict": {"futile_pinned": {"folios": 1}}},
        ]});
        assert_eq!(
            story(34).compare(&capture).unwrap(),
            "both counts agree: 34 futile unmaps (34 of gpu), as the services found them and as \
             pinscope counted them"
        );
        let differs = story(35).compare(&capture).unwrap_err();
        assert_eq!(
            differs,
            "the counts disagree: gpu found 35 unmaps of held pages, and pinscope counted 34"
        );
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_234_567)],
            ["0", "999", "1,234,567"]
        );
        // Two zeroes prove nothing.
        assert!(story(0).compare(&json!({"groups": []})).is_err());
    }
}
