//! The registry of views.
//!
//! A view is one file here that defines `VIEW`, and one line in the list below. Tabs, keys, help
//! and menu come from the list: the first ten views have a digit, the menu reaches them all.

mod format;
mod sums;
mod view;

pub(super) use findings::VIEW as FINDINGS;
pub(super) use format::{Scale, rate};
pub use view::View;
#[cfg(test)]
pub(super) use view::twelve;
pub(super) use view::{Detail, Material, key_of};

macro_rules! registry {
    ($($view:ident,)*) => {
        $(mod $view;)*

        /// All views, in the order of tabs and digits.
        pub static VIEWS: &[&View] = &[$(&$view::VIEW),*];
    };
}

registry! {
    overview,
    victims,
    reclaimers,
    memory,
    subscribers,
    histograms,
    events,
    hooks,
    findings,
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::*;

    #[test]
    fn names_are_unique_and_short_ones_are_short() {
        for (i, a) in VIEWS.iter().enumerate() {
            assert!(a.short.len() <= 5, "{}", a.short);
            for b in &VIEWS[i + 1..] {
                assert!(a.name != b.name && a.short != b.short, "{}", a.name);
            }
        }
    }

    /// `cargo fmt` does not see modules that a macro declares.
    #[test]
    fn views_are_formatted() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tui/views");
        let files: Vec<_> = std::fs::read_dir(here)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        let mut rustfmt = Command::new("rustfmt");
        rustfmt.args(["--check", "--edition", "2024"]).args(files);
        let Ok(out) = rustfmt.output() else {
            eprintln!("not run: rustfmt is not installed");
            return;
        };
        assert!(
            out.status.success(),
            "run `rustfmt --edition 2024 probe-user/src/tui/views/*.rs`:\n{}",
            String::from_utf8_lossy(&out.stdout)
        );
    }
}
