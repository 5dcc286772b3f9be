//! Names of cgroups by their id.
//!
//! A cgroup's id in the v2 hierarchy is the inode number of its directory, so a walk over the
//! mounted hierarchy finds the name of every cgroup. A cgroup that is gone keeps its last name.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use procfs::MountEntry;

/// The number of directories read in one walk, at most: on a host with more, only the first ones
/// get names.
const MAX_DIRECTORIES: usize = 100_000;

/// Ids and paths seen so far.
#[derive(Debug, Default)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    names: HashMap<u64, String>,
}

impl Cgroups {
    /// Finds the mount of the v2 hierarchy.
    pub fn new() -> Self {
        let mounts = procfs::mounts().unwrap_or_default();
        Self {
            mount: v2_mount(mounts),
            names: HashMap::new(),
        }
    }

    /// Returns the path of the cgroup below the mount, `/` for its root; `id:N` if it can't be
    /// found; `None` for the id 0, which means unknown.
    pub fn name(&mut self, id: u64) -> Option<String> {
        if id == 0 {
            return None;
        }
        if !self.names.contains_key(&id) {
            self.walk();
        }
        let name = self.names.entry(id).or_insert_with(|| format!("id:{id}"));
        Some(name.clone())
    }

    /// Whether the directory of this name no longer exists.
    pub fn is_gone(&self, name: &str) -> bool {
        let below = name.trim_start_matches('/');
        let mount = self.mount.as_ref();
        mount.is_some_and(|mount| !mount.join(below).is_dir())
    }

    /// Finds the names of those ids that have none yet, while their directories exist.
    pub fn learn(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.name(id);
        }
    }

    /// Learns the name of every cgroup that exists now, so that one that goes later is known.
    pub fn walk(&mut self) {
        let Some(mount) = &self.mount else { return };
        let mut queue = vec![mount.clone()];
        let mut seen = 0;
        while let Some(dir) = queue.pop() {
            seen += 1;
            if seen > MAX_DIRECTORIES {
                return;
            }
            if let Ok(meta) = fs::metadata(&dir) {
                let below = dir.strip_prefix(mount).unwrap_or(Path::new(""));
                let name = format!("/{}", below.display());
                // An id that had no directory before may have one now.
                self.names.insert(meta.ino(), name);
            }
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    queue.push(entry.path());
                }
            }
        }
    }
}

fn v2_mount(mounts: Vec<MountEntry>) -> Option<PathBuf> {
    let mut mounts = mounts.into_iter();
    let mount = mounts.find(|mount| mount.fs_vfstype == "cgroup2")?;
    Some(PathBuf::from(mount.fs_file))
}

#[cfg(test)]
mod tests {
    use procfs::FromBufRead;

    use super::*;

    #[test]
    fn finds_the_v2_mount() {
        let read = |text: &str| Vec::<MountEntry>::from_buf_read(text.as_bytes()).unwrap();
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(
            v2_mount(read(mounts)),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        let v1 = "cgroup /sys/fs/cgroup/memory cgroup rw 0 0\n";
        assert_eq!(v2_mount(read(v1)), None);
    }

    #[test]
    fn unknown_ids_get_a_name_from_their_number() {
        let mut none = Cgroups {
            mount: None,
            names: HashMap::new(),
        };
        assert_eq!(none.name(0), None);
        assert_eq!(none.name(7).as_deref(), Some("id:7"));
    }

    #[test]
    fn walks_directories_and_keeps_names() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a.slice/b");
        fs::create_dir_all(&inner).unwrap();
        let id = fs::metadata(&inner).unwrap().ino();
        let mut cgroups = Cgroups {
            mount: Some(dir.path().to_owned()),
            names: HashMap::new(),
        };
        assert_eq!(cgroups.name(id).as_deref(), Some("/a.slice/b"));
        fs::remove_dir_all(&inner).unwrap();
        assert_eq!(cgroups.name(id).as_deref(), Some("/a.slice/b"));
    }
}
