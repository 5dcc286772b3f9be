//! A capture as one HTML file without scripts or network access, with charts as inline SVG. It
//! shows what the text report shows, with every row, and the time line of a recording.

mod chart;
mod sections;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::model::{AnswerWord, Capture, Interval, tables::Share, wording};

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
                // A comm or cgroup name must not make the page load anything.
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
                    (sections::distributions(capture))
                    (sections::notifiers(capture))
                    (sections::gaps(capture))
                    (sections::hooks(capture))
                    (sections::reliability(capture))
                }
            }
        }
    }
    .into_string()
}

fn head(capture: &Capture) -> Markup {
    let host = &capture.host;
    let (active, all) = capture.active_hooks();
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
                (active) " of " (all) " hooks active"
            }
            p class={ "answer " (word) } { (capture.answer.text) }
            (tiles(capture))
        }
    }
}

fn tiles(capture: &Capture) -> Markup {
    let seconds = capture.window.seconds;
    let unmaps = &capture.unmaps;
    let futile = unmaps.futile();
    let rate = |n: Option<u64>| n.and_then(|n| wording::per_second(n, seconds));
    html! {
        div.tiles {
            (tile("unmaps", unmaps.total.map(wording::count), rate(unmaps.total)))
            (tile(
                "futile unmaps",
                futile.map(wording::count),
                futile.zip(unmaps.total).map(|(n, all)| Share::of(n, all).to_string()),
            ))
            (tile(
                "futile notifier calls",
                capture.notifier.in_futile.map(wording::count),
                capture.notifier.calls.map(|n| format!("of {}", wording::count(n))),
            ))
            (tile(
                "time in futile unmaps",
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
