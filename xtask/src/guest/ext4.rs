//! Images of ext4 file systems.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::host::process;

/// Makes an ext4 file system in an existing file, filled from a directory if one is given.
pub(crate) fn make(path: &Path, from: Option<&Path>) -> Result<()> {
    let mkfs = process::which("mkfs.ext4")
        .context("mkfs.ext4 is missing: install the package e2fsprogs")?;
    let mut command = Command::new(mkfs);
    command.args([
        "-q",
        "-F",
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
    ]);
    if let Some(dir) = from {
        command.arg("-d").arg(dir);
    }
    process::output(command.arg(path))
        .with_context(|| format!("cannot make an ext4 file system in {}", path.display()))?;
    Ok(())
}
