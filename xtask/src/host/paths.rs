//! The repository's root, and paths below it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The repository's root.
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = here
        .parent()
        .context("xtask has no parent directory: run it as `cargo xtask` inside the repository")?;
    Ok(root.to_path_buf())
}

/// Makes the repository's root the working directory, so that paths below `target/` are short and
/// relative. Paths that the caller gave must be made absolute first.
pub(crate) fn enter_root() -> Result<()> {
    let root = root()?;
    std::env::set_current_dir(&root).with_context(|| format!("cannot enter {}", root.display()))
}

/// Creates a directory and its parents.
pub(crate) fn create_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    std::fs::create_dir_all(path)
        .with_context(|| format!("cannot create the directory {}", path.display()))
}

/// Makes a path absolute, for a program that runs in another directory.
pub(crate) fn absolute(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}
