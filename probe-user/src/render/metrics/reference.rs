//! The tables of metrics and labels in docs/numbers.md.

use std::fmt::Write;

use super::{family::Metric, registry::METRICS};

/// Returns the tables of all metrics and of their labels, in Markdown.
pub fn reference() -> String {
    let mut out = String::from(
        "| metric | type | labels | shows | needs |\n\
         |---|---|---|---|---|\n",
    );
    for metric in METRICS {
        row(&mut out, metric);
    }
    out.push_str("\n| label | values |\n|---|---|\n");
    let mut known: Vec<&str> = Vec::new();
    for label in METRICS.iter().flat_map(|m| m.labels) {
        if !known.contains(&label.name) {
            known.push(label.name);
            // Writing to a String cannot fail.
            let _ = writeln!(out, "| `{}` | {} |", label.name, label.meaning);
        }
    }
    out
}

fn row(out: &mut String, metric: &Metric) {
    let kind = metric.kind.word();
    let labels = metric.labels.iter().map(|l| code(l.name));
    let option = metric.option.map(code);
    let hooks = metric.needs.iter().map(|h| code(h.name()));
    let details = match metric.details {
        "" => String::new(),
        details => format!(". {}", details.trim_end_matches('.')),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "| `{}` | {kind}, {} | {} | {}{details} | {} |",
        metric.full_name(),
        metric.unit.words(),
        list(labels),
        metric.help,
        list(option.into_iter().chain(hooks)),
    );
}

fn code(word: &str) -> String {
    format!("`{word}`")
}

fn list(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}
