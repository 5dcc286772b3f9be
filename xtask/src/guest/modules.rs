//! The kernel modules of a guest, in the order in which they load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The modules that the guest's channels and disks need.
pub(crate) const BASE: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    // ext4 looks its checksum up by name when it is mounted; modules.dep doesn't list it.
    "crc32c_generic",
    "libcrc32c",
    "crc32c-cryptoapi",
    "ext4",
];

/// The modules that the workloads need. Those that a series has built in or lacks are left out.
pub(crate) const WORKLOADS: &[&str] = &[
    "lzo",
    "lzo-rle",
    "lz4",
    "842",
    "zsmalloc",
    "zram",
    "irqbypass",
    "ccp",
    "kvm",
];

/// The KVM module for the guest's processor. Loading the other vendor's would only take time.
pub(crate) fn kvm_for(intel: bool) -> &'static str {
    if intel { "kvm-intel" } else { "kvm-amd" }
}

/// The contents of a `modules.dep`: each module's file by name, and the files that it needs.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    file_of: BTreeMap<String, String>,
    needs: BTreeMap<String, Vec<String>>,
}

/// Returns a module's name: the file's without suffixes, with `_` for `-`.
pub(crate) fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let base = base.split_once(".ko").map_or(base, |(name, _)| name);
    base.replace('-', "_")
}

impl Modules {
    /// Parses the text of a `modules.dep`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut modules = Self::default();
        for line in text.lines() {
            let Some((file, needs)) = line.split_once(':') else {
                continue;
            };
            modules.file_of.insert(name_of(file), file.to_string());
            let needs = needs.split_whitespace().map(String::from).collect();
            modules.needs.insert(file.to_string(), needs);
        }
        modules
    }

    /// Reads a module directory's `modules.dep`.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("modules.dep");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}: --modules must name this kernel's directory lib/modules/VERSION, as `depmod` \
                 left it",
                path.display()
            )
        })?;
        Ok(Self::parse(&text))
    }

    /// Returns the files of these modules and of all that they need, each after those it needs.
    /// Names without a file (built in, or not in this series) are left out.
    pub(crate) fn order(&self, names: &[&str]) -> Vec<String> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            if let Some(file) = self.file_of.get(&name_of(name)) {
                self.visit(file, &mut seen, &mut order);
            }
        }
        order
    }

    fn visit(&self, file: &str, seen: &mut BTreeSet<String>, order: &mut Vec<String>) {
        if !seen.insert(file.to_string()) {
            return;
        }
        // depmod lists the nearest first; each module's own line gives the order of the rest.
        for needed in self.needs.get(file).into_iter().flatten() {
            self.visit(needed, seen, order);
        }
        order.push(file.to_string());
    }
}

/// Reads a module, unpacked: the guest's insmod passes the file to the kernel as it is.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => {
            return std::fs::read(path)
                .with_context(|| format!("cannot read the module {}", path.display()));
        }
    };
    let out = Command::new(tool)
        .arg("-dcq")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .with_context(|| {
            format!("cannot start `{tool}`, which unpacks a kernel module: install it")
        })?;
    if !out.status.success() {
        bail!(
            "`{tool} -dcq {}` failed: {}",
            path.display(),
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(out.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/mm/zsmalloc.ko.xz:
kernel/drivers/block/zram/zram.ko.xz: kernel/mm/zsmalloc.ko.xz kernel/lib/lz4/lz4_compress.ko.xz
kernel/lib/lz4/lz4_compress.ko.xz:
kernel/arch/x86/kvm/kvm-amd.ko: kernel/drivers/crypto/ccp/ccp.ko kernel/arch/x86/kvm/kvm.ko kernel/virt/lib/irqbypass.ko
kernel/arch/x86/kvm/kvm.ko: kernel/virt/lib/irqbypass.ko
kernel/virt/lib/irqbypass.ko:
kernel/drivers/crypto/ccp/ccp.ko:
";

    #[test]
    fn names() {
        assert_eq!(name_of("kernel/arch/x86/kvm/kvm-amd.ko.xz"), "kvm_amd");
        assert_eq!(name_of("lzo-rle"), "lzo_rle");
    }

    #[test]
    fn needed_ones_come_first_and_once() {
        let order = Modules::parse(DEP).order(&["kvm_amd", "zram", "nosuch", "zsmalloc", "kvm"]);
        let at = |n: &str| order.iter().position(|f| name_of(f) == n).unwrap();
        assert_eq!(order.len(), 7 - 1 + 1);
        assert!(at("irqbypass") < at("kvm"));
        assert!(at("kvm") < at("kvm_amd"));
        assert!(at("ccp") < at("kvm_amd"));
        assert!(at("lz4_compress") < at("zram"));
        let unique: BTreeSet<_> = order.iter().collect();
        assert_eq!(unique.len(), order.len());
    }

    #[test]
    fn a_cycle_ends() {
        let order = Modules::parse("a.ko: b.ko\nb.ko: a.ko\n").order(&["a"]);
        assert_eq!(order, ["b.ko", "a.ko"]);
    }
}
