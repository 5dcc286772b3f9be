//! The page's sections.

use std::collections::BTreeMap;

use maud::{Markup, html};
use probe_ebpf::Verdict;

use super::chart;
use crate::model::{
    Capture, Gap, HistogramReport, Interval, Tally, Unit, VerdictTotal, Who, wording,
};
use crate::render::text::sections::VERDICTS;

const UNKNOWN: &str = "-";

fn number(n: Option<u64>) -> String {
    n.map_or_else(|| UNKNOWN.to_owned(), wording::count)
}

pub(super) fn findings(capture: &Capture) -> Markup {
    html! {
        @if !capture.findings.is_empty() {
            section {
                h2 { "Findings" }
                @for f in &capture.findings {
                    div class={ "finding " (f.severity.name()) } {
                        b { (f.severity.name()) ": " (f.id) }
                        p { (f.text) }
                        p { "→ " (f.advice) }
                    }
                }
            }
        }
    }
}

/// The verdicts as the text report has them: what is in vain first.
fn listed(capture: &Capture) -> Vec<(Verdict, Option<VerdictTotal>)> {
    VERDICTS
        .iter()
        .filter_map(|(v, _)| Some((*v, *capture.unmaps.by_verdict.get(*v)?)))
        .collect()
}

pub(super) fn verdicts(capture: &Capture) -> Markup {
    let Some(total) = capture.unmaps.total else {
        return html! {};
    };
    let class = |v: Verdict, folios: u64| match v {
        _ if folios == 0 => "",
        v if v.is_futile() => "bad",
        Verdict::Restored => "warn",
        _ => "",
    };
    html! {
        section {
            h2 { "What became of the unmapped folios" }
            div.scroll { table {
                thead { tr {
                    th { "verdict" } th.n { "folios" } th.n { "share" } th { "" }
                    th.n { "pages" } th.n { "size" } th.n { "notifier calls" }
                } }
                tbody {
                    @for (verdict, value) in listed(capture) {
                        tr {
                            @let folios = value.map_or(0, |v| v.folios);
                            td.mono { span class=(class(verdict, folios)) { (verdict.name()) } }
                            td.n { (number(value.map(|v| v.folios))) }
                            td.n { (value.map_or(UNKNOWN.into(), |v| wording::share(v.folios, total))) }
                            td { @if value.is_some() {
                                (chart::share(folios, total, verdict.is_futile()))
                            } }
                            td.n { (number(value.map(|v| v.pages))) }
                            td.n { (value.map_or(UNKNOWN.into(), |v| wording::pages(v.pages))) }
                            td.n { (number(value.and_then(|v| v.notifier_calls))) }
                        }
                    }
                    tr {
                        th { "all" } th.n { (wording::count(total)) } th {} th {}
                        th.n { (number(capture.unmaps.pages)) }
                        th.n { (capture.unmaps.pages.map_or(UNKNOWN.into(), wording::pages)) }
                        th.n { (number(capture.notifier.calls)) }
                    }
                }
            } }
        }
    }
}

pub(super) fn timeline(timeline: &[Interval]) -> Markup {
    html! {
        @if timeline.len() > 1 {
            section {
                h2 { "Over time" }
                div.charts {
                    figure {
                        figcaption { "Unmaps a second" }
                        (chart::lines(timeline, ["all", "in vain"], |i| {
                            let rates = i.rates.as_ref();
                            [rates.and_then(|r| r.unmaps), rates.and_then(|r| r.futile)]
                        }))
                    }
                    figure {
                        figcaption { "MMU notifiers" }
                        (chart::lines(timeline, ["calls a second", "ms in them a second"], |i| {
                            let rates = i.rates.as_ref();
                            [
                                rates.and_then(|r| r.notifier_calls),
                                rates.and_then(|r| r.notifier_seconds).map(|s| s * 1e3),
                            ]
                        }))
                    }
                }
            }
        }
    }
}

fn who(who: &Who) -> Markup {
    let text = |s: Option<&String>| s.map_or(UNKNOWN, String::as_str).to_owned();
    html! {
        td.n { (who.pid.map_or_else(|| UNKNOWN.to_owned(), |p| p.to_string())) }
        td.mono { (text(who.comm.as_ref())) }
        td.mono { (text(who.cgroup.as_ref())) }
    }
}

pub(super) fn victims(capture: &Capture) -> Markup {
    let Some(victims) = capture.victims.as_ref().filter(|v| !v.is_empty()) else {
        return html! {};
    };
    html! {
        section {
            h2 { "Who lost mappings in vain" }
            div.scroll { table {
                caption { "A shared folio counts for each that mapped it." }
                thead { tr {
                    th.n { "pid" } th { "comm" } th { "cgroup" } th.n { "mappings" }
                    th.n { "pages" } th.n { "size" }
                } }
                tbody {
                    @for v in victims {
                        tr {
                            (who(&v.who))
                            td.n { (wording::count(v.mappings)) }
                            td.n { (wording::count(v.pages)) }
                            td.n { (wording::pages(v.pages)) }
                        }
                    }
                }
            } }
        }
    }
}

pub(super) fn reclaimers(capture: &Capture) -> Markup {
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
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (all, futile))| std::cmp::Reverse((futile.pages, all.pages)));
    html! {
        @if !sums.is_empty() {
            section {
                h2 { "Who reclaimed what" }
                div.scroll { table {
                    thead { tr {
                        th { "reclaimer" } th { "memory" } th.n { "order" } th.n { "unmaps" }
                        th.n { "in vain" } th.n { "share" } th { "" } th.n { "size in vain" }
                    } }
                    tbody {
                        @for ((reclaimer, memory, order), (all, futile)) in &sums {
                            tr {
                                td.mono { (reclaimer) } td.mono { (memory) } td.n { (order) }
                                td.n { (wording::count(all.folios)) }
                                td.n { span class=(if futile.folios > 0 { "bad" } else { "" }) {
                                    (wording::count(futile.folios))
                                } }
                                td.n { (wording::share(futile.folios, all.folios)) }
                                td { (chart::share(futile.folios, all.folios, true)) }
                                td.n { (wording::pages(futile.pages)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

pub(super) fn histograms(capture: &Capture) -> Markup {
    let h = &capture.histograms;
    let all: Vec<(&str, &HistogramReport)> = [
        ("Time of a futile unmap", &h.unmap_seconds),
        ("Notifier time of a futile unmap", &h.notifier_seconds),
        ("Excess references of futile unmaps", &h.excess_references),
        (
            "How often one folio was unmapped in vain",
            &h.unmaps_per_folio,
        ),
        ("Time of a refault", &h.refault_seconds),
    ]
    .into_iter()
    .filter_map(|(name, h)| Some((name, h.as_ref().filter(|h| h.count > 0)?)))
    .collect();
    let value = |h: &HistogramReport, v: Option<crate::model::Number>| {
        v.map_or_else(
            || UNKNOWN.to_owned(),
            |v| chart::value(h.unit, h.unit.raw(v)),
        )
    };
    html! {
        @if !all.is_empty() {
            section {
                h2 { "Distributions" }
                div.charts {
                    @for (name, h) in &all {
                        figure { figcaption { (name) } (chart::histogram(h)) }
                    }
                }
                div.scroll { table {
                    thead { tr {
                        th { "of" } th.n { "values" } th.n { "p50" } th.n { "p90" } th.n { "p99" }
                        th.n { "p99.9" } th.n { "largest" } th.n { "sum" }
                    } }
                    tbody {
                        @for (name, h) in &all {
                            tr {
                                td { (name) }
                                td.n { (wording::count(h.count)) }
                                @for p in [h.p50, h.p90, h.p99, h.p999, h.max] {
                                    td.n { (value(h, p)) }
                                }
                                td.n { @match h.unit {
                                    Unit::Seconds => (wording::duration(h.sum.0)),
                                    _ => (wording::count(h.sum.0 as u64)),
                                } }
                            }
                        }
                    }
                } }
            }
        }
    }
}

pub(super) fn notifiers(capture: &Capture) -> Markup {
    let subscribers = capture.subscribers.as_deref().unwrap_or_default();
    let shared = subscribers.iter().any(|s| s.shared_calls > 0);
    html! {
        @if !subscribers.is_empty() {
            section {
                h2 { "Who listens on MMU notifiers" }
                div.scroll { table {
                    @if shared {
                        caption {
                            "“at most”: other subscribers took part in some of the calls, and \
                             their time counts for each."
                        }
                    }
                    thead { tr {
                        th { "subscriber" } th.n { "calls" } th.n { "time" } th.n { "a call" }
                    } }
                    tbody {
                        @for s in subscribers {
                            tr {
                                td.mono { (s.symbol) }
                                td.n { (wording::count(s.calls)) }
                                td.n {
                                    @if s.shared_calls > 0 { "at most " }
                                    (wording::duration(s.seconds))
                                }
                                td.n { (wording::duration(s.seconds / s.calls.max(1) as f64)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

pub(super) fn gaps(capture: &Capture) -> Markup {
    let list = |title: &str, gaps: &[Gap]| {
        html! {
            @if !gaps.is_empty() {
                section {
                    h2 { (title) }
                    dl { @for gap in gaps { dt { b { (gap.what) } } dd.dim { (gap.why) } } }
                }
            }
        }
    };
    html! {
        (list("Not measured", &capture.not_measured))
        (list("On weaker evidence", &capture.weaker))
    }
}

pub(super) fn hooks(capture: &Capture) -> Markup {
    html! {
        section {
            h2 { "Hooks" }
            div.scroll { table {
                thead { tr {
                    th { "hook" } th { "symbol" } th { "attached by" } th { "state" }
                    th.n { "hits" } th.n { "missed" } th { "why" }
                } }
                tbody {
                    @for h in &capture.hooks {
                        tr {
                            td.mono { (h.name) }
                            td.mono { (h.symbol) }
                            td { (h.attach.map_or(UNKNOWN, crate::snapshot::Attach::name)) }
                            td { (h.state.name()) }
                            td.n { (number(h.hits)) }
                            td.n { (number(h.missed)) }
                            td.dim { (h.reason.as_deref().unwrap_or("")) }
                        }
                    }
                }
            } }
        }
    }
}

pub(super) fn trust(capture: &Capture) -> Markup {
    html! {
        section {
            h2 { "How far to trust this" }
            @for sentence in crate::render::text::sections::trust_sentences(capture) { p { (sentence) } }
        }
    }
}
