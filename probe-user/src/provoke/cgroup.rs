//! Cgroups (version 2) of a provocation's own.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result, at_file};

const MOUNT: &str = "/sys/fs/cgroup";
const REMEDY: &str = "run as root, on a machine with cgroup v2 mounted on /sys/fs/cgroup";

/// A cgroup's name, as results state it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupName {
    /// Its path below the mount of cgroup v2, beginning with `/`.
    pub path: String,
    /// Its id: the inode of its directory, which is what the kernel reports.
    pub id: u64,
}

/// A cgroup. Those made by [`create`](Self::create) are removed when dropped, once no process
/// is in them.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// The directories this value made, outermost first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes a cgroup at a path below the mount, and those above it that are missing, with
    /// the memory controller on.
    pub fn create(path: &str) -> Result<Self> {
        let mount = Path::new(MOUNT);
        if !mount.join("cgroup.controllers").is_file() {
            return Err(Error::lacking("cgroup v2 is not mounted", REMEDY));
        }
        let mut directory = mount.to_path_buf();
        let mut made = Vec::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            // The parent may have it on already, or be a leaf with processes: then the memory
            // files are missing below, which is told where they are written to.
            let _ = std::fs::write(directory.join("cgroup.subtree_control"), "+memory");
            directory.push(part);
            match std::fs::create_dir(&directory) {
                Ok(()) => made.push(directory.clone()),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at_file("making the cgroup", directory, REMEDY)(error)),
            }
        }
        Ok(Self { directory, made })
    }

    /// The cgroup this process is in.
    #[must_use]
    pub fn of_self() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        let directory = Path::new(MOUNT).join(path.trim_start_matches('/'));
        directory.is_dir().then_some(Self {
            directory,
            made: Vec::new(),
        })
    }

    /// Its path and id.
    #[must_use]
    pub fn name(&self) -> CgroupName {
        let relative = self
            .directory
            .strip_prefix(MOUNT)
            .unwrap_or(&self.directory);
        CgroupName {
            path: format!("/{}", relative.display()),
            id: std::fs::metadata(&self.directory).map_or(0, |meta| meta.ino()),
        }
    }

    /// Moves a process into it. What it uses later is charged to it.
    pub fn add(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Writes one of its files.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.directory.join(file);
        std::fs::write(&path, value).map_err(at_file("writing", path, REMEDY))
    }

    /// Reads one of its files, trimmed.
    pub fn read(&self, file: &str) -> Result<String> {
        let path = self.directory.join(file);
        let text = std::fs::read_to_string(&path).map_err(at_file("reading", path, REMEDY))?;
        Ok(text.trim().to_owned())
    }

    /// Asks for that many bytes to be reclaimed from it, by memory.reclaim (Linux 5.19).
    /// True if all of them were; the kernel gives up (EAGAIN) where it can't, for example
    /// because the memory is pinned.
    pub fn reclaim(&self, bytes: u64) -> Result<bool> {
        let path = self.directory.join("memory.reclaim");
        if !path.is_file() {
            return Err(Error::lacking(
                "this kernel, or this cgroup, has no memory.reclaim",
                "use Linux 5.19 or later with the memory controller on, or the mode memory-high",
            ));
        }
        match std::fs::write(&path, bytes.to_string()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(at_file("writing", path, REMEDY)(error)),
        }
    }

    /// Reclaims from it until it uses no more than so many bytes, or the kernel gives up, by
    /// setting memory.high for a moment. The caller is the one who reclaims; its processes are
    /// throttled only while they allocate meanwhile. For kernels without memory.reclaim.
    pub fn squeeze(&self, bytes: u64) -> Result<()> {
        self.write("memory.high", &bytes.to_string())?;
        self.write("memory.high", "max")
    }

    /// Its memory usage, in bytes.
    pub fn usage(&self) -> Result<u64> {
        self.number("memory.current")
    }

    /// How many bytes of swap it and those above it may still use; None without a limit.
    pub(crate) fn swap_headroom(&self) -> Option<u64> {
        let mut least: Option<u64> = None;
        for directory in self
            .directory
            .ancestors()
            .take_while(|path| path.starts_with(MOUNT))
        {
            let cgroup = Self {
                directory: directory.to_path_buf(),
                made: Vec::new(),
            };
            if let (Ok(max), Ok(current)) = (
                cgroup.number("memory.swap.max"),
                cgroup.number("memory.swap.current"),
            ) {
                let left = max.saturating_sub(current);
                least = Some(least.map_or(left, |least| least.min(left)));
            }
        }
        least
    }

    fn number(&self, file: &str) -> Result<u64> {
        let text = self.read(file)?;
        text.parse().map_err(|_| {
            Error::lacking(
                format!("{file} is {text:?}, not a number"),
                "set a limit there",
            )
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            // Only what is empty goes; a process that was just reaped may still be leaving.
            for _ in 0..50 {
                match std::fs::remove_dir(directory) {
                    Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    _ => break,
                }
            }
        }
    }
}
