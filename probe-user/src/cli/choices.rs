//! The options that are a choice of words.

use clap::ValueEnum;

/// When to colour text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// If the output is a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Always, also into files and pipes.
    Always,
    /// Not at all.
    Never,
}

/// The output formats of `capture`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A report to read, 80 columns wide.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// One line of JSON per sample; the last line is the whole capture.
    Ndjson,
}

/// Text to read, or JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    /// Text to read.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// The output formats of `report`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A report to read, 80 columns wide.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// One self-contained page without scripts or links to other files.
    Html,
}

/// The formats of the log of `export`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text to read.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What `export` does where nothing can be measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnUnsupported {
    /// Exit with status 77.
    #[default]
    Exit,
    /// Serve pinscope_supported 0 and the state of the hooks; /readyz says why.
    Serve,
}

/// The protocols by which metrics are pushed.
#[cfg(feature = "otlp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OtlpProtocol {
    /// protobuf over HTTP/1.1; collectors listen on port 4318.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
    /// gRPC; collectors listen on port 4317.
    Grpc,
}
