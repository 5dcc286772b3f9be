//! The answer to the one question: is reclaim wasting work on pinned memory here?

use serde::{Deserialize, Serialize};

/// The answer in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerWord {
    /// Reclaim wastes work.
    Yes,
    /// Reclaim wastes work, but too little to matter or too rarely to judge.
    Barely,
    /// No wasted work was seen.
    No,
    /// Nothing could be judged.
    #[default]
    CantTell,
}

/// Whether reclaim is wasting work on pinned memory here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The answer in one word.
    pub word: AnswerWord,
    /// The answer in a sentence or two, with numbers.
    pub text: String,
}
