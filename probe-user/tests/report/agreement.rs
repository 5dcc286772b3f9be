//! Two renderers never disagree: what the table layer computes is what each of them shows.

use pinscope::{
    model::{
        Capture,
        tables::{
            self, BinRow,
            bins::{ROWS, bins},
            distributions::{distributions, percentiles, value},
        },
        wording,
    },
    render::{
        html::page,
        text::{Style, report},
    },
};

use crate::fixtures::{busy, capture, many_victims, missing_hooks, nothing, quiet};

/// Every number that both text and HTML show, with its row's name.
fn shared(capture: &Capture) -> Vec<String> {
    let mut all = Vec::new();
    for row in tables::verdicts::verdicts(capture) {
        all.push(row.meaning.to_owned());
        all.extend(row.share.map(|s| s.to_string()));
        all.extend(row.total.map(|t| wording::count(t.folios)));
    }
    for row in tables::victims::victims(capture, tables::Per::Process)
        .iter()
        .flatten()
        .take(10)
    {
        all.push(wording::count(row.mappings));
        all.push(wording::pages(row.pages));
    }
    for row in tables::reclaim::reclaim(capture, tables::SumBy::All)
        .iter()
        .flatten()
        .take(10)
    {
        all.push(row.share().to_string());
        all.push(wording::count(row.futile.folios));
    }
    for d in distributions(capture) {
        let Some(h) = d.filled() else { continue };
        all.push(d.title.to_owned());
        for bin in bins(h, ROWS).iter().filter_map(BinRow::bin) {
            all.push(bin.range(h.unit));
            all.push(wording::count(bin.count));
        }
        all.extend(
            percentiles(h)
                .into_iter()
                .filter_map(|(_, p)| Some(value(h.unit, p?))),
        );
    }
    all
}

#[test]
fn text_and_html_show_the_same_numbers() {
    let style = Style {
        width: 200,
        ..Style::default()
    };
    for c in [busy(), quiet(), many_victims(), missing_hooks(), nothing()].map(|s| capture(&s)) {
        if c.unmaps.total == Some(0) {
            continue;
        }
        let text = report::report(&c, &style);
        let html = page(&c, &[])
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        let numbers = shared(&c);
        assert!(numbers.len() > 10);
        for n in numbers {
            assert!(text.contains(&n), "the text has no {n:?}:\n{text}");
            assert!(html.contains(&n), "the page has no {n:?}");
        }
    }
}
