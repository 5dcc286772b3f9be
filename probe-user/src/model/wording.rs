//! Numbers in words, alike in findings and in every renderer.

/// The size of a page in bytes: pinscope runs on x86-64 only.
pub const PAGE_BYTES: u64 = 4096;

/// The count from which counts are rounded, so that no column grows without bound.
const EXACT_BELOW: u64 = 1_000_000_000_000;

/// A count with thousands separators; from 10^12 on rounded to three digits.
pub fn count(n: u64) -> String {
    if n >= EXACT_BELOW {
        return format!("{:.2e}", n as f64);
    }
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A count with its noun: `1 unmap`, `2 unmaps`.
pub fn counted(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `once`, or `5 times`.
pub fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        n => format!("{} times", count(n)),
    }
}

/// A small part of one, in percent with two decimals.
pub fn percent(part: f64) -> String {
    if !part.is_finite() {
        "-".to_owned()
    } else if part == 0.0 {
        "0 %".to_owned()
    } else if part < 0.0001 {
        "<0.01 %".to_owned()
    } else {
        format!("{:.2} %", part * 100.0)
    }
}

/// A share in percent. Rounding never turns a part into "none" or "all".
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    if part == 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    let percent = part as f64 / whole as f64 * 100.0;
    if percent < 0.1 {
        "<0.1 %".to_owned()
    } else if percent < 9.95 {
        format!("{percent:.1} %")
    } else if percent > 99.0 {
        ">99 %".to_owned()
    } else {
        format!("{percent:.0} %")
    }
}

/// Three significant digits, without an exponent.
fn three_digits(v: f64) -> String {
    if v >= 99.95 {
        format!("{v:.0}")
    } else if v >= 9.995 {
        format!("{v:.1}")
    } else {
        format!("{v:.2}")
    }
}

/// A duration: `850 ns`, `4.10 µs`, `12.3 ms`, `1.50 s`, `2 min 5 s`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".to_owned();
    }
    let ns = seconds * 1e9;
    if ns < 0.5 {
        "0 s".to_owned()
    } else if ns < 999.5 {
        format!("{ns:.0} ns")
    } else if ns < 999.5e3 {
        format!("{} µs", three_digits(ns / 1e3))
    } else if ns < 999.5e6 {
        format!("{} ms", three_digits(ns / 1e6))
    } else if seconds < 119.95 {
        format!("{} s", three_digits(seconds))
    } else if seconds < 7199.5 {
        let whole = seconds.round() as u64;
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{} h {} min", count(minutes / 60), minutes % 60)
    }
}

/// The length of a window, whole seconds without a fraction: `1 s`, `30 s`, `500 ms`.
pub fn span(seconds: f64) -> String {
    if (1.0..119.95).contains(&seconds) {
        let tenths = (seconds * 10.0).round() / 10.0;
        format!("{tenths} s")
    } else {
        duration(seconds)
    }
}

/// Bytes in binary units: `4 KiB`, `6.0 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value >= 99.95 || unit == "KiB" {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// The size of a number of pages.
pub fn pages(n: u64) -> String {
    bytes(n.saturating_mul(PAGE_BYTES))
}

/// A rate: `51 a second`, `less than 1 a second`. `None` without a duration.
pub fn per_second(n: u64, seconds: f64) -> Option<String> {
    let rate = n as f64 / seconds;
    if !rate.is_finite() || seconds <= 0.0 {
        None
    } else if rate < 1.0 {
        Some("less than 1 a second".to_owned())
    } else {
        Some(format!("{} a second", count(rate.round() as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(u64::MAX), "1.84e19");
        assert_eq!(counted(1, "unmap"), "1 unmap");
        assert_eq!(counted(2, "unmap"), "2 unmaps");
    }

    #[test]
    fn shares_never_round_to_none_or_all() {
        assert_eq!(share(0, 0), "-");
        assert_eq!(share(0, 9), "0 %");
        assert_eq!(share(9, 9), "100 %");
        assert_eq!(share(1, 1_000_000), "<0.1 %");
        assert_eq!(share(999_999, 1_000_000), ">99 %");
        assert_eq!(share(3, 4), "75 %");
        assert_eq!(share(1, 33), "3.0 %");
    }

    #[test]
    fn times() {
        assert_eq!(duration(0.0), "0 s");
        assert_eq!(duration(850e-9), "850 ns");
        assert_eq!(duration(4.096e-6), "4.10 µs");
        assert_eq!(duration(12.34e-3), "12.3 ms");
        assert_eq!(duration(0.99999), "1.00 s");
        assert_eq!(duration(125.0), "2 min 5 s");
        assert_eq!(duration(7300.0), "2 h 2 min");
        assert_eq!(duration(f64::NAN), "-");
        assert_eq!(span(30.0), "30 s");
        assert_eq!(span(1.51), "1.5 s");
        assert_eq!(span(0.5), "500 ms");
    }

    #[test]
    fn sizes() {
        assert_eq!(pages(0), "0 B");
        assert_eq!(pages(1), "4 KiB");
        assert_eq!(pages(1536), "6.0 MiB");
        assert_eq!(pages(u64::MAX), "16.0 EiB");
        assert_eq!(per_second(1536, 30.0).as_deref(), Some("51 a second"));
        assert_eq!(per_second(1, 30.0).as_deref(), Some("less than 1 a second"));
        assert_eq!(per_second(1, 0.0), None);
    }
}
