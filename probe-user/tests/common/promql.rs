//! Finds the series that a PromQL expression asks for.

/// A selector, such as `pinscope_unmaps_total{road="reclaim"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selector {
    /// The metric.
    pub(crate) name: String,
    /// The matchers with their braces; empty if there are none.
    pub(crate) matchers: String,
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.name, self.matchers)
    }
}

/// Returns the selectors of an expression whose metric is of pinscope, of its process, or of a rule
/// about them; and `up`. The names of functions and labels have no such form.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if matches!(first, '"' | '\'' | '`') {
            rest = after_quoted(rest, first);
        } else if first.is_ascii_alphabetic() || first == '_' || first == ':' {
            let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
            let (name, after) = rest.split_at(rest.find(word).unwrap_or(rest.len()));
            let ours = ["pinscope_", "process_"].map(|p| name.contains(p));
            rest = after;
            if ours.contains(&true) || name == "up" {
                let trimmed = after.trim_start();
                let matchers = if trimmed.starts_with('{') {
                    &trimmed[..end_of_braces(trimmed)]
                } else {
                    ""
                };
                if !matchers.is_empty() {
                    rest = &trimmed[matchers.len()..];
                }
                found.push(Selector {
                    name: name.to_owned(),
                    matchers: matchers.to_owned(),
                });
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Returns what follows a quoted string, which no expression here escapes a quote in.
fn after_quoted(text: &str, quote: char) -> &str {
    text[1..].find(quote).map_or("", |end| &text[end + 2..])
}

/// Returns the length of the braces at the beginning, whose values may contain braces.
fn end_of_braces(text: &str) -> usize {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '}' if !quoted => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn selectors_of_an_expression() {
    let found = selectors(
        "sum by (pod) (rate(pinscope_a_total{verdict=~\"x{2}|}\"}[5m])) > 0 and on (job) \
         job:pinscope_b:rate5m or label_replace(up, \"pinscope_no\", \"$1\", \"job\", \"(.*)\")",
    );
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "job:pinscope_b:rate5m",
            "pinscope_a_total{verdict=~\"x{2}|}\"}",
            "up"
        ]
    );
}
