//! What a capture means: one answer, and findings with causes and advice. Pure rules over the
//! capture's numbers.
//!
//! | file | judges |
//! |---|---|
//! | `digest` | nothing: it gathers what several rules ask of a capture |
//! | `answer` | whether reclaim is wasting work on pinned memory |
//! | `futile` | which memory is unmapped for nothing, and how often the same folio |
//! | `notifiers` | what the MMU notifiers cost, and mappings that were left in place |
//! | `reclaimers` | who reclaims for nothing, or whether reclaim did anything |
//! | `trust` | how far the numbers can be trusted |

mod answer;
mod digest;
mod futile;
mod notifiers;
mod reclaimers;
mod trust;

pub use answer::answer;
pub use trust::reliability;

use self::digest::Digest;
use super::capture::{Capture, Finding};

/// All findings of a capture, the most severe first.
pub fn findings(capture: &Capture) -> Vec<Finding> {
    let digest = Digest::new(capture);
    let mut found = futile::findings(&digest);
    found.extend(notifiers::findings(&digest));
    found.extend(reclaimers::findings(&digest));
    found.extend(trust::findings(&digest));
    // Stable: within a severity, causes come before costs, and both before trust.
    found.sort_by_key(|f| f.severity);
    found
}
