//! Provokes what pinscope looks for, on memory of its own.
//!
//! A [`Scenario`] makes memory of one kind, takes references on some of its pages, reclaims it
//! with MADV_PAGEOUT and touches it again, for a number of rounds. The resulting [`Truth`] says
//! how many unmaps there were and how each ended. Those numbers are exact: the pages are order-0
//! folios, made, touched and reclaimed on one CPU, and a page that was written out is replaced by
//! a new one before the next round.
//!
//! Scenarios are safe on a machine in production: they reclaim no memory but their own, and leave
//! neither files nor cgroups behind. [`pressure`] is for guests under test: it puts the whole
//! machine, or cgroups of its own, under memory pressure.

pub mod balloon;
mod burst;
mod cgroup;
pub mod child;
pub mod churn;
mod comm;
mod counters;
pub mod demo;
mod error;
mod fork;
mod mapping;
mod member;
mod page_table;
pub mod pressure;
mod reclaim;
mod reference;
mod region;
mod scenario;
mod subscriber;
mod subset;
mod truth;

pub use burst::{Burst, burst};
pub use cgroup::{Cgroup, CgroupName};
pub use comm::set_comm;
pub use counters::{CounterChange, SystemCounters, free_swap_pages};
pub use error::{Error, Result};
pub use mapping::{Mapping, page_size};
pub use page_table::{PageTable, Pages};
pub use reclaim::{CpuPin, pageout};
pub use reference::{Reference, References};
pub use region::{Backing, Region, default_directory};
pub use scenario::{SCENARIOS, Scenario, ScenarioOptions, ScenarioRun};
pub use subscriber::KvmSubscriber;
pub use subset::Subset;
pub use truth::{Expectation, ExpectedVerdict, PageEvidence, Truth};
