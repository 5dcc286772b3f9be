//! Imports between the files of a crate, found in their text, and the circles among them.
//!
//! An import is a path in a `use` or in code that begins with `crate`, `super` or `self`, with the
//! name of a child module, or with a name that a `use` of the same file brought in. It leads to the
//! file that defines the named item: a re-export is followed. So a parent that re-exports an item of
//! its child makes a circle only if the child imports an item that the parent itself defines.
//! Importing a module by name alone is an import of its file only if it has no children; the paths
//! that begin with that name are what counts. Tests inside a file are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use super::source::{self, Source};

type Segments = Vec<String>;

/// One import: a place in a file, and the file to which it leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    line: usize,
    pub(crate) to: String,
    path: String,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {} ({})",
            self.from, self.line, self.to, self.path
        )
    }
}

/// Files that import each other, and by which imports.
pub(crate) struct Circle {
    pub(crate) files: Vec<String>,
    pub(crate) imports: Vec<String>,
}

/// A file of a crate, as a module.
struct Module {
    file: String,
    /// The paths of its `use` declarations: the local name, the line, and the absolute path.
    uses: Vec<(String, usize, Segments)>,
    /// Paths in its code, absolute or relative.
    paths: Vec<(usize, Segments)>,
}

/// The modules of a crate by their paths.
pub(crate) struct Crate(BTreeMap<Segments, Module>);

impl Crate {
    /// Reads a crate: the files below `folder`, but for those whose names begin with one of `others`.
    pub(crate) fn read(root: &Path, folder: &str, top: &str, others: &[&str]) -> Self {
        let inside = |name: &str| {
            name.strip_prefix(folder)
                .and_then(|n| n.strip_prefix('/'))
                .is_some_and(|n| n.ends_with(".rs") && !others.iter().any(|o| n.starts_with(o)))
        };
        let files = source::files(root, inside);
        Self::build(files.iter().map(|f| (&f.name[folder.len() + 1..], f)), top)
    }

    /// Makes a crate of texts, for tests.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let sources: Vec<_> = files
            .iter()
            .map(|(name, text)| Source::new(name, (*text).to_owned()))
            .collect();
        Self::build(sources.iter().map(|s| (s.name.as_str(), s)), "lib.rs")
    }

    fn build<'a>(files: impl Iterator<Item = (&'a str, &'a Source)>, top: &str) -> Self {
        let files: Vec<(Segments, &Source)> = files
            .map(|(name, source)| {
                let path = if name == top { "" } else { name };
                let path = path.trim_end_matches(".rs").trim_end_matches("mod");
                let parts = path.split('/').filter(|p| !p.is_empty());
                (parts.map(str::to_owned).collect(), source)
            })
            .collect();
        let known: BTreeSet<Segments> = files.iter().map(|(path, _)| path.clone()).collect();
        let modules = files.into_iter().map(|(path, source)| {
            let module = Module::parse(&path, source, &known);
            (path, module)
        });
        Self(modules.collect())
    }

    /// Follows an absolute path to the module that defines what it names.
    fn definer(&self, path: &[String], depth: usize) -> Option<&Segments> {
        let length = (0..=path.len())
            .rev()
            .find(|n| self.0.contains_key(&path[..*n]))?;
        let (key, module) = self.0.get_key_value(&path[..length])?;
        let Some(item) = path.get(length) else {
            let has_children = self
                .0
                .keys()
                .any(|k| k.len() > key.len() && k.starts_with(key));
            return (!has_children).then_some(key);
        };
        let through = module.uses.iter().find(|(name, _, _)| name == item);
        match through {
            Some((_, _, target)) if depth < 8 => {
                let whole = [target, &path[length + 1..]].concat();
                self.definer(&whole, depth + 1)
            }
            _ => Some(key),
        }
    }

    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut all = BTreeSet::new();
        for (own, module) in &self.0 {
            let uses = module.uses.iter().map(|(_, line, path)| (*line, path));
            let paths = module.paths.iter().map(|(line, path)| (*line, path));
            for (line, path) in uses.chain(paths) {
                let Some(target) = self.definer(path, 0).filter(|t| *t != own) else {
                    continue;
                };
                all.insert(Import {
                    from: module.file.clone(),
                    line,
                    to: self.0[target].file.clone(),
                    path: path.join("::"),
                });
            }
        }
        all.into_iter().collect()
    }

    /// Returns the groups of files that can all reach each other.
    pub(crate) fn circles(&self) -> Vec<Circle> {
        let imports = self.imports();
        let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for import in &imports {
            reach.entry(&import.from).or_default().insert(&import.to);
        }
        loop {
            let mut grown = reach.clone();
            for to in grown.values_mut() {
                let more: Vec<&str> = to
                    .iter()
                    .filter_map(|t| reach.get(t))
                    .flatten()
                    .copied()
                    .collect();
                to.extend(more);
            }
            if grown == reach {
                break;
            }
            reach = grown;
        }
        let reaches = |a: &str, b: &str| reach.get(a).is_some_and(|to| to.contains(b));
        let mut groups: BTreeSet<Vec<String>> = BTreeSet::new();
        for file in reach.keys().filter(|f| reaches(f, f)) {
            let mutual = reach
                .keys()
                .filter(|o| reaches(file, o) && reaches(o, file));
            groups.insert(mutual.map(|f| (*f).to_owned()).collect());
        }
        // One import of each pair of files is enough to see it.
        let mut pairs = imports.clone();
        pairs.sort_by_key(|i| (i.from.clone(), i.to.clone()));
        pairs.dedup_by_key(|i| (i.from.clone(), i.to.clone()));
        let circle = |files: Vec<String>| Circle {
            imports: pairs
                .iter()
                .filter(|i| files.contains(&i.from) && files.contains(&i.to))
                .map(|i| format!("  {i}"))
                .collect(),
            files,
        };
        groups.into_iter().map(circle).collect()
    }
}

impl Module {
    fn parse(own: &[String], source: &Source, known: &BTreeSet<Segments>) -> Self {
        let tokens = tokens(source.code_without_tests());
        let mut uses = Vec::new();
        let mut paths = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let (line, token) = &tokens[at];
            if token == "use" {
                let end = at + tokens[at..].iter().position(|(_, t)| t == ";").unwrap_or(1);
                let mut leaves = Vec::new();
                expand(&tokens[at + 1..end], &[], &mut leaves);
                for (line, path, name) in leaves {
                    uses.push((name, line, path));
                }
                at = end + 1;
                continue;
            }
            let mut path = vec![token.clone()];
            while tokens.get(at + 1).is_some_and(|(_, t)| t == "::")
                && tokens.get(at + 2).is_some_and(|(_, t)| is_name(t))
            {
                path.push(tokens[at + 2].1.clone());
                at += 2;
            }
            if path.len() > 1 && is_name(&path[0]) {
                paths.push((*line, path));
            }
            at += 1;
        }
        let child = |name: &str| known.contains(&[own, &[name.to_owned()]].concat());
        let uses: Vec<_> = uses
            .into_iter()
            .filter_map(|(name, line, path)| Some((name, line, absolute(own, &path, child)?)))
            .collect();
        let paths = paths
            .into_iter()
            .filter_map(|(line, path)| {
                let used = uses.iter().find(|(name, _, _)| *name == path[0]);
                let path = match used {
                    Some((_, _, target)) => [target, &path[1..]].concat(),
                    None => absolute(own, &path, child)?,
                };
                Some((line, path))
            })
            .collect();
        Self {
            file: source.name.clone(),
            uses,
            paths,
        }
    }
}

/// Returns a path from the top of the crate; `None` for another crate or a local name.
fn absolute(own: &[String], path: &[String], child: impl Fn(&str) -> bool) -> Option<Segments> {
    let first = path.first()?.as_str();
    let mut base = own.to_vec();
    let mut rest = path;
    match first {
        "crate" => (base, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|s| s == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
        }
        name if child(name) => {}
        _ => return None,
    }
    base.extend_from_slice(rest);
    Some(base)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Splits code into names, `::` and single other characters, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let length = if c.is_alphanumeric() || c == '_' {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                c.len_utf8()
            };
            if !c.is_whitespace() {
                all.push((number + 1, rest[..length].to_owned()));
            }
            rest = &rest[length..];
        }
    }
    all
}

/// Expands a `use` tree to its leaves: the line, the path, and the local name.
fn expand(tree: &[(usize, String)], before: &[String], to: &mut Vec<(usize, Segments, String)>) {
    let mut path = before.to_vec();
    let mut line = tree.first().map_or(0, |(line, _)| *line);
    let mut at = 0;
    while at < tree.len() {
        let token = tree[at].1.as_str();
        match token {
            "::" => {}
            "{" => {
                let (mut depth, mut start) = (0, at + 1);
                for (i, (_, inner)) in tree.iter().enumerate().skip(at + 1) {
                    match inner.as_str() {
                        "{" => depth += 1,
                        "}" if depth > 0 => depth -= 1,
                        "," | "}" if depth == 0 => {
                            expand(&tree[start..i], &path, to);
                            start = i + 1;
                        }
                        _ => {}
                    }
                }
                return;
            }
            "as" => {
                let name = tree.get(at + 1).map_or("_", |(_, t)| t);
                to.push((line, path, name.to_owned()));
                return;
            }
            "self" if !path.is_empty() => {}
            _ => {
                path.push(token.to_owned());
                line = tree[at].0;
            }
        }
        at += 1;
    }
    if path.len() > before.len() || tree.iter().any(|(_, t)| t == "self") {
        let name = path.last().cloned().unwrap_or_default();
        to.push((line, path, name));
    }
}
