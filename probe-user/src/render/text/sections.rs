//! The sections of the text report.

use std::collections::BTreeMap;

use probe_ebpf::Verdict;

use super::{
    chart,
    page::{Column, Ink, Page, Span},
};
use crate::model::{Capture, Gap, Severity, Tally, Who, wording};

/// Rows of a table; what is beyond is summed up in one line.
const ROWS: usize = 10;
/// What isn't known.
const UNKNOWN: &str = "-";

/// A count, or that it isn't known.
fn number(n: Option<u64>) -> Span {
    Span::plain(n.map_or_else(|| UNKNOWN.to_owned(), wording::count))
}

/// The verdicts as the table has them: what is in vain first.
pub(crate) const VERDICTS: [(Verdict, &str); 8] = [
    (Verdict::FutilePinned, "pinned"),
    (Verdict::FutileReferenced, "held, not pinned"),
    (Verdict::Restored, "notified in vain"),
    (Verdict::Freed, "left its cache"),
    (Verdict::Writeback, "being written"),
    (Verdict::Kept, "dirty or raced"),
    (Verdict::Migrated, "moved"),
    (Verdict::Undecided, "not judged"),
];

pub(crate) fn verdicts(page: &mut Page, capture: &Capture) {
    let Some(total) = capture.unmaps.total else {
        return;
    };
    if total == 0 {
        return;
    }
    page.heading("What became of the unmapped folios", "");
    let guess = capture.accuracy.maybe_pinned_folios > 0;
    let mut rows = Vec::new();
    for (verdict, meaning) in VERDICTS {
        let Some(value) = capture.unmaps.by_verdict.get(verdict) else {
            continue;
        };
        // That migration isn't measured stands below.
        if verdict == Verdict::Migrated && value.is_none() {
            continue;
        }
        let ink = match value {
            Some(v) if v.folios > 0 && verdict.is_futile() => Ink::Bad,
            Some(v) if v.folios > 0 && verdict == Verdict::Restored => Ink::Warn,
            Some(v) if v.folios > 0 => Ink::Plain,
            _ => Ink::Dim,
        };
        let meaning = match verdict {
            Verdict::FutilePinned if guess => "maybe pinned",
            _ => meaning,
        };
        rows.push(vec![
            Span::new(ink, verdict.name()),
            number(value.map(|v| v.folios)),
            Span::plain(
                value.map_or_else(|| UNKNOWN.to_owned(), |v| wording::share(v.folios, total)),
            ),
            number(value.map(|v| v.pages)),
            Span::plain(value.map_or_else(|| UNKNOWN.to_owned(), |v| wording::pages(v.pages))),
            number(value.and_then(|v| v.notifier_calls)),
            Span::new(Ink::Dim, meaning),
        ]);
    }
    rows.push(vec![
        Span::new(Ink::Bold, "all"),
        number(Some(total)),
        Span::plain(""),
        number(capture.unmaps.pages),
        Span::plain(
            capture
                .unmaps
                .pages
                .map_or_else(|| UNKNOWN.to_owned(), wording::pages),
        ),
        number(capture.notifier.calls),
        Span::plain(""),
    ]);
    page.table(
        &[
            Column::left("verdict"),
            Column::right("folios"),
            Column::right("share"),
            Column::right("pages"),
            Column::right("size"),
            Column::right("notified"),
            Column::note("that is"),
        ],
        &rows,
    );
}

/// What is known of a process, for the columns pid, comm and cgroup.
fn who(who: &Who) -> [Span; 3] {
    let text = |s: Option<&String>| Span::plain(s.map_or(UNKNOWN, String::as_str));
    [
        Span::plain(
            who.pid
                .map_or_else(|| UNKNOWN.to_owned(), |pid| pid.to_string()),
        ),
        text(who.comm.as_ref()),
        text(who.cgroup.as_ref()),
    ]
}

pub(crate) fn victims(page: &mut Page, capture: &Capture) {
    let Some(victims) = capture.victims.as_ref().filter(|v| !v.is_empty()) else {
        return;
    };
    page.heading(
        "Who lost mappings in vain",
        "a shared folio counts for each that mapped it",
    );
    let rows: Vec<Vec<Span>> = victims
        .iter()
        .take(ROWS)
        .map(|v| {
            let [pid, comm, cgroup] = who(&v.who);
            vec![
                pid,
                comm,
                number(Some(v.mappings)),
                number(Some(v.pages)),
                Span::plain(wording::pages(v.pages)),
                cgroup,
            ]
        })
        .collect();
    page.table(
        &[
            Column::right("pid"),
            Column::text("comm"),
            Column::right("mappings"),
            Column::right("pages"),
            Column::right("size"),
            Column::path("cgroup"),
        ],
        &rows,
    );
    let more = &victims[rows.len()..];
    if !more.is_empty() {
        let add = |n: u64, m: u64| n.saturating_add(m);
        let text = format!(
            "and {} more, with {} and {}",
            wording::count(more.len() as u64),
            wording::counted(more.iter().map(|v| v.mappings).fold(0, add), "mapping"),
            wording::counted(more.iter().map(|v| v.pages).fold(0, add), "page"),
        );
        page.wrapped("  ", "  ", Ink::Dim, &text);
    }
}

pub(crate) fn reclaimers(page: &mut Page, capture: &Capture) {
    let mut sums: BTreeMap<(&str, &str, u8), (Tally, Tally)> = BTreeMap::new();
    for group in capture.groups.iter().flatten() {
        let (all, futile) = sums
            .entry((&group.reclaimer, &group.memory, group.order))
            .or_default();
        for (sum, tally) in [(all, group.total()), (futile, group.futile())] {
            sum.folios = sum.folios.saturating_add(tally.folios);
            sum.pages = sum.pages.saturating_add(tally.pages);
        }
    }
    if sums.is_empty() {
        return;
    }
    page.heading("Who reclaimed what", "");
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (all, futile))| std::cmp::Reverse((futile.pages, all.pages)));
    let rows: Vec<Vec<Span>> = sums
        .iter()
        .take(ROWS)
        .map(|((reclaimer, memory, order), (all, futile))| {
            let ink = if futile.folios > 0 {
                Ink::Bad
            } else {
                Ink::Plain
            };
            vec![
                Span::plain(*reclaimer),
                Span::plain(*memory),
                Span::plain(order.to_string()),
                number(Some(all.folios)),
                Span::new(ink, wording::count(futile.folios)),
                Span::plain(wording::share(futile.folios, all.folios)),
                Span::plain(wording::pages(futile.pages)),
            ]
        })
        .collect();
    page.table(
        &[
            Column::text("reclaimer"),
            Column::text("memory"),
            Column::right("order"),
            Column::right("unmaps"),
            Column::right("in vain"),
            Column::right("share"),
            Column::right("size in vain"),
        ],
        &rows,
    );
    let more = &sums[rows.len()..];
    if !more.is_empty() {
        let add = |n: u64, m: u64| n.saturating_add(m);
        let text = format!(
            "and {} more, with {}, {} of them in vain",
            wording::count(more.len() as u64),
            wording::counted(
                more.iter().map(|(_, (all, _))| all.folios).fold(0, add),
                "unmap"
            ),
            wording::count(
                more.iter()
                    .map(|(_, (_, futile))| futile.folios)
                    .fold(0, add)
            ),
        );
        page.wrapped("  ", "  ", Ink::Dim, &text);
    }
}

pub(crate) fn times(page: &mut Page, capture: &Capture) {
    let h = &capture.histograms;
    let in_all = |h: Option<&crate::model::HistogramReport>| {
        h.map_or_else(String::new, |h| {
            format!(
                "{}, {} in all",
                wording::counted(h.count, "unmap"),
                wording::duration(h.sum.0)
            )
        })
    };
    let unmap = h.unmap_seconds.as_ref();
    chart::histogram(page, "Time of a futile unmap", &in_all(unmap), unmap);
    let notifier = h.notifier_seconds.as_ref();
    chart::histogram(
        page,
        "Notifier time of a futile unmap",
        &in_all(notifier),
        notifier,
    );
    let excess = h.excess_references.as_ref();
    chart::histogram(
        page,
        "Excess references of futile unmaps",
        "one pin is 1,024 on a small folio",
        excess,
    );
    let again = h.unmaps_per_folio.as_ref();
    let folios = again.map_or_else(String::new, |h| {
        format!(
            "{}, {}",
            wording::counted(h.count, "folio"),
            wording::counted(h.sum.0 as u64, "unmap")
        )
    });
    chart::histogram(
        page,
        "How often one folio was unmapped in vain",
        &folios,
        again,
    );
}

pub(crate) fn notifiers(page: &mut Page, capture: &Capture) {
    let n = &capture.notifier;
    let (Some(calls), Some(futile)) = (n.calls.filter(|n| *n > 0), n.in_futile) else {
        return;
    };
    let seconds = n
        .seconds
        .map(|s| format!("; {} in all", wording::duration(s)))
        .unwrap_or_default();
    let note = format!(
        "{}, {} of them in futile unmaps{seconds}",
        wording::counted(calls, "call"),
        wording::count(futile)
    );
    page.heading("MMU notifiers", &note);
    let subscribers = capture.subscribers.as_deref().unwrap_or_default();
    let rows: Vec<Vec<Span>> = subscribers
        .iter()
        .take(ROWS)
        .map(|s| {
            let shared = s.shared_calls > 0;
            let most = if shared { "at most " } else { "" };
            vec![
                Span::plain(s.symbol.as_str()),
                number(Some(s.calls)),
                Span::plain(format!("{most}{}", wording::duration(s.seconds))),
                Span::plain(wording::duration(s.seconds / (s.calls.max(1)) as f64)),
            ]
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    page.table(
        &[
            Column::text("subscriber"),
            Column::right("calls"),
            Column::right("time"),
            Column::right("a call"),
        ],
        &rows,
    );
    let more = subscribers.len().saturating_sub(rows.len());
    if more > 0 {
        page.wrapped("  ", "  ", Ink::Dim, &format!("and {more} more"));
    }
    if subscribers.iter().any(|s| s.shared_calls > 0) {
        page.wrapped(
            "  ",
            "  ",
            Ink::Dim,
            "\"at most\": other subscribers took part in some of the calls, and their time \
             counts for each",
        );
    }
}

pub(crate) fn findings(page: &mut Page, capture: &Capture) {
    if capture.findings.is_empty() {
        return;
    }
    page.heading("Findings", "");
    for finding in &capture.findings {
        let ink = match finding.severity {
            Severity::Critical => Ink::Bad,
            Severity::Warning => Ink::Warn,
            Severity::Info => Ink::Dim,
        };
        page.line(&[
            Span::plain("  "),
            Span::new(ink, format!("{:<8}", finding.severity.name())),
            Span::plain("  "),
            Span::new(Ink::Bold, finding.id.as_str()),
        ]);
        page.wrapped("    ", "    ", Ink::Plain, &finding.text);
        page.wrapped("    → ", "      ", Ink::Plain, &finding.advice);
    }
}

pub(crate) fn gaps(page: &mut Page, capture: &Capture) {
    let mut list = |title: &str, gaps: &[Gap]| {
        if gaps.is_empty() {
            return;
        }
        page.heading(title, "");
        for gap in gaps {
            page.wrapped("  ", "  ", Ink::Plain, &gap.what);
            page.wrapped("    ", "    ", Ink::Dim, &gap.why);
        }
    };
    list("Not measured", &capture.not_measured);
    list("On weaker evidence", &capture.weaker);
}

pub(crate) fn trust(page: &mut Page, capture: &Capture) {
    page.heading("How far to trust this", "");
    for text in trust_sentences(capture) {
        page.wrapped("  ", "  ", Ink::Plain, &text);
    }
}

/// How far the numbers can be trusted, and what pinscope itself cost: a paragraph each.
pub(crate) fn trust_sentences(capture: &Capture) -> Vec<String> {
    let lost = &capture.lost;
    let mut text = if lost.keys == 0 && lost.events == 0 {
        "Nothing was lost for want of room.".to_owned()
    } else {
        format!(
            "Lost for want of room: {}, {}.",
            wording::counted(lost.keys, "key"),
            wording::counted(lost.events, "event")
        )
    };
    let known: Vec<u64> = capture.hooks.iter().filter_map(|h| h.missed).collect();
    let missed = known.iter().fold(0u64, |a, b| a.saturating_add(*b));
    text.push_str(&match (known.is_empty(), missed) {
        (true, _) => " Whether calls went unseen can't be known.".to_owned(),
        (_, 0) => " No call is known to have gone unseen.".to_owned(),
        (_, n) => format!(
            " {} went unseen.",
            if n == 1 {
                "1 call or return".to_owned()
            } else {
                format!("{} calls or returns", wording::count(n))
            }
        ),
    });
    if capture.in_flight > 0 && capture.unmaps.total.is_some() {
        text.push_str(&format!(
            " At the end {} inside reclaim: what {} unmapping then isn't counted.",
            if capture.in_flight == 1 {
                "1 task was".to_owned()
            } else {
                format!("{} tasks were", wording::count(capture.in_flight))
            },
            if capture.in_flight == 1 {
                "it was"
            } else {
                "they were"
            },
        ));
    }
    if capture
        .histograms
        .unmap_seconds
        .as_ref()
        .is_some_and(|h| h.count > 0)
    {
        text.push_str(&format!(
            " Percentiles are right to {:.1} %.",
            capture.accuracy.histogram_relative_error * 100.0
        ));
    }
    let mut texts = vec![text];
    let cost = cost(capture);
    if !cost.is_empty() {
        texts.push(format!("pinscope itself: {cost}."));
    }
    texts
}

fn cost(capture: &Capture) -> String {
    let c = &capture.cost;
    let mut parts = Vec::new();
    if let Some(bpf) = c.bpf_seconds {
        let runs = c
            .bpf_runs
            .map(|n| format!(" ({})", wording::counted(n, "run")))
            .unwrap_or_default();
        let seconds = capture.window.seconds;
        let share = if seconds > 0.0 {
            format!(", {} of one CPU", percent(bpf / seconds))
        } else {
            String::new()
        };
        parts.push(format!(
            "{} in its BPF programs{runs}{share}",
            wording::duration(bpf)
        ));
    }
    if let Some(cpu) = c.cpu_seconds {
        let besides = if c.bpf_seconds.is_some() {
            "of CPU besides"
        } else {
            "of CPU beside its BPF programs, which aren't timed unless asked for"
        };
        parts.push(format!("{} {besides}", wording::duration(cpu)));
    }
    if let Some(rss) = c.rss_bytes {
        parts.push(format!("{} of memory", wording::bytes(rss)));
    }
    parts.join("; ")
}

fn percent(part: f64) -> String {
    if !part.is_finite() {
        UNKNOWN.to_owned()
    } else if part == 0.0 {
        "0 %".to_owned()
    } else if part < 0.0001 {
        "<0.01 %".to_owned()
    } else {
        format!("{:.2} %", part * 100.0)
    }
}
