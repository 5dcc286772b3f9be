//! The tabs: all views that fit, with their digits.

use std::ops::Range;

use ratatui::{style::Style, text::Span};
use unicode_width::UnicodeWidthStr;

use crate::tui::{
    keys::digit,
    theme::{Ink, Theme},
    views::View,
};

/// The tabs of `views`, and whether rates or totals are shown. Names shorten where there is
/// little room, down to digits; where not even those fit, a window around the view shown
/// remains.
pub(super) fn tabs(
    views: &[&View],
    shown: usize,
    rates: bool,
    width: u16,
    theme: Theme,
) -> Vec<Span<'static>> {
    let what = if rates { "rates" } else { "totals" };
    let name = views.get(shown).map_or("", |v| v.name);
    let room = usize::from(width).saturating_sub("totals".len() + name.len());
    // Each with a digit and a space. The view shown has its whole name.
    let fits = |name: fn(&View) -> &'static str| {
        views.iter().map(|v| name(v).len() + 2).sum::<usize>() <= room
    };
    let name: fn(&View) -> &'static str = if fits(|v| v.name) {
        |v| v.name
    } else if fits(|v| v.short) {
        |v| v.short
    } else {
        |_| ""
    };
    let labels: Vec<String> = views
        .iter()
        .enumerate()
        .map(|(place, view)| match digit(place) {
            Some((key, _)) if place == shown => format!("{key}{}", view.name),
            Some((key, _)) => format!("{key}{}", name(view)),
            None if place == shown => view.name.to_owned(),
            // Only its name identifies a view without a digit.
            None if name(view).is_empty() => view.short.to_owned(),
            None => name(view).to_owned(),
        })
        .collect();
    let window = window(
        &labels,
        shown,
        usize::from(width).saturating_sub("totals".len()),
    );
    let (before, after) = if theme.ascii {
        ("< ", "> ")
    } else {
        ("‹ ", "› ")
    };
    let mut pieces = Vec::new();
    if window.start > 0 {
        pieces.push(theme.ink(Ink::Dim, before));
    }
    let all = labels.len();
    for (place, label) in labels.into_iter().enumerate() {
        if window.contains(&place) {
            let style = if place == shown {
                theme.selected()
            } else {
                Style::new()
            };
            pieces.push(Span::styled(label, style));
            pieces.push(Span::raw(" "));
        }
    }
    if window.end < all {
        pieces.push(theme.ink(Ink::Dim, after));
    }
    pieces.push(theme.ink(Ink::Dim, what));
    pieces
}

/// The labels around `shown` that fit into `width`, with a space each: all, or as many as leave
/// room for a mark on either side.
fn window(labels: &[String], shown: usize, width: usize) -> Range<usize> {
    let wide = |range: Range<usize>| -> usize {
        labels[range].iter().map(|label| label.width() + 1).sum()
    };
    if wide(0..labels.len()) <= width {
        return 0..labels.len();
    }
    let room = width.saturating_sub(4);
    let fits = |range: &Range<usize>| wide(range.clone()) <= room;
    let mut window = shown..(shown + 1).min(labels.len());
    loop {
        let left = (window.start > 0).then(|| window.start - 1..window.end);
        let right = (window.end < labels.len()).then(|| window.start..window.end + 1);
        let (left, right) = (left.filter(fits), right.filter(fits));
        // The shorter side grows first, which keeps the view shown in the middle.
        let grown = if shown - window.start < window.end - shown - 1 {
            left.or(right)
        } else {
            right.or(left)
        };
        match grown {
            Some(grown) => window = grown,
            None => return window,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::views::twelve;

    const ASCII: Theme = Theme {
        color: false,
        ascii: true,
    };

    fn line(shown: usize, width: u16) -> String {
        let pieces = tabs(twelve(), shown, false, width, ASCII);
        pieces.iter().map(|p| p.content.as_ref()).collect()
    }

    #[test]
    fn twelve_tabs_shorten_as_the_width_does() {
        assert_eq!(
            line(1, 100),
            "1one 2two 3three 4four 5five 6six 7seven 8eight 9nine 0ten eleven twelve totals"
        );
        assert_eq!(
            line(6, 76),
            "11st 22nd 33rd 44th 55th 66th 7seven 88th 99th 010th 11th 12th totals"
        );
        // A view without a digit keeps its short name.
        assert_eq!(line(1, 50), "1 2two 3 4 5 6 7 8 9 0 11th 12th totals");
        assert_eq!(line(10, 50), "1 2 3 4 5 6 7 8 9 0 eleven 12th totals");
    }

    #[test]
    fn a_window_shows_where_not_even_digits_fit() {
        assert_eq!(line(5, 30), "< 3 4 5 6six 7 8 9 0 > totals");
        assert_eq!(line(0, 30), "1one 2 3 4 5 6 7 8 > totals");
        assert_eq!(line(11, 30), "< 7 8 9 0 11th twelve totals");
        for width in 20..60 {
            for (shown, view) in twelve().iter().enumerate() {
                let line = line(shown, width);
                assert!(line.len() <= usize::from(width), "{line:?} in {width}");
                assert!(line.contains(view.name), "{line:?}");
            }
        }
    }
}
