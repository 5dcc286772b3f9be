//! Values by verdict, with the verdict's word as the key in JSON.

use std::collections::BTreeMap;

use probe_ebpf::Verdict;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tally::{Tally, VerdictTotal, sum};
use crate::words::Word;

/// A value for each verdict that has one, in the verdicts' order.
///
/// Verdicts of a newer version are kept under their words, so that writing a capture again
/// loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByVerdict<T>(BTreeMap<Word<Verdict>, T>);

impl<T> ByVerdict<T> {
    /// The value for `verdict`.
    pub fn get(&self, verdict: Verdict) -> Option<&T> {
        self.0.get(&verdict.into())
    }

    /// Sets the value for `verdict`.
    pub fn set<V: Into<Word<Verdict>>>(&mut self, verdict: V, value: T) {
        self.0.insert(verdict.into(), value);
    }

    /// Those that this version knows, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, &T)> {
        self.0.iter().filter_map(|(v, t)| Some((v.known()?, t)))
    }

    /// Those of a newer version, with their words.
    pub fn newer(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0
            .iter()
            .filter(|(v, _)| v.known().is_none())
            .map(|(v, t)| (v.as_str(), t))
    }
}

impl<T: Default> ByVerdict<T> {
    /// The value for `verdict`, made if it isn't there yet.
    pub fn entry(&mut self, verdict: Verdict) -> &mut T {
        self.0.entry(verdict.into()).or_default()
    }
}

impl ByVerdict<Tally> {
    /// All verdicts together.
    pub fn total(&self) -> Tally {
        sum(self.0.values().copied())
    }

    /// The futile verdicts together.
    pub fn futile(&self) -> Tally {
        sum(self
            .0
            .iter()
            .filter(|(v, _)| v.known().is_some_and(Verdict::is_futile))
            .map(|(_, tally)| *tally))
    }
}

impl ByVerdict<Option<VerdictTotal>> {
    /// The total of one verdict; `None`: not measured.
    pub fn total_of(&self, verdict: Verdict) -> Option<VerdictTotal> {
        self.get(verdict).copied().flatten()
    }

    /// The futile verdicts together; `None`: not measured.
    pub fn futile(&self) -> Option<Tally> {
        let of = |verdict| {
            let total = self.total_of(verdict)?;
            Some(Tally {
                folios: total.folios,
                pages: total.pages,
            })
        };
        let both = [of(Verdict::FutilePinned)?, of(Verdict::FutileReferenced)?];
        Some(sum(both.into_iter()))
    }
}

impl<T> Default for ByVerdict<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> FromIterator<(Verdict, T)> for ByVerdict<T> {
    fn from_iter<I: IntoIterator<Item = (Verdict, T)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(v, t)| (v.into(), t)).collect())
    }
}

impl<T: Serialize> Serialize for ByVerdict<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByVerdict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(BTreeMap::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_words_in_order() {
        let map: ByVerdict<u64> = Verdict::ALL.into_iter().rev().zip(0..).collect();
        let json = serde_json::to_string(&map).unwrap();
        assert!(
            json.starts_with(r#"{"freed":7,"futile_pinned":6,"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<ByVerdict<u64>>(&json).unwrap(), map);
        // The words of a newer version come last, and come back.
        let json = r#"{"kept":1,"lucky":2}"#;
        let map: ByVerdict<u64> = serde_json::from_str(json).unwrap();
        assert_eq!(map.iter().count(), 1);
        assert_eq!(serde_json::to_string(&map).unwrap(), json);
    }
}
