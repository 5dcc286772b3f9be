//! Files as text: a Rust source split into its code and its prose (comments and strings).

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files and folders that hold nothing to read.
const SKIPPED: &[&str] = &["target", ".git", "data", ".texts.rs.pending-snap"];

/// A file. `code` has the same lines as `text`, with comments and strings blanked out.
pub(crate) struct Source {
    /// The path below the repository, with `/`.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) code: String,
    prose: Vec<Segment>,
}

/// Text that belongs together, such as a paragraph; each character with its line.
#[derive(Clone, Default)]
pub(crate) struct Segment(Vec<(char, usize)>);

impl Segment {
    /// Adds a character. White space, also at the ends of lines, becomes a single space.
    fn push(&mut self, c: char, line: usize) {
        let space = c.is_whitespace();
        if !space {
            self.0.push((c, line));
        } else if self.0.last().is_some_and(|(last, _)| *last != ' ') {
            self.0.push((' ', line));
        }
    }

    pub(crate) fn text(&self) -> String {
        let text: String = self.0.iter().map(|(c, _)| c).collect();
        text.trim().to_owned()
    }

    /// Returns the lines at which a phrase in lower case begins, as whole words.
    pub(crate) fn lines_of(&self, phrase: &str) -> Vec<usize> {
        let phrase: Vec<char> = phrase.chars().collect();
        let is_word = |c: &(char, usize)| c.0.is_alphanumeric() || c.0 == '_';
        let same = |window: &[(char, usize)]| {
            let pairs = window.iter().zip(&phrase);
            pairs
                .into_iter()
                .all(|((c, _), p)| c == p || c.to_ascii_lowercase() == *p)
        };
        let mut lines = Vec::new();
        for (at, window) in self.0.windows(phrase.len()).enumerate() {
            let before = at > 0 && is_word(&self.0[at - 1]);
            let after = self.0.get(at + phrase.len()).is_some_and(is_word);
            if same(window) && !before && !after {
                lines.push(window[0].1);
            }
        }
        lines
    }
}

impl Source {
    pub(crate) fn new(name: &str, text: String) -> Self {
        let mut source = Self {
            name: name.to_owned(),
            code: String::new(),
            prose: Vec::new(),
            text,
        };
        if name.ends_with(".rs") {
            source.split();
        } else {
            source.prose = paragraphs(&source.text);
        }
        source
    }

    /// Returns the prose: of a Rust file its comments and strings, of another file its paragraphs.
    pub(crate) fn prose(&self) -> Vec<Segment> {
        self.prose.clone()
    }

    /// Returns the code up to the first `#[cfg(test)] mod`.
    pub(crate) fn code_without_tests(&self) -> &str {
        let mut from = 0;
        while let Some(at) = self.code[from..].find("#[cfg(test)]") {
            let rest = &self.code[from + at + "#[cfg(test)]".len()..];
            if rest.trim_start().starts_with("mod ") {
                return &self.code[..from + at];
            }
            from += at + 1;
        }
        &self.code
    }

    /// Splits Rust into code and prose. It knows comments, strings, raw strings and characters.
    fn split(&mut self) {
        let chars: Vec<char> = self.text.chars().collect();
        let (mut at, mut line) = (0, 1);
        // The line and the segment of the last comment.
        let mut comment: Option<(usize, usize)> = None;
        while at < chars.len() {
            let rest = &chars[at..];
            if rest.starts_with(&['/', '/']) {
                let end = at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                let text: String = chars[at..end].iter().collect();
                let text = text.trim_start_matches(['/', '!']).trim().to_owned();
                // Comment lines in a row are one paragraph, unless one is empty.
                let index = match comment {
                    Some((before, index)) if before + 1 == line && !text.is_empty() => index,
                    _ => {
                        self.prose.push(Segment::default());
                        self.prose.len() - 1
                    }
                };
                let segment = &mut self.prose[index];
                segment.push(' ', line);
                text.chars().for_each(|c| segment.push(c, line));
                comment = Some((line, index));
                at = end;
            } else if let Some((skip, end)) = literal(&chars, at) {
                let mut segment = Segment::default();
                let mut i = at + skip;
                while i < end.min(chars.len()) {
                    match chars[i] {
                        '\n' => line += 1,
                        // An escape, or a line break without the space that follows.
                        '\\' if skip == 1 => {
                            i += 1;
                            line += usize::from(chars.get(i) == Some(&'\n'));
                        }
                        _ => {}
                    }
                    if let Some(c) = chars.get(i) {
                        segment.push(*c, line);
                    }
                    i += 1;
                }
                self.prose.push(segment);
                let blank = chars[at..end.min(chars.len())].iter();
                self.code
                    .extend(blank.map(|c| if *c == '\n' { '\n' } else { ' ' }));
                at = end + skip;
            } else {
                line += usize::from(chars[at] == '\n');
                self.code.push(chars[at]);
                at += 1;
                // A character such as '"' or '\'' is no string.
                if chars[at - 1] == '\'' {
                    let length = match (chars.get(at), chars.get(at + 1)) {
                        (Some('\\'), _) => 3,
                        (Some(_), Some('\'')) => 2,
                        _ => 0,
                    };
                    self.code.extend(std::iter::repeat_n(' ', length));
                    at += length;
                }
            }
        }
        self.prose.retain(|segment| !segment.text().is_empty());
    }
}

/// Finds a string at `at`: the length of its opening, and the index of its closing.
fn literal(chars: &[char], at: usize) -> Option<(usize, usize)> {
    match chars[at] {
        '"' => {
            let mut end = at + 1;
            while end < chars.len() && chars[end] != '"' {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            Some((1, end))
        }
        'r' if at == 0 || !(chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                return None;
            }
            let start = at + 2 + hashes;
            let mut closing = vec!['"'];
            closing.extend(std::iter::repeat_n('#', hashes));
            let end = (start..chars.len()).find(|i| chars[*i..].starts_with(&closing));
            Some((2 + hashes, end.unwrap_or(chars.len())))
        }
        _ => None,
    }
}

/// Splits text into paragraphs, without the marks at the beginnings of lines.
pub(crate) fn paragraphs(text: &str) -> Vec<Segment> {
    let mut all = vec![Segment::default()];
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start_matches([' ', '\t', '#', '>', '*', '-', '|', ';', '/']);
        if line.is_empty() {
            all.push(Segment::default());
        }
        let segment = all.last_mut().unwrap();
        segment.push(' ', number + 1);
        line.chars().for_each(|c| segment.push(c, number + 1));
    }
    all.retain(|segment| !segment.text().is_empty());
    all
}

fn walk(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if SKIPPED.iter().any(|s| name == *s) {
            continue;
        }
        if path.is_dir() {
            walk(&path, to);
        } else {
            to.push(path);
        }
    }
}

/// Reads all text files of the repository that `wanted` chooses by their names.
pub(crate) fn files(root: &Path, wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths.sort();
    let read = paths.into_iter().filter_map(|path| {
        let name = path.strip_prefix(root).ok()?.to_string_lossy().into_owned();
        let text = wanted(&name).then(|| fs::read_to_string(&path).ok())??;
        Some(Source::new(&name, text))
    });
    read.collect()
}

pub(crate) fn rust_files(root: &Path) -> Vec<Source> {
    files(root, |name| name.ends_with(".rs"))
}
