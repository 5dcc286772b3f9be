//! The attention that values deserve.

/// How much attention a value deserves. Renderers choose the colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emphasis {
    /// Nothing of the kind occurred, or it is unknown.
    Absent,
    /// An ordinary value.
    #[default]
    Plain,
    /// Work that was wasted without being futile.
    Doubtful,
    /// Futile work.
    Futile,
}

impl Emphasis {
    /// That of a count of futile unmaps.
    pub const fn futile(n: u64) -> Self {
        if n > 0 { Self::Futile } else { Self::Plain }
    }
}
