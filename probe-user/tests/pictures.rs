//! The pictures in the README: the dashboard over the demo recording, as SVG. The test compares
//! them with what the dashboard draws now; `PINSCOPE_PICTURES=write cargo test --test pictures`
//! writes them again.

// clippy.toml allows these in tests, but not in the helpers of tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use crossterm::event::KeyCode;
use pinscope::{
    recording::{Frames, Recording},
    tui::{Dashboard, Feed, Theme},
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
const WIDTH: u16 = 100;
const HEIGHT: u16 = 30;
/// Width and height of a cell, in px.
const CELL: (f64, f64) = (8.4, 17.0);

fn hex(color: Color, otherwise: &'static str) -> &'static str {
    match color {
        Color::Black => "#1b1f24",
        Color::Red => "#f47067",
        Color::LightRed => "#ff938a",
        Color::Green => "#57ab5a",
        Color::LightGreen => "#6bc46d",
        Color::Yellow => "#c69026",
        Color::LightYellow => "#daaa3f",
        Color::Blue => "#539bf5",
        Color::LightBlue => "#6cb6ff",
        Color::Magenta => "#b083f0",
        Color::LightMagenta => "#dcbdfb",
        Color::Cyan => "#39c5cf",
        Color::LightCyan => "#56d4dd",
        Color::Gray => "#909dab",
        Color::DarkGray => "#768390",
        Color::White => "#cdd9e5",
        _ => otherwise,
    }
}

/// Foreground, background, and whether the text is bold.
fn style(cell: &Cell) -> (&'static str, &'static str, bool) {
    let (mut fg, mut bg) = (hex(cell.fg, "#adbac7"), hex(cell.bg, "#22272e"));
    if cell.modifier.contains(Modifier::DIM) {
        fg = "#768390";
    }
    if cell.modifier.contains(Modifier::REVERSED) {
        (fg, bg) = (bg, fg);
    }
    (fg, bg, cell.modifier.contains(Modifier::BOLD))
}

fn svg(buffer: &Buffer) -> String {
    let (w, h) = CELL;
    let size = (f64::from(WIDTH) * w + 16.0, f64::from(HEIGHT) * h + 16.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" font-family=\
         \"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#22272e\"/>\n",
        size.0, size.1
    );
    for (y, row) in buffer.content().chunks(usize::from(WIDTH)).enumerate() {
        let mut x = 0;
        while x < row.len() {
            let shown = style(&row[x]);
            let from = x;
            let mut text = String::new();
            while x < row.len() && style(&row[x]) == shown {
                text.push_str(row[x].symbol());
                x += 1;
            }
            let (left, top) = (8.0 + from as f64 * w, 8.0 + y as f64 * h);
            let wide = (x - from) as f64 * w;
            let (fg, bg, bold) = shown;
            if bg != "#22272e" {
                out.push_str(&format!(
                    "<rect x=\"{left:.1}\" y=\"{top:.0}\" width=\"{wide:.1}\" height=\"{h:.0}\" fill=\"{bg}\"/>\n"
                ));
            }
            if text.trim().is_empty() {
                continue;
            }
            let text = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            let weight = if bold { " font-weight=\"bold\"" } else { "" };
            out.push_str(&format!(
                "<text x=\"{left:.1}\" y=\"{:.0}\" fill=\"{fg}\"{weight} textLength=\"{wide:.1}\" \
                 xml:space=\"preserve\">{text}</text>\n",
                top + 13.0
            ));
        }
    }
    out.push_str("</svg>\n");
    out
}

#[test]
fn pictures_match_the_dashboard() {
    let recording = Recording::open(&Path::new(DOCS).join("demo.pscope")).unwrap();
    // A sample from the middle, while memory is being reclaimed.
    let shown = recording.count() * 3 / 5;
    for (name, keys) in [("overview", "1"), ("victims", "2"), ("histograms", "6")] {
        let theme = Theme {
            color: true,
            ascii: false,
        };
        let feed = Feed::Replay {
            index: 0,
            count: recording.count(),
            speed: 1.0,
            incomplete: None,
        };
        let host = recording.host().clone();
        let mut dashboard = Dashboard::new(host, recording.start(), theme, feed);
        for index in 0..=shown {
            dashboard.feed(recording.frame(index).unwrap());
        }
        dashboard.at(shown);
        for key in keys.chars() {
            dashboard.key(KeyCode::Char(key).into());
        }
        let mut terminal = Terminal::new(TestBackend::new(WIDTH, HEIGHT)).unwrap();
        terminal.draw(|f| dashboard.draw(f)).unwrap();
        let now = svg(terminal.backend().buffer());
        let path = Path::new(DOCS).join(format!("{name}.svg"));
        if std::env::var_os("PINSCOPE_PICTURES").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == now,
            "{} differs from what is drawn now: write it again with PINSCOPE_PICTURES=write",
            path.display()
        );
    }
}
