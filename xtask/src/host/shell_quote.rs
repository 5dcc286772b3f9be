//! Quoting for a POSIX shell, byte for byte.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Quotes one word so that a POSIX shell reads exactly these bytes. Plain words stay as they are.
pub(crate) fn word(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(b);
    // `~` and an empty word are never plain. Nor is a word with `=`: as the first word,
    // `NAME=value` would be an assignment.
    if !bytes.is_empty() && bytes.iter().all(plain) && !bytes.contains(&b'=') {
        return word.to_os_string();
    }
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    quoted.push(b'\'');
    for &b in bytes {
        if b == b'\'' {
            quoted.extend_from_slice(b"'\\''");
        } else {
            quoted.push(b);
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

/// Quotes a whole command, as one line unless a word contains newlines.
pub(crate) fn command(words: &[OsString]) -> Vec<u8> {
    let mut line = Vec::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(self::word(word).as_bytes());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn plain_words_stay() {
        assert_eq!(word(OsStr::new("/bin/ls")), "/bin/ls");
        assert_eq!(word(OsStr::new("")), "''");
        assert_eq!(word(OsStr::new("A=b")), "'A=b'");
        assert_eq!(word(OsStr::new("it's")), "'it'\\''s'");
    }

    #[test]
    fn a_shell_reads_back_the_same_bytes() {
        let words: Vec<OsString> = [
            &b"printf"[..],
            b"%s\\0",
            b"a b",
            b"",
            b"'",
            b"\"$HOME\" `id` \\",
            b"new\nline",
            b"tab\t*?[x]",
            b"\xff\xfe",
            b"~",
            b"#c",
            b"!x",
            b"-n",
            b"{a,b}",
            b";",
            b"&&",
        ]
        .iter()
        .map(|w| OsString::from_vec(w.to_vec()))
        .collect();
        let out = Command::new("sh")
            .arg("-c")
            .arg(OsString::from_vec(command(&words)))
            .output()
            .unwrap();
        let mut wanted = Vec::new();
        for word in &words[2..] {
            wanted.extend_from_slice(word.as_bytes());
            wanted.push(0);
        }
        assert_eq!(out.stdout, wanted);
    }
}
