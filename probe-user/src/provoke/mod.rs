//! Provoking what pinscope looks for, on memory of one's own.
//!
//! A [`Scenario`] makes memory of one kind, takes references on some of its pages, has it
//! reclaimed by MADV_PAGEOUT and touches it again, for a number of rounds. What it did it
//! tells as a [`Truth`]: how many unmaps there were and how each ended. Those numbers are
//! exact: pages are order-0 folios, made, touched and reclaimed on one CPU, and a page that
//! was written out is replaced by a new one before the next round.
//!
//! It is safe on a machine in production: it reclaims no memory but its own, and leaves
//! neither files nor cgroups behind. [`pressure`] is for guests under test: it puts the whole
//! machine, or cgroups of its own, under memory pressure.

pub mod balloon;
mod burst;
mod cgroup;
pub mod child;
pub mod demo;
mod error;
mod evidence;
mod mapping;
mod memory;
pub mod pressure;
mod reclaim;
mod reference;
mod scenario;
mod subscriber;
mod truth;

pub use burst::{Burst, burst};
pub use cgroup::{Cgroup, CgroupName};
pub use error::{Error, Result};
pub use evidence::{Change, PageTable, Pages, Snapshot, free_swap_pages};
pub use mapping::{Mapping, page_size};
pub use memory::{Memory, Region, default_directory};
pub use reclaim::{CpuPin, pageout};
pub use reference::{Reference, References, Subset};
pub use scenario::{Options, Outcome, SCENARIOS, Scenario};
pub use subscriber::Subscriber;
pub use truth::{Evidence, Expectation, Truth, Verdict};
