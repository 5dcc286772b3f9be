//! All keys of a dashboard: the common ones, a digit for each of the first ten views, and those
//! that a view adds. The help, the footer and the input use this one list.

use crossterm::event::{KeyEvent, KeyModifiers};

use super::{
    keys::{Binding, Command, GENERAL, ROWS_AND_TIME, When, digit},
    views::View,
};

/// The bindings of a dashboard with these views, in the order of the help.
pub(super) fn bindings(views: &[&'static View]) -> Vec<Binding> {
    let shown = views.iter().enumerate().map(|(place, view)| {
        // An eleventh view has no digit: the menu's key replaces it.
        let (label, keys) = digit(place).unwrap_or(("v", &[]));
        Binding {
            keys,
            label,
            command: Command::View(place),
            help: view.help,
            when: When::Always,
            footer: None,
        }
    });
    let own = views.iter().flat_map(|view| {
        view.keys.iter().map(|b| Binding {
            when: When::View(view.name),
            ..*b
        })
    });
    GENERAL
        .iter()
        .copied()
        .chain(shown)
        .chain(own)
        .chain(ROWS_AND_TIME.iter().copied())
        .collect()
}

/// The command of a key, among the bindings for which `works` holds.
pub(super) fn command(
    bindings: &[Binding],
    key: KeyEvent,
    works: impl Fn(When) -> bool,
) -> Option<Command> {
    // A capital letter carries Shift already.
    let modifiers = key.modifiers - KeyModifiers::SHIFT;
    bindings
        .iter()
        .find(|b| works(b.when) && b.keys.contains(&(modifiers, key.code)))
        .map(|b| b.command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::views::VIEWS;

    #[test]
    fn no_key_is_bound_twice_where_both_work() {
        let bindings = bindings(VIEWS);
        for (i, a) in bindings.iter().enumerate() {
            for b in &bindings[i + 1..] {
                // In a replay its own bindings take precedence over the common ones.
                let shadowed = a.when == When::Replay && b.when == When::Always;
                let apart = matches!((a.when, b.when), (When::View(a), When::View(b)) if a != b);
                for key in a.keys {
                    assert!(
                        shadowed || apart || !b.keys.contains(key),
                        "{} and {}",
                        a.label,
                        b.label
                    );
                }
            }
        }
    }

    #[test]
    fn every_view_is_in_the_list_and_help_has_room_for_it() {
        let bindings = bindings(VIEWS);
        for (place, view) in VIEWS.iter().enumerate() {
            let mut of = bindings
                .iter()
                .filter(|b| b.command == Command::View(place));
            assert!(of.next().is_some_and(|b| b.help.starts_with(view.name)));
        }
        for b in bindings {
            assert!(b.help.len() <= 42, "{:?} is too long for the help", b.help);
        }
    }
}
