//! The running kernel's symbols, from /proc/kallsyms.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader, Seek},
};

/// The file in which the kernel lists its symbols.
pub const KALLSYMS: &str = "/proc/kallsyms";

/// Returns those of `wanted` that are functions of this kernel or of a module.
///
/// # Errors
/// When /proc/kallsyms can't be read; a kernel without CONFIG_KALLSYMS doesn't have it.
pub fn present(wanted: &BTreeSet<&str>) -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    each_line(&mut File::open(KALLSYMS)?, |_, kind, name| {
        if matches!(kind, "t" | "T" | "w" | "W") && wanted.contains(name) {
            found.insert(name.to_owned());
        }
    })?;
    Ok(found)
}

/// The callbacks by which modules of stock kernels subscribe to whole processes.
const SUBSCRIBERS: [&str; 1] = ["kvm_mmu_notifier_invalidate_range_start"];

/// Returns the subscribers that this kernel is known to have: counts of theirs can begin at 0
/// before they were seen.
pub fn subscribers() -> Vec<String> {
    let present = present(&BTreeSet::from(SUBSCRIBERS)).unwrap_or_default();
    present.into_iter().collect()
}

/// Returns the names of the functions at these addresses. An address without a name is left out.
///
/// The kernel shows addresses only through a file that was opened with CAP_SYSLOG, so the caller
/// opens it before it drops capabilities.
///
/// # Errors
/// When the file can't be read.
pub fn names(kallsyms: &mut File, addresses: &BTreeSet<u64>) -> io::Result<BTreeMap<u64, String>> {
    let mut found = BTreeMap::new();
    each_line(kallsyms, |address, _, name| {
        if let Ok(address) = u64::from_str_radix(address, 16)
            && addresses.contains(&address)
        {
            found.entry(address).or_insert_with(|| name.to_owned());
        }
    })?;
    Ok(found)
}

/// Calls `f` with each line's address, type and name, without keeping the file in memory.
fn each_line(file: &mut File, mut f: impl FnMut(&str, &str, &str)) -> io::Result<()> {
    file.rewind()?;
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let mut words = line.split_ascii_whitespace();
        if let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
        {
            f(address, kind, name);
        }
        line.clear();
    }
    Ok(())
}
