//! Debian's order of version numbers, deb-version(7).

use std::cmp::Ordering;

/// Compares two versions `[epoch:]upstream[-revision]`.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0)
        .then_with(|| part(a.1, b.1))
        .then_with(|| part(a.2, b.2))
}

fn split(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.parse().unwrap_or(0), upstream, revision)
}

/// A character's weight: `~` sorts before the end, the end before letters, letters before all
/// else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(b) if b.is_ascii_digit() => 0,
        Some(b) if b.is_ascii_alphabetic() => i32::from(*b),
        Some(b) => i32::from(*b) + 256,
    }
}

fn part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let text = |s: &[u8]| s.first().is_some_and(|c| !c.is_ascii_digit());
        while text(a) || text(b) {
            match weight(a.first()).cmp(&weight(b.first())) {
                Ordering::Equal => {}
                other => return other,
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        match number(&mut a).cmp(&number(&mut b)) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    Ordering::Equal
}

/// Removes the leading digits and returns their value.
fn number(s: &mut &[u8]) -> u128 {
    let mut value: u128 = 0;
    while let Some((digit, rest)) = s.split_first().filter(|(d, _)| d.is_ascii_digit()) {
        value = value
            .saturating_mul(10)
            .saturating_add(u128::from(digit - b'0'));
        *s = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_dpkg_has_it() {
        for (low, high) in [
            ("6.12.9-1", "6.12.117-1"),
            ("6.12.117-1~deb12u1", "6.12.117-1"),
            ("6.12.115-1", "6.12.115-2~deb12u1"),
            ("6.19.6-2~bpo13+1", "6.19.6-2"),
            ("1.0~rc1-1", "1.0-1"),
            ("9.9-1", "1:0.1-1"),
            ("1.2a-1", "1.2+b-1"),
            ("5.10.218-1", "5.10.262-1"),
            ("1.0", "1.0-1"),
            ("1.0-1~~", "1.0-1~"),
        ] {
            assert_eq!(compare(low, high), Ordering::Less, "{low} < {high}");
            assert_eq!(compare(high, low), Ordering::Greater, "{high} > {low}");
        }
        assert_eq!(compare("1.01-1", "1.1-1"), Ordering::Equal);
    }
}
