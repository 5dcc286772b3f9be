//! A read-only disk with bpftrace and its libraries, for the benchmarks' peer.
//!
//! A disk rather than part of the initramfs: its hundred megabytes would cost
//! every boot seconds and the guest a tenth of its memory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{qemu, sh};

/// The guest's script that starts it, with the libraries it came with.
pub(crate) const WRAPPER: (&str, &str) = (
    "bin/bpftrace",
    "#!/bin/sh\nexec /opt/tools/ld.so --library-path /opt/tools /opt/tools/bpftrace \"$@\"\n",
);

/// The disk's image; made once for each version of the host's bpftrace.
pub(crate) fn bpftrace() -> Result<PathBuf> {
    let program =
        sh::which("bpftrace").context("bpftrace is missing: install the package bpftrace")?;
    let stamp = std::fs::metadata(&program)
        .and_then(|m| m.modified())
        .ok()
        .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |d| d.as_secs());
    let image = Path::new("target/vm").join(format!("bpftrace-{stamp}.img"));
    if image.is_file() {
        return Ok(image);
    }
    let work = Path::new("target/vm").join(format!("tools.new-{}", std::process::id()));
    sh::create_dir(&work)?;
    let made = fill(&program, &work, &image);
    let _ = std::fs::remove_dir_all(&work);
    made?;
    Ok(image)
}

fn fill(program: &Path, work: &Path, image: &Path) -> Result<()> {
    let tree = work.join("tree");
    sh::create_dir(&tree)?;
    let copy = |from: &Path, name: &str| {
        std::fs::copy(from, tree.join(name))
            .with_context(|| format!("cannot copy {}", from.display()))
    };
    let mut bytes = copy(program, "bpftrace")?;
    let listing = sh::output(Command::new("ldd").arg(program))?;
    for (name, path) in libraries(&listing) {
        bytes += copy(Path::new(&path), &name)?;
    }
    let new = work.join("image");
    File::create(&new)
        .and_then(|f| f.set_len((bytes + bytes / 8 + (16 << 20)).next_multiple_of(1 << 20)))
        .context("cannot make the tools' disk")?;
    qemu::make_ext4(&new, Some(&tree))?;
    std::fs::rename(&new, image)
        .with_context(|| format!("cannot move the tools' disk to {}", image.display()))
}

/// What `ldd` says: each library's name and file; the loader is `ld.so`.
fn libraries(listing: &str) -> Vec<(String, String)> {
    listing
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [name, "=>", path, ..] if path.starts_with('/') => {
                    Some((name.to_string(), path.to_string()))
                }
                [path, ..] if path.starts_with('/') && path.contains("ld-linux") => {
                    Some(("ld.so".to_string(), path.to_string()))
                }
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_lines() {
        let text = "\tlinux-vdso.so.1 (0x7ffc)\n\tlibbpf.so.1 => /lib/x/libbpf.so.1 (0x7f)\n\
                    \tlibgone.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let found = libraries(text);
        assert_eq!(
            found,
            [
                ("libbpf.so.1".to_string(), "/lib/x/libbpf.so.1".to_string()),
                (
                    "ld.so".to_string(),
                    "/lib64/ld-linux-x86-64.so.2".to_string()
                ),
            ]
        );
    }
}
