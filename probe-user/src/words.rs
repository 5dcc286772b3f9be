//! Words of the domain, as files and outputs write them.
//!
//! The kernel side and the model work with the enums of [`probe_ebpf::words`]. A file may come
//! from a newer version and have words that this one does not know: [`Word`] keeps them as they
//! are, so that reading and writing a file again loses nothing.

use std::{borrow::Cow, fmt};

use probe_ebpf::{Memory, Reclaimer, Road, Verdict};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An enum whose values have a word each.
pub trait Vocabulary: Copy + Ord + 'static {
    /// All values that this version knows.
    fn all() -> &'static [Self];
    /// The word of a value.
    fn word(self) -> &'static str;

    /// The value that `word` stands for; `None`: this version does not know the word.
    fn find(word: &str) -> Option<Self> {
        Self::all().iter().copied().find(|v| v.word() == word)
    }
}

macro_rules! vocabulary {
    ($($kind:ty),*) => {$(
        impl Vocabulary for $kind {
            fn all() -> &'static [Self] {
                &Self::ALL
            }

            fn word(self) -> &'static str {
                self.name()
            }
        }
    )*};
}

vocabulary!(Reclaimer, Memory, Verdict, Road);

/// A known value, or a word of a newer version. Known values sort first, in their own order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word<T> {
    /// A value that this version knows.
    Known(T),
    /// A word that it does not know.
    Newer(String),
}

impl<T: Vocabulary> Word<T> {
    /// The word itself.
    pub fn as_str(&self) -> &str {
        match self {
            Word::Known(value) => value.word(),
            Word::Newer(word) => word,
        }
    }

    /// The value; `None` for a word of a newer version.
    pub fn known(&self) -> Option<T> {
        match self {
            Word::Known(value) => Some(*value),
            Word::Newer(_) => None,
        }
    }

    /// Reads a word.
    pub fn read(word: &str) -> Self {
        T::find(word).map_or_else(|| Word::Newer(word.to_owned()), Word::Known)
    }
}

impl<T> From<T> for Word<T> {
    fn from(value: T) -> Self {
        Word::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Word::Known(value) if value == other)
    }
}

impl<T: Vocabulary> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: Vocabulary> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Vocabulary> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::read(&Cow::<str>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_a_round_trip() {
        for word in ["kswapd", "proactive", "compaction", "", "of \"2031\""] {
            let json = serde_json::to_string(word).unwrap();
            let read: Word<Reclaimer> = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
        assert_eq!(
            Word::<Reclaimer>::read("kswapd"),
            Word::Known(Reclaimer::Kswapd)
        );
        assert_eq!(Word::<Reclaimer>::read("compaction").known(), None);
    }

    #[test]
    fn no_vocabulary_has_a_word_twice() {
        fn check<T: Vocabulary + fmt::Debug + PartialEq>() {
            for value in T::all() {
                assert_eq!(T::find(value.word()), Some(*value));
            }
        }
        check::<Reclaimer>();
        check::<Memory>();
        check::<Verdict>();
        check::<Road>();
    }
}
