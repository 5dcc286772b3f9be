//! Programs of this machine that a guest may use.

/// A tool, by the name of its Debian package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Tool {
    /// bpftrace
    Bpftrace,
    /// tmux, with descriptions of its terminals
    Tmux,
    /// A Prometheus server, and promtool
    Prometheus,
}

impl Tool {
    /// The programs that the tool consists of.
    pub(crate) const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Bpftrace => &["bpftrace"],
            Self::Tmux => &["tmux"],
            Self::Prometheus => &["prometheus", "promtool"],
        }
    }

    /// The Debian package that contains them.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Bpftrace => "bpftrace",
            Self::Tmux => "tmux",
            Self::Prometheus => "prometheus",
        }
    }
}
