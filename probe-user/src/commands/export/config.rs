//! The settings of `pinscope export`. Flags take precedence over the environment, the environment
//! over the file, and the file over the defaults.
//!
//! Each option is declared once, in [`Export`]. A value of the file becomes the default of the
//! argument whose id is the key, and clap does the rest.

use std::{
    any::TypeId,
    collections::BTreeMap,
    error::Error as _,
    fmt,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue},
};

use crate::cli::{Cli, Export, may_be_in_file};

/// The largest configuration file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// The name of the command.
const EXPORT: &str = "export";

/// The effective settings.
#[derive(Debug)]
pub(super) struct Settings {
    /// The options with their values.
    pub(super) options: Export,
    /// The options that the file may set, as lines of TOML.
    lines: Vec<String>,
}

impl Settings {
    /// Reads the file, if there is one, and the command line and the environment once more with
    /// the file's values as defaults.
    pub(super) fn new(file: Option<&PathBuf>) -> Result<Self> {
        let mut command = Cli::command();
        if let Some(path) = file {
            command = with_defaults(command, path)
                .with_context(|| format!("the configuration {}", path.display()))?;
        }
        let matches = command.clone().try_get_matches_from(std::env::args_os())?;
        let matches = matches
            .subcommand_matches(EXPORT)
            .context("the command is not export")?;
        let options = Export::from_arg_matches(matches)?;
        ensure!(
            options.listen.ip().is_loopback() || options.allow_remote,
            "other hosts can reach {}: allow that with --allow-remote (allow_remote = true), and \
             consider --web-config for TLS and passwords",
            options.listen
        );
        let lines = settable(&command)
            .filter_map(|arg| line(arg, matches))
            .collect();
        Ok(Self { options, lines })
    }
}

/// Prints the effective settings for `--check-config`.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.lines.iter().map(|l| format!("  {l}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let export = command.find_subcommand(EXPORT);
    export.into_iter().flat_map(Command::get_arguments)
}

fn settable(command: &Command) -> impl Iterator<Item = &Arg> {
    options(command).filter(|arg| may_be_in_file(arg))
}

/// Returns the command with the file's values as defaults.
fn with_defaults(command: Command, path: &Path) -> Result<Command> {
    let file: toml::Table = toml::from_str(&text(path)?)?;
    let mut defaults = file
        .into_iter()
        .map(|(key, value)| words(&command, &key, &value).map(|words| (key, words)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    Ok(command.mut_subcommand(EXPORT, |export| {
        export.mut_args(|arg| match defaults.remove(arg.get_id().as_str()) {
            Some(words) => arg.default_values(words),
            None => arg,
        })
    }))
}

/// Returns a key's value in words that the option's parser accepts.
fn words(command: &Command, key: &str, value: &toml::Value) -> Result<Vec<String>> {
    let Some(arg) = options(command).find(|a| a.get_id() == key) else {
        let keys: Vec<&str> = settable(command).map(|a| a.get_id().as_str()).collect();
        bail!(
            "there is no option {key}; the options are {}",
            keys.join(", ")
        );
    };
    let flag = format!("--{}", arg.get_long().unwrap_or(key));
    ensure!(
        may_be_in_file(arg),
        "{key} cannot be set in the file: use {flag}"
    );
    let kind = Kind::of(arg);
    ensure!(
        value.as_str() != Some(""),
        "{key} is empty: remove the line to use the default"
    );
    let words = kind.words(value).with_context(|| {
        let found = value.type_str();
        format!("{key}: the value must be {kind}, but its type is {found}")
    })?;
    // clap assumes that a default is valid, so parse it first as the value of a flag.
    let flags = words.iter().map(|word| format!("{flag}={word}"));
    Command::new(EXPORT)
        .no_binary_name(true)
        .arg(arg.clone())
        .try_get_matches_from(flags)
        .map_err(|error| anyhow!("{key} = {}: {}", kind.written(&words), reason(&error)))?;
    Ok(words)
}

/// The reason of an error, without clap's words about flags.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(names)) => match names.split_last() {
            Some((last, rest)) => format!("the value must be {} or {last}", rest.join(", ")),
            None => "the value is not valid".to_owned(),
        },
        _ => "the value is not valid".to_owned(),
    }
}

/// One option as a line of the file, if it has a value.
fn line(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    let id = arg.get_id().as_str();
    let raw = matches.get_raw(id).into_iter().flatten();
    let words: Vec<String> = raw.map(|w| w.to_string_lossy().into_owned()).collect();
    let kind = Kind::of(arg);
    if words.is_empty() && !matches!(kind, Kind::Strings) {
        return None;
    }
    let value = kind.written(&words);
    Some(format!("{id} = {value}"))
}

/// The type of an option's value in TOML.
#[derive(Clone, Copy)]
enum Kind {
    Boolean,
    Integer,
    String,
    Strings,
}

impl Kind {
    fn of(arg: &Arg) -> Self {
        let parsed = arg.get_value_parser().type_id();
        if matches!(arg.get_action(), ArgAction::Append) {
            Self::Strings
        } else if parsed == TypeId::of::<bool>() {
            Self::Boolean
        } else if parsed == TypeId::of::<usize>() {
            Self::Integer
        } else {
            Self::String
        }
    }

    /// Returns the value as flags have it, or `None` if it is of another type.
    fn words(self, value: &toml::Value) -> Option<Vec<String>> {
        let string = |v: &toml::Value| v.as_str().map(str::to_owned);
        match self {
            Self::Boolean => value.as_bool().map(|b| vec![b.to_string()]),
            Self::Integer => value.as_integer().map(|n| vec![n.to_string()]),
            Self::String => string(value).map(|s| vec![s]),
            Self::Strings => value.as_array()?.iter().map(string).collect(),
        }
    }

    /// Returns the words as the file has them.
    fn written(self, words: &[String]) -> String {
        match self {
            Self::Boolean | Self::Integer => words.join(" "),
            Self::String => format!("{:?}", words.join(" ")),
            Self::Strings => format!("{words:?}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "true or false",
            Self::Integer => "an integer",
            Self::String => "a string",
            Self::Strings => "an array of strings",
        })
    }
}

/// Returns the text of a configuration file, up to the largest size, wherever the path leads.
pub(super) fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    ensure!(
        text.len() as u64 <= MAX_BYTES,
        "the file is larger than {MAX_BYTES} bytes"
    );
    Ok(text)
}
