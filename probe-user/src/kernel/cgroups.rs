//! Names of cgroups by their id, and whether a cgroup still exists.
//!
//! A cgroup's id in the v2 hierarchy is the inode number of its directory. The kernel side sends
//! the path of each cgroup when its first process loses a mapping, so a name costs nothing to
//! find and outlives its directory. Where that fails (the ring was full, a path is too deep, or
//! only a part of the hierarchy is mounted), a walk over the directories finds the names, in a
//! thread of its own and seldom.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use probe_ebpf::maps::{CgroupName, NAME_BYTES};
use procfs::MountEntry;

/// The number of directories read in one walk, at most: on a host with more, only the first ones
/// get names.
const MAX_DIRECTORIES: usize = 100_000;
/// The time between two walks.
const PAUSE: Duration = Duration::from_secs(30);
/// The number of names and ids that are kept, at most, unless they are in use.
pub(super) const MAX_NAMES: usize = 16_384;
/// The inode number of the root of the v2 hierarchy.
const ROOT: u64 = 1;

/// Whether something still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existence {
    /// It exists.
    There,
    /// It is gone.
    Gone,
    /// That cannot be said.
    Unknown,
}

/// Names learned so far.
#[derive(Debug, Default)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    /// Whether the whole hierarchy is mounted, so that the kernel's paths are paths here.
    whole: bool,
    names: HashMap<u64, String>,
    /// Ids without a name that no walk has looked for yet.
    wanted: BTreeSet<u64>,
    /// Ids that a walk did not find.
    not_found: HashSet<u64>,
    walk: Option<Walk>,
    walked: Option<Instant>,
}

/// A walk that is under way in its thread.
#[derive(Debug)]
struct Walk {
    wanted: BTreeSet<u64>,
    found: Receiver<HashMap<u64, String>>,
}

impl Cgroups {
    /// Finds the mount of the v2 hierarchy.
    pub fn new() -> Self {
        Self::at(v2_mount(procfs::mounts().unwrap_or_default()))
    }

    fn at(mount: Option<PathBuf>) -> Self {
        let root = mount.as_ref().and_then(|m| fs::metadata(m).ok());
        Self {
            whole: root.is_some_and(|r| r.ino() == ROOT),
            mount,
            ..Self::default()
        }
    }

    /// Whether the kernel's paths are paths below the mount.
    pub fn whole(&self) -> bool {
        self.whole
    }

    /// Keeps a name that the kernel sent.
    pub(super) fn learn(&mut self, sent: &CgroupName) {
        if let Some(path) = path_of(sent) {
            self.wanted.remove(&sent.id);
            self.names.insert(sent.id, path);
        }
    }

    /// Returns the path of the cgroup below the mount, `/` for its root; `id:N` as long as it is
    /// not known; `None` for the id 0, which means unknown.
    pub fn name(&mut self, id: u64) -> Option<String> {
        if id == 0 {
            return None;
        }
        if let Some(name) = self.names.get(&id) {
            return Some(name.clone());
        }
        if !self.not_found.contains(&id) && self.wanted.len() < MAX_NAMES {
            self.wanted.insert(id);
        }
        Some(format!("id:{id}"))
    }

    /// Whether a cgroup exists.
    pub fn existence(&self, id: u64) -> Existence {
        let Some(mount) = &self.mount else {
            return Existence::Unknown;
        };
        let Some(name) = self.names.get(&id) else {
            return if self.whole && self.not_found.contains(&id) {
                Existence::Gone
            } else {
                Existence::Unknown
            };
        };
        match fs::metadata(mount.join(name.trim_start_matches('/'))) {
            Ok(meta) if meta.ino() == id => Existence::There,
            Ok(_) => Existence::Gone,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Existence::Gone,
            Err(_) => Existence::Unknown,
        }
    }

    /// Forgets a cgroup.
    pub(super) fn forget(&mut self, id: u64) {
        self.names.remove(&id);
        self.wanted.remove(&id);
        self.not_found.remove(&id);
    }

    /// Returns the number of ids that are known.
    pub(super) fn len(&self) -> usize {
        self.names.len() + self.not_found.len()
    }

    /// Returns the ids that are known.
    pub(super) fn known(&self) -> Vec<u64> {
        self.names.keys().chain(&self.not_found).copied().collect()
    }

    /// Takes in a walk that has ended, and starts one if names are wanted and the last one was
    /// long enough ago.
    pub fn tick(&mut self) {
        if let Some(walk) = &self.walk {
            match walk.found.try_recv() {
                Ok(found) => self.walk_ended(found),
                Err(TryRecvError::Disconnected) => self.walk_ended(HashMap::new()),
                Err(TryRecvError::Empty) => {}
            }
        }
        let due = self.walked.is_none_or(|at| at.elapsed() >= PAUSE);
        if self.walk.is_none() && due && !self.wanted.is_empty() {
            self.start_walk();
        }
    }

    /// Finds the names that are wanted now, and waits for them.
    pub fn settle(&mut self) {
        if self.walk.is_none() && !self.wanted.is_empty() {
            self.start_walk();
        }
        if let Some(walk) = &self.walk {
            let found = walk.found.recv().unwrap_or_default();
            self.walk_ended(found);
        }
    }

    fn start_walk(&mut self) {
        let Some(mount) = self.mount.clone() else {
            self.wanted.clear();
            return;
        };
        let wanted = std::mem::take(&mut self.wanted);
        let (send, found) = sync_channel(1);
        let looked_for = wanted.clone();
        let started = thread::Builder::new()
            .name("cgroup-names".to_owned())
            .spawn(move || {
                let _ = send.send(walk(&mount, &looked_for));
            });
        match started {
            Ok(_) => self.walk = Some(Walk { wanted, found }),
            Err(error) => {
                tracing::debug!("cannot start a thread to find names of cgroups: {error}");
                self.walked = Some(Instant::now());
            }
        }
    }

    fn walk_ended(&mut self, found: HashMap<u64, String>) {
        if let Some(walk) = self.walk.take() {
            let missing = walk.wanted.iter().filter(|id| !found.contains_key(id));
            self.not_found.extend(missing);
        }
        self.names.extend(found);
        self.walked = Some(Instant::now());
    }
}

/// Returns the path that the kernel sent; `None` if it is not complete.
fn path_of(sent: &CgroupName) -> Option<String> {
    if sent.partial != 0 {
        return None;
    }
    let levels = usize::try_from(sent.levels).ok()?;
    let mut path = String::new();
    for name in sent.names.get(..levels)?.iter().rev() {
        let end = name.iter().position(|b| *b == 0)?;
        // A name that fills its place may have been cut.
        if end + 1 >= NAME_BYTES {
            return None;
        }
        path.push('/');
        path.push_str(&String::from_utf8_lossy(&name[..end]));
    }
    if path.is_empty() {
        path.push('/');
    }
    Some(path)
}

/// Returns the names of those wanted ids that have a directory.
fn walk(mount: &Path, wanted: &BTreeSet<u64>) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    let mut queue = vec![mount.to_owned()];
    let mut seen = 0;
    while let Some(dir) = queue.pop() {
        seen += 1;
        if seen > MAX_DIRECTORIES || found.len() == wanted.len() {
            break;
        }
        if let Ok(meta) = fs::metadata(&dir)
            && wanted.contains(&meta.ino())
        {
            let below = dir.strip_prefix(mount).unwrap_or(Path::new(""));
            found.insert(meta.ino(), format!("/{}", below.display()));
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
    found
}

fn v2_mount(mounts: Vec<MountEntry>) -> Option<PathBuf> {
    let mut mounts = mounts.into_iter();
    let mount = mounts.find(|mount| mount.fs_vfstype == "cgroup2")?;
    Some(PathBuf::from(mount.fs_file))
}

#[cfg(test)]
mod tests {
    use probe_ebpf::maps::NAME_LEVELS;
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

    fn sent(id: u64, names: &[&str]) -> CgroupName {
        let mut sent = CgroupName {
            id,
            levels: names.len() as u32,
            partial: 0,
            names: [[b'x'; NAME_BYTES]; NAME_LEVELS],
        };
        for (to, name) in sent.names.iter_mut().zip(names.iter().rev()) {
            let n = name.len().min(NAME_BYTES - 1);
            to[..n].copy_from_slice(&name.as_bytes()[..n]);
            to[n] = 0;
        }
        sent
    }

    #[test]
    fn the_kernel_sends_paths_from_the_leaf_upwards() {
        let mut cgroups = Cgroups::default();
        cgroups.learn(&sent(9, &["a.slice", "b"]));
        cgroups.learn(&sent(1, &[]));
        let long = "n".repeat(NAME_BYTES);
        cgroups.learn(&sent(10, &[&long]));
        let mut deep = sent(11, &["a"]);
        deep.partial = 1;
        cgroups.learn(&deep);
        assert_eq!(cgroups.name(9).as_deref(), Some("/a.slice/b"));
        assert_eq!(cgroups.name(1).as_deref(), Some("/"));
        assert_eq!(cgroups.name(10).as_deref(), Some("id:10"));
        assert_eq!(cgroups.name(11).as_deref(), Some("id:11"));
        assert_eq!(cgroups.name(0), None);
    }

    #[test]
    fn a_walk_finds_what_is_wanted_and_remembers_what_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a.slice/b");
        fs::create_dir_all(&inner).unwrap();
        let id = fs::metadata(&inner).unwrap().ino();
        let mut cgroups = Cgroups::at(Some(dir.path().to_owned()));
        cgroups.whole = true;
        assert_eq!(cgroups.name(id), Some(format!("id:{id}")));
        cgroups.name(3);
        cgroups.settle();
        assert_eq!(cgroups.name(id).as_deref(), Some("/a.slice/b"));
        assert_eq!(cgroups.existence(id), Existence::There);
        assert_eq!(cgroups.existence(3), Existence::Gone);
        // Asking for it again starts no walk.
        cgroups.name(3);
        cgroups.walked = None;
        cgroups.tick();
        assert!(cgroups.walk.is_none());
        fs::remove_dir_all(&inner).unwrap();
        assert_eq!(cgroups.existence(id), Existence::Gone);
        assert_eq!(cgroups.name(id).as_deref(), Some("/a.slice/b"));
        fs::create_dir_all(&inner).unwrap();
        let again = fs::metadata(&inner).unwrap().ino();
        assert!(again == id || cgroups.existence(id) == Existence::Gone);
    }
}
