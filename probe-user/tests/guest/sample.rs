//! What one scrape of the exporter says, and whether it is what the workload did.

use std::time::Instant;

use anyhow::Result;
use pinscope::kernel::host::preempts;

use crate::{
    export::{EXPORTER, get},
    support::Check,
};

/// The most folios of one shrink call (see `pressure`): a missed entry loses them all.
pub(crate) const BATCH: u64 = 64;

/// A scrape, reduced to numbers.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Seconds since the churn began.
    pub(crate) at: f64,
    /// The period of its scraper, in milliseconds.
    pub(crate) period: u64,
    /// The duration of the scrape, in seconds.
    pub(crate) took: f64,
    /// The sum of `pinscope_unmaps_total` over reclaim's.
    pub(crate) unmaps: f64,
    /// The sum of `pinscope_cgroup_unmaps_total`.
    pub(crate) by_cgroup: f64,
    /// The keys in the maps of [`MAPS`]; `None`: not exported.
    entries: [Option<f64>; 4],
    /// What was lost, over all maps.
    pub(crate) lost: f64,
    /// Calls missed, over all hooks.
    pub(crate) missed: f64,
    /// Resident memory, in bytes.
    pub(crate) resident: f64,
    /// CPU time of the exporter, in seconds.
    pub(crate) cpu: f64,
}

/// The maps whose keys are watched.
pub(crate) const MAPS: [&str; 4] = ["groups", "victims", "tasks", "subscribers"];

impl Sample {
    fn of(metrics: &str, at: f64, period: u64, took: f64) -> Self {
        let all = |name: &str| values(metrics, name, |_| true).sum::<f64>();
        Self {
            at,
            period,
            took,
            unmaps: values(metrics, "pinscope_unmaps_total", |labels| {
                !labels.contains("road=") || labels.contains("road=\"reclaim\"")
            })
            .sum(),
            by_cgroup: all("pinscope_cgroup_unmaps_total"),
            entries: MAPS.map(|map| {
                let label = format!("map=\"{map}\"");
                values(metrics, "pinscope_map_entries", |l| l.contains(&label)).next()
            }),
            lost: all("pinscope_events_lost_total"),
            missed: all("pinscope_hook_missed_total"),
            resident: all("process_resident_memory_bytes"),
            cpu: all("process_cpu_seconds_total"),
        }
    }

    /// Scrapes the exporter.
    pub(crate) fn take(begun: Instant, period: u64) -> Result<(Self, String)> {
        let asked = Instant::now();
        let metrics = get(EXPORTER, "/metrics", "text/plain")?;
        let took = asked.elapsed().as_secs_f64();
        let sample = Self::of(&metrics, begun.elapsed().as_secs_f64(), period, took);
        Ok((sample, metrics))
    }

    /// The keys in a map.
    pub(crate) fn entries(&self, map: &str) -> Option<f64> {
        let at = MAPS.iter().position(|m| *m == map)?;
        self.entries[at]
    }
}

impl Sample {
    /// The columns of [`line`](Self::line).
    pub(crate) const HEADER: &str = "seconds,period_ms,took_ms,unmaps,by_cgroup,groups,victims,tasks,\
                          subscribers,lost,missed,resident_bytes,cpu_seconds";

    /// The numbers as a line of CSV.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{:.2},{},{:.1},{},{}",
            self.at,
            self.period,
            self.took * 1000.0,
            self.unmaps,
            self.by_cgroup
        );
        for n in self.entries {
            line.push(',');
            line.push_str(&n.map(|n| n.to_string()).unwrap_or_default());
        }
        line + &format!(
            ",{},{},{},{:.2}",
            self.lost, self.missed, self.resident, self.cpu
        )
    }
}

/// Returns the values of a metric's samples whose labels are chosen.
pub(crate) fn values<'a>(
    metrics: &'a str,
    name: &'a str,
    chosen: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = f64> + 'a {
    metrics.lines().filter_map(move |line| {
        let (series, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let whole = series.is_empty() || series.starts_with('{');
        (whole && chosen(series)).then(|| value.parse().ok())?
    })
}

/// Complains unless a number of unmaps is that which is expected. On a kernel that preempts its own
/// code, it may be less by what the exporter reports as missed: a program is skipped while another
/// task was preempted in it, or while the maps are read.
pub(crate) fn counted(what: &str, seen: f64, expected: u64, metrics: &str, check: &mut Check) {
    let missed = |hook: &str| -> f64 {
        let label = format!("hook=\"{hook}\"");
        values(metrics, "pinscope_hook_missed_total", |l| {
            l.contains(&label)
        })
        .sum()
    };
    let short = if preempts() == Some(false) {
        0.0
    } else {
        BATCH as f64 * missed("shrink_list") + missed("try_to_unmap") + missed("try_to_unmap_one")
    };
    check.that((seen..=seen + short).contains(&(expected as f64)), || {
        format!("{what}: {seen} seen, {short} missed at most, {expected} expected")
    });
}
