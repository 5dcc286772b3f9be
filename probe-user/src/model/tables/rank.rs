//! Ranked rows: those shown, and the sums of the rest.

/// Splits ranked rows into the first `limit` and those that only their sums represent.
pub fn ranked<T>(rows: &[T], limit: usize) -> (&[T], &[T]) {
    rows.split_at(limit.min(rows.len()))
}

/// The sum of one count over `rows`, saturating.
pub fn total<T>(rows: &[T], count: impl Fn(&T) -> u64) -> u64 {
    rows.iter()
        .fold(0, |sum: u64, row| sum.saturating_add(count(row)))
}
