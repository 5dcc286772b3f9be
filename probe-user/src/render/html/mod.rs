//! A capture as one HTML file: no script, no network, charts as inline SVG. It shows what the text
//! report shows, whole, and the time line where a recording has one.

mod chart;
mod sections;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    model::{AnswerWord, Capture, Interval, wording},
    snapshot::HookState,
};

const STYLE: &str = include_str!("style.css");

/// The page of a capture. `timeline`: the intervals of the recording that it comes from, in
/// order; empty where there is none.
pub fn page(capture: &Capture, timeline: &[Interval]) -> String {
    let title = format!(
        "pinscope: {}, {}",
        capture.host.hostname, capture.window.start
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing may be loaded, whatever a comm or a cgroup is called.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="generator" content={ "pinscope " (env!("CARGO_PKG_VERSION")) };
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(capture))
                main {
                    (sections::findings(capture))
                    (sections::verdicts(capture))
                    (sections::timeline(timeline))
                    (sections::victims(capture))
                    (sections::reclaimers(capture))
                    (sections::histograms(capture))
                    (sections::notifiers(capture))
                    (sections::gaps(capture))
                    (sections::hooks(capture))
                    (sections::trust(capture))
                }
            }
        }
    }
    .into_string()
}

fn head(capture: &Capture) -> Markup {
    let host = &capture.host;
    let active = capture
        .hooks
        .iter()
        .filter(|h| h.state == HookState::Active)
        .count();
    let word = match capture.answer.word {
        AnswerWord::Yes => "yes",
        AnswerWord::Barely => "barely",
        AnswerWord::No => "no",
        AnswerWord::CantTell => "cant_tell",
    };
    html! {
        header {
            h1 { "pinscope capture · " (host.hostname) }
            p.dim {
                "Linux " (host.kernel) " · " (wording::counted(host.cpus.into(), "CPU")) " · from "
                (capture.window.start) ", " (wording::span(capture.window.seconds)) " · "
                (active) " of " (capture.hooks.len()) " hooks active"
            }
            p class={ "answer " (word) } { (capture.answer.text) }
            (tiles(capture))
        }
    }
}

fn tiles(capture: &Capture) -> Markup {
    let seconds = capture.window.seconds;
    let unmaps = &capture.unmaps;
    let futile = futile(capture);
    let rate = |n: Option<u64>| n.and_then(|n| wording::per_second(n, seconds));
    html! {
        div.tiles {
            (tile("unmaps", unmaps.total.map(wording::count), rate(unmaps.total)))
            (tile(
                "of them in vain",
                futile.map(wording::count),
                futile.zip(unmaps.total).map(|(n, all)| wording::share(n, all)),
            ))
            (tile(
                "notifier calls in vain",
                capture.notifier.in_futile.map(wording::count),
                capture.notifier.calls.map(|n| format!("of {}", wording::count(n))),
            ))
            (tile(
                "time unmapping in vain",
                capture.histograms.unmap_seconds.as_ref().map(|h| wording::duration(h.sum.0)),
                capture.histograms.notifier_seconds.as_ref()
                    .map(|h| format!("{} of it in notifiers", wording::duration(h.sum.0))),
            ))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "each is made for the call")]
fn tile(what: &str, value: Option<String>, note: Option<String>) -> Markup {
    html! {
        div.tile {
            (what)
            b { (value.as_deref().unwrap_or("-")) }
            span.dim { (note.as_deref().unwrap_or("")) }
        }
    }
}

/// Futile unmaps; `None`: not measured.
fn futile(capture: &Capture) -> Option<u64> {
    let of = |verdict| capture.unmaps.by_verdict.get(verdict).copied().flatten();
    let pinned = of(probe_ebpf::Verdict::FutilePinned)?;
    let referenced = of(probe_ebpf::Verdict::FutileReferenced)?;
    Some(pinned.folios.saturating_add(referenced.folios))
}
