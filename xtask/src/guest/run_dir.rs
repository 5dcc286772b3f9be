//! The files that one run of a guest needs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::host::paths;

/// The directory of one run. Dropping it removes everything but the console's log.
#[derive(Debug)]
pub(crate) struct RunDir {
    dir: PathBuf,
    /// The console's log.
    pub(crate) log: PathBuf,
}

impl RunDir {
    /// Makes a directory for a new run, and removes those of runs that died.
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let home = Path::new("target/vm");
        paths::create_dir(home)?;
        sweep(home);
        let id = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = home.join(&id);
        let _ = std::fs::remove_dir_all(&dir);
        paths::create_dir(&dir)?;
        Ok(Self {
            dir,
            log: home.join(format!("{id}.log")),
        })
    }

    /// Returns the path of a file of this run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes a sparse file for a disk.
    pub(crate) fn disk(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.file(name);
        File::create(&path)
            .and_then(|f| f.set_len(bytes))
            .with_context(|| format!("cannot make the disk {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Removes the directories of runs whose process is gone, and all but the newest logs.
fn sweep(home: &Path) {
    let entries = || std::fs::read_dir(home).into_iter().flatten().flatten();
    for entry in entries() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let dead = name.split_once('-').is_some_and(|(pid, _)| {
            pid.bytes().all(|b| b.is_ascii_digit()) && !Path::new("/proc").join(pid).exists()
        });
        if dead && entry.path().is_dir() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let mut logs: Vec<_> = entries()
        .filter(|e| e.path().extension().is_some_and(|x| x == "log"))
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    logs.sort();
    for (_, path) in logs.iter().rev().skip(60) {
        let _ = std::fs::remove_file(path);
    }
}
