//! The guest's root file system: busybox, the modules, the programs, the command.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::guest::cpio::{self, CpioWriter};
use crate::guest::files::GuestFile;
use crate::guest::modules;
use crate::host::setup::BUSYBOX;
use crate::host::{process, shell_quote};

const INIT: &[u8] = include_bytes!("init.sh");

/// The contents of one guest's root file system.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// The kernel's module directory.
    pub(crate) modules: Option<&'a Path>,
    /// Whether the guest sees an Intel processor.
    pub(crate) intel: bool,
    /// Programs and files of this machine.
    pub(crate) files: &'a [GuestFile],
    /// Generated scripts: path and text.
    pub(crate) scripts: &'a [(String, String)],
    /// The command and its arguments.
    pub(crate) command: &'a [OsString],
    /// The mark at a stream's end.
    pub(crate) token: &'a str,
    /// The swap device: `disk`, `zram` or `none`.
    pub(crate) swap: &'a str,
}

/// Writes the archive to `path`. It isn't compressed: an emulated guest boots half a second faster
/// without unpacking it.
pub(crate) fn write(path: &Path, contents: &Contents<'_>) -> Result<()> {
    let out = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut archive = Archive {
        writer: CpioWriter::new(BufWriter::new(out)),
        made: std::collections::BTreeSet::new(),
    };
    archive
        .fill(contents)
        .with_context(|| format!("cannot write the guest's file system, {}", path.display()))?;
    let mut out = archive
        .writer
        .finish()
        .context("cannot finish the guest's file system")?;
    out.flush()
        .with_context(|| format!("cannot write {}", path.display()))
}

struct Archive<W: Write> {
    writer: CpioWriter<W>,
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
        command.extend(shell_quote::command(contents.command));
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
        let applets = process::output(Command::new(BUSYBOX).arg("--list"))?;
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
