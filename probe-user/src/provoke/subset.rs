//! Subsets of a region's pages.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A choice of a region's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// None.
    None,
    /// Every page.
    All,
    /// Pages 0, 2, 4, …
    EverySecond,
    /// Pages 1, 3, 5, …
    EveryOther,
}

impl Subset {
    /// Returns the subset of the pages that this one leaves out.
    #[must_use]
    pub fn complement(self) -> Self {
        match self {
            Self::None => Self::All,
            Self::All => Self::None,
            Self::EverySecond => Self::EveryOther,
            Self::EveryOther => Self::EverySecond,
        }
    }

    /// Returns how many of `pages` pages are in the subset.
    #[must_use]
    pub fn count(self, pages: usize) -> usize {
        match self {
            Self::None => 0,
            Self::All => pages,
            Self::EverySecond => pages.div_ceil(2),
            Self::EveryOther => pages / 2,
        }
    }

    /// Returns which of `pages` pages are in the subset, as runs of neighbours.
    #[must_use]
    pub fn runs(self, pages: usize) -> Vec<Range<usize>> {
        let single = |first: usize| {
            (first..pages)
                .step_by(2)
                .map(|page| page..page + 1)
                .collect()
        };
        match self {
            Self::None => Vec::new(),
            Self::All if pages == 0 => Vec::new(),
            Self::All => std::iter::once(0..pages).collect(),
            Self::EverySecond => single(0),
            Self::EveryOther => single(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_and_its_complement_are_everything_once() {
        for pages in [0, 1, 2, 7, 256] {
            for subset in [
                Subset::None,
                Subset::All,
                Subset::EverySecond,
                Subset::EveryOther,
            ] {
                let mut all: Vec<usize> = subset.runs(pages).into_iter().flatten().collect();
                assert_eq!(all.len(), subset.count(pages), "{subset:?} of {pages}");
                all.extend(subset.complement().runs(pages).into_iter().flatten());
                all.sort_unstable();
                assert_eq!(all, (0..pages).collect::<Vec<_>>(), "{subset:?} of {pages}");
            }
        }
    }
}
