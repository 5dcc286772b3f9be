//! The guest's root file system: busybox, the modules, the programs, the command.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cpio::{self, Writer};
use crate::{modules, quote, sh};

const INIT: &[u8] = include_bytes!("guest/init.sh");

/// Where the host keeps its static busybox.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// A file of the host's to put into the guest.
#[derive(Debug, Clone)]
pub(crate) struct GuestFile {
    /// The file, or a directory to copy whole.
    pub(crate) host: PathBuf,
    /// The absolute path in the guest.
    pub(crate) guest: PathBuf,
}

impl GuestFile {
    /// Parses `HOST[:GUEST]`; without GUEST the file goes to `/root`, which is
    /// on the command's PATH and its directory.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (host, guest) = match text.rsplit_once(':') {
            Some((host, guest)) if guest.starts_with('/') => (host, Some(guest)),
            _ => (text, None),
        };
        let host = sh::absolute(host)?;
        if !host.exists() {
            bail!("--file {text}: {} does not exist", host.display());
        }
        let guest = match guest {
            Some(guest) if !guest.ends_with('/') => PathBuf::from(guest),
            place => {
                let name = host.file_name().with_context(|| {
                    format!(
                        "--file {text}: {} has no name; say HOST:GUEST",
                        host.display()
                    )
                })?;
                Path::new(place.unwrap_or("/root")).join(name)
            }
        };
        Ok(Self { host, guest })
    }
}

/// What goes into one guest.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// The kernel's module directory.
    pub(crate) modules: Option<&'a Path>,
    /// Whether the guest sees an Intel processor.
    pub(crate) intel: bool,
    /// Programs and files.
    pub(crate) files: &'a [GuestFile],
    /// Scripts of our own: path and text.
    pub(crate) scripts: &'a [(String, String)],
    /// The command and its arguments.
    pub(crate) command: &'a [OsString],
    /// Marks a stream's end.
    pub(crate) token: &'a str,
    /// Where swap is: `disk`, `zram` or `none`.
    pub(crate) swap: &'a str,
}

/// Writes the archive to `path`. It is not compressed: under emulation the
/// guest boots half a second faster without having to unpack it.
pub(crate) fn write(path: &Path, contents: &Contents<'_>) -> Result<()> {
    let out = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut archive = Archive {
        writer: Writer::new(BufWriter::new(out)),
        made: std::collections::BTreeSet::new(),
    };
    archive.fill(contents).with_context(|| {
        format!(
            "writing the guest's file system, {}, failed",
            path.display()
        )
    })?;
    let mut out = archive
        .writer
        .finish()
        .context("cannot end the guest's file system")?;
    out.flush()
        .with_context(|| format!("cannot write {}", path.display()))
}

struct Archive<W: Write> {
    writer: Writer<W>,
    made: std::collections::BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    fn fill(&mut self, contents: &Contents<'_>) -> Result<()> {
        for dir in [
            "bin",
            "sbin",
            "usr/bin",
            "usr/sbin",
            "etc",
            "proc",
            "sys",
            "dev",
            "tmp",
            "run",
            "root",
            "mnt",
            "var",
            "opt/tools",
            "lib/modules",
        ] {
            self.directory(Path::new(dir))?;
        }
        self.writer.device(b"dev/console", cpio::CHAR, (5, 1))?;
        self.writer.device(b"dev/null", cpio::CHAR, (1, 3))?;
        self.busybox()?;
        self.modules(contents)?;
        self.entry("init", cpio::PROGRAM, INIT)?;
        self.entry(
            "etc/passwd",
            cpio::FILE,
            b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        )?;
        self.entry("etc/group", cpio::FILE, b"root:x:0:\nnogroup:x:65534:\n")?;
        self.entry(
            "etc/hosts",
            cpio::FILE,
            b"127.0.0.1 localhost pinscope-guest\n",
        )?;
        let config = format!("TOKEN={}\nSWAP={}\n", contents.token, contents.swap);
        self.entry("etc/guest.conf", cpio::FILE, config.as_bytes())?;
        let mut command = b"exec ".to_vec();
        command.extend(quote::command(contents.command));
        command.push(b'\n');
        self.entry("etc/command", cpio::FILE, &command)?;
        for (path, text) in contents.scripts {
            self.parents(Path::new(path))?;
            self.entry(path, cpio::PROGRAM, text.as_bytes())?;
        }
        for file in contents.files {
            let guest = file.guest.strip_prefix("/").unwrap_or(&file.guest);
            self.copy(&file.host, guest)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        Ok(self.writer.entry(path.as_bytes(), mode, data)?)
    }

    fn directory(&mut self, path: &Path) -> Result<()> {
        self.parents(path)?;
        if self.made.insert(path.to_path_buf()) {
            self.writer
                .entry(path.as_os_str().as_bytes(), cpio::DIRECTORY, &[])?;
        }
        Ok(())
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.directory(parent),
            _ => Ok(()),
        }
    }

    fn copy(&mut self, host: &Path, guest: &Path) -> Result<()> {
        let meta =
            std::fs::metadata(host).with_context(|| format!("cannot read {}", host.display()))?;
        if meta.is_dir() {
            self.directory(guest)?;
            let mut entries = std::fs::read_dir(host)
                .with_context(|| format!("cannot list {}", host.display()))?
                .collect::<std::io::Result<Vec<_>>>()?;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                self.copy(&entry.path(), &guest.join(entry.file_name()))?;
            }
            return Ok(());
        }
        self.parents(guest)?;
        let data =
            std::fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
        let executable = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o111 != 0;
        let mode = if executable {
            cpio::PROGRAM
        } else {
            cpio::FILE
        };
        Ok(self
            .writer
            .entry(guest.as_os_str().as_bytes(), mode, &data)?)
    }

    fn busybox(&mut self) -> Result<()> {
        let program = std::fs::read(BUSYBOX).with_context(|| {
            format!("cannot read {BUSYBOX}: install the package busybox-static")
        })?;
        self.entry("bin/busybox", cpio::PROGRAM, &program)?;
        let applets = sh::output(Command::new(BUSYBOX).arg("--list"))?;
        for applet in applets
            .lines()
            .filter(|a| *a != "busybox" && !a.contains('/'))
        {
            self.entry(&format!("bin/{applet}"), cpio::LINK, b"/bin/busybox")?;
        }
        Ok(())
    }

    fn modules(&mut self, contents: &Contents<'_>) -> Result<()> {
        let mut list = String::new();
        if let Some(dir) = contents.modules {
            let known = modules::Modules::read(dir)?;
            let names = [
                modules::BASE,
                modules::WORKLOADS,
                &[modules::kvm_for(contents.intel)],
            ]
            .concat();
            for file in known.order(&names) {
                let guest = format!("lib/modules/{}.ko", modules::name_of(&file));
                self.entry(&guest, cpio::FILE, &modules::content(&dir.join(&file))?)?;
                list.push_str(&format!("/{guest}\n"));
            }
        }
        self.entry("etc/modules", cpio::FILE, list.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_arguments() {
        let plain = GuestFile::parse("Cargo.toml").unwrap();
        assert_eq!(plain.guest, Path::new("/root/Cargo.toml"));
        assert!(plain.host.is_absolute());
        let placed = GuestFile::parse("Cargo.toml:/etc/x.toml").unwrap();
        assert_eq!(placed.guest, Path::new("/etc/x.toml"));
        let in_dir = GuestFile::parse("Cargo.toml:/bin/").unwrap();
        assert_eq!(in_dir.guest, Path::new("/bin/Cargo.toml"));
        assert!(GuestFile::parse("no-such-file").is_err());
    }
}
