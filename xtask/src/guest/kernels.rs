//! Kernels for the guests: from Debian's archive by series, or an image given by path.
//!
//! A private apt root in `target/kernels/apt` reads the suites that carry kernels. It checks their
//! signatures, leaves the system alone, and takes the mirror from this machine's apt sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::debian_version;
use crate::host::private_apt::{Apt, Package};
use crate::host::{paths, process, progress};

const DIR: &str = "target/kernels";

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// The series, or the file's name.
    pub(crate) name: String,
    /// The package's version; `own` for an image given by path.
    pub(crate) version: String,
    /// The path of the image.
    pub(crate) image: PathBuf,
    /// The directory that contains `modules.dep`.
    pub(crate) modules: Option<PathBuf>,
}

/// Makes the path of an image absolute, before the directory changes; a series stays as it is.
pub(crate) fn absolute(kernel: &str) -> Result<String> {
    if is_series(kernel) {
        return Ok(kernel.to_string());
    }
    Ok(paths::absolute(kernel)?.to_string_lossy().into_owned())
}

/// Whether a text is a series: two numbers, such as `5.10`.
pub(crate) fn is_series(text: &str) -> bool {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(a, b)| number(a) && number(b))
}

/// Finds the kernel that `--kernel` and `--modules` name.
pub(crate) fn find(kernel: &str, modules: Option<&Path>, refresh: bool) -> Result<Kernel> {
    let path = Path::new(kernel);
    if is_series(kernel) && !path.is_file() {
        if modules.is_some() {
            bail!(
                "--modules needs a kernel image: the packages of the series {kernel} have their own modules"
            );
        }
        return series(kernel, refresh);
    }
    if !path.is_file() {
        bail!("--kernel {kernel}: neither a series (5.10, 6.12, …) nor the path of a kernel image");
    }
    Ok(Kernel {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        version: "own".to_string(),
        image: paths::absolute(path)?,
        modules: modules.map(own_modules).transpose()?,
    })
}

/// Accepts `…/lib/modules/VERSION`, or a directory that contains `lib/modules/VERSION`.
fn own_modules(dir: &Path) -> Result<PathBuf> {
    if dir.join("modules.dep").is_file() {
        return paths::absolute(dir);
    }
    let found = versions(&dir.join("lib/modules"));
    match found.as_slice() {
        [one] if one.join("modules.dep").is_file() => paths::absolute(one),
        _ => bail!(
            "--modules {}: it has no modules.dep: name lib/modules/VERSION as `make modules_install` left it",
            dir.display()
        ),
    }
}

fn versions(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .map(|entries| {
            entries
                .flatten()
                .map(|e| e.path())
                .filter(|p| p.is_dir())
                .collect()
        })
        .unwrap_or_default()
}

/// Returns a series' newest kernel. One that was fetched before is kept until a refresh.
fn series(series: &str, refresh: bool) -> Result<Kernel> {
    let home = Path::new(DIR).join(series);
    if !refresh && let Some(kernel) = cached(series, &home) {
        return Ok(kernel);
    }
    progress::step(&format!(
        "looking for the newest {series} kernel in Debian's archive"
    ));
    let apt = Apt::private(&Path::new(DIR).join("apt"))?;
    let wanted = match choose(&apt.packages()?, series) {
        Ok(wanted) => wanted,
        // The lists may be older than the series.
        Err(_) => {
            apt.update()?;
            choose(&apt.packages()?, series)?
        }
    };
    let work = Path::new(DIR).join(format!("{series}.new-{}", std::process::id()));
    let result = fetch(&apt, &wanted, series, &work);
    if result.is_ok() {
        let _ = std::fs::remove_dir_all(&home);
        std::fs::rename(&work, &home)
            .with_context(|| format!("cannot move the unpacked kernel to {}", home.display()))?;
    } else {
        let _ = std::fs::remove_dir_all(&work);
    }
    result?;
    cached(series, &home).with_context(|| {
        format!(
            "the {series} kernel was unpacked to {}, but has no image or no modules there: the packages' layout \
             may have changed",
            home.display()
        )
    })
}

fn cached(series: &str, home: &Path) -> Option<Kernel> {
    let version = std::fs::read_to_string(home.join("version")).ok()?;
    let found = versions(&home.join("lib/modules"));
    let [modules] = found.as_slice() else {
        return None;
    };
    let image = home.join("vmlinuz");
    (image.is_file() && modules.join("modules.dep").is_file()).then(|| Kernel {
        name: series.to_string(),
        version: version.trim().to_string(),
        image,
        modules: Some(modules.clone()),
    })
}

/// Chooses the newest image of a series of which the archive has all files, and the packages that
/// contain them. (The archive drops packages one by one: of some series it keeps images whose
/// modules are gone.)
pub(crate) fn choose(all: &[Package], series: &str) -> Result<Vec<Package>> {
    let abi = |name: &str| -> Option<String> {
        let rest = name.strip_prefix("linux-image-")?;
        let abi = rest.strip_suffix("-unsigned").unwrap_or(rest);
        let version = abi.strip_suffix("-cloud-amd64")?.strip_prefix(series)?;
        // `6.1.0-56`, `6.12.117+deb13`; not `6.1` alone, which is a meta-package.
        version.starts_with('.').then(|| abi.to_string())
    };
    let mut images: Vec<&Package> = all.iter().filter(|p| abi(&p.name).is_some()).collect();
    images.sort_by(|a, b| {
        debian_version::compare(&b.version, &a.version)
            // Prefer the signed image to the unsigned one.
            .then_with(|| a.name.len().cmp(&b.name.len()))
    });
    let mut gone = Vec::new();
    for image in &images {
        match with_files(all, image) {
            Ok(wanted) => {
                if let Some(first) = gone.first() {
                    progress::warn(&format!(
                        "the archive has newer images of the series {series} than {}, but {first} is gone",
                        image.version
                    ));
                }
                return Ok(wanted);
            }
            Err(package) => gone.push(package),
        }
    }
    if let Some(first) = gone.first() {
        bail!(
            "Debian's archive has {} images of the series {series}, but the modules of none ({first} is gone): \
             choose another series, or name an image of your own with --kernel VMLINUZ --modules DIR",
            images.len()
        );
    }
    let mut known: Vec<String> = all.iter().filter_map(|p| series_of(&p.name)).collect();
    known.sort_by(|a, b| debian_version::compare(a, b));
    known.dedup();
    bail!(
        "Debian's archive carries no cloud kernel of the series {series}; it has {}",
        if known.is_empty() {
            "none that could be read".to_string()
        } else {
            known.join(", ")
        }
    );
}

/// Returns an image and the packages with its files, or the name of one that the archive lacks. In
/// newer series, packages that the image depends on contain the kernel and the modules.
fn with_files(all: &[Package], image: &Package) -> Result<Vec<Package>, String> {
    let mut wanted = vec![image.clone()];
    for needed in &image.depends {
        let file = ["linux-binary-", "linux-modules-"]
            .iter()
            .any(|p| needed.starts_with(p));
        if !file {
            continue;
        }
        let package = all.iter().filter(|p| p.name == *needed).max_by(|a, b| {
            // Built with the image, if the archive still has that one.
            let own = |p: &Package| p.version == image.version;
            own(a)
                .cmp(&own(b))
                .then_with(|| debian_version::compare(&a.version, &b.version))
        });
        wanted.push(package.ok_or_else(|| needed.clone())?.clone());
    }
    Ok(wanted)
}

fn series_of(package: &str) -> Option<String> {
    let version = package.strip_prefix("linux-image-")?;
    if !version.ends_with("-cloud-amd64") {
        return None;
    }
    let mut numbers = version.split(['.', '-', '+']);
    let series = format!("{}.{}", numbers.next()?, numbers.next()?);
    is_series(&series).then_some(series)
}

/// Downloads and unpacks the packages into `work`, in the layout that [`cached`] reads.
fn fetch(apt: &Apt, wanted: &[Package], series: &str, work: &Path) -> Result<()> {
    let version = wanted
        .first()
        .map(|p| p.version.clone())
        .unwrap_or_default();
    progress::step(&format!("fetching the {series} kernel, {version}"));
    let tree = work.join("tree");
    paths::create_dir(&tree)?;
    for package in wanted {
        let file = match apt.download(package, work) {
            Ok(file) => file,
            Err(first) => {
                // The archive may have replaced the package since the lists were read.
                apt.update()?;
                apt.download(package, work)
                    .with_context(|| format!("{first:#}; tried again with fresh lists"))?
            }
        };
        process::output(Command::new("dpkg").arg("-x").arg(&file).arg(&tree))
            .context("cannot unpack a kernel package")?;
        let _ = std::fs::remove_file(&file);
    }
    let mut trees = versions(&tree.join("lib/modules"));
    trees.extend(versions(&tree.join("usr/lib/modules")));
    let Some(modules) = trees.into_iter().find(|d| d.join("kernel").is_dir()) else {
        bail!(
            "the {series} kernel's packages contain no modules: {}",
            names(wanted)
        );
    };
    let release = modules
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let target = work.join("lib/modules").join(&release);
    paths::create_dir(work.join("lib/modules"))?;
    move_to(&modules, &target)?;
    let image = [
        tree.join(format!("boot/vmlinuz-{release}")),
        target.join("vmlinuz"),
        tree.join(format!("usr/lib/modules/{release}/vmlinuz")),
    ]
    .into_iter()
    .find(|p| p.is_file());
    let Some(image) = image else {
        bail!(
            "the {series} kernel's packages contain no image: {}",
            names(wanted)
        );
    };
    move_to(&image, &work.join("vmlinuz"))?;
    let depmod = process::which("depmod").context("depmod is missing: install the package kmod")?;
    // Its warnings go to the log: they are about lists of built-in modules, which guests don't need.
    process::logged(
        "depmod",
        Command::new(depmod).arg("-b").arg(work).arg(&release),
    )
    .context("cannot list the dependencies of the kernel's modules")?;
    std::fs::write(work.join("version"), format!("{version}\n"))
        .context("cannot record the kernel's version")?;
    std::fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))
}

fn move_to(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

fn names(packages: &[Package]) -> String {
    packages
        .iter()
        .map(|p| p.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, depends: &[&str]) -> Package {
        Package {
            name: name.to_string(),
            version: version.to_string(),
            depends: depends.iter().map(ToString::to_string).collect(),
        }
    }

    fn archive() -> Vec<Package> {
        vec![
            package("linux-image-6.1-cloud-amd64", "6.1.999-1", &[]),
            package("linux-image-6.1.0-9-cloud-amd64", "6.1.99-1", &[]),
            package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2", &[]),
            package(
                "linux-image-6.1.0-56-cloud-amd64-unsigned",
                "6.1.192-2",
                &[],
            ),
            package("linux-image-6.1.0-56-cloud-amd64-dbg", "6.1.192-3", &[]),
            package(
                "linux-image-6.12.117+deb12-cloud-amd64",
                "6.12.117-1~deb12u1",
                &[],
            ),
            package("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1", &[]),
            package(
                "linux-image-7.2.13+deb14-cloud-amd64",
                "7.2.13-1",
                &[
                    "linux-base-7.2.13+deb14-cloud-amd64",
                    "linux-binary-7.2.13+deb14-cloud-amd64",
                    "linux-modules-7.2.13+deb14-cloud-amd64",
                ],
            ),
            package("linux-binary-7.2.13+deb14-cloud-amd64", "7.2.13-1", &[]),
            package("linux-modules-7.2.13+deb14-cloud-amd64", "7.2.13-1", &[]),
        ]
    }

    fn chosen(series: &str) -> Vec<String> {
        choose(&archive(), series)
            .unwrap()
            .into_iter()
            .map(|p| p.name)
            .collect()
    }

    #[test]
    fn the_newest_by_version_and_never_the_meta_package() {
        assert_eq!(chosen("6.1"), ["linux-image-6.1.0-56-cloud-amd64"]);
        assert_eq!(chosen("6.12"), ["linux-image-6.12.117+deb13-cloud-amd64"]);
    }

    #[test]
    fn split_packages_come_along() {
        assert_eq!(
            chosen("7.2"),
            [
                "linux-image-7.2.13+deb14-cloud-amd64",
                "linux-binary-7.2.13+deb14-cloud-amd64",
                "linux-modules-7.2.13+deb14-cloud-amd64"
            ]
        );
    }

    #[test]
    fn the_newest_image_whose_modules_are_there() {
        let of = |version: &str| -> [Package; 3] {
            let name = |part: &str| format!("linux-{part}-{version}+deb13-cloud-amd64");
            let [binary, modules] = [name("binary"), name("modules")];
            [
                package(&name("image"), version, &[&binary, &modules]),
                package(&binary, version, &[]),
                package(&modules, version, &[]),
            ]
        };
        let [old_image, old_binary, old_modules] = of("7.1.3");
        let [image, binary, _] = of("7.1.13");
        let mut all = vec![image, binary, old_image.clone(), old_binary.clone()];
        let error = choose(&all, "7.1").unwrap_err().to_string();
        assert!(
            error.contains("2 images")
                && error.contains("linux-modules-7.1.13+deb13-cloud-amd64 is gone"),
            "{error}"
        );
        // Modules of two versions: the image's own.
        let newer = Package {
            version: "7.1.3-2".to_string(),
            ..old_modules.clone()
        };
        all.extend([old_modules.clone(), newer]);
        assert_eq!(
            choose(&all, "7.1").unwrap(),
            [old_image, old_binary, old_modules]
        );
    }

    #[test]
    fn an_unknown_series_names_the_known_ones() {
        let error = choose(&archive(), "4.19").unwrap_err().to_string();
        assert!(error.contains("6.1, 6.12, 7.2"), "{error}");
    }

    #[test]
    fn what_a_series_looks_like() {
        assert!(is_series("5.10"));
        assert!(!is_series("5.10.1"));
        assert!(!is_series("vmlinuz"));
        assert!(!is_series("6."));
    }
}
