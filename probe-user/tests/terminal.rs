//! The dashboard in a real terminal (tmux), over a recording: keys drive it, and however it ends,
//! the terminal is restored.

// clippy.toml allows these in tests, but not in the helpers of tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    path::Path,
    process::{Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/v1.pscope");
const LIMIT: Duration = Duration::from_secs(30);

/// A private tmux server, killed when dropped.
struct Tmux {
    directory: tempfile::TempDir,
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.run(&["kill-server"]);
    }
}

impl Tmux {
    /// Starts a shell in a terminal of this size; `None` without tmux.
    fn start(width: u16, height: u16, variables: &[(&str, &str)]) -> Option<Tmux> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert!(
                std::env::var_os("PINSCOPE_REQUIRE_TOOLS").is_none(),
                "tmux is missing"
            );
            eprintln!("not run: tmux is not installed");
            return None;
        }
        let tmux = Tmux {
            directory: tempfile::tempdir().unwrap(),
        };
        let (w, h) = (width.to_string(), height.to_string());
        let mut arguments = vec!["-f", "/dev/null", "new-session", "-d", "-x", &w, "-y", &h];
        let set: Vec<String> = variables.iter().map(|(k, v)| format!("{k}={v}")).collect();
        for variable in &set {
            arguments.extend(["-e", variable.as_str()]);
        }
        arguments.extend(["-e", "LC_ALL=C.UTF-8", "sh"]);
        let out = tmux.run(&arguments);
        assert!(out.status.success(), "{out:?}");
        tmux.line("echo READ''Y");
        tmux.until("READY");
        Some(tmux)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new("tmux")
            .arg("-u")
            .arg("-S")
            .arg(self.directory.path().join("socket"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("TMUX")
            .output()
            .unwrap()
    }

    fn screen(&self) -> String {
        let out = self.run(&["capture-pane", "-p"]);
        String::from_utf8(out.stdout).unwrap()
    }

    fn display(&self, what: &str) -> String {
        let out = self.run(&["display-message", "-p", what]);
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Waits until the screen shows `text`.
    fn until(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            assert!(begun.elapsed() < LIMIT, "no {text:?} in:\n{screen}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the screen does not show `text`.
    fn until_gone(&self, text: &str) {
        let begun = Instant::now();
        while self.screen().contains(text) {
            assert!(begun.elapsed() < LIMIT, "{text:?} stays");
            sleep(Duration::from_millis(50));
        }
    }

    fn keys(&self, keys: &[&str]) {
        for key in keys {
            assert!(self.run(&["send-keys", key]).status.success());
        }
    }

    fn line(&self, line: &str) {
        assert!(self.run(&["send-keys", "-l", line]).status.success());
        self.keys(&["Enter"]);
    }

    /// The process of the dashboard.
    fn pid(&self) -> String {
        let shell = self.display("#{pane_pid}");
        let out = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &shell])
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Starts the dashboard; the terminal's settings are saved before and after.
    fn replay(&self) {
        let program = env!("CARGO_BIN_EXE_pinscope");
        self.line(&format!(
            "clear; stty -g > before; {program} live --replay {RECORDING}; echo code $?; stty -g > after"
        ));
    }

    /// Waits for the end of the dashboard, and checks that the terminal is restored.
    fn restored(&self, code: u8) {
        self.until(&format!("code {code}"));
        self.line("echo DONE");
        self.until("\nDONE");
        assert_eq!(self.display("#{alternate_on}"), "0");
        assert_eq!(self.display("#{cursor_flag}"), "1");
        let read = |name: &str| {
            std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
        };
        assert_eq!(read("before"), read("after"));
        assert!(!read("before").is_empty());
    }
}

#[test]
fn keys_go_through_a_recording() {
    let Some(tmux) = Tmux::start(80, 24, &[]) else {
        return;
    };
    tmux.replay();
    // A replay begins at the last sample.
    tmux.until("REPLAY 5/5");
    assert_eq!(tmux.display("#{alternate_on}"), "1");
    tmux.keys(&["Left"]);
    tmux.until("REPLAY 4/5");
    tmux.keys(&["Home"]);
    tmux.until("REPLAY 1/5");
    tmux.keys(&["l", "l"]);
    let screen = tmux.until("REPLAY 3/5");
    assert!(screen.contains("futile_pinned"), "{screen}");
    assert!(screen.lines().all(|l| l.chars().count() <= 80), "{screen}");
    tmux.keys(&["2"]);
    tmux.until("gpu-trainer");
    tmux.keys(&["Tab", "Tab", "BTab"]);
    tmux.until("3reclaimers");
    tmux.keys(&["v"]);
    tmux.until("views: Enter shows one");
    tmux.keys(&["j", "Enter"]);
    tmux.until("4memory");
    tmux.keys(&["2", "/"]);
    tmux.run(&["send-keys", "-l", "dataload"]);
    tmux.keys(&["Enter"]);
    let screen = tmux.until("/dataload");
    assert!(!screen.contains("gpu-trainer  "), "{screen}");
    // A key right after Escape would be read as that key with Alt: first what Escape does.
    tmux.keys(&["Escape"]);
    tmux.until("gpu-trainer");
    tmux.keys(&["?"]);
    tmux.until("this list");
    tmux.keys(&["Escape"]);
    tmux.until_gone("this list");
    tmux.keys(&["w"]);
    tmux.until("written to pinscope-");
    // A smaller terminal is drawn again; in one that is too small, a message says so.
    tmux.run(&["resize-window", "-x", "40", "-y", "12"]);
    tmux.until("2victims");
    tmux.run(&["resize-window", "-x", "20", "-y", "6"]);
    tmux.until("too small");
    tmux.run(&["resize-window", "-x", "120", "-y", "40"]);
    tmux.until("9findings");
    tmux.keys(&["Space"]);
    tmux.until("REPLAY 5/5 stopped");
    tmux.keys(&["q"]);
    tmux.restored(0);
    let written: Vec<_> = std::fs::read_dir(tmux.directory.path())
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().ok())
        .filter(|n| n.ends_with(".json"))
        .collect();
    let path = tmux.directory.path().join(&written[0]);
    let report = Command::new(env!("CARGO_BIN_EXE_pinscope"))
        .arg("report")
        .arg(path)
        .output()
        .unwrap();
    assert!(report.status.success(), "{report:?}");
}

#[test]
fn however_it_ends_the_terminal_is_restored() {
    let Some(tmux) = Tmux::start(80, 24, &[]) else {
        return;
    };
    tmux.replay();
    tmux.until("REPLAY");
    tmux.keys(&["C-c"]);
    tmux.restored(0);
    for signal in ["-TERM", "-HUP", "-INT"] {
        tmux.replay();
        tmux.until("REPLAY");
        let pid = tmux.pid();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        tmux.restored(0);
    }
}

#[test]
fn a_panic_restores_the_terminal_and_prints_its_message() {
    let Some(tmux) = Tmux::start(80, 24, &[("PINSCOPE_TEST_PANIC", "1")]) else {
        return;
    };
    tmux.replay();
    tmux.until("requested by PINSCOPE_TEST_PANIC");
    tmux.restored(101);
}

#[test]
fn the_dashboard_ends_with_its_terminal() {
    let Some(tmux) = Tmux::start(80, 24, &[]) else {
        return;
    };
    tmux.replay();
    tmux.until("REPLAY");
    let pid = tmux.pid();
    tmux.run(&["kill-server"]);
    let begun = Instant::now();
    // A zombie has ended too, even if nothing waits for it.
    let lives = || {
        let stat = std::fs::read_to_string(Path::new("/proc").join(&pid).join("stat"));
        stat.is_ok_and(|s| !s.contains(") Z "))
    };
    assert!(!pid.is_empty());
    while lives() {
        assert!(
            begun.elapsed() < LIMIT,
            "it is still running without a terminal"
        );
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_dumb_terminal_without_colour_gets_ascii() {
    let Some(tmux) = Tmux::start(80, 24, &[("NO_COLOR", "1")]) else {
        return;
    };
    tmux.line("export TERM=dumb");
    tmux.replay();
    tmux.until("REPLAY 5/5");
    let screen = tmux.until("q quit");
    assert!(screen.contains("---"), "{screen}");
    assert!(!screen.contains('─'), "{screen}");
    let out = tmux.run(&["capture-pane", "-p", "-e"]);
    let colours = String::from_utf8(out.stdout).unwrap();
    // 39 and 49 are the terminal's defaults.
    for n in 0..8 {
        for code in [format!("3{n}"), format!("4{n}"), format!("9{n}")] {
            assert!(!colours.contains(&format!("[{code}m")), "{colours:?}");
            assert!(!colours.contains(&format!(";{code}m")), "{colours:?}");
        }
    }
    tmux.keys(&["q"]);
    tmux.restored(0);
}

#[test]
fn without_a_terminal_the_error_names_capture() {
    for arguments in [&["live"][..], &[]] {
        let out = Command::new(env!("CARGO_BIN_EXE_pinscope"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(1));
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(said.contains("pinscope capture"), "{said}");
        assert!(out.stdout.is_empty());
    }
}
