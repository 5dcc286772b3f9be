//! Reads and decodes the maps.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
};
use probe_ebpf::{
    Hook, Reclaimer, Verdict, VictimsBy,
    maps::{
        FolioHists, GroupCounts, GroupKey, HookHits, Lost, OTHER_SUBSCRIBERS, OTHERS, Subscriber,
        TaskState, TimeHists, Victim, VictimKey,
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::histograms::{sum, sum_octaves};
use crate::snapshot::{Counts, Histogram, LostCounts};

/// Reasons why a map couldn't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The kernel refused.
    #[error("cannot read the map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// The cause.
        source: MapError,
    },
    /// The object and this program come from different builds.
    #[error("the map {0} is missing from the programs' object: build both sides together")]
    Missing(&'static str),
}

/// Returns the text of a NUL-padded field.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The histograms as they were last read.
#[derive(Default)]
pub(super) struct Histograms {
    /// The number of unmaps at that time.
    at: Option<u64>,
    times: BTreeMap<Verdict, (Histogram, Histogram)>,
    by_reclaimer: BTreeMap<(Reclaimer, Verdict), Histogram>,
    excess: Histogram,
    per_folio: Histogram,
}

/// What the shared maps have counted, summed over the CPUs.
pub(super) struct Counted {
    pub(super) groups: BTreeMap<GroupKey, GroupCounts>,
    pub(super) victims: BTreeMap<VictimKey, Victim>,
    pub(super) subscribers: BTreeMap<u64, Subscriber>,
    /// Time in `try_to_unmap` and in its notifier calls, in ns, by verdict.
    pub(super) times: BTreeMap<Verdict, (Histogram, Histogram)>,
    /// Time in `try_to_unmap`, in ns, in octaves.
    pub(super) by_reclaimer: BTreeMap<(Reclaimer, Verdict), Histogram>,
    pub(super) excess: Histogram,
    pub(super) per_folio: Histogram,
    /// Entries and returns by [`Hook`].
    pub(super) hits: [HookHits; Hook::COUNT],
}

/// Typed access to the maps through byte arrays, whose sizes [`probe_ebpf::maps`] asserts.
pub(super) struct Maps<'a>(pub(super) &'a Ebpf);

impl Maps<'_> {
    fn hash<const K: usize, const V: usize>(
        &self,
        map: &'static str,
    ) -> Result<HashMap<&MapData, [u8; K], [u8; V]>, ReadError> {
        let data = self.0.map(map).ok_or(ReadError::Missing(map))?;
        HashMap::try_from(data).map_err(|source| ReadError::Map { map, source })
    }

    fn entries<Key: FromBytes, Value: FromBytes, const K: usize, const V: usize>(
        &self,
        map: &'static str,
    ) -> Result<Vec<(Key, Value)>, ReadError> {
        let hash = self.hash::<K, V>(map)?;
        let mut entries = Vec::new();
        for key in hash.keys() {
            let key = key.map_err(|source| ReadError::Map { map, source })?;
            // An entry may be removed between the reads of its key and its value.
            let Ok(value) = hash.get(&key, 0) else {
                continue;
            };
            if let (Ok(key), Ok(value)) =
                (Key::read_from_bytes(&key), Value::read_from_bytes(&value))
            {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    fn keys<Key: FromBytes, const K: usize, const V: usize>(
        &self,
        map: &'static str,
    ) -> Result<Vec<Key>, ReadError> {
        let hash = self.hash::<K, V>(map)?;
        let mut keys = Vec::new();
        for key in hash.keys() {
            let key = key.map_err(|source| ReadError::Map { map, source })?;
            keys.extend(Key::read_from_bytes(&key));
        }
        Ok(keys)
    }

    /// Returns the number of keys that a map has room for.
    pub(super) fn room(&self, map: &'static str) -> u64 {
        let data = match self.0.map(map) {
            Some(Map::Array(data) | Map::HashMap(data)) => data,
            _ => return 0,
        };
        data.info().map_or(0, |info| u64::from(info.max_entries()))
    }

    fn per_cpu<T: FromBytes, const N: usize>(
        &self,
        map: &'static str,
        index: u32,
    ) -> Result<Vec<T>, ReadError> {
        let data = self.0.map(map).ok_or(ReadError::Missing(map))?;
        let array: PerCpuArray<&MapData, [u8; N]> =
            PerCpuArray::try_from(data).map_err(|source| ReadError::Map { map, source })?;
        let values = array
            .get(&index, 0)
            .map_err(|source| ReadError::Map { map, source })?;
        Ok(values
            .iter()
            .filter_map(|v| T::read_from_bytes(v).ok())
            .collect())
    }

    fn groups(&self, map: &'static str) -> Result<BTreeMap<GroupKey, GroupCounts>, ReadError> {
        const K: usize = size_of::<GroupKey>();
        const V: usize = size_of::<GroupCounts>();
        Ok(self.entries::<_, _, K, V>(map)?.into_iter().collect())
    }

    pub(super) fn group_keys(&self) -> Result<Vec<GroupKey>, ReadError> {
        const K: usize = size_of::<GroupKey>();
        const V: usize = size_of::<GroupCounts>();
        self.keys::<_, K, V>("GROUPS")
    }

    pub(super) fn victim_keys(&self) -> Result<Vec<VictimKey>, ReadError> {
        const K: usize = size_of::<VictimKey>();
        const V: usize = size_of::<Victim>();
        self.keys::<_, K, V>("VICTIMS")
    }

    pub(super) fn victims(&self) -> Result<BTreeMap<VictimKey, Victim>, ReadError> {
        const K: usize = size_of::<VictimKey>();
        const V: usize = size_of::<Victim>();
        Ok(self.entries::<_, _, K, V>("VICTIMS")?.into_iter().collect())
    }

    pub(super) fn victim(&self, key: &VictimKey) -> Option<Victim> {
        const K: usize = size_of::<VictimKey>();
        const V: usize = size_of::<Victim>();
        let mut bytes = [0; K];
        bytes.copy_from_slice(zerocopy::IntoBytes::as_bytes(key));
        let value = self.hash::<K, V>("VICTIMS").ok()?.get(&bytes, 0).ok()?;
        Victim::read_from_bytes(&value).ok()
    }

    pub(super) fn subscribers(&self) -> Result<BTreeMap<u64, Subscriber>, ReadError> {
        const V: usize = size_of::<Subscriber>();
        Ok(self
            .entries::<u64, _, 8, V>("SUBSCRIBERS")?
            .into_iter()
            .collect())
    }

    fn times(&self, verdict: Verdict) -> Result<Vec<TimeHists>, ReadError> {
        self.per_cpu::<_, { size_of::<TimeHists>() }>("TIMES", verdict as u32)
    }

    fn folio_hists(&self) -> Result<(Histogram, Histogram), ReadError> {
        let cpus: Vec<FolioHists> =
            self.per_cpu::<_, { size_of::<FolioHists>() }>("FOLIO_HISTS", 0)?;
        Ok((
            sum(cpus.iter().map(|c| &c.excess)),
            sum(cpus.iter().map(|c| &c.per_folio)),
        ))
    }

    fn hits(&self, hook: Hook) -> Result<HookHits, ReadError> {
        let cpus: Vec<HookHits> =
            self.per_cpu::<_, { size_of::<HookHits>() }>("HOOKS", hook as u32)?;
        Ok(HookHits {
            entries: cpus.iter().map(|c| c.entries).sum(),
            returns: cpus.iter().map(|c| c.returns).sum(),
        })
    }

    pub(super) fn lost(&self) -> Result<LostCounts, ReadError> {
        let cpus: Vec<Lost> = self.per_cpu::<_, { size_of::<Lost>() }>("LOST", 0)?;
        let mut all = LostCounts::default();
        for c in &cpus {
            all.tasks += c.tasks;
            all.groups += c.groups;
            all.victims += c.victims;
            all.mappings += c.mappings;
            all.folios += c.folios;
            all.subscribers += c.subscribers;
            all.events += c.events;
            all.events_over_budget += c.events_over_budget;
            all.reads += c.reads;
        }
        Ok(all)
    }

    /// Returns the number of a folio's futile unmaps; 0 if the folio isn't followed any more.
    pub(super) fn times_futile(&self, folio: u64) -> u64 {
        let map = self.hash::<8, 8>("FOLIOS").ok();
        map.and_then(|m| m.get(&folio.to_ne_bytes(), 0).ok())
            .map_or(0, u64::from_ne_bytes)
    }

    /// Reads everything that the shared maps have counted. Histograms, most of the bytes, are read
    /// only if something was unmapped since `last`: a host is mostly idle.
    pub(super) fn counted(&self, last: &mut Histograms) -> Result<Counted, ReadError> {
        let mut hits = [HookHits::default(); Hook::COUNT];
        for hook in Hook::ALL {
            hits[hook as usize] = self.hits(hook)?;
        }
        // A batch adds its hits when it ends, after its last unmap.
        let unmaps = hits[Hook::Unmap as usize].entries;
        if last.at != Some(unmaps) {
            for verdict in Verdict::ALL {
                let cpus = self.times(verdict)?;
                let unmap = sum(cpus.iter().map(|c| &c.unmap_ns));
                let notifier = sum(cpus.iter().map(|c| &c.notifier_ns));
                last.times.insert(verdict, (unmap, notifier));
                for reclaimer in Reclaimer::ALL {
                    let rows = cpus.iter().map(|c| &c.by_reclaimer[reclaimer as usize]);
                    if let Some(sum) = sum_octaves(rows) {
                        last.by_reclaimer.insert((reclaimer, verdict), sum);
                    }
                }
            }
            (last.excess, last.per_folio) = self.folio_hists()?;
            last.at = Some(unmaps);
        }
        Ok(Counted {
            groups: {
                let mut groups = self.groups("GROUPS")?;
                groups.extend(self.groups("SHARED_GROUPS")?);
                groups
            },
            victims: self.victims()?,
            subscribers: self.subscribers()?,
            times: last.times.clone(),
            by_reclaimer: last.by_reclaimer.clone(),
            excess: last.excess.clone(),
            per_folio: last.per_folio.clone(),
            hits,
        })
    }

    /// Returns the slots of tasks that are inside reclaim.
    pub(super) fn claimed(&self) -> Result<Vec<u32>, ReadError> {
        Ok(self
            .entries::<u32, u32, 4, 4>("CLAIMS")?
            .into_iter()
            .map(|(slot, _)| slot)
            .collect())
    }

    /// Reads the state of the task in a slot.
    pub(super) fn task(&self, slot: u32) -> Result<TaskState, ReadError> {
        let map = "TASKS";
        let data = self.0.map(map).ok_or(ReadError::Missing(map))?;
        let array: Array<&MapData, [u8; size_of::<TaskState>()]> =
            Array::try_from(data).map_err(|source| ReadError::Map { map, source })?;
        let value = array
            .get(&slot, 0)
            .map_err(|source| ReadError::Map { map, source })?;
        TaskState::read_from_bytes(&value).map_err(|_| ReadError::Missing(map))
    }
}

/// The maps to write to.
pub(super) struct MapsMut<'a>(pub(super) &'a mut Ebpf);

impl MapsMut<'_> {
    pub(super) fn read(&self) -> Maps<'_> {
        Maps(self.0)
    }

    fn hash<const K: usize, const V: usize>(
        &mut self,
        map: &'static str,
    ) -> Result<HashMap<&mut MapData, [u8; K], [u8; V]>, ReadError> {
        let data = self.0.map_mut(map).ok_or(ReadError::Missing(map))?;
        HashMap::try_from(data).map_err(|source| ReadError::Map { map, source })
    }

    /// Removes a key and returns its value, if it was there.
    fn take<Key: IntoBytes + Immutable, Value: FromBytes, const K: usize, const V: usize>(
        &mut self,
        map: &'static str,
        key: &Key,
    ) -> Result<Option<Value>, ReadError> {
        let mut bytes = [0; K];
        bytes.copy_from_slice(key.as_bytes());
        let mut hash = self.hash::<K, V>(map)?;
        let value = match hash.get(&bytes, 0) {
            Ok(value) => value,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(source) => return Err(ReadError::Map { map, source }),
        };
        hash.remove(&bytes)
            .map_err(|source| ReadError::Map { map, source })?;
        Ok(Value::read_from_bytes(&value).ok())
    }

    pub(super) fn take_group(&mut self, key: &GroupKey) -> Result<Option<GroupCounts>, ReadError> {
        const K: usize = size_of::<GroupKey>();
        const V: usize = size_of::<GroupCounts>();
        self.take::<_, _, K, V>("GROUPS", key)
    }

    pub(super) fn take_victim(&mut self, key: &VictimKey) -> Result<Option<Victim>, ReadError> {
        const K: usize = size_of::<VictimKey>();
        const V: usize = size_of::<Victim>();
        self.take::<_, _, K, V>("VICTIMS", key)
    }

    /// Lets the kernel side send the name of a cgroup again.
    pub(super) fn forget_name(&mut self, id: u64) {
        // A failure means that it was not there.
        let _ = self.take::<u64, u64, 8, 8>("NAMED", &id);
    }

    /// Makes the keys that those share which find a map full.
    pub(super) fn prepare(&mut self) -> Result<(), ReadError> {
        const K: usize = size_of::<VictimKey>();
        const V: usize = size_of::<Victim>();
        const S: usize = size_of::<Subscriber>();
        let mut key = [0; K];
        key.copy_from_slice(OTHERS.as_bytes());
        let map = "VICTIMS";
        self.hash::<K, V>(map)?
            .insert(key, [0; V], 0)
            .map_err(|source| ReadError::Map { map, source })?;
        let map = "SUBSCRIBERS";
        self.hash::<8, S>(map)?
            .insert(OTHER_SUBSCRIBERS.to_ne_bytes(), [0; S], 0)
            .map_err(|source| ReadError::Map { map, source })
    }
}

/// The key that the kernel side writes for an unknown process.
pub(super) const NOBODY: VictimKey = VictimKey {
    mm: 0,
    tgid: 0,
    pad: 0,
};

/// The key that a victim is kept by, as the kernel side's function of this name makes it.
pub(super) fn kept_by(by: VictimsBy, mut victim: VictimKey) -> VictimKey {
    if by != VictimsBy::Process {
        victim.mm = 0;
    }
    victim
}

/// Converts one group's counts to user space's type.
pub(super) fn counts(c: &probe_ebpf::maps::Counts) -> Counts {
    Counts {
        folios: c.folios,
        pages: c.pages,
        notifier_calls: c.notifier_calls,
        notifier_ns: c.notifier_ns,
        unmap_ns: c.unmap_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_nul() {
        assert_eq!(text(b"kswapd0\0\0\0garbage"), "kswapd0");
        assert_eq!(text(b"0123456789abcdef"), "0123456789abcdef");
        assert_eq!(text(b"\xff\0"), "\u{fffd}");
    }
}
