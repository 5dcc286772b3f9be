//! `cargo xtask bench`: benchmarks, each a ratio measured side by side in one
//! boot of one guest.
//!
//! A benchmark is a shell script that prints lines `bench NAME VARIANT SECONDS`,
//! its variants taking turns. What counts is a ratio of medians.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::qemu::Accel;
use crate::stream::{Buffer, Lines};
use crate::tools_disk::Tool;
use crate::{ebpf, kernels, setup, sh, user, vm};

/// What a benchmark compares.
#[derive(Debug, Clone, Copy)]
enum Ratio {
    /// One variant's time to another's.
    Plain { of: &'static str, to: &'static str },
    /// What one variant adds to a base, to what another adds.
    Added {
        base: &'static str,
        of: &'static str,
        to: &'static str,
    },
}

/// One benchmark.
#[derive(Debug, Clone, Copy)]
struct Bench {
    name: &'static str,
    about: &'static str,
    kernel: &'static str,
    cpus: u32,
    /// Emulated with a clock that counts instructions.
    counted: bool,
    /// Run by the guest's shell, with its name in `BENCH`, and `pinscope`, `workload` and the
    /// tools on PATH.
    script: &'static str,
    tools: &'static [Tool],
    ratios: &'static [Ratio],
}

const fn added(of: &'static str) -> Ratio {
    Ratio::Added {
        base: "none",
        of,
        to: "script",
    }
}

const COST: Bench = Bench {
    name: "",
    about: "",
    kernel: "6.12",
    cpus: 2,
    counted: false,
    script: include_str!("guest/bench-cost.sh"),
    tools: &[Tool::Bpftrace],
    ratios: &[
        added("pinscope"),
        added("pinscope-kprobe"),
        added("empty-fentry"),
        added("empty-kprobe"),
    ],
};

/// The one that needs no guest: `probe-user/benches/faces.rs`.
const FACES: &str = "faces";
const FACES_ABOUT: &str = "a frame of the dashboard, a look taken in, a scrape: few against many";

const BENCHES: &[Bench] = &[
    Bench {
        name: "cost",
        about: "what watching adds to futile unmaps, in guest instructions of 2 ns, beside a bpftrace script",
        counted: true,
        ..COST
    },
    Bench {
        name: "cost-time",
        about: "the same by emulated time, which depends on where the code lies: it scatters from boot to boot",
        ..COST
    },
    Bench {
        name: "start",
        about: "from the start to attached; memory, idle CPU, and a burst with events",
        kernel: "6.12",
        cpus: 2,
        counted: false,
        script: include_str!("guest/bench-start.sh"),
        tools: &[Tool::Tmux],
        ratios: &[Ratio::Plain {
            of: "attach-kprobe",
            to: "attach-auto",
        }],
    },
    Bench {
        name: "noise",
        about: "the same work under two names: differences below this ratio's distance from 1 say nothing",
        kernel: "6.12",
        cpus: 2,
        counted: false,
        script: include_str!("guest/bench-noise.sh"),
        tools: &[],
        ratios: &[Ratio::Plain { of: "a", to: "b" }],
    },
];

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Benchmarks to run (default: all)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Say which there are
    #[arg(long)]
    list: bool,
    /// Run them all in guests of this series
    #[arg(long, value_name = "SERIES")]
    kernel: Option<String>,
}

/// Runs the benchmarks and prints their tables.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        for bench in BENCHES {
            println!("{:12} {}", bench.name, bench.about);
        }
        println!("{FACES:12} {FACES_ABOUT}");
        return Ok(ExitCode::SUCCESS);
    }
    for name in &args.names {
        if name != FACES && !BENCHES.iter().any(|b| b.name == name) {
            bail!("no benchmark is called {name}: `cargo xtask bench --list` names them");
        }
    }
    let chosen: Vec<&Bench> = BENCHES
        .iter()
        .filter(|b| args.names.is_empty() || args.names.iter().any(|n| n == b.name))
        .collect();
    let mut purposes = vec![setup::For::Build, setup::For::Guests];
    let tools = chosen.iter().flat_map(|b| b.tools);
    purposes.extend(tools.map(|t| setup::For::Tool(*t)));
    setup::ready(&purposes)?;
    ebpf::build()?;
    if args.names.is_empty() || args.names.iter().any(|n| n == FACES) {
        sh::progress(&format!("{FACES}: {FACES_ABOUT}"));
        let mut command = sh::cargo();
        command
            .args(["bench", "-q", "-p", "pinscope", "--bench", FACES])
            .env("PINSCOPE_EBPF_OBJECT", sh::absolute(ebpf::OBJECT)?);
        sh::noisy(&mut command)?;
    }
    if chosen.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let programs = user::build()?;
    let mut failed = false;
    for bench in chosen {
        let series = args.kernel.as_deref().unwrap_or(bench.kernel);
        let mut spec = vm::Spec::new(
            kernels::find(series, None, false)?,
            &[
                "env",
                &format!("BENCH={}", bench.name),
                "sh",
                "-c",
                bench.script,
            ],
        );
        spec.files = programs.files();
        spec.cpus = bench.cpus;
        spec.tools = bench.tools.to_vec();
        spec.accel = bench.counted.then_some(Accel::Icount);
        spec.timeout = Duration::from_secs(1800);
        sh::progress(&format!(
            "{}: {} (Linux {})",
            bench.name, bench.about, spec.kernel.version
        ));
        let kept = Buffer::default();
        let prefix = format!("{}| ", bench.name);
        let outcome = vm::run(
            &spec,
            Box::new(Lines::new(&prefix, kept.clone())),
            Box::new(Lines::new(&prefix, Buffer::default())),
        )?;
        if outcome.status != 0 {
            sh::warn(&format!(
                "{}: its script ended with {}",
                bench.name, outcome.status
            ));
            failed = true;
        }
        let times = times(&kept.text(), bench.name);
        let (text, complete) = report(bench, series, &times);
        print!("{text}");
        for figure in figures(&kept.text(), bench.name) {
            println!("{figure}");
        }
        failed |= !complete;
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// What the script says beside its times: lines `figure NAME TEXT`.
fn figures(text: &str, name: &str) -> Vec<String> {
    let prefix = format!("figure {name} ");
    text.lines()
        .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}

/// Each variant's times, in the order of their first appearance.
fn times(text: &str, name: &str) -> Vec<(String, Vec<f64>)> {
    let mut order: Vec<(String, Vec<f64>)> = Vec::new();
    let mut place: BTreeMap<String, usize> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["bench", of, variant, seconds] = words.as_slice() else {
            continue;
        };
        let Ok(seconds) = seconds.parse::<f64>() else {
            continue;
        };
        if *of != name || !seconds.is_finite() {
            continue;
        }
        let at = *place.entry((*variant).to_string()).or_insert_with(|| {
            order.push(((*variant).to_string(), Vec::new()));
            order.len() - 1
        });
        if let Some((_, list)) = order.get_mut(at) {
            list.push(seconds);
        }
    }
    order
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// The table of one benchmark, and whether its ratio could be told.
fn report(bench: &Bench, series: &str, times: &[(String, Vec<f64>)]) -> (String, bool) {
    let of = |name: &str| {
        times
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, t)| median(t))
    };
    let width = times.iter().map(|(n, _)| n.len()).max().unwrap_or(0).max(7);
    let mut text = format!(
        "\n{} (Linux {series}, {} CPUs): {}\n",
        bench.name, bench.cpus, bench.about
    );
    let _ = writeln!(
        text,
        "{:width$}  {:>4}  {:>9}  {:>9}  {:>9}",
        "variant", "runs", "median s", "least s", "most s"
    );
    for (name, list) in times {
        let least = list.iter().copied().fold(f64::INFINITY, f64::min);
        let most = list.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let middle = median(list).unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "{name:width$}  {:>4}  {middle:>9.4}  {least:>9.4}  {most:>9.4}",
            list.len()
        );
    }
    let mut complete = true;
    for wanted in bench.ratios {
        let (what, value) = match *wanted {
            Ratio::Plain { of: a, to: b } => (format!("{a} / {b}"), ratio(of(a), of(b))),
            Ratio::Added { base, of: a, to: b } => {
                let above = |name| Some(of(name)? - of(base)?);
                (
                    format!("({a} - {base}) / ({b} - {base})"),
                    ratio(above(a), above(b)),
                )
            }
        };
        let _ = match value {
            Some(value) => writeln!(text, "ratio {what} = {value:.3}"),
            None => writeln!(text, "ratio {what}: not measured"),
        };
        complete &= value.is_some();
    }
    (text, complete)
}

fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    let (of, to) = (of?, to?);
    (to > 0.0).then_some(of / to)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "bench cost none 1.0\nnoise\nbench cost ours 1.4\nbench cost script 2.0\n\
                        bench other none 9\nbench cost none 3.0\nbench cost none 1.2\nbench cost ours x\n";

    #[test]
    fn lines_and_medians() {
        let times = times(TEXT, "cost");
        assert_eq!(times.len(), 3);
        assert_eq!(times[0], ("none".to_string(), vec![1.0, 3.0, 1.2]));
        assert_eq!(median(&times[0].1), Some(1.2));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios() {
        let bench = |ratios| Bench {
            name: "cost",
            about: "",
            kernel: "6.12",
            cpus: 2,
            counted: false,
            script: "",
            tools: &[],
            ratios,
        };
        let times = times(TEXT, "cost");
        let (text, complete) = report(
            &bench(&[Ratio::Added {
                base: "none",
                of: "ours",
                to: "script",
            }]),
            "6.12",
            &times,
        );
        assert!(complete);
        assert!(
            text.ends_with("ratio (ours - none) / (script - none) = 0.250\n"),
            "{text}"
        );
        let (text, complete) = report(
            &bench(&[Ratio::Plain {
                of: "ours",
                to: "gone",
            }]),
            "6.12",
            &times,
        );
        assert!(!complete);
        assert!(text.ends_with("not measured\n"), "{text}");
    }
}
