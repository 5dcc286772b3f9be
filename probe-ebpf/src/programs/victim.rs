//! Whose mapping goes: the owner of the VMA's mm, by pid, comm and cgroup.

use core::mem::MaybeUninit;

use probe_ebpf::{
    facts::{LargeMapcount, VictimsBy},
    maps::{COMM_LEN, MAX_MAPPINGS, Mapping, TaskState, Victim, VictimKey},
};

use crate::{
    maps::{VICTIMS, fact, lost},
    read::{pointer, read_into, read_or},
    task::NOEXIST,
};

const MASK: u32 = MAX_MAPPINGS as u32 - 1;
const _: () = assert!(MAX_MAPPINGS.is_power_of_two());

/// The walk reaches a VMA.
#[inline(always)]
pub fn walk(state: &mut TaskState, vma: u64, address: u64) -> Option<()> {
    let mm = pointer(vma, fact!(vma_mm));
    if state.victim.mm != mm {
        state.victim = resolve(mm);
    }
    state.address = address;
    // A VMA that didn't map the folio leaves its place to the next.
    let last = state.walked.wrapping_sub(1);
    let at = if state.walked > 0 && state.mappings[(last & MASK) as usize].pages == 0 {
        last
    } else {
        state.walked
    };
    if at >= MAX_MAPPINGS as u32 {
        lost!(mappings, 1);
        return None;
    }
    state.mappings[(at & MASK) as usize] = Mapping {
        victim: state.victim,
        pages: 0,
    };
    state.walked = at + 1;
    Some(())
}

/// The mappings left after a VMA was dealt with: what is missing, went there.
#[inline(always)]
pub fn removed(state: &mut TaskState, mapcount: u32, entire: u32) {
    let last = (state.walked.wrapping_sub(1) & MASK) as usize;
    let pages = if state.order == 0 {
        u64::from(state.mapcount.saturating_sub(mapcount))
    } else if fact!(large_mapcount) == LargeMapcount::PerPage as u32
        || entire < state.entire_mapcount
    {
        // Mapped by a PMD; or no one field counts the mappings, and the whole folio stands in.
        u64::from(state.nr_pages)
    } else {
        u64::from(state.mapcount.saturating_sub(mapcount))
    };
    state.mappings[last].pages += pages;
    state.mapcount = mapcount;
    state.entire_mapcount = entire;
}

/// What a victim is kept by. Its mm stays in the state, for the next VMA to be compared with.
#[inline(always)]
pub fn kept_by(mut victim: VictimKey) -> VictimKey {
    if fact!(victims_by) != VictimsBy::Process as u32 {
        victim.mm = 0;
    }
    victim
}

/// Who owns an mm. Its name is kept from now on, so that a process may exit.
#[inline(always)]
fn resolve(mm: u64) -> VictimKey {
    let mut key = VictimKey {
        mm,
        tgid: 0,
        pad: 0,
    };
    if fact!(victims_by) == VictimsBy::Nothing as u32 {
        return key;
    }
    // Null once the owner has exited (`mm_update_next_owner`).
    let owner = pointer(mm, fact!(mm_owner));
    let mut leader = 0;
    if owner != 0 {
        leader = pointer(owner, fact!(task_group_leader));
    }
    if fact!(victims_by) == VictimsBy::Cgroup as u32 {
        let id = if leader != 0 { cgroup(leader) } else { 0 };
        key.tgid = id as u32;
        key.pad = (id >> 32) as u32;
        remember(&VictimKey { mm: 0, ..key }, 0, id);
        return key;
    }
    if leader != 0 {
        key.tgid = read_or(leader, fact!(task_tgid), 0);
    }
    remember(&key, leader, 0);
    key
}

#[inline(always)]
fn remember(key: &VictimKey, leader: u64, cgroup_id: u64) {
    if VICTIMS.get_ptr(key).is_some() {
        return;
    }
    let mut victim = Victim {
        mappings: 0,
        pages: 0,
        cgroup: cgroup_id,
        comm: [0; COMM_LEN],
    };
    if leader != 0 {
        let mut comm = MaybeUninit::uninit();
        if read_into(&mut comm, leader, fact!(task_comm)) {
            victim.comm = unsafe { comm.assume_init() };
        }
        victim.cgroup = cgroup(leader);
    }
    // A failure shows when mappings are counted: the victim isn't found then.
    let _ = VICTIMS.insert(key, victim, NOEXIST);
}

/// The task's cgroup in the v2 hierarchy.
#[inline(always)]
fn cgroup(task: u64) -> u64 {
    let css_set = pointer(task, fact!(task_cgroups));
    if css_set == 0 {
        return 0;
    }
    let cgroup = pointer(css_set, fact!(css_set_dfl_cgrp));
    if cgroup == 0 {
        return 0;
    }
    let kn = pointer(cgroup, fact!(cgroup_kn));
    if kn == 0 {
        return 0;
    }
    read_or(kn, fact!(kernfs_id), 0)
}
