//! Where output goes, and how it looks there.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    cli::{Cli, Color},
    render::text::Style,
};

/// The style for text that goes to `terminal`, if that is one.
pub(super) fn style(cli: &Cli, terminal: bool) -> Style {
    let allowed = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
    let color = match cli.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && allowed,
    };
    // Only where the locale says that nothing else is understood.
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

/// A file that appears under its name only when it is whole, or stdout.
#[derive(Debug)]
pub(super) enum Sink {
    /// stdout.
    Stdout,
    /// A file being written beside its final name.
    File {
        file: File,
        temporary: PathBuf,
        name: PathBuf,
    },
    /// Something that isn't a regular file: a pipe, a terminal, /dev/stdout.
    Special(File),
}

impl Sink {
    /// Opens it now, so that a name that can't be written is told before anything is captured.
    pub(super) fn open(path: Option<&Path>) -> Result<Sink> {
        let Some(path) = path.filter(|p| *p != Path::new("-")) else {
            return Ok(Sink::Stdout);
        };
        let cannot = || format!("cannot write {}", path.display());
        if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            return Ok(Sink::Special(
                File::options()
                    .write(true)
                    .open(path)
                    .with_context(cannot)?,
            ));
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).with_context(cannot)?;
        Ok(Sink::File {
            file,
            temporary,
            name: path.to_owned(),
        })
    }

    /// Whether it is a file of its own.
    pub(super) fn is_named(&self) -> bool {
        !matches!(self, Sink::Stdout)
    }

    /// Whether it is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        match self {
            Sink::Stdout => io::stdout().is_terminal(),
            Sink::Special(file) => file.is_terminal(),
            Sink::File { .. } => false,
        }
    }

    /// Gives a file its name.
    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        if let Sink::File {
            temporary, name, ..
        } = &self
        {
            fs::rename(temporary, name)
                .with_context(|| format!("cannot write {}", name.display()))?;
        }
        Ok(())
    }

    /// Leaves nothing behind, where nothing was captured.
    pub(super) fn abandon(self) {
        if let Sink::File { temporary, .. } = &self {
            let _ = fs::remove_file(temporary);
        }
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Stdout => io::stdout().write(buf),
            Sink::File { file, .. } | Sink::Special(file) => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Stdout => io::stdout().flush(),
            Sink::File { file, .. } | Sink::Special(file) => file.flush(),
        }
    }
}

/// Writes all of it to stdout.
pub(super) fn to_stdout(bytes: &[u8]) -> Result<u8> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(0)
}

/// Whether the reader of a pipe has gone.
pub(super) fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
