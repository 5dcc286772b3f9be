//! The dashboard, drawn: each view at three sizes, without colour and in ASCII; its keys; and that
//! a replay shows what was seen live, number by number.

// clippy.toml allows these in tests, and takes the helpers beside them for something else.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

#[path = "report/fixtures.rs"]
mod fixtures;

use std::time::{Duration, SystemTime};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use pinscope::{
    recording::Frame,
    snapshot::Snapshot,
    tui::{
        Action, Dashboard, Source, Theme, View,
        keys::{BINDINGS, Command, When},
    },
};
use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};

const PLAIN: Theme = Theme {
    color: false,
    ascii: false,
};
const COLOR: Theme = Theme {
    color: true,
    ascii: false,
};
const ASCII: Theme = Theme {
    color: false,
    ascii: true,
};

fn live() -> Source {
    Source::Live {
        interval: Duration::from_secs(1),
    }
}

fn replay(count: usize) -> Source {
    Source::Replay {
        index: 0,
        count,
        speed: 1.0,
        incomplete: None,
    }
}

fn empty(theme: Theme, source: Source) -> Dashboard {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_585_600);
    Dashboard::new(fixtures::host(), start, theme, source)
}

/// Looks a second apart, in which counts grow as those of `last` do from nothing.
fn looks(last: &Snapshot, n: u64) -> Vec<Frame> {
    (1..=n)
        .map(|i| {
            // Faster and slower by turns, so that the lines have a shape.
            let part = |v: u64| v * (i * i + i % 3) / (n * n + n % 3);
            let mut s = last.clone();
            s.elapsed = i as f64;
            for (_, counts) in &mut s.groups {
                for c in counts {
                    c.folios = part(c.folios);
                    c.pages = part(c.pages);
                    c.notifier_calls = part(c.notifier_calls);
                    c.notifier_ns = part(c.notifier_ns);
                    c.unmap_ns = part(c.unmap_ns);
                }
            }
            for h in s.unmap_ns.values_mut().chain([&mut s.excess]) {
                h.sum = part(h.sum);
                for b in &mut h.buckets {
                    *b = part(*b);
                }
            }
            let events = if i % 4 == 0 {
                vec![fixtures::event()]
            } else {
                vec![]
            };
            Frame {
                snapshot: s,
                events,
            }
        })
        .collect()
}

fn fed(theme: Theme, source: Source, last: &Snapshot) -> Dashboard {
    let mut dashboard = empty(theme, source);
    for frame in looks(last, 24) {
        dashboard.feed(frame);
    }
    dashboard
}

fn buffer(dashboard: &mut Dashboard, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|f| dashboard.draw(f)).unwrap();
    terminal.backend().buffer().clone()
}

fn screen(dashboard: &mut Dashboard, width: u16, height: u16) -> String {
    let buffer = buffer(dashboard, width, height);
    let rows = buffer.content().chunks(usize::from(width));
    let lines: Vec<String> = rows
        .map(|row| {
            let line: String = row.iter().map(|c| c.symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

fn press(dashboard: &mut Dashboard, code: KeyCode) -> Option<Action> {
    dashboard.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn chars(dashboard: &mut Dashboard, keys: &str) {
    for c in keys.chars() {
        press(dashboard, KeyCode::Char(c));
    }
}

#[test]
fn each_view_at_three_sizes() {
    for (n, view) in View::ALL.into_iter().enumerate() {
        for (width, height) in [(80, 24), (120, 40), (40, 12)] {
            let mut dashboard = fed(PLAIN, live(), &fixtures::busy());
            chars(&mut dashboard, &(n + 1).to_string());
            assert_eq!(dashboard.view(), view);
            let name = format!("{}_{width}x{height}", view.name());
            insta::assert_snapshot!(name, screen(&mut dashboard, width, height));
        }
    }
}

#[test]
fn each_view_in_ascii_has_nothing_else() {
    for n in 1..=View::ALL.len() {
        let mut dashboard = fed(ASCII, live(), &fixtures::busy());
        chars(&mut dashboard, &n.to_string());
        let text = screen(&mut dashboard, 80, 24);
        let other: String = text.chars().filter(|c| !c.is_ascii()).collect();
        // Units and arrows of the model's own sentences are the only exception.
        let other: String = other.chars().filter(|c| !"µ→".contains(*c)).collect();
        assert_eq!(other, "", "{text}");
    }
    let mut dashboard = fed(ASCII, live(), &fixtures::busy());
    insta::assert_snapshot!("overview_ascii", screen(&mut dashboard, 80, 24));
}

/// Colour adds nothing: the text is the same, and what is marked is marked without it.
#[test]
fn nothing_is_told_by_colour_alone() {
    for n in 1..=View::ALL.len() {
        let (mut plain, mut color) = (
            fed(PLAIN, live(), &fixtures::busy()),
            fed(COLOR, live(), &fixtures::busy()),
        );
        chars(&mut plain, &n.to_string());
        chars(&mut color, &n.to_string());
        assert_eq!(screen(&mut plain, 80, 24), screen(&mut color, 80, 24));
        for cell in buffer(&mut plain, 80, 24).content() {
            assert_eq!(cell.fg, ratatui::style::Color::Reset);
            assert_eq!(cell.bg, ratatui::style::Color::Reset);
        }
        for cell in buffer(&mut color, 80, 24).content() {
            assert_eq!(cell.bg, ratatui::style::Color::Reset, "a background");
        }
    }
}

#[test]
fn what_is_not_measured_is_a_dash_with_its_reason() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::missing_hooks());
    insta::assert_snapshot!("missing_hooks", screen(&mut dashboard, 80, 24));
    chars(&mut dashboard, "8");
    insta::assert_snapshot!("missing_hooks_hooks", screen(&mut dashboard, 80, 24));
}

#[test]
fn before_the_first_look_and_when_there_is_no_room() {
    let mut dashboard = empty(PLAIN, live());
    assert!(screen(&mut dashboard, 80, 24).contains("waiting for the first look"));
    assert!(screen(&mut dashboard, 20, 5).contains("too small"));
    let mut dashboard = fed(PLAIN, live(), &fixtures::nothing());
    insta::assert_snapshot!("nothing", screen(&mut dashboard, 80, 24));
}

#[test]
fn many_rows_scroll_and_filter() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::many_victims());
    chars(&mut dashboard, "2");
    press(&mut dashboard, KeyCode::End);
    insta::assert_snapshot!("victims_end", screen(&mut dashboard, 80, 24));
    chars(&mut dashboard, "/nosuchthing");
    press(&mut dashboard, KeyCode::Enter);
    assert!(screen(&mut dashboard, 80, 24).contains("no row has"));
    press(&mut dashboard, KeyCode::Esc);
    assert!(!screen(&mut dashboard, 80, 24).contains("no row has"));
    chars(&mut dashboard, "c");
    insta::assert_snapshot!("victims_by_cgroup", screen(&mut dashboard, 80, 24));
}

#[test]
fn popups() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::busy());
    chars(&mut dashboard, "?");
    insta::assert_snapshot!("help", screen(&mut dashboard, 80, 24));
    press(&mut dashboard, KeyCode::Esc);
    chars(&mut dashboard, "2s");
    insta::assert_snapshot!("sort_menu", screen(&mut dashboard, 80, 24));
    press(&mut dashboard, KeyCode::Esc);
    press(&mut dashboard, KeyCode::Enter);
    insta::assert_snapshot!("victim_opened", screen(&mut dashboard, 80, 24));
    // Esc goes back, and never leaves.
    assert_eq!(press(&mut dashboard, KeyCode::Esc), None);
    assert_eq!(press(&mut dashboard, KeyCode::Esc), None);
    assert_eq!(
        press(&mut dashboard, KeyCode::Char('q')),
        Some(Action::Quit)
    );
}

#[test]
fn help_lists_every_key_of_the_table_and_no_other() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::busy());
    chars(&mut dashboard, "?");
    let text = screen(&mut dashboard, 100, 60);
    let listed = text.lines().filter(|l| l.contains('│')).count();
    assert_eq!(listed, BINDINGS.len(), "{text}");
    for b in BINDINGS {
        assert!(text.contains(b.help), "{} is missing:\n{text}", b.label);
        assert!(text.contains(b.label), "{}", b.label);
    }
}

#[test]
fn keys_ask_for_what_the_table_says() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::busy());
    assert_eq!(
        press(&mut dashboard, KeyCode::Char('+')),
        Some(Action::Interval(Duration::from_secs(2)))
    );
    assert_eq!(
        press(&mut dashboard, KeyCode::Char('-')),
        Some(Action::Interval(Duration::from_secs(1)))
    );
    let Some(Action::Write(capture)) = press(&mut dashboard, KeyCode::Char('w')) else {
        panic!("w asks for a capture to be written");
    };
    assert_eq!(
        capture.unmaps.total,
        dashboard.totals().unwrap().unmaps.total
    );
    chars(&mut dashboard, "R");
    let after = dashboard.totals().unwrap();
    assert_eq!(after.unmaps.total, Some(0), "counting begins anew");
    let mut dashboard = fed(PLAIN, replay(24), &fixtures::busy());
    dashboard.at(10);
    assert_eq!(press(&mut dashboard, KeyCode::Left), Some(Action::Seek(9)));
    assert_eq!(
        press(&mut dashboard, KeyCode::Right),
        Some(Action::Seek(11))
    );
    assert_eq!(press(&mut dashboard, KeyCode::Home), Some(Action::Seek(0)));
    assert_eq!(press(&mut dashboard, KeyCode::End), Some(Action::Seek(23)));
}

#[test]
fn paused_the_screen_stands_still_and_nothing_is_lost() {
    let frames = looks(&fixtures::busy(), 24);
    let mut dashboard = empty(PLAIN, live());
    let (before, after) = frames.split_at(12);
    for f in before {
        dashboard.feed(f.clone());
    }
    chars(&mut dashboard, " ");
    let stands = screen(&mut dashboard, 80, 24);
    assert!(stands.contains("PAUSED"));
    for f in &after[..11] {
        dashboard.feed(f.clone());
    }
    assert_eq!(screen(&mut dashboard, 80, 24), stands);
    chars(&mut dashboard, " ");
    dashboard.feed(after[11].clone());
    let whole = fed(PLAIN, live(), &fixtures::busy());
    assert_eq!(dashboard.totals(), whole.totals());
}

/// What differs between live and a replay is the word for it, and the keys.
#[test]
fn a_replay_shows_what_was_seen_live() {
    let frames = looks(&fixtures::busy(), 24);
    for upto in [1, 7, 24] {
        let mut live = empty(PLAIN, live());
        let mut again = empty(PLAIN, replay(24));
        for f in &frames[..upto] {
            live.feed(f.clone());
        }
        // It went to the end first, and came back.
        for f in &frames {
            again.feed(f.clone());
        }
        again.rewind();
        for f in &frames[..upto] {
            again.feed(f.clone());
        }
        again.at(upto - 1);
        assert_eq!(live.totals(), again.totals());
        for n in 1..=View::ALL.len() {
            for mode in ["", "t"] {
                for d in [&mut live, &mut again] {
                    chars(d, &format!("{n}{mode}"));
                }
                let middle = |text: String| -> Vec<String> {
                    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                    lines[1..lines.len() - 1].to_vec()
                };
                assert_eq!(
                    middle(screen(&mut live, 100, 30)),
                    middle(screen(&mut again, 100, 30)),
                    "view {n}, look {upto}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_keys_and_no_size_make_it_panic(
        keys in prop::collection::vec(0..BINDINGS.len() + 8, 0..60),
        sizes in prop::collection::vec((1u16..200, 1u16..70), 1..6),
        which in 0..4usize,
        again in any::<bool>(),
    ) {
        let last = match which {
            0 => fixtures::busy(),
            1 => fixtures::missing_hooks(),
            2 => fixtures::many_victims(),
            _ => fixtures::nothing(),
        };
        let source = if again { replay(24) } else { live() };
        let mut dashboard = fed(PLAIN, source, &last);
        for (i, key) in keys.iter().enumerate() {
            match BINDINGS.get(*key) {
                Some(b) => {
                    let (modifiers, code) = b.keys[0];
                    dashboard.key(KeyEvent::new(code, modifiers));
                }
                None => {
                    press(&mut dashboard, KeyCode::Char("xyz%é日\u{7f}µ".chars().nth(key - BINDINGS.len()).unwrap()));
                }
            }
            if i % 5 == 0 {
                let (w, h) = sizes[i % sizes.len()];
                buffer(&mut dashboard, w, h);
            }
        }
        for (w, h) in sizes {
            buffer(&mut dashboard, w, h);
        }
    }
}

#[test]
fn every_command_can_be_reached() {
    let reached = |c: Command| BINDINGS.iter().any(|b| b.command == c);
    for c in [
        Command::Quit,
        Command::Help,
        Command::Pause,
        Command::Write,
        Command::Reset,
    ] {
        assert!(reached(c));
    }
    assert!(BINDINGS.iter().any(|b| b.when == When::Replay));
}
