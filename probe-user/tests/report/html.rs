//! The HTML page: complete, self-contained, and safe against hostile names of processes.

use pinscope::{
    model::{Capture, Interval},
    render::html::page,
};

use crate::fixtures::{self, busy, capture, many_victims, missing_hooks, nothing, quiet};

fn captures() -> [Capture; 5] {
    [busy(), quiet(), nothing(), missing_hooks(), many_victims()].map(|s| capture(&s))
}

/// Three samples, half of all counts in each later one.
fn intervals() -> Vec<Interval> {
    let mut earlier = busy();
    earlier.elapsed /= 2.0;
    for (_, counts) in &mut earlier.groups {
        for c in counts {
            c.folios /= 2;
            c.notifier_calls /= 2;
        }
    }
    let now = busy();
    vec![
        Interval::new(None, None, &earlier),
        Interval::new(None, Some(&earlier), &now),
        Interval::new(None, Some(&earlier), &now),
    ]
}

/// Checks that elements nest correctly and that text is escaped.
fn well_formed(page: &str) {
    const VOID: [&str; 2] = ["meta", "!DOCTYPE"];
    let body = page.split_once("<style>").unwrap();
    let rest = body.1.split_once("</style>").unwrap().1;
    let text = format!("{}{rest}", body.0);
    let mut open: Vec<&str> = Vec::new();
    for piece in text.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').unwrap();
        let name = tag.split_whitespace().next().unwrap();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order");
        } else if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

fn self_contained(page: &str) {
    for word in [
        "http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link",
    ] {
        assert!(!page.contains(word), "{word} in the page");
    }
}

#[test]
fn of_each_capture() {
    for capture in captures() {
        let page = page(&capture, &[]);
        well_formed(&page);
        self_contained(&page);
        assert!(page.contains("Reliability"));
    }
}

#[test]
fn names_cannot_break_out() {
    let mut capture = fixtures::capture(&busy());
    let evil = "</td><script>alert(1)</script>&\"'";
    capture.host.hostname = evil.to_owned();
    if let Some(victim) = capture.victims.as_mut().and_then(|v| v.first_mut()) {
        victim.who.comm = Some(evil.to_owned());
        victim.who.cgroup = Some(evil.to_owned());
    }
    let page = page(&capture, &[]);
    well_formed(&page);
    self_contained(&page);
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn a_timeline_is_drawn_and_its_gaps_left_open() {
    let capture = fixtures::capture(&busy());
    let mut intervals = intervals();
    intervals[1].rates = None;
    let page = page(&capture, &intervals);
    well_formed(&page);
    assert!(page.contains("Over time"));
    // The second line starts again after the gap.
    let path = page.split("class=\"line\" d=\"").nth(1).unwrap();
    let path = path.split('"').next().unwrap();
    assert_eq!(path.matches('M').count(), 2, "{path}");
}
