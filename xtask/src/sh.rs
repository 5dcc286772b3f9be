//! Running commands, and saying on stderr what is going on.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// When this run started, for the elapsed seconds in front of progress lines.
pub(crate) fn started() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// One progress line on stderr.
pub(crate) fn progress(text: &str) {
    eprintln!("[{:3}s] {text}", started().elapsed().as_secs());
}

/// A warning on stderr.
pub(crate) fn warn(text: &str) {
    eprintln!("[{:3}s] warning: {text}", started().elapsed().as_secs());
}

/// The repository's root. The process works from there (see `main`), so that
/// paths below `target/` are short and relative.
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = here
        .parent()
        .context("xtask has no parent directory: run it as `cargo xtask` inside the repository")?;
    Ok(root.to_path_buf())
}

/// A command as a line to show to people.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&crate::quote::shell(arg).to_string_lossy());
    }
    line
}

/// Runs `command` with its output in `target/logs/NAME.log`. A failure shows
/// the log's end.
pub(crate) fn logged(name: &str, command: &mut Command) -> Result<()> {
    let log = PathBuf::from("target/logs").join(format!("{name}.log"));
    create_dir("target/logs")?;
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let copy = file
        .try_clone()
        .context("cannot duplicate the log's file")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .status()
        .with_context(|| format!("cannot start `{}`: is it installed?", shown(command)))?;
    if !status.success() {
        bail!(
            "`{}` failed ({status}); the end of {}:\n{}",
            shown(command),
            log.display(),
            tail(&log, 40)
        );
    }
    Ok(())
}

/// Runs `command` with its stdout sent to our stderr, so that our own stdout
/// stays what the caller asked for.
pub(crate) fn noisy(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .with_context(|| format!("cannot start `{}`: is it installed?", shown(command)))?;
    if !status.success() {
        bail!(
            "`{}` failed ({status}): see its messages above",
            shown(command)
        );
    }
    Ok(())
}

/// Runs `command` and returns its stdout; stderr is passed on.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`: is it installed?", shown(command)))?;
    if !out.status.success() {
        bail!("`{}` failed ({})", shown(command), out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// As [`output`], but a failure is just `None`, without noise.
pub(crate) fn probe(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let out = clean(&mut Command::new(program))
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The last `lines` lines of a file, as far as it can be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |m| m.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(64 * 1024)));
        let _ = file.read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}

/// Where a program is, looked for in PATH and in the system directories that
/// a plain user's PATH often leaves out.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
}

/// Takes the outer cargo's and rustup's settings out of a command's
/// environment: what a build gets must be what this crate decided.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for (key, _) in std::env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        let kept = [
            "CARGO_HOME",
            "CARGO_NET_",
            "CARGO_HTTP_",
            "CARGO_REGISTR",
            "CARGO_SOURCE_",
        ]
        .iter()
        .any(|k| name.starts_with(k));
        let settings = name.starts_with("CARGO")
            || name.starts_with("RUSTC")
            || name.starts_with("RUSTDOC")
            || ["RUSTFLAGS", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"].contains(&name);
        if settings && !kept {
            command.env_remove(&key);
        }
    }
    command
}

/// The cargo that runs us, with the outer settings removed; the toolchain the
/// developer chose (`cargo +nightly xtask …`) stays.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    clean(&mut command);
    if let Some(toolchain) = std::env::var_os("RUSTUP_TOOLCHAIN") {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command
}

/// Creates a directory and its parents.
pub(crate) fn create_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    std::fs::create_dir_all(path)
        .with_context(|| format!("cannot create the directory {}", path.display()))
}

/// An absolute path, for programs that run elsewhere or are told by variable.
pub(crate) fn absolute(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}
