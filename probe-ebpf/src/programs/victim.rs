//! The process that loses a mapping: the owner of the VMA's mm, by pid, comm and cgroup.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use probe_ebpf::{
    layout::{ABSENT, LargeMapcount, VictimsBy},
    maps::{
        COMM_LEN, CgroupName, MAX_MAPPINGS, Mapping, NAME_BYTES, NAME_LEVELS, TaskState, Victim,
        VictimKey,
    },
};

use crate::{
    maps::{CGROUP_NAMES, NAMED, VICTIMS, layout, lost},
    read::{pointer, read_into, read_or},
    task::NOEXIST,
};

const MASK: u32 = MAX_MAPPINGS as u32 - 1;
const _: () = assert!(MAX_MAPPINGS.is_power_of_two());

/// Notes that the walk has reached a VMA.
#[inline(always)]
pub fn walk(state: &mut TaskState, vma: u64, address: u64) -> Option<()> {
    let mm = pointer(vma, layout!(vma_mm));
    if state.victim.mm != mm {
        state.victim = resolve(mm);
    }
    state.address = address;
    // A VMA that didn't map the folio leaves its place to the next one.
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

/// Takes the mappings left after the walk of a VMA: those that are gone were in that VMA.
#[inline(always)]
pub fn removed(state: &mut TaskState, mapcount: u32, entire: u32) {
    let last = (state.walked.wrapping_sub(1) & MASK) as usize;
    let pages = if state.order == 0 {
        u64::from(state.mapcount.saturating_sub(mapcount))
    } else if layout!(large_mapcount) == LargeMapcount::PerPage as u32
        || entire < state.entire_mapcount
    {
        // Mapped by a PMD; or no single field counts the mappings, so the whole folio is counted.
        u64::from(state.nr_pages)
    } else {
        u64::from(state.mapcount.saturating_sub(mapcount))
    };
    state.mappings[last].pages += pages;
    state.mapcount = mapcount;
    state.entire_mapcount = entire;
}

/// The key that a victim is kept by. The mm stays in the state, to compare the next VMA with.
#[inline(always)]
pub fn kept_by(mut victim: VictimKey) -> VictimKey {
    if layout!(victims_by) != VictimsBy::Process as u32 {
        victim.mm = 0;
    }
    victim
}

/// Returns the owner of an mm, and keeps its name from now on, as the process may exit.
#[inline(always)]
fn resolve(mm: u64) -> VictimKey {
    let mut key = VictimKey {
        mm,
        tgid: 0,
        pad: 0,
    };
    if layout!(victims_by) == VictimsBy::Nothing as u32 {
        return key;
    }
    // Null once the owner has exited (`mm_update_next_owner`).
    let owner = pointer(mm, layout!(mm_owner));
    let mut leader = 0;
    if owner != 0 {
        leader = pointer(owner, layout!(task_group_leader));
    }
    if layout!(victims_by) == VictimsBy::Cgroup as u32 {
        let node = if leader != 0 { cgroup(leader) } else { 0 };
        let id = id_of(node);
        key.tgid = id as u32;
        key.pad = (id >> 32) as u32;
        remember(&VictimKey { mm: 0, ..key }, 0, node);
        return key;
    }
    let mut node = 0;
    if leader != 0 {
        key.tgid = read_or(leader, layout!(task_tgid), 0);
        node = cgroup(leader);
    }
    remember(&key, leader, node);
    key
}

#[inline(always)]
fn remember(key: &VictimKey, leader: u64, node: u64) {
    if VICTIMS.get_ptr(key).is_some() {
        return;
    }
    let mut victim = Victim {
        mappings: 0,
        pages: 0,
        cgroup: id_of(node),
        comm: [0; COMM_LEN],
    };
    if leader != 0 {
        let mut comm = MaybeUninit::uninit();
        if read_into(&mut comm, leader, layout!(task_comm)) {
            victim.comm = unsafe { comm.assume_init() };
        }
    }
    // A failure is counted later: the victim isn't found when its mappings are counted.
    let _ = VICTIMS.insert(key, victim, NOEXIST);
    name(node, victim.cgroup);
}

/// Returns the address of the `kernfs_node` of a task's cgroup in the v2 hierarchy, or 0.
#[inline(always)]
fn cgroup(task: u64) -> u64 {
    let css_set = pointer(task, layout!(task_cgroups));
    if css_set == 0 {
        return 0;
    }
    let cgroup = pointer(css_set, layout!(css_set_dfl_cgrp));
    if cgroup == 0 {
        return 0;
    }
    pointer(cgroup, layout!(cgroup_kn))
}

#[inline(always)]
fn id_of(node: u64) -> u64 {
    if node == 0 {
        return 0;
    }
    read_or(node, layout!(kernfs_id), 0)
}

/// Sends the path of a cgroup to user space, unless that was done before. Where the ring is full,
/// the next victim in the cgroup tries again.
#[inline(always)]
fn name(mut node: u64, id: u64) {
    if layout!(kernfs_name) == ABSENT || id == 0 || NAMED.get_ptr(id).is_some() {
        return;
    }
    let Some(mut entry) = CGROUP_NAMES.reserve::<CgroupName>(0) else {
        return;
    };
    let sent = entry.as_mut_ptr();
    let mut levels = 0;
    let mut partial = 1;
    for level in 0..=NAME_LEVELS {
        let parent = pointer(node, layout!(kernfs_parent));
        if parent == 0 {
            // The root, which has no name.
            partial = 0;
            break;
        }
        if level == NAME_LEVELS {
            break;
        }
        let text = pointer(node, layout!(kernfs_name));
        let read = unsafe {
            bpf_probe_read_kernel_str(
                (&raw mut (*sent).names[level]).cast(),
                NAME_BYTES as u32,
                text as *const _,
            )
        };
        if read <= 0 {
            lost!(reads, 1);
            break;
        }
        levels += 1;
        node = parent;
    }
    unsafe {
        (*sent).id = id;
        (*sent).levels = levels;
        (*sent).partial = partial;
    }
    entry.submit(0);
    let _ = NAMED.insert(id, 0, 0);
}
