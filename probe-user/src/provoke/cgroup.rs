//! Cgroups (version 2) made for a provocation.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result, at_file};

const MOUNT: &str = "/sys/fs/cgroup";
const REMEDY: &str = "run as root, on a machine with cgroup v2 mounted on /sys/fs/cgroup";

/// The name of a cgroup, as results state it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupName {
    /// The path below the cgroup v2 mount, beginning with `/`.
    pub path: String,
    /// The id: the inode of the cgroup's directory, which is what the kernel reports.
    pub id: u64,
}

/// A cgroup. One made by [`create`](Self::create) is removed on drop, once no process is left in
/// it.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// The directories that this value made, outermost first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes a cgroup at a path below the mount, with the memory controller on, and any missing
    /// parents.
    pub fn create(path: &str) -> Result<Self> {
        let mount = Path::new(MOUNT);
        if !mount.join("cgroup.controllers").is_file() {
            return Err(Error::lacking("cgroup v2 is not mounted", REMEDY));
        }
        let mut directory = mount.to_path_buf();
        let mut made = Vec::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            // The parent may have the controller on already, or be a leaf with processes. In
            // that case the memory files are missing below; writing to them reports it.
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

    /// Makes a cgroup below this one, without turning on a controller for it: that takes a fraction
    /// of the time.
    pub(crate) fn child(&self, name: &str) -> Result<Self> {
        let directory = self.directory.join(name);
        std::fs::create_dir(&directory).map_err(at_file(
            "making the cgroup",
            &directory,
            REMEDY,
        ))?;
        Ok(Self {
            made: vec![directory.clone()],
            directory,
        })
    }

    /// Makes a cgroup as [`create`](Self::create) does, and fails if it has no memory controller.
    pub(crate) fn with_memory(path: &str) -> Result<Self> {
        let cgroup = Self::create(path)?;
        if cgroup.usage().is_err() {
            return Err(Error::lacking(
                "the memory controller cannot be turned on for cgroups here",
                "mount cgroup v2 with the memory controller, and run as root",
            ));
        }
        Ok(cgroup)
    }

    /// Returns the cgroup of this process.
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

    /// Returns its path and id.
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

    /// Moves a process into the cgroup, which is charged for what the process uses from then on.
    pub fn add(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Writes one of the cgroup's files.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.directory.join(file);
        std::fs::write(&path, value).map_err(at_file("writing", path, REMEDY))
    }

    /// Reads one of the cgroup's files, trimmed.
    pub fn read(&self, file: &str) -> Result<String> {
        let path = self.directory.join(file);
        let text = std::fs::read_to_string(&path).map_err(at_file("reading", path, REMEDY))?;
        Ok(text.trim().to_owned())
    }

    /// Requests reclaim of that many bytes through memory.reclaim (Linux 5.19).
    ///
    /// Returns whether the kernel reclaimed all of them. It gives up (EAGAIN) when it can't, for
    /// example because the memory is pinned.
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

    /// Reclaims until the cgroup uses at most that many bytes or the kernel gives up, by lowering
    /// memory.high for a moment. For kernels without memory.reclaim.
    ///
    /// The caller is the reclaimer; the cgroup's processes are throttled only if they allocate
    /// meanwhile.
    pub fn squeeze(&self, bytes: u64) -> Result<()> {
        self.write("memory.high", &bytes.to_string())?;
        self.write("memory.high", "max")
    }

    /// Returns its memory usage, in bytes.
    pub fn usage(&self) -> Result<u64> {
        self.number("memory.current")
    }

    /// Returns how many bytes of swap it and its ancestors may still use; None without a limit.
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
            // Only an empty cgroup can be removed, and a process that was just reaped may still
            // be leaving.
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
