//! Values by verdict, with the verdict's word as the key in JSON.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use probe_ebpf::Verdict;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};

use super::{Tally, VerdictTotal, sum};

/// A value for each verdict that has one, in the verdicts' order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByVerdict<T>(BTreeMap<Verdict, T>);

impl<T> ByVerdict<T> {
    /// The value for `verdict`.
    pub fn get(&self, verdict: Verdict) -> Option<&T> {
        self.0.get(&verdict)
    }

    /// Sets the value for `verdict`.
    pub fn set(&mut self, verdict: Verdict, value: T) {
        self.0.insert(verdict, value);
    }

    /// All that are there, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, &T)> {
        self.0.iter().map(|(v, t)| (*v, t))
    }
}

impl<T: Default> ByVerdict<T> {
    /// The value for `verdict`, made if it isn't there yet.
    pub fn entry(&mut self, verdict: Verdict) -> &mut T {
        self.0.entry(verdict).or_default()
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
            .filter(|(v, _)| v.is_futile())
            .map(|(_, tally)| *tally))
    }
}

impl ByVerdict<Option<VerdictTotal>> {
    /// The futile verdicts together; `None`: not measured.
    pub fn futile(&self) -> Option<Tally> {
        let of = |verdict| {
            let total = self.get(verdict).copied().flatten()?;
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
        Self(iter.into_iter().collect())
    }
}

impl<T: Serialize> Serialize for ByVerdict<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(v, t)| (v.name(), t)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByVerdict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = ByVerdict<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with verdicts for keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut out = ByVerdict::default();
                while let Some(key) = map.next_key::<String>()? {
                    let verdict = Verdict::ALL
                        .into_iter()
                        .find(|v| v.name() == key)
                        .ok_or_else(|| A::Error::custom(format!("no verdict is called {key:?}")))?;
                    out.set(verdict, map.next_value()?);
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(Keys(PhantomData))
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
        assert!(serde_json::from_str::<ByVerdict<u64>>(r#"{"lucky":1}"#).is_err());
    }
}
