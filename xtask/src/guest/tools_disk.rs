//! A read-only disk with programs of this machine and their libraries: the script that benchmarks
//! compare with, a terminal, a Prometheus server.
//!
//! It is a disk because a hundred megabytes more in the initramfs would cost each boot seconds, and
//! the guest a tenth of its memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::guest::ext4;
use crate::host::tool::Tool;
use crate::host::{paths, process};

/// The terminals whose descriptions are on the disk: those that tmux runs in and emulates.
const TERMINALS: [&str; 4] = ["d/dumb", "s/screen", "t/tmux-256color", "x/xterm-256color"];

/// Returns the guest's scripts that start the programs with their own libraries.
pub(crate) fn wrappers(tools: &[Tool]) -> Vec<(String, String)> {
    tools
        .iter()
        .flat_map(|tool| tool.programs())
        .map(|name| {
            let text = format!(
                "#!/bin/sh\nexport TERMINFO=/opt/tools/terminfo LOCPATH=/opt/tools/locale\n\
                 exec /opt/tools/ld.so --library-path /opt/tools /opt/tools/{name} \"$@\"\n"
            );
            (format!("bin/{name}"), text)
        })
        .collect()
}

/// Returns the path of the disk's image, which is made once for each set of tools and versions.
pub(crate) fn image(tools: &[Tool]) -> Result<PathBuf> {
    // Guests that start at the same time share the image.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let tools: BTreeSet<Tool> = tools.iter().copied().collect();
    let mut programs = Vec::new();
    let mut name = "tools".to_string();
    let wanted = tools
        .iter()
        .flat_map(|tool| tool.programs().iter().map(move |program| (tool, program)));
    for (tool, program) in wanted {
        let path = process::which(program).with_context(|| {
            format!(
                "{program} is missing: install the package {}",
                tool.package()
            )
        })?;
        let stamp = std::fs::metadata(&path)
            .and_then(|m| m.modified())
            .ok()
            .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |d| d.as_secs());
        name.push_str(&format!("-{program}-{stamp}"));
        programs.push((*program, path));
    }
    let image = Path::new("target/vm").join(format!("{name}.img"));
    if image.is_file() {
        return Ok(image);
    }
    let work = Path::new("target/vm").join(format!("tools.new-{}", std::process::id()));
    paths::create_dir(&work)?;
    let made = fill(&programs, tools.contains(&Tool::Tmux), &work, &image);
    let _ = std::fs::remove_dir_all(&work);
    made?;
    Ok(image)
}

fn fill(programs: &[(&str, PathBuf)], terminals: bool, work: &Path, image: &Path) -> Result<()> {
    let tree = work.join("tree");
    paths::create_dir(&tree)?;
    let copy = |from: &Path, name: &str| {
        let to = tree.join(name);
        if let Some(parent) = to.parent() {
            paths::create_dir(parent)?;
        }
        std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))
    };
    let mut bytes = 0;
    for (name, program) in programs {
        bytes += copy(program, name)?;
        let listing = process::output(Command::new("ldd").arg(program))?;
        for (name, path) in libraries(&listing) {
            bytes += copy(Path::new(&path), &name)?;
        }
    }
    if terminals {
        for terminal in TERMINALS {
            let homes = ["/lib/terminfo", "/usr/share/terminfo"];
            let found = homes.map(|home| Path::new(home).join(terminal));
            if let Some(path) = found.iter().find(|p| p.is_file()) {
                bytes += copy(path, &format!("terminfo/{terminal}"))?;
            }
        }
        // tmux doesn't start without a UTF-8 locale.
        for locale in ["C.utf8", "C.UTF-8"] {
            let home = Path::new("/usr/lib/locale").join(locale).join("LC_CTYPE");
            if home.is_file() {
                bytes += copy(&home, "locale/C.utf8/LC_CTYPE")?;
            }
        }
    }
    let new = work.join("image");
    File::create(&new)
        .and_then(|f| f.set_len((bytes + bytes / 8 + (16 << 20)).next_multiple_of(1 << 20)))
        .context("cannot make the disk for the tools")?;
    ext4::make(&new, Some(&tree))?;
    std::fs::rename(&new, image)
        .with_context(|| format!("cannot move the disk for the tools to {}", image.display()))
}

/// Parses the output of `ldd`: each library's name and file. The loader's name is `ld.so`.
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

    #[test]
    fn a_wrapper_for_each_program() {
        let names: Vec<String> = wrappers(&[Tool::Tmux, Tool::Prometheus])
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["bin/tmux", "bin/prometheus", "bin/promtool"]);
    }
}
