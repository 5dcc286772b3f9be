//! The sections of the page.

use maud::{Markup, html};

use super::chart;
use crate::model::{
    Capture, Gap, Interval, Unit, Who, judge,
    tables::{
        self, Distribution, Emphasis, Per, Share, SumBy,
        distributions::{percentiles, value},
    },
    wording,
};

/// Printed for what is not known.
const UNKNOWN: &str = "-";

fn number(n: Option<u64>) -> String {
    n.map_or_else(|| UNKNOWN.to_owned(), wording::count)
}

fn size(pages: Option<u64>) -> String {
    pages.map_or_else(|| UNKNOWN.to_owned(), wording::pages)
}

fn share(share: Option<Share>) -> String {
    share.map_or_else(|| UNKNOWN.to_owned(), |s| s.to_string())
}

fn class(emphasis: Emphasis) -> &'static str {
    match emphasis {
        Emphasis::Futile => "bad",
        Emphasis::Doubtful => "warn",
        Emphasis::Plain | Emphasis::Absent => "",
    }
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

pub(super) fn verdicts(capture: &Capture) -> Markup {
    let Some(total) = capture.unmaps.total else {
        return html! {};
    };
    html! {
        section {
            h2 { "What became of the unmapped folios" }
            div.scroll { table {
                thead { tr {
                    th { "verdict" } th.n { "folios" } th.n { "share" } th { "" }
                    th.n { "pages" } th.n { "size" } th.n { "notifier calls" } th { "meaning" }
                } }
                tbody {
                    @for row in tables::verdicts::verdicts(capture) {
                        tr {
                            td.mono { span class=(class(row.emphasis)) { (row.verdict.as_str()) } }
                            td.n { (number(row.total.map(|t| t.folios))) }
                            td.n { (share(row.share)) }
                            td { @if let Some(share) = row.share {
                                (chart::share(share, row.is_futile()))
                            } }
                            td.n { (number(row.total.map(|t| t.pages))) }
                            td.n { (size(row.total.map(|t| t.pages))) }
                            td.n { (number(row.total.and_then(|t| t.notifier_calls))) }
                            td.dim { (row.meaning) }
                        }
                    }
                    tr {
                        th { "all" } th.n { (wording::count(total)) } th {} th {}
                        th.n { (number(capture.unmaps.pages)) }
                        th.n { (size(capture.unmaps.pages)) }
                        th.n { (number(capture.notifier.calls)) } th {}
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
                        figcaption { "Unmaps per second" }
                        (chart::lines(timeline, ["all", "futile"], |i| {
                            let rates = i.rates.as_ref();
                            [rates.and_then(|r| r.unmaps), rates.and_then(|r| r.futile)]
                        }))
                    }
                    figure {
                        figcaption { "MMU notifiers" }
                        (chart::lines(timeline, ["calls per second", "ms per second"], |i| {
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
    let rows = tables::victims::victims(capture, Per::Process).unwrap_or_default();
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Victims of futile unmaps" }
                div.scroll { table {
                    caption { "A shared folio counts for each process that mapped it." }
                    thead { tr {
                        th.n { "pid" } th { "comm" } th { "cgroup" } th.n { "mappings" }
                        th.n { "pages" } th.n { "size" }
                    } }
                    tbody {
                        @for row in &rows {
                            tr {
                                (who(&row.who))
                                td.n { (wording::count(row.mappings)) }
                                td.n { (wording::count(row.pages)) }
                                td.n { (wording::pages(row.pages)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

pub(super) fn reclaimers(capture: &Capture) -> Markup {
    let rows = tables::reclaim::reclaim(capture, SumBy::All).unwrap_or_default();
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Reclaimers and the memory they unmapped" }
                div.scroll { table {
                    thead { tr {
                        th { "reclaimer" } th { "memory" } th.n { "order" } th.n { "unmaps" }
                        th.n { "futile" } th.n { "share" } th { "" } th.n { "futile size" }
                    } }
                    tbody {
                        @for row in &rows {
                            tr {
                                td.mono { (row.reclaimer.unwrap_or(UNKNOWN)) }
                                td.mono { (row.memory.unwrap_or(UNKNOWN)) }
                                td.n { (row.order.map_or(UNKNOWN.to_owned(), |o| o.to_string())) }
                                td.n { (wording::count(row.all.folios)) }
                                td.n { span class=(class(row.emphasis())) {
                                    (wording::count(row.futile.folios))
                                } }
                                td.n { (row.share()) }
                                td { (chart::share(row.share(), true)) }
                                td.n { (wording::pages(row.futile.pages)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

pub(super) fn distributions(capture: &Capture) -> Markup {
    let all = tables::distributions::distributions(capture);
    let filled: Vec<_> = all
        .iter()
        .filter_map(|d: &Distribution<'_>| Some((d, d.filled()?)))
        .collect();
    html! {
        @if !filled.is_empty() {
            section {
                h2 { "Distributions" }
                div.charts {
                    @for (d, h) in &filled {
                        figure { figcaption { (d.title) } (chart::histogram(h)) }
                    }
                }
                div.scroll { table {
                    thead { tr {
                        th { "distribution" } th.n { "values" } th.n { "p50" } th.n { "p90" }
                        th.n { "p99" } th.n { "p99.9" } th.n { "max" } th.n { "sum" }
                    } }
                    tbody {
                        @for (d, h) in &filled {
                            tr {
                                td { (d.title) }
                                td.n { (wording::count(h.count)) }
                                @for (_, p) in percentiles(h) {
                                    td.n { (p.map_or(UNKNOWN.to_owned(), |p| value(h.unit, p))) }
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
    let rows = tables::subscribers::subscribers(capture).unwrap_or_default();
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "MMU notifier subscribers" }
                div.scroll { table {
                    @if rows.iter().any(tables::SubscriberRow::is_bound) {
                        caption { (tables::subscribers::BOUND) "." }
                    }
                    thead { tr {
                        th { "subscriber" } th.n { "calls" } th.n { "time" } th.n { "per call" }
                    } }
                    tbody {
                        @for row in &rows {
                            tr {
                                td.mono { (row.symbol) }
                                td.n { (wording::count(row.calls)) }
                                td.n {
                                    @if row.is_bound() { "at most " }
                                    (wording::duration(row.seconds))
                                }
                                td.n {
                                    (row.per_call.map_or(UNKNOWN.to_owned(), wording::duration))
                                }
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
                    th.n { "hits" } th.n { "missed" } th { "reason" }
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

pub(super) fn reliability(capture: &Capture) -> Markup {
    html! {
        section {
            h2 { "Reliability" }
            @for sentence in judge::reliability(capture) { p { (sentence) } }
        }
    }
}
