//! Resolves [`KernelLayout`] from the running kernel's BTF.
//!
//! Nothing is guessed from a version: every offset, bit and enum value is looked up by the names
//! that the field had over the years. A field that the kernel lacks is `ABSENT` and listed in
//! [`ResolvedLayout::missing`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use probe_ebpf::{
    Hook, KernelLayout,
    hooks::Target,
    layout::{ABSENT, LargeMapcount},
};

use super::btf::{Btf, tracepoint_type};

/// Where a kernel with CONFIG_DEBUG_INFO_BTF shows its types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Reasons why the layout couldn't be resolved.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file can't be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The file's content isn't valid BTF.
    #[error("cannot parse the BTF in {path}: {reason}")]
    Parse {
        /// The file.
        path: String,
        /// The cause.
        reason: String,
    },
    /// The file has types of a kind that this version can't skip, and types that are needed were
    /// not found before them.
    #[error("the BTF in {path} uses kind {kind}, which this version of pinscope does not know")]
    UnknownKind {
        /// The file.
        path: String,
        /// The number of the kind.
        kind: u32,
    },
}

impl LayoutError {
    /// Returns what the user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            LayoutError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "run a kernel with CONFIG_DEBUG_INFO_BTF=y"
            }
            LayoutError::Read { .. } => "make the file readable to pinscope: see the error",
            LayoutError::Parse { .. } => {
                "run a kernel with CONFIG_DEBUG_INFO_BTF=y; if it has that, report it to pinscope's developers"
            }
            LayoutError::UnknownKind { .. } => {
                "update pinscope: a version that is newer than this kernel knows the kind"
            }
        }
    }
}

/// The layout of a kernel, and what it lacks.
#[derive(Clone, Debug)]
pub struct ResolvedLayout {
    /// What the programs get; `hooks` and the options are filled in later.
    pub kernel: KernelLayout,
    /// Each `type.field` that the kernel lacks, with the hook that can't work without it; `None`
    /// if only an answer is weaker without it.
    pub missing: Vec<(String, Option<Hook>)>,
    /// The wanted functions that BTF has.
    pub present: BTreeSet<String>,
    /// The wanted tracepoints that the kernel has.
    pub tracepoints: BTreeSet<String>,
    /// The BTF ids of those functions.
    pub functions: BTreeMap<String, u32>,
}

impl ResolvedLayout {
    /// Returns the first missing field that `hook` can't work without.
    pub fn lacks(&self, hook: Hook) -> Option<&str> {
        self.missing
            .iter()
            .find(|(_, h)| *h == Some(hook))
            .map(|(name, _)| name.as_str())
    }

    /// Resolves the layout from a kernel's raw BTF, which was read from `path`. `functions` are
    /// wanted in addition to those of the hooks.
    ///
    /// # Errors
    /// When the BTF can't be parsed, or not as far as the types that are needed.
    pub fn resolve(
        path: &str,
        bytes: &[u8],
        functions: &[&str],
    ) -> Result<ResolvedLayout, LayoutError> {
        let hooks = Hook::ALL.map(Hook::entry);
        let mut functions = functions.to_vec();
        let mut tracepoints = Vec::new();
        for entry in hooks {
            match entry.target {
                Target::Function { .. } => functions.extend(entry.symbols),
                Target::Tracepoint { .. } => tracepoints.extend(entry.symbols.iter().copied()),
            }
        }
        let tracepoint_types: Vec<String> =
            tracepoints.iter().map(|t| tracepoint_type(t)).collect();
        let types: Vec<&str> = functions
            .iter()
            .copied()
            .chain(tracepoint_types.iter().map(String::as_str))
            .chain(TYPES)
            .collect();
        let btf = Btf::parse(bytes, &types).map_err(|reason| LayoutError::Parse {
            path: path.to_owned(),
            reason,
        })?;
        let functions: BTreeMap<String, u32> = functions
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), btf.function(name)?)))
            .collect();
        tracepoints.retain(|name| btf.has_tracepoint(name));
        let layout = Resolver {
            btf: &btf,
            missing: Vec::new(),
        }
        .resolve();
        let layout = ResolvedLayout {
            present: functions.keys().cloned().collect(),
            tracepoints: tracepoints.into_iter().map(str::to_owned).collect(),
            functions,
            ..layout
        };
        match btf.unknown_kind() {
            Some(kind) if !layout.is_complete() => Err(LayoutError::UnknownKind {
                path: path.to_owned(),
                kind,
            }),
            _ => Ok(layout),
        }
    }

    /// Whether everything was found that every supported kernel has in BTF. (What it lacks of
    /// functions, kallsyms may have.)
    fn is_complete(&self) -> bool {
        let tracepoints = Hook::ALL.map(Hook::entry).into_iter().filter(|entry| {
            matches!(entry.target, Target::Tracepoint { .. }) && entry.usually_absent.is_none()
        });
        self.missing.iter().all(|(_, hook)| hook.is_none())
            && tracepoints
                .into_iter()
                .all(|e| e.symbols.iter().any(|s| self.tracepoints.contains(*s)))
    }
}

/// Reads the running kernel's raw BTF: some MiB.
///
/// # Errors
/// When the kernel has none, or it can't be read.
pub fn running_kernel() -> Result<Vec<u8>, LayoutError> {
    fs::read(VMLINUX_BTF).map_err(|source| LayoutError::Read {
        path: VMLINUX_BTF.to_owned(),
        source,
    })
}

/// The types whose fields and values are looked up.
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
    fn resolve(mut self) -> ResolvedLayout {
        let mut k = KernelLayout::UNKNOWN;
        self.folio(&mut k);
        self.flags(&mut k);
        self.processes(&mut k);
        self.reclaim(&mut k);
        self.notifiers(&mut k);
        k.follow_folios = 1;
        ResolvedLayout {
            kernel: k,
            missing: self.missing,
            present: BTreeSet::new(),
            tracepoints: BTreeSet::new(),
            functions: BTreeMap::new(),
        }
    }

    fn folio(&mut self, k: &mut KernelLayout) {
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

    fn flags(&mut self, k: &mut KernelLayout) {
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

    fn processes(&mut self, k: &mut KernelLayout) {
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
        k.kernfs_name = self.first(&[("kernfs_node", "name", 0)], None);
        let parents = [("kernfs_node", "__parent", 0), ("kernfs_node", "parent", 0)];
        k.kernfs_parent = self.first(&parents, None);
        if k.kernfs_parent == ABSENT {
            k.kernfs_name = ABSENT;
        }
    }

    fn reclaim(&mut self, k: &mut KernelLayout) {
        let shrink = Some(Hook::ShrinkList);
        k.sc_target_memcg = self.first(&[("scan_control", "target_mem_cgroup", 0)], shrink);
        k.sc_nr_to_reclaim = self.first(&[("scan_control", "nr_to_reclaim", 0)], shrink);
        // A bit-field, from 5.19 on: older kernels have no memory.reclaim to distinguish.
        if let Some(bits) = self.btf.field("scan_control", "proactive") {
            k.sc_proactive = bits / 8;
            k.sc_proactive_mask = 1 << (bits % 8);
        }
    }

    fn notifiers(&mut self, k: &mut KernelLayout) {
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

    /// Returns the offset in bytes of the first of these fields that exists, plus its number.
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
    fn what_is_not_btf_is_refused() {
        let err = ResolvedLayout::resolve("here", b"not BTF at all", &[]).unwrap_err();
        let said = err.to_string();
        assert!(said.contains("cannot parse the BTF in here"), "{said}");
        assert!(err.remedy().contains("report"), "{}", err.remedy());
    }

    /// BTF that begins with a type of an unknown kind, so that nothing is found.
    #[test]
    fn an_unknown_kind_has_its_own_remedy() {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, 12, 12, 1, 0, 21 << 24, 0u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.push(0);
        let err = ResolvedLayout::resolve("here", &bytes, &[]).unwrap_err();
        let said = err.to_string();
        assert!(said.contains("kind 21"), "{said}");
        assert!(
            err.remedy().starts_with("update pinscope"),
            "{}",
            err.remedy()
        );
    }

    /// The machine that runs the tests may have any kernel, whose layout must be plausible.
    #[test]
    fn the_running_kernel_is_plausible() {
        if fs::metadata(VMLINUX_BTF).is_err() {
            return;
        }
        let layout = ResolvedLayout::resolve(VMLINUX_BTF, &running_kernel().unwrap(), &[]).unwrap();
        let k = layout.kernel;
        assert_eq!(layout.lacks(Hook::Unmap), None);
        assert_eq!(k.page_size_of, 64);
        assert_eq!(k.folio_refcount, k.folio_mapcount + 4);
        assert_eq!(k.ttu_required.count_ones(), 1);
        assert_eq!(k.pg_head.count_ones(), 1);
    }
}
