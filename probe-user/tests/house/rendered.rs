//! What people read: help, reports, the page, the metrics and the dashboard of the demo recording.

use std::{path::Path, sync::Arc, time::SystemTime};

use clap::CommandFactory;
use crossterm::event::KeyCode;
use pinscope::{
    cli::Cli,
    model::{Capture, Interval, Window},
    recording::{Frames, Recording},
    render::{
        html,
        metrics::{Format, Input, ProcessStats, encode, families},
        text::{Style, report},
    },
    snapshot::Snapshot,
    tui::{Dashboard, Feed, Theme},
};
use ratatui::{Terminal, backend::TestBackend};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/demo.pscope");

/// Renders everything; each text with a name.
pub(crate) fn all() -> Vec<(String, String)> {
    let mut all = Vec::new();
    help(&mut Cli::command(), "help", &mut all);
    let recording = Recording::open(Path::new(DEMO)).unwrap();
    let frames: Vec<_> = (0..recording.count())
        .map(|i| recording.frame(i).unwrap())
        .collect();
    // The recording has the reasons of the version that made it.
    let mut last = frames.last().unwrap().snapshot.clone();
    for hook in &mut last.hooks {
        hook.reason = None;
    }
    let last = &last;
    let events: Vec<_> = frames.iter().flat_map(|f| f.events.clone()).collect();
    let window = Window::new(recording.start(), last.elapsed);
    let capture = Capture::between(recording.host(), window, None, last, &events);
    all.push((
        "report".to_owned(),
        report::report(&capture, &Style::default()),
    ));
    let mut before: Option<&Snapshot> = None;
    let mut timeline = Vec::new();
    for frame in &frames {
        timeline.push(Interval::new(None, before, &frame.snapshot));
        before = Some(&frame.snapshot);
    }
    all.push((
        "report --format html".to_owned(),
        text_of(&html::page(&capture, &timeline)),
    ));
    let metrics = families(&Input {
        snapshot: last,
        cgroups: None,
        programs: &[],
        process: ProcessStats::default(),
        events: &events,
        attached: SystemTime::UNIX_EPOCH,
        dropped: 0,
        reload: None,
    });
    let page = encode(&Arc::new(metrics), Format::ALL[0]).unwrap();
    all.push((
        "metrics".to_owned(),
        String::from_utf8_lossy(&page).into_owned(),
    ));
    for key in "123456789?".chars() {
        all.push((format!("dashboard {key}"), screen(&recording, key)));
    }
    all
}

/// Adds the long help of a command and of its subcommands.
fn help(command: &mut clap::Command, name: &str, to: &mut Vec<(String, String)>) {
    to.push((name.to_owned(), command.render_long_help().to_string()));
    for sub in command.get_subcommands_mut().filter(|s| !s.is_hide_set()) {
        let name = format!("{name} {}", sub.get_name());
        help(sub, &name, to);
    }
}

/// Returns the text of a page, with a line break in place of each tag.
fn text_of(html: &str) -> String {
    let mut text = String::new();
    let body = html.split_once("</style>").map_or(html, |(_, body)| body);
    let mut inside = false;
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push('\n');
            }
            _ if !inside => text.push(c),
            _ => {}
        }
    }
    text.replace("&#39;", "'")
}

/// Draws the dashboard over the whole recording, after one key.
fn screen(recording: &Recording, key: char) -> String {
    let (theme, source) = (
        Theme {
            color: false,
            ascii: false,
        },
        Feed::Replay {
            index: 0,
            count: recording.count(),
            speed: 1.0,
            incomplete: None,
        },
    );
    let mut dashboard = Dashboard::new(recording.host().clone(), recording.start(), theme, source);
    for index in 0..recording.count() {
        dashboard.feed(recording.frame(index).unwrap());
    }
    dashboard.at(recording.count() - 1);
    dashboard.key(KeyCode::Char(key).into());
    let mut terminal = Terminal::new(TestBackend::new(160, 50)).unwrap();
    terminal.draw(|f| dashboard.draw(f)).unwrap();
    let cells = terminal.backend().buffer().content();
    let rows = cells
        .chunks(160)
        .map(|row| row.iter().map(|c| c.symbol()).collect::<String>());
    rows.collect::<Vec<_>>().join("\n")
}
