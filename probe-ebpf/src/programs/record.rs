//! Counts an unmap that has its verdict, and adds a batch's counts to the shared maps.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_ktime_get_ns};
use probe_ebpf::{
    Hist, Hook, Verdict, VictimsBy,
    hist::{BUCKETS, EXACT, OCTAVES, Octaves, bucket_of, octave_of},
    maps::{
        Event, GroupKey, MAX_MAPPINGS, MAX_SUBSCRIBERS, OTHER_SUBSCRIBERS, OTHERS, RECLAIMER_ROWS,
        Subscriber, TaskState, VictimKey,
    },
};

use crate::{
    maps::{
        BUDGET, EVENTS, FOLIO_HISTS, FOLIOS, GROUPS, HOOKS, SHARED_GROUPS, SUBSCRIBERS, TIMES,
        VICTIMS, ZERO_GROUP, add, add_own, layout, lost,
    },
    task::NOEXIST,
    victim::kept_by,
};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Counts the unmap in `state`.
#[inline(always)]
pub fn record(state: &mut TaskState, verdict: Verdict) {
    let victim = if state.walked > 0 {
        kept_by(state.mappings[0].victim)
    } else {
        VictimKey {
            mm: 0,
            tgid: 0,
            pad: 0,
        }
    };
    let key = GroupKey {
        victim,
        reclaimer: state.reclaimer,
        memory: state.memory,
        order: state.order,
        pad: [0; 5],
    };
    if !key.same(&state.pending_key) {
        flush_group(state);
        state.pending_key = key;
    }
    let pending = &mut state.pending[verdict as usize & (Verdict::COUNT - 1)];
    pending.folios += 1;
    pending.pages += state.nr_pages;
    pending.notifier_calls += state.notifier_calls;
    pending.notifier_ns += state.notifier_ns;
    pending.unmap_ns += state.unmap_ns;
    if let Some(times) = TIMES.get_ptr_mut(verdict as u32) {
        if state.unmap_ns != 0 {
            let bucket = observe(unsafe { &raw mut (*times).unmap_ns }, state.unmap_ns, 1);
            let rows = unsafe { &raw mut (*times).by_reclaimer };
            observe_octave(rows, state.reclaimer, state.unmap_ns, bucket);
        }
        if state.notifier_calls != 0 {
            observe(
                unsafe { &raw mut (*times).notifier_ns },
                state.notifier_ns,
                1,
            );
        }
    }
    if verdict.is_futile() {
        futile(state, verdict);
    }
}

/// Counts what is kept of futile unmaps only.
#[inline(always)]
fn futile(state: &mut TaskState, verdict: Verdict) {
    let excess = state.excess as u64;
    if excess != state.excess_value {
        flush_excess(state);
        state.excess_value = excess;
    }
    state.excess_count += 1;
    let times = if layout!(follow_folios) != 0
        && let Some(hists) = FOLIO_HISTS.get_ptr_mut(0)
    {
        once_more(unsafe { &raw mut (*hists).per_folio }, state.folio)
    } else {
        0
    };
    // The first process is mostly the only one, and the group's victim: pending with the group.
    if state.walked > 0 && state.mappings[0].pages > 0 {
        state.victim_mappings += 1;
        state.victim_pages += state.mappings[0].pages as u32;
    }
    let mut mappings = u32::from(state.walked > 0);
    if state.walked > 1 {
        for i in 1..MAX_MAPPINGS {
            if i as u32 >= state.walked || state.mappings[i].pages == 0 {
                break;
            }
            let victim = kept_by(state.mappings[i].victim);
            lost_mapping(&victim, 1, state.mappings[i].pages);
            mappings += 1;
        }
    }
    if layout!(events_per_second) != 0 {
        send(state, verdict, times, mappings);
    }
}

#[inline(always)]
fn lost_mapping(victim: &VictimKey, mappings: u64, pages: u64) {
    if layout!(victims_by) == VictimsBy::Nothing as u32 {
        return;
    }
    let mut found = VICTIMS.get_ptr_mut(victim);
    if found.is_none() {
        lost!(victims, mappings);
        found = VICTIMS.get_ptr_mut(OTHERS);
    }
    if let Some(v) = found {
        unsafe {
            add(&raw mut (*v).mappings, mappings);
            add(&raw mut (*v).pages, pages);
        }
    }
}

/// Counts a value, `n` times, in this CPU's histogram; returns the value's bucket.
#[inline(always)]
fn observe(hist: *mut Hist, value: u64, n: u64) -> usize {
    let index = bucket_of(value);
    unsafe {
        add_own(&raw mut (*hist).sum, value.wrapping_mul(n));
        if value > (*hist).max {
            (*hist).max = value;
        }
        if !value > (*hist).min_inverted {
            (*hist).min_inverted = !value;
        }
        bucket(hist, index, n);
    }
    index
}

/// Counts a value, whose bucket is known, in this CPU's row of one reclaimer.
#[inline(always)]
fn observe_octave(rows: *mut [Octaves; RECLAIMER_ROWS], reclaimer: u8, value: u64, bucket: usize) {
    let octave = octave_of(bucket);
    if octave < OCTAVES {
        unsafe {
            let row = rows
                .cast::<Octaves>()
                .add(reclaimer as usize & (RECLAIMER_ROWS - 1));
            add_own(&raw mut (*row).sum, value);
            add_own((&raw mut (*row).counts).cast::<u64>().add(octave), 1);
        }
    }
}

#[inline(always)]
unsafe fn bucket(hist: *mut Hist, index: usize, by: u64) {
    if index < BUCKETS {
        add_own(
            unsafe { (&raw mut (*hist).buckets).cast::<u64>().add(index) },
            by,
        );
    }
}

#[inline(always)]
fn flush_excess(state: &mut TaskState) {
    if state.excess_count != 0
        && let Some(hists) = FOLIO_HISTS.get_ptr_mut(0)
    {
        observe(
            unsafe { &raw mut (*hists).excess },
            state.excess_value,
            state.excess_count,
        );
    }
    state.excess_count = 0;
}

/// Moves a folio to the bucket of one more unmap; returns how many it has now, or 0 if the
/// folio doesn't fit the map.
#[inline(always)]
fn once_more(hist: *mut Hist, folio: u64) -> u64 {
    let times = match FOLIOS.get_ptr_mut(folio) {
        // Reclaim has locked the folio: no other CPU counts it at the same time.
        Some(times) => unsafe {
            *times += 1;
            *times
        },
        None => {
            if FOLIOS.insert(folio, 1, 0).is_err() {
                lost!(folios, 1);
                return 0;
            }
            1
        }
    };
    unsafe {
        add_own(&raw mut (*hist).sum, 1);
        if times > (*hist).max {
            (*hist).max = times;
        }
        let (from, to) = if times < EXACT {
            (times as usize - 1, times as usize)
        } else {
            (bucket_of(times - 1), bucket_of(times))
        };
        if times > 1 {
            bucket(hist, from, u64::MAX);
        }
        bucket(hist, to, 1);
    }
    times
}

/// Sends an individual unmap to user space, within the budget.
#[inline(always)]
fn send(state: &TaskState, verdict: Verdict, times: u64, mappings: u32) {
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(budget) = BUDGET.get_ptr_mut(0) {
        let budget = unsafe { &mut *budget };
        if now.wrapping_sub(budget[0]) >= NS_PER_SECOND {
            *budget = [now, 0];
        }
        if budget[1] >= u64::from(layout!(events_per_second)) {
            lost!(events_over_budget, 1);
            return;
        }
        budget[1] += 1;
    }
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        lost!(events, 1);
        return;
    };
    entry.write(Event {
        time: state.entered.wrapping_add(state.unmap_ns),
        address: state.address,
        folio: state.folio,
        excess: state.excess,
        unmap_ns: state.unmap_ns,
        notifier_ns: state.notifier_ns,
        victim: state.pending_key.victim,
        refcount: state.refcount,
        notifier_calls: state.notifier_calls,
        mappings,
        times: times as u32,
        reclaimer_tid: state.tid,
        reclaimer: state.reclaimer,
        memory: state.memory,
        order: state.order,
        verdict: verdict as u8,
        reclaimer_comm: bpf_get_current_comm().unwrap_or_default(),
    });
    entry.submit(0);
}

/// Adds everything pending to the shared maps.
#[inline(always)]
pub fn flush(state: &mut TaskState) {
    flush_group(state);
    flush_excess(state);
    flush_subscribers(state);
    for hook in 0..Hook::COUNT {
        if state.entries[hook] | state.returns[hook] == 0 {
            continue;
        }
        if let Some(hits) = HOOKS.get_ptr_mut(hook as u32) {
            unsafe {
                add(&raw mut (*hits).entries, u64::from(state.entries[hook]));
                add(&raw mut (*hits).returns, u64::from(state.returns[hook]));
            }
        }
        state.entries[hook] = 0;
        state.returns[hook] = 0;
    }
}

#[inline(always)]
fn flush_group(state: &mut TaskState) {
    let mut folios = 0;
    for pending in &state.pending {
        folios += pending.folios;
    }
    if folios == 0 {
        return;
    }
    let mut group = GROUPS.get_ptr_mut(state.pending_key);
    if group.is_none()
        && let Some(zero) = ZERO_GROUP.get_ptr(0)
    {
        // Another CPU may have inserted it first: then that group is found.
        let _ = GROUPS.insert(state.pending_key, unsafe { &*zero }, NOEXIST);
        group = GROUPS.get_ptr_mut(state.pending_key);
        if group.is_none() {
            lost!(groups, u64::from(folios));
            let shared = GroupKey {
                victim: OTHERS,
                ..state.pending_key
            };
            let _ = SHARED_GROUPS.insert(shared, unsafe { &*zero }, NOEXIST);
            group = SHARED_GROUPS.get_ptr_mut(shared);
        }
    }
    for verdict in 0..Verdict::COUNT {
        let pending = &mut state.pending[verdict];
        if pending.folios == 0 {
            continue;
        }
        if let Some(group) = group {
            unsafe {
                let counts = &raw mut (*group).by_verdict[verdict];
                add(&raw mut (*counts).folios, u64::from(pending.folios));
                add(&raw mut (*counts).pages, u64::from(pending.pages));
                add(
                    &raw mut (*counts).notifier_calls,
                    u64::from(pending.notifier_calls),
                );
                add(&raw mut (*counts).notifier_ns, pending.notifier_ns);
                add(&raw mut (*counts).unmap_ns, pending.unmap_ns);
            }
        }
        pending.folios = 0;
        pending.pages = 0;
        pending.notifier_calls = 0;
        pending.notifier_ns = 0;
        pending.unmap_ns = 0;
    }
    if state.victim_mappings != 0 {
        let (mappings, pages) = (state.victim_mappings, state.victim_pages);
        lost_mapping(
            &state.pending_key.victim,
            u64::from(mappings),
            u64::from(pages),
        );
        state.victim_mappings = 0;
        state.victim_pages = 0;
    }
}

/// Adds the notifier calls of one mm to each of its subscribers.
#[inline(always)]
pub fn flush_subscribers(state: &mut TaskState) {
    let (calls, ns) = (state.subscriber_calls, state.subscriber_ns);
    if calls == 0 {
        return;
    }
    let shared = if state.subscribers[1] != 0 { calls } else { 0 };
    for i in 0..MAX_SUBSCRIBERS {
        let callback = state.subscribers[i];
        if callback == 0 {
            break;
        }
        let mut found = SUBSCRIBERS.get_ptr_mut(callback);
        if found.is_none() {
            // Another CPU may have inserted it first: then that one is found.
            let _ = SUBSCRIBERS.insert(callback, Subscriber::NONE, NOEXIST);
            found = SUBSCRIBERS.get_ptr_mut(callback);
        }
        if found.is_none() {
            lost!(subscribers, calls);
            found = SUBSCRIBERS.get_ptr_mut(OTHER_SUBSCRIBERS);
        }
        if let Some(s) = found {
            unsafe {
                add(&raw mut (*s).calls, calls);
                add(&raw mut (*s).ns, ns);
                add(&raw mut (*s).shared_calls, shared);
            }
        }
    }
    state.subscriber_calls = 0;
    state.subscriber_ns = 0;
}
