//! A private apt root: Debian's lists and kernel packages, without touching the system's own.
//!
//! Kept by hand: apt itself checks the signatures and reads the lists, and no crate does both.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::host::{paths, process, progress};

/// The suites of the main archive that carry kernels, oldest first.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "sid",
];

/// The suites of the security archive.
const SECURITY: &[&str] = &["bullseye-security", "bookworm-security", "trixie-security"];

/// The age at which the lists are read again.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// A package that the archive offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// The package's name.
    pub(crate) name: String,
    /// The package's version.
    pub(crate) version: String,
    /// The packages it depends on; of alternatives, the first.
    pub(crate) depends: Vec<String>,
}

/// The private apt root.
#[derive(Debug)]
pub(crate) struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// Opens the root, and reads the archive's lists if they are missing or old.
    pub(crate) fn private(dir: &Path) -> Result<Self> {
        let apt = Self {
            dir: paths::absolute(dir)?,
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            paths::create_dir(apt.dir.join(part))?;
        }
        let age = std::fs::metadata(apt.stamp())
            .and_then(|m| m.modified())
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_none_or(|age| age > FRESH) {
            apt.update()?;
        }
        Ok(apt)
    }

    fn stamp(&self) -> PathBuf {
        self.dir.join("updated")
    }

    /// Reads the archive's lists again. A suite that can't be read only causes a warning, since
    /// another may have the kernel.
    pub(crate) fn update(&self) -> Result<()> {
        let sources = self.sources()?;
        std::fs::write(self.dir.join("sources.list"), sources)
            .context("cannot write the private sources.list")?;
        progress::step("reading Debian's package lists");
        let out = self
            .command("apt-get")
            .args(["-q", "update"])
            .stdin(Stdio::null())
            .output()
            .context(
                "cannot start apt-get, which fetches kernels by series: on a machine without it, use --kernel \
                 VMLINUZ",
            )?;
        let complaints = String::from_utf8_lossy(&out.stderr);
        for line in complaints
            .lines()
            .filter(|l| l.starts_with("E:") || l.starts_with("W:"))
        {
            progress::warn(&format!(
                "apt: {}",
                line.get(2..).unwrap_or_default().trim()
            ));
        }
        if self.packages()?.is_empty() {
            bail!(
                "no list of Debian's archive could be read (see apt-get's messages above): check the network \
                 and this machine's apt sources"
            );
        }
        std::fs::write(self.stamp(), b"").context("cannot record when the lists were read")
    }

    /// Returns the kernel packages that the archive offers, in every version.
    pub(crate) fn packages(&self) -> Result<Vec<Package>> {
        let names = process::output(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        let names: Vec<&str> = names.lines().filter(|n| is_kernel(n)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let text = process::output(
            self.command("apt-cache")
                .args(["--all-versions", "show"])
                .args(names),
        )?;
        Ok(text.split("\n\n").filter_map(kernel_package).collect())
    }

    /// Downloads one package's file into `dir`, and returns its path.
    pub(crate) fn download(&self, package: &Package, dir: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        command
            .args(["-q", "download"])
            .arg(format!("{}={}", package.name, package.version))
            .current_dir(dir);
        let out = command
            .stdin(Stdio::null())
            .output()
            .context("cannot start apt-get")?;
        if !out.status.success() {
            bail!(
                "apt-get could not download {} {}: {}",
                package.name,
                package.version,
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        let prefix = format!("{}_", package.name);
        std::fs::read_dir(dir)
            .with_context(|| format!("cannot list {}", dir.display()))?
            .flatten()
            .map(|e| e.path())
            .find(|p| {
                p.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with(&prefix))
            })
            .with_context(|| {
                format!(
                    "apt-get reported success, but left no file of {} in {}",
                    package.name,
                    dir.display()
                )
            })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C.UTF-8");
        let dir = self.dir.display();
        for option in [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=-".to_string(),
            "Dir::Etc::preferences=/dev/null".to_string(),
            "Dir::Etc::preferencesparts=-".to_string(),
            format!("Dir::State={dir}"),
            format!("Dir::State::lists={dir}/lists"),
            "Dir::State::status=/dev/null".to_string(),
            format!("Dir::Cache={dir}/cache"),
            "APT::Architecture=amd64".to_string(),
            "APT::Architectures=amd64".to_string(),
            // apt's sandbox user may lack access to this directory.
            "APT::Sandbox::User=root".to_string(),
            "APT::Get::List-Cleanup=false".to_string(),
            "APT::Update::Post-Invoke-Success=".to_string(),
            "Acquire::Languages=none".to_string(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_string(),
            "Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled=false".to_string(),
            "Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled=false".to_string(),
            "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false".to_string(),
            "Acquire::Retries=3".to_string(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    fn sources(&self) -> Result<String> {
        let (main, security) = mirrors()?;
        let keys = keyrings()?.join(",");
        let line = |mirror: &str, suite: &&str| {
            format!("deb [arch=amd64 signed-by={keys}] {mirror} {suite} main\n")
        };
        let mut text: String = SUITES.iter().map(|suite| line(&main, suite)).collect();
        if let Some(mirror) = security {
            text.extend(SECURITY.iter().map(|suite| line(&mirror, suite)));
        } else {
            progress::warn(
                "this machine's apt sources name no security archive: older series may be missing",
            );
        }
        Ok(text)
    }
}

/// The main and the security mirror: `PINSCOPE_DEBIAN_MIRROR` and
/// `PINSCOPE_DEBIAN_SECURITY_MIRROR` where set, else those of this machine's apt sources.
fn mirrors() -> Result<(String, Option<String>)> {
    let text = process::probe(
        "apt-get",
        &["indextargets", "--format", "$(REPO_URI) $(CODENAME)"],
    )
    .unwrap_or_default();
    let (main, security) = pick_mirrors(&text);
    let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let main = set("PINSCOPE_DEBIAN_MIRROR").or(main).context(
        "this machine's apt sources name no Debian mirror: set PINSCOPE_DEBIAN_MIRROR to a mirror's URL (and \
         PINSCOPE_DEBIAN_SECURITY_MIRROR), or use --kernel VMLINUZ",
    )?;
    Ok((main, set("PINSCOPE_DEBIAN_SECURITY_MIRROR").or(security)))
}

/// Returns the URL of a mirror of Debian's main archive.
pub(crate) fn mirror() -> Result<String> {
    mirrors().map(|(main, _)| main)
}

fn pick_mirrors(text: &str) -> (Option<String>, Option<String>) {
    let (mut main, mut security) = (None, None);
    for line in text.lines() {
        let Some((uri, codename)) = line.split_once(' ') else {
            continue;
        };
        let base = codename.split('-').next().unwrap_or_default();
        if !["bullseye", "bookworm", "trixie", "forky", "duke", "sid"].contains(&base) {
            continue;
        }
        if codename.ends_with("-security") {
            security.get_or_insert(uri.to_string());
        } else {
            main.get_or_insert(uri.to_string());
        }
    }
    (main, security)
}

/// Returns the files with Debian's archive keys on this machine, except withdrawn ones.
pub(crate) fn keyrings() -> Result<Vec<String>> {
    let mut found: Vec<String> = std::fs::read_dir("/usr/share/keyrings")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().to_string_lossy().into_owned())
        .filter(|path| {
            path.contains("/debian-archive-")
                && !path.contains("removed")
                && (path.ends_with(".gpg") || path.ends_with(".pgp"))
        })
        .collect();
    found.sort();
    if found.is_empty() {
        bail!(
            "/usr/share/keyrings has no Debian archive keys: install the package debian-archive-keyring"
        );
    }
    Ok(found)
}

fn is_kernel(name: &str) -> bool {
    ["linux-image-", "linux-binary-", "linux-modules-"]
        .iter()
        .any(|p| name.starts_with(p))
        && (name.ends_with("-cloud-amd64") || name.ends_with("-cloud-amd64-unsigned"))
}

fn kernel_package(stanza: &str) -> Option<Package> {
    let field = |name: &str| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::trim))
    };
    let name = field("Package")?;
    if !is_kernel(name) {
        return None;
    }
    let depends = field("Depends")
        .unwrap_or_default()
        .split(',')
        .filter_map(|d| d.split(['|', '(']).next())
        .map(|d| d.trim().to_string())
        .filter(|d| !d.is_empty())
        .collect();
    Some(Package {
        name: name.to_string(),
        version: field("Version")?.to_string(),
        depends,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanza() {
        let text = "Package: linux-image-7.2.13+deb14-cloud-amd64\nVersion: 7.2.13-1\n\
                    Depends: dracut | initramfs-tools (>= 0.120), linux-binary-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)";
        let package = kernel_package(text).unwrap();
        assert_eq!(package.version, "7.2.13-1");
        assert_eq!(
            package.depends,
            ["dracut", "linux-binary-7.2.13+deb14-cloud-amd64"]
        );
        assert!(kernel_package("Package: bash\nVersion: 5-1").is_none());
    }

    #[test]
    fn mirrors_by_codename() {
        let (main, security) = pick_mirrors(
            "https://example.org/node nodistro\nhttp://m.example/debian-security/ bookworm-security\n\
             http://m.example/debian/ bookworm\n",
        );
        assert_eq!(main.unwrap(), "http://m.example/debian/");
        assert_eq!(security.unwrap(), "http://m.example/debian-security/");
        assert_eq!(pick_mirrors("http://u.example/ubuntu noble"), (None, None));
    }
}
