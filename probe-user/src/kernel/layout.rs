//! Resolves [`KernelFacts`] from the running kernel's BTF.
//!
//! Nothing is guessed from a version: every offset, bit and enum value is looked up by name,
//! by the names the field had over the years. What isn't there is `ABSENT` and named in
//! [`Facts::missing`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use probe_ebpf::{
    Hook, KernelFacts,
    facts::{ABSENT, LargeMapcount},
};

use super::{
    btf::{Btf, tracepoint_type},
    plan::{self, Target},
};

/// Where a kernel with CONFIG_DEBUG_INFO_BTF shows its types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why the facts couldn't be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file can't be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It isn't BTF that can be understood.
    #[error("cannot understand the BTF in {path}: {reason}")]
    Parse {
        /// Which file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// The facts, and what couldn't be found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the programs get; `hooks` and the user's wishes are still to be filled in.
    pub kernel: KernelFacts,
    /// `type.field` that this kernel lacks, with the hook that can't do its work without it;
    /// `None` for what is merely a lesser answer.
    pub missing: Vec<(String, Option<Hook>)>,
    /// The functions and tracepoints that this kernel has, of those that are asked for.
    pub present: BTreeSet<String>,
    /// The BTF ids of those functions.
    pub functions: BTreeMap<String, u32>,
}

impl Facts {
    /// The first thing missing that `hook` can't do without.
    pub fn lacks(&self, hook: Hook) -> Option<&str> {
        self.missing
            .iter()
            .find(|(_, h)| *h == Some(hook))
            .map(|(name, _)| name.as_str())
    }

    /// Resolves those of a kernel from its raw BTF, which came from `path`. `functions` are
    /// asked for beside those of the hooks.
    ///
    /// # Errors
    /// When it can't be understood.
    pub fn resolve(path: &str, bytes: &[u8], functions: &[&str]) -> Result<Facts, FactsError> {
        let targets: Vec<(&str, Target)> = plan::DEFINITIONS
            .iter()
            .flat_map(|d| d.names.iter().map(|name| (*name, d.target)))
            .chain(functions.iter().map(|f| (*f, Target::Function)))
            .collect();
        let types: Vec<String> = targets
            .iter()
            .map(|(name, target)| match target {
                Target::Function => (*name).to_owned(),
                Target::Tracepoint => tracepoint_type(name),
            })
            .chain(TYPES.map(str::to_owned))
            .collect();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        let btf = Btf::parse(bytes, &types).map_err(|reason| FactsError::Parse {
            path: path.to_owned(),
            reason,
        })?;
        let functions: BTreeMap<String, u32> = targets
            .iter()
            .filter(|(_, target)| *target == Target::Function)
            .filter_map(|(name, _)| Some(((*name).to_owned(), btf.function(name)?)))
            .collect();
        let present = targets
            .iter()
            .filter(|(name, target)| match target {
                Target::Function => functions.contains_key(*name),
                Target::Tracepoint => btf.has_tracepoint(name),
            })
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let facts = Resolver {
            btf: &btf,
            missing: Vec::new(),
        }
        .resolve();
        Ok(Facts {
            present,
            functions,
            ..facts
        })
    }
}

/// Reads the running kernel's raw BTF: some MiB.
///
/// # Errors
/// Where the kernel shows none.
pub fn running_kernel() -> Result<Vec<u8>, FactsError> {
    fs::read(VMLINUX_BTF).map_err(|source| FactsError::Read {
        path: VMLINUX_BTF.to_owned(),
        source,
    })
}

/// The types that are looked into.
const TYPES: [&str; 15] = [
    "folio",
    "page",
    "pageflags",
    "ttu_flags",
    "vm_area_struct",
    "mm_struct",
    "task_struct",
    "css_set",
    "cgroup",
    "kernfs_node",
    "scan_control",
    "mmu_notifier_range",
    "mmu_notifier_subscriptions",
    "mmu_notifier",
    "mmu_notifier_ops",
];

struct Resolver<'a> {
    btf: &'a Btf<'a>,
    missing: Vec<(String, Option<Hook>)>,
}

impl Resolver<'_> {
    fn resolve(mut self) -> Facts {
        let mut k = KernelFacts::UNKNOWN;
        self.folio(&mut k);
        self.flags(&mut k);
        self.processes(&mut k);
        self.reclaim(&mut k);
        self.notifiers(&mut k);
        k.follow_folios = 1;
        Facts {
            kernel: k,
            missing: self.missing,
            present: BTreeSet::new(),
            functions: BTreeMap::new(),
        }
    }

    fn folio(&mut self, k: &mut KernelFacts) {
        let unmap = Some(Hook::Unmap);
        k.page_size_of = self.btf.size_of("page").unwrap_or(64);
        for (slot, field) in [
            (&mut k.folio_flags, "flags"),
            (&mut k.folio_mapping, "mapping"),
            (&mut k.folio_mapcount, "_mapcount"),
            (&mut k.folio_refcount, "_refcount"),
        ] {
            // Reclaim hands a struct page up to 5.16, which is where a folio begins.
            *slot = self.first(&[("folio", field, 0), ("page", field, 0)], unmap);
        }
        let page = k.page_size_of;
        k.folio_nr_pages = self.first(
            &[
                ("folio", "_nr_pages", 0),
                ("folio", "_folio_nr_pages", 0),
                ("page", "compound_nr", page),
            ],
            unmap,
        );
        k.folio_pincount = self.first(
            &[
                ("folio", "_pincount", 0),
                ("page", "compound_pincount", page),
                ("page", "hpage_pinned_refcount", 2 * page),
            ],
            unmap,
        );
        // hpage_pinned_refcount is in the second tail page, which an order-1 page lacks.
        let third_page = self.btf.field("page", "hpage_pinned_refcount").is_some();
        k.pincount_min_order = if third_page { 2 } else { 1 };
        k.folio_entire_mapcount = self.first(
            &[
                ("folio", "_entire_mapcount", 0),
                ("folio", "_total_mapcount", 0),
                ("page", "compound_mapcount", page),
            ],
            unmap,
        );
        match self.btf.field("folio", "_large_mapcount") {
            Some(bits) => {
                k.folio_large_mapcount = bits / 8;
                k.large_mapcount = LargeMapcount::Total as u32;
            }
            None => k.large_mapcount = LargeMapcount::PerPage as u32,
        }
    }

    fn flags(&mut self, k: &mut KernelFacts) {
        let bit = |this: &mut Self, name: &str, hook| match this.btf.enum_value("pageflags", name) {
            Some(bit) if bit < 64 => 1 << bit,
            _ => {
                this.missing.push((format!("pageflags.{name}"), hook));
                0
            }
        };
        let unmap = Some(Hook::Unmap);
        k.pg_head = bit(self, "PG_head", unmap);
        k.pg_swapbacked = bit(self, "PG_swapbacked", unmap);
        k.pg_swapcache = bit(self, "PG_swapcache", unmap);
        k.pg_writeback = bit(self, "PG_writeback", unmap);
        k.pg_private = bit(self, "PG_private", unmap);
        // Not every configuration has the second one.
        k.pg_private |= bit(self, "PG_private_2", None);
        match self.btf.enum_value("ttu_flags", "TTU_BATCH_FLUSH") {
            Some(flag) => k.ttu_required = flag,
            None => self
                .missing
                .push(("ttu_flags.TTU_BATCH_FLUSH".into(), unmap)),
        }
        // Other callers of try_to_unmap set at least one of these; each is on some kernels only.
        for other in [
            "TTU_MIGRATION",
            "TTU_SPLIT_FREEZE",
            "TTU_IGNORE_MLOCK",
            "TTU_RMAP_LOCKED",
        ] {
            k.ttu_excluded |= self.btf.enum_value("ttu_flags", other).unwrap_or(0);
        }
    }

    fn processes(&mut self, k: &mut KernelFacts) {
        let one = Some(Hook::UnmapOne);
        k.vma_mm = self.first(&[("vm_area_struct", "vm_mm", 0)], one);
        // Without CONFIG_MEMCG an mm has no owner, and a victim no name.
        k.mm_owner = self.first(&[("mm_struct", "owner", 0)], None);
        k.task_group_leader = self.first(&[("task_struct", "group_leader", 0)], one);
        k.task_tgid = self.first(&[("task_struct", "tgid", 0)], one);
        k.task_comm = self.first(&[("task_struct", "comm", 0)], one);
        k.task_mm = self.first(&[("task_struct", "mm", 0)], Some(Hook::ShrinkList));
        k.task_cgroups = self.first(&[("task_struct", "cgroups", 0)], None);
        k.css_set_dfl_cgrp = self.first(&[("css_set", "dfl_cgrp", 0)], None);
        k.cgroup_kn = self.first(&[("cgroup", "kn", 0)], None);
        k.kernfs_id = self.first(&[("kernfs_node", "id", 0)], None);
    }

    fn reclaim(&mut self, k: &mut KernelFacts) {
        let shrink = Some(Hook::ShrinkList);
        k.sc_target_memcg = self.first(&[("scan_control", "target_mem_cgroup", 0)], shrink);
        k.sc_nr_to_reclaim = self.first(&[("scan_control", "nr_to_reclaim", 0)], shrink);
        // A bit-field, from 5.19 on: before, there is no memory.reclaim to be told apart.
        if let Some(bits) = self.btf.field("scan_control", "proactive") {
            k.sc_proactive = bits / 8;
            k.sc_proactive_mask = 1 << (bits % 8);
        }
    }

    fn notifiers(&mut self, k: &mut KernelFacts) {
        let start = Some(Hook::NotifierStart);
        k.range_mm = self.first(&[("mmu_notifier_range", "mm", 0)], start);
        for (slot, name, field) in [
            (
                &mut k.mm_subscriptions,
                "mm_struct",
                "notifier_subscriptions",
            ),
            (
                &mut k.subscriptions_list,
                "mmu_notifier_subscriptions",
                "list",
            ),
            (
                &mut k.subscriptions_itree,
                "mmu_notifier_subscriptions",
                "has_itree",
            ),
            (&mut k.notifier_next, "mmu_notifier", "hlist"),
            (&mut k.notifier_ops, "mmu_notifier", "ops"),
            (
                &mut k.ops_start,
                "mmu_notifier_ops",
                "invalidate_range_start",
            ),
            (&mut k.ops_end, "mmu_notifier_ops", "invalidate_range_end"),
        ] {
            *slot = self.first(&[(name, field, 0)], None);
        }
    }

    /// The offset in bytes of the first of these fields that exists, plus the number beside it.
    fn first(&mut self, candidates: &[(&str, &str, u32)], hook: Option<Hook>) -> u32 {
        for (name, field, plus) in candidates {
            if let Some(bits) = self.btf.field(name, field) {
                return bits / 8 + plus;
            }
        }
        if let Some((name, field, _)) = candidates.first() {
            self.missing.push((format!("{name}.{field}"), hook));
        }
        ABSENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_btf_is_told_so() {
        let err = Facts::resolve("here", b"not BTF at all", &[])
            .unwrap_err()
            .to_string();
        assert!(err.contains("cannot understand the BTF in here"), "{err}");
    }

    /// The machine that runs the tests may have any kernel; whatever it has must be plausible.
    #[test]
    fn the_running_kernel_is_plausible() {
        if fs::metadata(VMLINUX_BTF).is_err() {
            return;
        }
        let facts = Facts::resolve(VMLINUX_BTF, &running_kernel().unwrap(), &[]).unwrap();
        let k = facts.kernel;
        assert_eq!(facts.lacks(Hook::Unmap), None);
        assert_eq!(k.page_size_of, 64);
        assert_eq!(k.folio_refcount, k.folio_mapcount + 4);
        assert_eq!(k.ttu_required.count_ones(), 1);
        assert_eq!(k.pg_head.count_ones(), 1);
    }
}
