//! The events that a report includes.

use std::collections::VecDeque;

use crate::snapshot::Event;

/// The most events in memory, and so in one report: about 40 MiB of JSON.
pub(super) const MOST: usize = 100_000;

/// The newest events of a capture. Older ones make room, and are counted.
#[derive(Default)]
pub(super) struct Kept {
    events: VecDeque<Event>,
    omitted: u64,
}

impl Kept {
    /// Adds events, oldest first.
    pub(super) fn add(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if self.events.len() == MOST {
                self.events.pop_front();
                self.omitted += 1;
            }
            self.events.push_back(event);
        }
    }

    /// Returns the events, oldest first.
    pub(super) fn events(&mut self) -> &[Event] {
        self.events.make_contiguous()
    }

    /// The number of events that had to make room.
    pub(super) fn omitted(&self) -> u64 {
        self.omitted
    }
}

/// An event for tests.
#[cfg(test)]
pub(super) fn event(elapsed: f64) -> Event {
    Event {
        elapsed,
        verdict: probe_ebpf::Verdict::FutilePinned.into(),
        reclaimer: probe_ebpf::Reclaimer::Kswapd.into(),
        reclaimer_tid: 1,
        reclaimer_comm: String::new(),
        memory: probe_ebpf::Memory::Anon.into(),
        order: 0,
        victim: None,
        address: None,
        excess: 1,
        refcount: 2,
        mappings: 1,
        times: None,
        notifier_calls: None,
        notifier_ns: None,
        unmap_ns: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_the_others_counted() {
        let mut kept = Kept::default();
        for n in 0..MOST + 3 {
            kept.add([event(n as f64)]);
        }
        assert_eq!(kept.omitted(), 3);
        let events = kept.events();
        assert_eq!(events.len(), MOST);
        assert_eq!(events[0].elapsed, 3.0);
        assert_eq!(events[MOST - 1].elapsed, (MOST + 2) as f64);
    }
}
