//! Counts what tasks had pending when the programs were detached: their shrink call hasn't
//! returned, or its return was missed, so no program will count it.

use probe_ebpf::{
    Evidence, Hook, Reclaimer, VictimsBy, decide, hist,
    maps::{GroupKey, OTHERS, PHASE_IDLE, TaskState, VictimKey},
    verdict::{EXAMINED, FREED, MAPPED, UNWATCHED},
};

use super::maps::{Counted, NOBODY, kept_by};
use crate::snapshot::Histogram;

impl Counted {
    /// Adds what is pending in `state`, including the open unmap. `times_futile` returns the number
    /// of a folio's earlier futile unmaps.
    pub(super) fn fold(
        &mut self,
        state: &TaskState,
        by: VictimsBy,
        times_futile: impl FnOnce(u64) -> u64,
    ) {
        let pending = self.groups.entry(state.pending_key).or_default();
        for (counts, p) in pending.by_verdict.iter_mut().zip(&state.pending) {
            counts.folios += u64::from(p.folios);
            counts.pages += u64::from(p.pages);
            counts.notifier_calls += u64::from(p.notifier_calls);
            counts.notifier_ns += p.notifier_ns;
            counts.unmap_ns += p.unmap_ns;
        }
        self.lost(
            &state.pending_key.victim,
            u64::from(state.victim_mappings),
            u64::from(state.victim_pages),
        );
        observe(&mut self.excess, state.excess_value, state.excess_count);
        self.notified(state);
        for (hook, hits) in Hook::ALL.into_iter().zip(&mut self.hits) {
            hits.entries += u64::from(state.entries[hook as usize]);
            hits.returns += u64::from(state.returns[hook as usize]);
        }
        if state.phase != PHASE_IDLE {
            self.close(state, by, times_futile);
        }
    }

    /// Gives the open unmap its verdict, as far as it can be judged afterwards.
    fn close(&mut self, state: &TaskState, by: VictimsBy, times_futile: impl FnOnce(u64) -> u64) {
        let mut bits = state.bits;
        if bits & (EXAMINED | FREED | MAPPED) == EXAMINED {
            bits |= UNWATCHED;
        }
        let verdict = decide(Evidence {
            bits,
            excess: state.excess,
        });
        let key = GroupKey {
            victim: if state.walked > 0 {
                kept_by(by, state.mappings[0].victim)
            } else {
                NOBODY
            },
            reclaimer: state.reclaimer,
            memory: state.memory,
            order: state.order,
            pad: [0; 5],
        };
        let counts = &mut self.groups.entry(key).or_default().by_verdict[verdict as usize];
        counts.folios += 1;
        counts.pages += u64::from(state.nr_pages);
        counts.notifier_calls += u64::from(state.notifier_calls);
        counts.notifier_ns += state.notifier_ns;
        counts.unmap_ns += state.unmap_ns;
        if let Some((unmap, notifier)) = self.times.get_mut(&verdict) {
            observe(unmap, state.unmap_ns, u64::from(state.unmap_ns != 0));
            let called = u64::from(state.notifier_calls != 0);
            observe(notifier, state.notifier_ns, called);
        }
        if state.unmap_ns != 0 {
            let row = (Reclaimer::from_u8(state.reclaimer), verdict);
            let octave = hist::octave_of(hist::bucket_of(state.unmap_ns));
            let h = self.by_reclaimer.entry(row).or_default();
            h.sum = h.sum.wrapping_add(state.unmap_ns);
            count(h, hist::middle_of(octave), 1);
        }
        if !verdict.is_futile() {
            return;
        }
        observe(&mut self.excess, state.excess.unsigned_abs(), 1);
        let times = times_futile(state.folio);
        if times > 0 {
            take(&mut self.per_folio, times);
        }
        let sum = self.per_folio.sum;
        observe(&mut self.per_folio, times + 1, 1);
        self.per_folio.sum = sum + 1;
        let walked = usize::try_from(state.walked).unwrap_or(usize::MAX);
        for mapping in state.mappings.iter().take(walked) {
            if mapping.pages > 0 {
                self.lost(&kept_by(by, mapping.victim), 1, mapping.pages);
            }
        }
    }

    fn lost(&mut self, victim: &VictimKey, mappings: u64, pages: u64) {
        let found = match self.victims.contains_key(victim) {
            true => self.victims.get_mut(victim),
            false => self.victims.get_mut(&OTHERS),
        };
        if let Some(v) = found {
            v.mappings += mappings;
            v.pages += pages;
        }
    }

    fn notified(&mut self, state: &TaskState) {
        let shared = state.subscribers[1] != 0;
        for callback in state.subscribers.iter().take_while(|c| **c != 0) {
            if state.subscriber_calls == 0 {
                break;
            }
            let s = self.subscribers.entry(*callback).or_default();
            s.calls += state.subscriber_calls;
            s.ns += state.subscriber_ns;
            s.shared_calls += if shared { state.subscriber_calls } else { 0 };
        }
    }
}

fn observe(h: &mut Histogram, value: u64, n: u64) {
    if n == 0 {
        return;
    }
    h.sum = h.sum.wrapping_add(value.wrapping_mul(n));
    h.min = Some(h.min.map_or(value, |m| m.min(value)));
    h.max = h.max.max(Some(value));
    count(h, hist::bucket_of(value), n);
}

fn count(h: &mut Histogram, bucket: usize, n: u64) {
    if h.buckets.len() <= bucket {
        h.buckets.resize(bucket + 1, 0);
    }
    h.buckets[bucket] += n;
}

/// Removes one folio from its bucket; the sum stays.
fn take(h: &mut Histogram, value: u64) {
    if let Some(n) = h.buckets.get_mut(hist::bucket_of(value)) {
        *n = n.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use probe_ebpf::{
        Memory, Verdict,
        maps::{HookHits, Mapping, PHASE_OPEN, Victim},
    };
    use zerocopy::FromZeros;

    use super::*;

    fn empty() -> Histogram {
        Histogram {
            sum: 0,
            min: None,
            max: None,
            buckets: Vec::new(),
        }
    }

    fn nothing() -> Counted {
        Counted {
            groups: BTreeMap::new(),
            victims: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            times: Verdict::ALL.map(|v| (v, (empty(), empty()))).into(),
            by_reclaimer: BTreeMap::new(),
            excess: empty(),
            per_folio: empty(),
            hits: [HookHits::default(); Hook::COUNT],
        }
    }

    #[test]
    fn an_open_unmap_is_counted_everywhere_once() {
        let who = VictimKey {
            mm: 1,
            tgid: 7,
            pad: 0,
        };
        let mut state = TaskState::new_zeroed();
        state.phase = PHASE_OPEN;
        state.bits = EXAMINED;
        state.excess = 3;
        state.nr_pages = 1;
        state.unmap_ns = 100;
        state.notifier_calls = 1;
        state.notifier_ns = 40;
        state.walked = 1;
        state.mappings[0] = Mapping {
            victim: who,
            pages: 1,
        };
        state.excess_value = 3;
        state.excess_count = 2;
        state.subscribers[0] = 0xffff;
        state.subscriber_calls = 3;
        state.entries[Hook::Unmap as usize] = 3;
        state.pending_key.victim = who;
        state.pending[Verdict::FutileReferenced as usize].folios = 2;
        state.victim_mappings = 2;
        state.victim_pages = 2;
        let mut all = nothing();
        all.victims.insert(who, Victim::new_zeroed());
        all.per_folio.buckets = vec![0, 0, 1];
        all.per_folio.sum = 2;
        all.fold(&state, VictimsBy::Process, |_| 2);
        let futile: u64 = all
            .groups
            .values()
            .map(|g| g.by_verdict[Verdict::FutileReferenced as usize].folios)
            .sum();
        assert_eq!(futile, 3);
        assert_eq!(all.victims[&who].mappings, 3);
        assert_eq!((all.excess.buckets[3], all.excess.sum), (3, 9));
        assert_eq!(all.per_folio.buckets, [0, 0, 0, 1]);
        assert_eq!(all.per_folio.sum, 3);
        assert_eq!(all.subscribers[&0xffff].calls, 3);
        assert_eq!(all.hits[Hook::Unmap as usize].entries, 3);
        assert_eq!(all.times[&Verdict::FutileReferenced].0.sum, 100);
        let row = &all.by_reclaimer[&(Reclaimer::Unknown, Verdict::FutileReferenced)];
        // 64 to 127 ns.
        assert_eq!((row.sum, row.buckets[hist::middle_of(3)]), (100, 1));
    }

    #[test]
    fn an_idle_task_adds_what_is_pending_and_nothing_else() {
        let mut state = TaskState::new_zeroed();
        state.reclaimer = Reclaimer::Kswapd as u8;
        state.memory = Memory::Shmem as u8;
        state.pending[Verdict::Freed as usize].folios = 5;
        let mut all = nothing();
        all.fold(&state, VictimsBy::Process, |_| 0);
        let total: u64 = all
            .groups
            .values()
            .flat_map(|g| g.by_verdict.iter().map(|c| c.folios))
            .sum();
        assert_eq!(total, 5);
        assert_eq!(all.excess.buckets.len(), 0);
    }
}
