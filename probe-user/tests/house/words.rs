//! Retired phrases: what they were, and where one may still be used.

use std::{fmt, path::Path};

use super::source::{self, Segment};

/// Phrases that are no longer used; docs/glossary.md has the words in their place.
const RETIRED: &[&str] = &[
    // Samples.
    "a look",
    "one look",
    "each look",
    "every look",
    "the look",
    "its look",
    "last look",
    "looks apart",
    "look by look",
    "so many looks",
    "at each look",
    "between looks",
    "how often to look",
    "no look",
    "takes a look",
    "both looks",
    "of looks",
    "the looks",
    "all looks",
    "look taken",
    // Futile unmaps.
    "in vain",
    "vain",
    "futilely",
    "carry out",
    "carries out",
    "carried out",
    "carrying out",
    "singly",
    "single futile unmap",
    "single futile unmaps",
    "futile unmaps singly",
    // Saying.
    "is told",
    "are told",
    "was told",
    "were told",
    "be told",
    "been told",
    "have told",
    "told apart",
    "would have told",
    "told",
    "tells",
    "tell",
    "telling",
    "say what would hold",
    "would hold",
    "what is wrong stands",
    "stands beside",
    "stand beside",
    "stands out",
    "stand out",
    "stands as",
    "hooks stand",
    "hook stands",
    "it stands",
    "stands there",
    // Losses.
    "for want of",
    "went unseen",
    "gone unseen",
    "go unseen",
    "goes unseen",
    "without room",
    "no call is known",
    "nothing was lost for",
    // Prose that was translated.
    "by way of",
    "can't be had",
    "cannot be had",
    "can be had",
    "isn't to be had",
    "to be had",
    "goes before",
    "go before",
    "going before",
    "fell to",
    "falls to",
    "fall to",
    "tremble",
    "trembles",
    "were so",
    "was so",
    "so many",
    "in good order",
    "is asked for",
    "are asked for",
    "was asked for",
    "were asked for",
    "it was asked for",
    "nothing forced this reclaim",
    "maybe pinned",
    "neither a recording nor text",
    "has the last word",
    "nobody looks",
    "lie beside",
    "lies beside",
    // Renderers.
    "faces",
    "a face",
    "each face",
    "every face",
    "one face",
    "the face",
    "no face",
    "two faces",
];

/// Doc comments that define nothing.
const EMPTY_DOCS: &[&str] = &[
    "/// Which.",
    "/// Why.",
    "/// Where.",
    "/// Who.",
    "/// When.",
    "/// How.",
    "/// How often.",
    "/// How many.",
    "/// How much.",
    "/// What it is.",
    "/// What.",
];

/// Where a phrase is explained or quoted: the end of the file's name, the phrase, the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[("README.md", "in vain", "explains the concept once")];

/// Files that have retired phrases by their nature.
const EXEMPT: &[(&str, &str)] = &[
    ("docs/glossary.md", "lists the retired words"),
    ("CHANGELOG.md", "history"),
    ("probe-user/tests/house/words.rs", "this list"),
    ("LICENSE-GPL2", "not ours"),
    ("LICENSE-APACHE", "not ours"),
    ("Cargo.lock", "not ours"),
];

/// A retired phrase in use.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    file: String,
    line: usize,
    phrase: &'static str,
    shown: String,
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            phrase,
            shown,
        } = self;
        write!(f, "{file}:{line}: {phrase:?} in: {shown}")
    }
}

/// Finds the retired phrases in the text of one file or output.
pub(crate) fn in_text(name: &str, text: &str, prose: &[Segment]) -> Vec<Hit> {
    let lines: Vec<&str> = text.lines().collect();
    let hit = |line: usize, phrase| Hit {
        file: name.to_owned(),
        line,
        phrase,
        shown: lines
            .get(line - 1)
            .unwrap_or(&"")
            .trim()
            .chars()
            .take(110)
            .collect(),
    };
    let mut hits: Vec<Hit> = Vec::new();
    for segment in prose {
        for phrase in RETIRED {
            hits.extend(
                segment
                    .lines_of(phrase)
                    .into_iter()
                    .map(|line| hit(line, phrase)),
            );
        }
    }
    // The longest phrase of several in one place is enough.
    let all = hits.clone();
    hits.retain(|h| {
        !all.iter().any(|other| {
            other.line == h.line && other.phrase != h.phrase && other.phrase.contains(h.phrase)
        })
    });
    for (index, line) in lines.iter().enumerate() {
        let line = line.trim();
        hits.extend(
            EMPTY_DOCS
                .iter()
                .filter(|d| line == **d)
                .map(|d| hit(index + 1, d)),
        );
        if line == "Mind" || line.contains("\"Mind\"") {
            hits.push(hit(index + 1, "Mind"));
        }
    }
    hits
}

/// Finds contractions in a text that people read as output.
pub(crate) fn contractions(name: &str, text: &str) -> Vec<Hit> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| line.contains("n't ") || line.ends_with("n't"))
        .map(|(index, line)| Hit {
            file: name.to_owned(),
            line: index + 1,
            phrase: "n't",
            shown: line.trim().chars().take(110).collect(),
        })
        .collect()
}

/// Finds the retired phrases in all sources, docs and deployment files.
pub(crate) fn in_files(root: &Path) -> Vec<Hit> {
    let wanted = |name: &str| {
        !name.starts_with("probe-user/tests/house/")
            && !EXEMPT.iter().any(|(file, _)| *file == name)
    };
    source::files(root, wanted)
        .iter()
        .flat_map(|file| in_text(&file.name, &file.text, &file.prose()))
        .collect()
}

/// Leaves out the hits that are allowed. An exception without a hit is listed: it can be removed.
pub(crate) fn without_exceptions(hits: &[Hit]) -> Vec<String> {
    let allows = |(file, phrase, _): &&(&str, &str, &str), hit: &Hit| {
        hit.file.ends_with(file) && hit.phrase == *phrase
    };
    let mut left: Vec<String> = EXCEPTIONS
        .iter()
        .filter(|e| !hits.iter().any(|hit| allows(e, hit)))
        .map(|(file, phrase, _)| format!("{file}:1: the exception for {phrase:?} is not needed"))
        .collect();
    let refused = hits
        .iter()
        .filter(|hit| !EXCEPTIONS.iter().any(|e| allows(&e, hit)));
    left.extend(refused.map(Hit::to_string));
    left
}
