//! Files of this machine that go into a guest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::paths;
use crate::host::user_build::Programs;

/// A file of this machine to put into a guest.
#[derive(Debug, Clone)]
pub(crate) struct GuestFile {
    /// The file, or a directory to copy with all it contains.
    pub(crate) host: PathBuf,
    /// The absolute path in the guest.
    pub(crate) guest: PathBuf,
}

impl GuestFile {
    /// Parses `HOST[:GUEST]`. Without GUEST the file goes to `/root`, which is on the command's PATH
    /// and its working directory.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (host, guest) = match text.rsplit_once(':') {
            Some((host, guest)) if guest.starts_with('/') => (host, Some(guest)),
            _ => (text, None),
        };
        let host = paths::absolute(host)?;
        if !host.exists() {
            bail!("--file {text}: {} does not exist", host.display());
        }
        let guest = match guest {
            Some(guest) if !guest.ends_with('/') => PathBuf::from(guest),
            place => {
                let name = host.file_name().with_context(|| {
                    format!(
                        "--file {text}: {} has no name: give one as HOST:GUEST",
                        host.display()
                    )
                })?;
                Path::new(place.unwrap_or("/root")).join(name)
            }
        };
        Ok(Self { host, guest })
    }
}

/// Returns the built programs as files for a guest.
pub(crate) fn of_programs(programs: &Programs) -> Vec<GuestFile> {
    [
        (&programs.pinscope, "/bin/pinscope"),
        (&programs.workload, "/bin/workload"),
        (&programs.guest_tests, "/bin/guest-tests"),
    ]
    .into_iter()
    .filter_map(|(host, guest)| {
        Some(GuestFile {
            host: host.clone()?,
            guest: PathBuf::from(guest),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_arguments() {
        let plain = GuestFile::parse("Cargo.toml").unwrap();
        assert_eq!(plain.guest, Path::new("/root/Cargo.toml"));
        assert!(plain.host.is_absolute());
        let placed = GuestFile::parse("Cargo.toml:/etc/x.toml").unwrap();
        assert_eq!(placed.guest, Path::new("/etc/x.toml"));
        let in_dir = GuestFile::parse("Cargo.toml:/bin/").unwrap();
        assert_eq!(in_dir.guest, Path::new("/bin/Cargo.toml"));
        assert!(GuestFile::parse("no-such-file").is_err());
    }
}
