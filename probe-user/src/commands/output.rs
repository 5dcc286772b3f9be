//! Where output goes, and how it is styled there.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use crate::{
    cli::{Cli, Color},
    render::text::Style,
};

/// Returns the style for text; `terminal` says whether it goes to one.
pub(super) fn style(cli: &Cli, terminal: bool) -> Style {
    let allowed = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
    let color = match cli.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && allowed,
    };
    // Only if the locale says that nothing but ASCII is understood.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|v| std::env::var(v).ok().filter(|v| !v.is_empty()));
    let ascii = cli.ascii || locale.is_some_and(|l| l == "C" || l == "POSIX");
    Style {
        color,
        ascii,
        width: 80,
    }
}

/// The destination of a report: stdout, or a file that gets its name only once it is complete.
#[derive(Debug)]
pub(super) enum Sink {
    /// stdout.
    Stdout,
    /// A regular file, written under a temporary name in the same directory. Dropping it before
    /// [`Sink::finish`] removes it.
    File { file: NamedTempFile, name: PathBuf },
    /// Something else than a regular file: a pipe, a terminal, /dev/stdout.
    Special { file: File, name: PathBuf },
}

impl Sink {
    /// Opens the destination, before the capture starts, so that a bad name is reported at once.
    pub(super) fn open(path: Option<&Path>) -> Result<Sink> {
        let Some(path) = path.filter(|p| *p != Path::new("-")) else {
            return Ok(Sink::Stdout);
        };
        let cannot = || format!("cannot write {}", path.display());
        let name = path.to_owned();
        if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            let file = File::options()
                .write(true)
                .open(path)
                .with_context(cannot)?;
            return Ok(Sink::Special { file, name });
        }
        let directory = path.parent().filter(|p| *p != Path::new(""));
        // The name is unpredictable, and `create_new` follows no symlink. Not `tempfile_in`: its
        // mode is 0600, and its errors name the temporary file.
        let file = tempfile::Builder::new()
            .prefix(".pinscope-")
            .suffix(".part")
            .make_in(directory.unwrap_or(Path::new(".")), |path| {
                File::create_new(path)
            })
            .with_context(cannot)?;
        Ok(Sink::File { file, name })
    }

    /// Whether output goes elsewhere than to stdout.
    pub(super) fn is_named(&self) -> bool {
        !matches!(self, Sink::Stdout)
    }

    /// Whether output goes to a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        match self {
            Sink::Stdout => io::stdout().is_terminal(),
            Sink::Special { file, .. } => file.is_terminal(),
            Sink::File { .. } => false,
        }
    }

    /// Flushes the output, and gives a file its name.
    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        if let Sink::File { file, name } = self {
            file.persist(&name)
                .map_err(|e| e.error)
                .with_context(|| format!("cannot write {}", name.display()))?;
        }
        Ok(())
    }

    /// Adds the destination's name to an error. The kind is kept: [`is_closed`] asks for it,
    /// and `write_all` retries an interrupted write.
    fn name_in<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let name = match self {
            Sink::Stdout => "to stdout".into(),
            Sink::File { name, .. } | Sink::Special { name, .. } => name.to_string_lossy(),
        };
        result.map_err(|e| io::Error::new(e.kind(), format!("cannot write {name}: {e}")))
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = match self {
            Sink::Stdout => io::stdout().write(buf),
            Sink::File { file, .. } => file.as_file_mut().write(buf),
            Sink::Special { file, .. } => file.write(buf),
        };
        self.name_in(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = match self {
            Sink::Stdout => io::stdout().flush(),
            Sink::File { file, .. } => file.as_file_mut().flush(),
            Sink::Special { file, .. } => file.flush(),
        };
        self.name_in(flushed)
    }
}

/// Writes bytes to stdout and flushes them.
pub(super) fn to_stdout(bytes: &[u8]) -> Result<u8> {
    let mut out = Sink::Stdout;
    out.write_all(bytes)?;
    out.flush()?;
    Ok(0)
}

/// Whether an error says that the reader of a pipe is gone.
pub(super) fn is_closed(error: &anyhow::Error) -> bool {
    let io: Option<&io::Error> = error.downcast_ref();
    io.is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write_all(b"whole").unwrap();
        assert!(!path.exists());
        sink.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    /// The temporary name was NAME.PID.part once, which another user could guess.
    #[test]
    fn a_symlink_at_the_old_temporary_name_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let path = dir.path().join("a.json");
        let planted = dir
            .path()
            .join(format!("a.json.{}.part", std::process::id()));
        std::os::unix::fs::symlink(&victim, &planted).unwrap();
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write_all(b"whole").unwrap();
        sink.finish().unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(fs::read_link(&planted).unwrap(), victim);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(Some(&dir.path().join("a.json"))).unwrap();
        sink.write_all(b"half").unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(sink);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_file_that_cannot_get_its_name_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write_all(b"whole").unwrap();
        fs::create_dir(&path).unwrap();
        let error = format!("{:#}", sink.finish().unwrap_err());
        assert!(
            error.starts_with(&format!("cannot write {}: ", path.display())),
            "{error}"
        );
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    #[test]
    fn errors_name_the_destination_and_the_cause_once() {
        let error = Sink::open(Some(Path::new("/nonexistent/a.json"))).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "cannot write /nonexistent/a.json: No such file or directory (os error 2)"
        );
        let mut full = Sink::open(Some(Path::new("/dev/full"))).unwrap();
        let error = full.write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            format!("{:#}", anyhow::Error::from(error)),
            "cannot write /dev/full: No space left on device (os error 28)"
        );
    }
}
