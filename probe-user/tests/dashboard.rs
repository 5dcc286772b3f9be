//! The dashboard as it is drawn: each view at three sizes, without colour and in ASCII; its keys;
//! and that a replay shows the same numbers as the live dashboard.

// clippy.toml allows these in tests, but not in the helpers of tests.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

#[path = "report/fixtures.rs"]
mod fixtures;

use std::time::{Duration, SystemTime};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use pinscope::{
    recording::Frame,
    snapshot::Snapshot,
    tui::{
        Action, Dashboard, Feed, Theme, VIEWS,
        keys::{Command, When},
    },
};
use probe_ebpf::Verdict;
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

fn live() -> Feed {
    Feed::Live {
        interval: Duration::from_secs(1),
    }
}

fn replay(count: usize) -> Feed {
    Feed::Replay {
        index: 0,
        count,
        speed: 1.0,
        incomplete: None,
    }
}

fn empty(theme: Theme, feed: Feed) -> Dashboard {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_585_600);
    Dashboard::new(fixtures::host(), start, theme, feed)
}

/// Samples a second apart, whose counts grow from zero to those of `last`.
fn samples(last: &Snapshot, n: u64) -> Vec<Frame> {
    (1..=n)
        .map(|i| {
            // Growth speeds up and slows down, so that sparklines have a shape.
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

fn fed(theme: Theme, feed: Feed, last: &Snapshot) -> Dashboard {
    let mut dashboard = empty(theme, feed);
    for frame in samples(last, 24) {
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

/// Shows a view by its place in the registry, from 0.
fn show(dashboard: &mut Dashboard, view: usize) {
    chars(dashboard, "1");
    for _ in 0..view {
        press(dashboard, KeyCode::Tab);
    }
}

#[test]
fn each_view_at_three_sizes() {
    for (n, view) in VIEWS.iter().enumerate() {
        for (width, height) in [(80, 24), (120, 40), (40, 12)] {
            let mut dashboard = fed(PLAIN, live(), &fixtures::busy());
            show(&mut dashboard, n);
            assert_eq!(dashboard.view().name(), view.name());
            let name = format!("{}_{width}x{height}", view.name());
            insta::assert_snapshot!(name, screen(&mut dashboard, width, height));
        }
    }
}

#[test]
fn each_view_in_ascii_is_ascii_only() {
    for n in 0..VIEWS.len() {
        let mut dashboard = fed(ASCII, live(), &fixtures::busy());
        show(&mut dashboard, n);
        let text = screen(&mut dashboard, 80, 24);
        let other: String = text.chars().filter(|c| !c.is_ascii()).collect();
        // The only exceptions are units and arrows in the model's sentences.
        let other: String = other.chars().filter(|c| !"µ→".contains(*c)).collect();
        assert_eq!(other, "", "{text}");
    }
    let mut dashboard = fed(ASCII, live(), &fixtures::busy());
    insta::assert_snapshot!("overview_ascii", screen(&mut dashboard, 80, 24));
}

/// Without colour the text is the same, and marks remain.
#[test]
fn colour_alone_carries_no_meaning() {
    for n in 0..VIEWS.len() {
        let (mut plain, mut color) = (
            fed(PLAIN, live(), &fixtures::busy()),
            fed(COLOR, live(), &fixtures::busy()),
        );
        show(&mut plain, n);
        show(&mut color, n);
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
fn an_unmeasured_value_is_a_dash_with_its_reason() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::missing_hooks());
    insta::assert_snapshot!("missing_hooks", screen(&mut dashboard, 80, 24));
    chars(&mut dashboard, "8");
    insta::assert_snapshot!("missing_hooks_hooks", screen(&mut dashboard, 80, 24));
}

#[test]
fn before_the_first_sample_and_without_room() {
    let mut dashboard = empty(PLAIN, live());
    assert!(screen(&mut dashboard, 80, 24).contains("waiting for the first sample"));
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
    assert!(screen(&mut dashboard, 80, 24).contains("no row contains"));
    press(&mut dashboard, KeyCode::Esc);
    assert!(!screen(&mut dashboard, 80, 24).contains("no row contains"));
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
    // Esc closes popups and never leaves the dashboard.
    assert_eq!(press(&mut dashboard, KeyCode::Esc), None);
    assert_eq!(press(&mut dashboard, KeyCode::Esc), None);
    assert_eq!(
        press(&mut dashboard, KeyCode::Char('q')),
        Some(Action::Quit)
    );
}

#[test]
fn help_lists_all_bindings_and_nothing_else() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::busy());
    chars(&mut dashboard, "?");
    let text = screen(&mut dashboard, 100, 60);
    let listed = text.lines().filter(|l| l.contains('│')).count();
    let bindings = dashboard.bindings();
    assert_eq!(listed, bindings.len(), "{text}");
    for b in bindings {
        assert!(text.contains(b.help), "{} is missing:\n{text}", b.label);
        assert!(text.contains(b.label), "{}", b.label);
    }
}

#[test]
fn keys_ask_for_their_action() {
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
    assert_eq!(after.unmaps.total, Some(0), "counting restarts");
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
fn a_pause_freezes_the_screen_and_loses_nothing() {
    let frames = samples(&fixtures::busy(), 24);
    let mut dashboard = empty(PLAIN, live());
    let (before, after) = frames.split_at(12);
    for f in before {
        dashboard.feed(f.clone());
    }
    chars(&mut dashboard, " ");
    let frozen = screen(&mut dashboard, 80, 24);
    assert!(frozen.contains("PAUSED"));
    for f in &after[..11] {
        dashboard.feed(f.clone());
    }
    assert_eq!(screen(&mut dashboard, 80, 24), frozen);
    chars(&mut dashboard, " ");
    dashboard.feed(after[11].clone());
    let whole = fed(PLAIN, live(), &fixtures::busy());
    assert_eq!(dashboard.totals(), whole.totals());
}

/// Live and replay differ in the status line and the footer only.
#[test]
fn a_replay_shows_the_same_numbers_as_live() {
    let frames = samples(&fixtures::busy(), 24);
    for upto in [1, 7, 24] {
        let mut live = empty(PLAIN, live());
        let mut again = empty(PLAIN, replay(24));
        for f in &frames[..upto] {
            live.feed(f.clone());
        }
        // The replay went to the end first, and came back.
        for f in &frames {
            again.feed(f.clone());
        }
        again.rewind();
        for f in &frames[..upto] {
            again.feed(f.clone());
        }
        again.at(upto - 1);
        assert_eq!(live.totals(), again.totals());
        for n in 0..VIEWS.len() {
            for mode in ["", "t"] {
                for d in [&mut live, &mut again] {
                    show(d, n);
                    chars(d, mode);
                }
                let middle = |text: String| -> Vec<String> {
                    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                    lines[1..lines.len() - 1].to_vec()
                };
                assert_eq!(
                    middle(screen(&mut live, 100, 30)),
                    middle(screen(&mut again, 100, 30)),
                    "view {n}, sample {upto}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_keys_and_no_size_make_it_panic(
        keys in prop::collection::vec(0..70usize, 0..60),
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
        let feed = if again { replay(24) } else { live() };
        let mut dashboard = fed(PLAIN, feed, &last);
        for (i, key) in keys.iter().enumerate() {
            let bindings = dashboard.bindings();
            match bindings.get(*key).and_then(|b| b.keys.first()) {
                Some((modifiers, code)) => {
                    dashboard.key(KeyEvent::new(*code, *modifiers));
                }
                None => {
                    let others: Vec<char> = "xyz%é日\u{7f}µ".chars().collect();
                    press(&mut dashboard, KeyCode::Char(others[key % others.len()]));
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
fn the_menu_reaches_every_view() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::busy());
    chars(&mut dashboard, "4v");
    insta::assert_snapshot!("view_menu", screen(&mut dashboard, 80, 24));
    // The menu starts at the view shown.
    press(&mut dashboard, KeyCode::Down);
    press(&mut dashboard, KeyCode::Enter);
    assert_eq!(dashboard.view().name(), "subscribers");
    for (n, view) in VIEWS.iter().enumerate() {
        chars(&mut dashboard, "v");
        press(&mut dashboard, KeyCode::Home);
        for _ in 0..n {
            press(&mut dashboard, KeyCode::Down);
        }
        press(&mut dashboard, KeyCode::Enter);
        assert_eq!(dashboard.view().name(), view.name());
    }
    // Esc changes nothing, and a digit works in the menu too.
    chars(&mut dashboard, "2v");
    press(&mut dashboard, KeyCode::Up);
    press(&mut dashboard, KeyCode::Esc);
    assert_eq!(dashboard.view().name(), "victims");
    chars(&mut dashboard, "v3");
    assert_eq!(dashboard.view().name(), "reclaimers");
    assert!(!screen(&mut dashboard, 80, 24).contains("Enter shows one"));
}

/// 0 is the tenth view: without one it changes nothing.
#[test]
fn zero_shows_the_tenth_view() {
    let mut dashboard = fed(PLAIN, live(), &fixtures::busy());
    chars(&mut dashboard, "20");
    let tenth = VIEWS.get(9).map_or("victims", |v| v.name());
    assert_eq!(dashboard.view().name(), tenth);
}

#[test]
fn every_command_is_bound() {
    let bindings = empty(PLAIN, live()).bindings();
    for c in [
        Command::Quit,
        Command::Help,
        Command::ViewMenu,
        Command::Pause,
        Command::Write,
        Command::Reset,
    ] {
        assert!(bindings.iter().any(|b| b.command == c), "{c:?}");
    }
    assert!(bindings.iter().any(|b| b.when == When::Replay));
}

/// The head shows the share that every table shows: never "all" of what is not all.
#[test]
fn the_head_never_rounds_a_share_to_all() {
    let mut last = fixtures::busy();
    last.groups.truncate(1);
    last.groups[0].1 = Default::default();
    last.groups[0].1[Verdict::FutilePinned as usize].folios = 9_997;
    last.groups[0].1[Verdict::Freed as usize].folios = 3;
    let mut dashboard = empty(PLAIN, live());
    dashboard.feed(Frame {
        snapshot: last,
        events: Vec::new(),
    });
    let screen = screen(&mut dashboard, 120, 40);
    let head: Vec<&str> = screen.lines().take(3).collect();
    assert!(head.join("\n").contains("(>99 %)"), "{screen}");
    assert!(!screen.contains("100 %"), "{screen}");
}
