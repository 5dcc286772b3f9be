//! `pinscope live`: the dashboard, over the live kernel or over a recording.

use std::{
    fs::{self, File},
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};

use super::{options, terminal::Screen};
use crate::{
    cli::{Cli, Color, Live},
    kernel::{
        host::host,
        probes::{ProbeOptions, Probes},
    },
    model::{Capture, history},
    recording::{Frame, Frames, Recording},
    render::json,
    tui::{Action, Dashboard, Feed, Theme},
};

/// The longest wait before a signal is noticed.
const PATIENCE: Duration = Duration::from_millis(250);
/// The most events read at once.
const EVENTS: usize = 1000;

/// Runs `pinscope` without a command.
pub(super) fn default(cli: &Cli) -> Result<u8> {
    let args = <Live as clap::FromArgMatches>::from_arg_matches(
        &<Live as clap::Args>::augment_args(clap::Command::new("live"))
            .no_binary_name(true)
            .get_matches_from(std::iter::empty::<&str>()),
    )?;
    run(cli, &args)
}

pub(super) fn run(cli: &Cli, args: &Live) -> Result<u8> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!(
            "the dashboard needs a terminal; without one: `pinscope capture` \
             (as JSON: `pinscope capture --format json`)"
        );
    }
    match &args.replay {
        Some(path) => replay(cli, path),
        None => live(cli, args),
    }
}

fn theme(cli: &Cli) -> Theme {
    let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    let style = super::output::style(cli, true);
    // crossterm heeds NO_COLOR by itself, unless it is forced.
    let color = match cli.color {
        Color::Always => true,
        _ => style.color,
    };
    crossterm::style::force_color_output(color);
    Theme {
        color,
        ascii: style.ascii || dumb,
    }
}

fn live(cli: &Cli, args: &Live) -> Result<u8> {
    let mut probes = Probes::attach(&ProbeOptions {
        events_per_second: args.events,
        ..options(&args.hooking)
    })?;
    probes
        .drop_privileges()
        .context("cannot drop capabilities")?;
    let mut interval = args.interval.0;
    let feed = Feed::Live { interval };
    let mut dashboard = Dashboard::new(host(), probes.started(), theme(cli), feed);
    let mut screen = Screen::take().context("cannot take over the terminal")?;
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        if now >= next {
            probes.forward_log();
            probes.tick()?;
            let snapshot = probes.snapshot()?;
            let events = probes.events(EVENTS);
            dashboard.feed(Frame { snapshot, events });
            screen.changed = true;
            // After a suspend, one sample is taken, not all that were missed.
            next = now + interval;
        }
        let until = next.saturating_duration_since(Instant::now());
        match step(&mut screen, &mut dashboard, until)? {
            Step::Quit => return Ok(0),
            Step::Go(Some(Action::Interval(to))) => {
                interval = to;
                next = next.min(Instant::now() + interval);
            }
            Step::Go(_) => {}
        }
    }
}

fn replay(cli: &Cli, path: &Path) -> Result<u8> {
    let cannot = || format!("cannot read {}", path.display());
    let recording = Recording::open(path).with_context(cannot)?;
    let feed = Feed::Replay {
        index: 0,
        count: recording.count(),
        speed: 1.0,
        incomplete: recording.incomplete().map(str::to_owned),
    };
    let mut dashboard = Dashboard::new(
        recording.host().clone(),
        recording.start(),
        theme(cli),
        feed,
    );
    if let Some(why) = recording.incomplete() {
        dashboard.say(format!("incomplete: {why}"));
    }
    let frame = |index: usize| {
        let frame = recording.frame(index);
        frame.map_err(anyhow::Error::msg).with_context(cannot)
    };
    // At the end first: the totals there are those of the whole capture.
    let mut shown = seek(&mut dashboard, None, recording.count() - 1, frame)?;
    let mut screen = Screen::take().context("cannot take over the terminal")?;
    let mut due: Option<Instant> = None;
    loop {
        let mut until = PATIENCE;
        if let Some(speed) = dashboard.playing()
            && shown + 1 < recording.count()
        {
            let times = recording.times();
            let apart = (times[shown + 1] - times[shown]).clamp(0.0, 3600.0) / speed;
            let at = *due.get_or_insert_with(|| Instant::now() + Duration::from_secs_f64(apart));
            until = at.saturating_duration_since(Instant::now());
            if until.is_zero() {
                shown = seek(&mut dashboard, Some(shown), shown + 1, frame)?;
                screen.changed = true;
                due = None;
            }
        } else {
            due = None;
        }
        match step(&mut screen, &mut dashboard, until)? {
            Step::Quit => return Ok(0),
            Step::Go(Some(Action::Seek(to))) => {
                shown = seek(&mut dashboard, Some(shown), to, frame)?;
                due = None;
            }
            Step::Go(_) => {}
        }
    }
}

/// Shows another sample: feeds it and the samples before it, as the live kernel would have.
fn seek(
    dashboard: &mut Dashboard,
    shown: Option<usize>,
    to: usize,
    frame: impl Fn(usize) -> Result<Frame>,
) -> Result<usize> {
    let from = match shown {
        Some(shown) if to == shown => return Ok(shown),
        Some(shown) if to > shown && to - shown < history::SAMPLES => shown + 1,
        _ => {
            dashboard.rewind();
            (to + 1).saturating_sub(history::SAMPLES)
        }
    };
    for index in from..=to {
        dashboard.feed(frame(index)?);
    }
    dashboard.at(to);
    Ok(to)
}

enum Step {
    Go(Option<Action>),
    Quit,
}

/// Draws, and waits for a key or a signal, but no longer than `until`.
fn step(screen: &mut Screen, dashboard: &mut Dashboard, until: Duration) -> Result<Step> {
    // On an idle host, drawing is most of the cost.
    if screen.changed {
        screen
            .terminal
            .draw(|frame| dashboard.draw(frame))
            .context("the terminal is lost")?;
        screen.changed = false;
    }
    if screen.ended() {
        return Ok(Step::Quit);
    }
    // For the test that a panic restores the terminal; not in release builds.
    #[cfg(debug_assertions)]
    #[expect(clippy::panic, reason = "the test needs a panic")]
    if std::env::var_os("PINSCOPE_TEST_PANIC").is_some() {
        panic!("requested by PINSCOPE_TEST_PANIC");
    }
    if !screen
        .wait(until.min(PATIENCE))
        .context("the terminal is lost")?
    {
        return Ok(Step::Go(None));
    }
    let input = crossterm::event::read().context("the terminal is lost")?;
    screen.changed = true;
    Ok(match dashboard.input(&input) {
        Some(Action::Quit) => Step::Quit,
        Some(Action::Write(capture)) => {
            dashboard.say(match write(&capture) {
                Ok(path) => format!("written to {}", path.display()),
                Err(error) => format!("{error:#}"),
            });
            Step::Go(None)
        }
        action => Step::Go(action),
    })
}

/// Writes a capture to a new file in the current directory, and returns its path.
fn write(capture: &Capture) -> Result<PathBuf> {
    let stamp = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let stamp: String = stamp.chars().filter(char::is_ascii_alphanumeric).collect();
    for n in 1..100 {
        let more = if n > 1 {
            format!("-{n}")
        } else {
            String::new()
        };
        let path = PathBuf::from(format!("pinscope-{stamp}{more}.json"));
        match File::create_new(&path) {
            Ok(mut file) => {
                return match json::write(&mut file, capture) {
                    Ok(()) => Ok(path),
                    Err(e) => {
                        // Half a capture could be taken for a whole one.
                        let _ = fs::remove_file(&path);
                        Err(e).with_context(|| format!("cannot write {}", path.display()))
                    }
                };
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => {
                return Err(e).with_context(|| format!("cannot write {}", path.display()));
            }
        }
    }
    bail!("cannot write: 99 captures of this second exist already; try again in a second")
}
