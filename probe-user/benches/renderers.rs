//! The cost of the renderers, without a kernel: a frame of the dashboard, a sample fed to it, a
//! scrape. Each line shows medians of a small and a large case measured in turns, and their ratio.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

#[path = "../tests/report/fixtures.rs"]
mod fixtures;

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use peak_alloc::PeakAlloc;
use pinscope::{
    model::ranking::Top,
    recording::Frame,
    render::metrics::{Format, Input, ProcessStats, encode, families},
    snapshot::{Group, Process, Snapshot},
    tui::{Dashboard, Feed, Theme},
};
use ratatui::{Terminal, backend::TestBackend};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The number of turns that a median is taken of.
const TURNS: usize = 15;

/// Returns a host with this many groups, each with a process of its own.
fn host_with(groups: u32) -> Snapshot {
    let mut s = fixtures::many_victims();
    let seeds = s.groups.clone();
    s.groups = (0..groups)
        .map(|i| {
            let (group, counts) = &seeds[i as usize % seeds.len()];
            let victim = Process {
                pid: 10_000 + i,
                comm: format!("worker-{i}"),
                cgroup: Some(format!("/kubepods.slice/pod{}.slice/{i}.scope", i / 4)),
                cgroup_id: u64::from(i) + 100,
            };
            let group = Group {
                victim: Some(victim),
                ..group.clone()
            };
            (group, *counts)
        })
        .collect();
    s
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Measures two functions in turns. Each turn runs them `times`; the times shown are of one run.
fn compare(name: &str, times: u32, mut small: impl FnMut(), mut large: impl FnMut()) {
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for (which, taken) in [
            (&mut small as &mut dyn FnMut(), &mut of_small),
            (&mut large, &mut of_large),
        ] {
            let begun = Instant::now();
            for _ in 0..times {
                which();
            }
            taken.push(begun.elapsed() / times);
        }
    }
    let (small, large) = (median(of_small), median(of_large));
    println!(
        "{name:40} {:>10.1} µs {:>10.1} µs {:>8.2}",
        small.as_secs_f64() * 1e6,
        large.as_secs_f64() * 1e6,
        large.as_secs_f64() / small.as_secs_f64()
    );
}

fn dashboard(groups: u32) -> Dashboard {
    let theme = Theme {
        color: true,
        ascii: false,
    };
    let feed = Feed::Live {
        interval: Duration::from_secs(1),
    };
    let mut dashboard = Dashboard::new(fixtures::host(), SystemTime::now(), theme, feed);
    for second in 1..=60 {
        let mut snapshot = host_with(groups);
        snapshot.elapsed = f64::from(second);
        let events = vec![fixtures::event()];
        dashboard.feed(Frame { snapshot, events });
    }
    dashboard
}

fn frames() {
    println!(
        "{:40} {:>13} {:>13} {:>8}",
        "dashboard", "50 groups", "500 groups", "ratio"
    );
    for (view, key) in [("overview", '1'), ("victims", '2'), ("histograms", '6')] {
        for (width, height) in [(80, 24), (200, 60)] {
            let draw = |groups| {
                let mut dashboard = dashboard(groups);
                let key = crossterm::event::KeyCode::Char(key);
                dashboard.key(key.into());
                let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
                move || {
                    terminal.draw(|f| dashboard.draw(f)).unwrap();
                }
            };
            let name = format!("frame, {view}, {width}x{height}");
            compare(&name, 20, draw(50), draw(500));
        }
    }
    let sample = |groups: u32| {
        let mut dashboard = dashboard(groups);
        let snapshot = host_with(groups);
        move || {
            let events = vec![];
            let snapshot = snapshot.clone();
            dashboard.feed(Frame { snapshot, events });
        }
    };
    compare("one sample fed", 20, sample(50), sample(500));
}

/// Returns a scrape with this many cgroups; it returns its numbers of series and bytes.
fn scrape(cgroups: usize) -> impl FnMut() -> (usize, usize) {
    let snapshot = host_with(500);
    let mut top = Top::new(cgroups);
    let by = snapshot
        .groups
        .iter()
        .map(|(g, c)| {
            let name = g.victim.as_ref().unwrap().cgroup.clone();
            (name, c.map(|c| c.folios))
        })
        .collect();
    top.update(&by, |_| false);
    let events = vec![fixtures::event()];
    move || {
        let families = families(&Input {
            snapshot: &snapshot,
            cgroups: (cgroups > 0).then_some(&top),
            programs: &[],
            process: ProcessStats::default(),
            events: &events,
            attached: SystemTime::UNIX_EPOCH,
            dropped: 0,
            reload: None,
        });
        let series = families.iter().flat_map(|f| &f.series);
        let series = series.map(pinscope::render::metrics::Series::cost).sum();
        let families = Arc::new(families);
        let bytes: usize = Format::ALL
            .iter()
            .map(|f| encode(&families, *f).unwrap().len())
            .sum();
        (series, black_box(bytes))
    }
}

fn scrapes() {
    let (mut small, mut large) = (scrape(0), scrape(200));
    println!();
    println!(
        "{:40} {:>6} series {:>6} series {:>8}",
        "one page in all three formats",
        small().0,
        large().0,
        "ratio"
    );
    let peak = |scrape: &mut dyn FnMut() -> (usize, usize)| {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        scrape();
        (MEMORY.peak_usage() - before) as f64 / 1024.0
    };
    let (a, b) = (peak(&mut small), peak(&mut large));
    println!(
        "{:40} {a:>9.0} KiB {b:>9.0} KiB {:>8.2}",
        "peak memory",
        b / a
    );
    let before = MEMORY.current_usage();
    for _ in 0..10_000 {
        large();
    }
    let grown = MEMORY.current_usage().saturating_sub(before);
    println!("{:40} {grown:>27} bytes", "kept after 10,000 pages");
    compare(
        "time",
        5,
        || {
            small();
        },
        || {
            large();
        },
    );
}

fn main() {
    frames();
    scrapes();
}
