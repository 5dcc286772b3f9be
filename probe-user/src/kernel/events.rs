//! Individual futile unmaps from the ring buffer.

use aya::maps::{MapData, RingBuf};
use probe_ebpf::{Memory, Reclaimer, Verdict, maps};
use zerocopy::FromBytes;

use super::maps::text;

/// Takes the events that have arrived since the last call, at most `limit`, so that a flood can't
/// hold up the caller. Malformed events, which would be a bug, are left out.
pub fn take(ring: &mut RingBuf<MapData>, limit: usize) -> Vec<maps::Event> {
    let mut events = Vec::new();
    while events.len() < limit {
        let Some(item) = ring.next() else { break };
        if let Ok(event) = maps::Event::read_from_bytes(&item) {
            events.push(event);
        }
    }
    events
}

/// Decodes an event. The caller adds the victim.
pub(super) fn decode(e: &maps::Event, attached_at: u64, notifier: bool) -> crate::snapshot::Event {
    let verdict = Verdict::ALL
        .get(e.verdict as usize)
        .copied()
        .unwrap_or(Verdict::Undecided);
    crate::snapshot::Event {
        elapsed: e.time.saturating_sub(attached_at) as f64 / 1e9,
        verdict: verdict.into(),
        reclaimer: Reclaimer::from_u8(e.reclaimer).into(),
        reclaimer_tid: e.reclaimer_tid,
        reclaimer_comm: text(&e.reclaimer_comm),
        memory: Memory::from_u8(e.memory).into(),
        order: e.order,
        victim: None,
        address: (e.mappings > 0).then_some(e.address),
        excess: e.excess,
        refcount: e.refcount,
        mappings: e.mappings,
        times: (e.times > 0).then_some(e.times),
        notifier_calls: notifier.then_some(e.notifier_calls),
        notifier_ns: notifier.then_some(e.notifier_ns),
        unmap_ns: e.unmap_ns,
    }
}
