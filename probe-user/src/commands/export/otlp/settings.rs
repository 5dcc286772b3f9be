//! Where and how metrics are pushed: the options of `pinscope export`, then OpenTelemetry's own
//! variables (its specification, "OpenTelemetry Protocol Exporter"), then its defaults.

use std::{collections::BTreeSet, fmt, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header::USER_AGENT};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::resource;
use crate::{
    cli::{Export, OtlpProtocol},
    render::metrics::otlp::Histograms,
};

/// The path that is added to a base URL.
const METRICS: &str = "/v1/metrics";
/// The default interval between pushes.
const INTERVAL: Duration = Duration::from_secs(60);
/// The default time limit of an attempt.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The variable that chooses between cumulative counts and differences.
pub(super) const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";

/// The protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands::export) enum Protocol {
    /// protobuf in HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

/// The effective settings.
#[derive(Debug)]
pub(in crate::commands::export) struct Settings {
    /// The URL; of gRPC, without a path.
    pub(super) endpoint: Uri,
    pub(super) protocol: Protocol,
    /// The headers of each request, whose values are never shown.
    pub(super) headers: HeaderMap,
    pub(super) gzip: bool,
    /// The time limit of an attempt.
    pub(super) timeout: Duration,
    /// The time between two pushes.
    pub(super) interval: Duration,
    pub(super) histograms: Histograms,
    /// Whether a variable asks for differences, which pinscope does not send.
    pub(super) wants_delta: bool,
    /// The attributes of the resource.
    pub(super) resource: Vec<(String, String)>,
    pub(super) tls: ClientConfig,
}

/// Reads a variable of the environment.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Returns the settings, or `None` if neither an option nor a variable names a collector.
    pub(in crate::commands::export) fn new(options: &Export) -> Result<Option<Self>> {
        Self::with(options, &|name| std::env::var(name).ok())
    }

    fn with(options: &Export, variables: Variables<'_>) -> Result<Option<Self>> {
        // An empty variable is an unset one, by the specification.
        let variable = |name: &str| variables(name).filter(|v| !v.trim().is_empty());
        // The variable for metrics takes precedence over the one for all signals.
        let of_exporter = |what: &str| {
            ["METRICS_", ""]
                .map(|signal| format!("OTEL_EXPORTER_OTLP_{signal}{what}"))
                .into_iter()
                .find_map(|name| variable(&name).map(|value| (name, value)))
        };
        let protocol = match (options.otlp_protocol, of_exporter("PROTOCOL")) {
            (Some(OtlpProtocol::Grpc), _) => Ok(Protocol::Grpc),
            (Some(OtlpProtocol::HttpProtobuf), _) | (None, None) => Ok(Protocol::Http),
            (None, Some((name, value))) => match value.as_str() {
                "grpc" => Ok(Protocol::Grpc),
                "http/protobuf" => Ok(Protocol::Http),
                _ => Err(format!("{name}={value}: use http/protobuf or grpc")),
            },
        };
        let wants_otlp = variable("OTEL_METRICS_EXPORTER")
            .is_none_or(|list| list.split(',').any(|e| e.trim() == "otlp"))
            && variable("OTEL_SDK_DISABLED").is_none_or(|v| !v.eq_ignore_ascii_case("true"));
        let (name, url, base) = if let Some(url) = &options.otlp {
            ("--otlp".to_owned(), url.clone(), Base::Unless)
        } else if !wants_otlp {
            return Ok(None);
        } else if let Some((name, url)) = of_exporter("ENDPOINT") {
            let base = if name.contains("METRICS") {
                Base::Never
            } else {
                Base::Always
            };
            (name, url, base)
        } else {
            return Ok(None);
        };
        let protocol = protocol.map_err(anyhow::Error::msg)?;
        let endpoint = endpoint(&url, protocol, base).with_context(|| name)?;
        let headers = match of_exporter("HEADERS") {
            Some((name, text)) => headers(&text).with_context(|| name)?,
            None => headers("")?,
        };
        let gzip = match of_exporter("COMPRESSION") {
            None => false,
            Some((_, value)) if value == "none" => false,
            Some((_, value)) if value == "gzip" => true,
            Some((name, value)) => bail!("{name}={value}: use gzip or none"),
        };
        let timeout = match of_exporter("TIMEOUT") {
            Some((name, text)) => milliseconds(&name, &text)?,
            None => TIMEOUT,
        };
        let every = "OTEL_METRIC_EXPORT_INTERVAL";
        let interval = match (options.otlp_interval, variable(every)) {
            (Some(time), _) => time.0,
            (None, Some(text)) => milliseconds(every, &text)?,
            (None, None) => INTERVAL,
        };
        let form = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
        let histograms = match variable(form).as_deref() {
            None | Some("base2_exponential_bucket_histogram") => Histograms::Exponential,
            Some("explicit_bucket_histogram") => Histograms::Explicit,
            Some(other) => bail!(
                "{form}={other}: use base2_exponential_bucket_histogram or \
                 explicit_bucket_histogram"
            ),
        };
        let wants_delta =
            variable(TEMPORALITY).is_some_and(|v| !v.eq_ignore_ascii_case("cumulative"));
        let given = variable("OTEL_RESOURCE_ATTRIBUTES");
        let service = variable("OTEL_SERVICE_NAME");
        let resource = resource::attributes(options.listen, given.as_deref(), service.as_deref())
            .context("OTEL_RESOURCE_ATTRIBUTES")?;
        let file = |what| of_exporter(what).map(|(_, path)| path);
        let tls = tls(
            endpoint.scheme_str() == Some("https"),
            file("CERTIFICATE"),
            file("CLIENT_CERTIFICATE"),
            file("CLIENT_KEY"),
        )?;
        Ok(Some(Self {
            endpoint,
            protocol,
            headers,
            gzip,
            timeout,
            interval,
            histograms,
            wants_delta,
            resource,
            tls,
        }))
    }

    /// Returns what to try if a push fails; may be empty.
    pub(super) fn hint(&self) -> &'static str {
        match (self.endpoint.port_u16(), self.protocol) {
            (Some(4317), Protocol::Http) => {
                "; collectors usually have gRPC at this port: use --otlp-protocol grpc"
            }
            (Some(4318), Protocol::Grpc) => {
                "; collectors usually have HTTP at this port: use --otlp-protocol http/protobuf"
            }
            _ => "",
        }
    }

    /// Returns the URL without its query, which may have a key.
    pub(super) fn shown(&self) -> String {
        let url = &self.endpoint;
        let path = match self.protocol {
            Protocol::Http => url.path(),
            Protocol::Grpc => "",
        };
        format!(
            "{}://{}{path}",
            url.scheme_str().unwrap_or_default(),
            url.authority().map_or("", |a| a.as_str()),
        )
    }
}

/// Describes the settings for `--check-config`.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Http => "http/protobuf",
            Protocol::Grpc => "grpc",
        };
        let gzip = if self.gzip { ", gzip" } else { "" };
        write!(
            f,
            "metrics are pushed to {} every {} by {protocol}{gzip}",
            self.shown(),
            humantime::format_duration(self.interval),
        )?;
        let names: BTreeSet<&str> = self.headers.keys().map(HeaderName::as_str).collect();
        let names: Vec<&str> = names.into_iter().filter(|n| *n != USER_AGENT).collect();
        if names.is_empty() {
            return Ok(());
        }
        write!(f, ", with the headers {}", names.join(", "))
    }
}

/// Whether a URL is a base, to which the path of the metrics is added.
#[derive(Clone, Copy)]
enum Base {
    Always,
    Never,
    /// Unless it has a path of its own.
    Unless,
}

fn endpoint(url: &str, protocol: Protocol, base: Base) -> Result<Uri> {
    // The URL may have a key in its query, so no error shows it.
    let uri: Uri = url.parse().context("this is not a URL")?;
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        bail!("write the URL with its scheme: http://HOST:PORT or https://HOST:PORT");
    };
    ensure!(
        matches!(scheme.as_str(), "http" | "https"),
        "only http:// and https:// are supported, also for gRPC"
    );
    ensure!(
        !authority.as_str().contains('@'),
        "a URL with a user or password is not supported: set \
         OTEL_EXPORTER_OTLP_HEADERS=authorization=…"
    );
    let path = match (protocol, base) {
        (Protocol::Grpc, _) => "/".to_owned(),
        (Protocol::Http, Base::Always) => with_metrics(&uri),
        (Protocol::Http, Base::Unless) if uri.path() == "/" => with_metrics(&uri),
        (Protocol::Http, _) => uri.path().to_owned(),
    };
    let query = match (protocol, uri.query()) {
        (Protocol::Http, Some(query)) => format!("?{query}"),
        _ => String::new(),
    };
    Uri::builder()
        .scheme(scheme.clone())
        .authority(authority.clone())
        .path_and_query(format!("{path}{query}"))
        .build()
        .context("this is not a URL")
}

fn with_metrics(uri: &Uri) -> String {
    format!("{}{METRICS}", uri.path().trim_end_matches('/'))
}

fn headers(text: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let agent = concat!("pinscope/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in resource::pairs(text)? {
        let header = HeaderName::try_from(name.as_str())
            .with_context(|| format!("{name:?} is not the name of a header"))?;
        let mut value = HeaderValue::try_from(value)
            .with_context(|| format!("the value of {name} is not one of a header"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn milliseconds(name: &str, text: &str) -> Result<Duration> {
    let number = text.trim().parse::<u64>();
    let in_range = number.ok().filter(|n| (10..=86_400_000).contains(n));
    in_range
        .map(Duration::from_millis)
        .with_context(|| format!("{name}={text}: the value must be milliseconds, 10 to 86400000"))
}

fn tls(
    used: bool,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
) -> Result<ClientConfig> {
    let mut trusted = RootCertStore::empty();
    if let Some(file) = roots.filter(|_| used) {
        for root in certificates(&file)? {
            trusted.add(root).with_context(|| file.clone())?;
        }
    } else if used {
        trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(
            !trusted.is_empty(),
            "this host has no certificates of authorities: set OTEL_EXPORTER_OTLP_CERTIFICATE to \
             the file of the collector's"
        );
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted);
    match (certificate, key) {
        (Some(certificate), Some(key)) if used => {
            let key = PrivateKeyDer::from_pem_file(&key)
                .with_context(|| format!("cannot read a private key from {key}"))?;
            builder
                .with_client_auth_cert(certificates(&certificate)?, key)
                .context("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and its key do not match")
        }
        (Some(_), None) | (None, Some(_)) if used => bail!(
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY belong \
             together: only one is set"
        ),
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>> {
    let cannot = || format!("cannot read certificates from {file}");
    let all = CertificateDer::pem_file_iter(Path::new(file))
        .with_context(cannot)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(cannot)?;
    ensure!(!all.is_empty(), "{file} contains no certificate");
    Ok(all)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn with(flags: &[&str], variables: &[(&str, &str)]) -> Result<Option<Settings>> {
        let words = ["pinscope", "export"].iter().chain(flags);
        let Some(Command::Export(options)) = Cli::try_parse_from(words).unwrap().command else {
            panic!("{flags:?}")
        };
        Settings::with(&options, &|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn to(flags: &[&str], variables: &[(&str, &str)]) -> String {
        let settings = with(flags, variables).unwrap().unwrap();
        settings.endpoint.to_string()
    }

    const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OWN: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";

    #[test]
    fn where_metrics_go() {
        assert!(with(&[], &[]).unwrap().is_none());
        assert!(with(&[], &[(BASE, " ")]).unwrap().is_none());
        assert_eq!(
            to(&[], &[(BASE, "http://h:4318")]),
            "http://h:4318/v1/metrics"
        );
        assert_eq!(
            to(&[], &[(BASE, "https://h/otlp/")]),
            "https://h/otlp/v1/metrics"
        );
        assert_eq!(to(&[], &[(OWN, "http://h:1")]), "http://h:1/");
        assert_eq!(
            to(&[], &[(OWN, "http://h/x"), (BASE, "http://b")]),
            "http://h/x"
        );
        let both = [(OWN, "http://h/x"), (BASE, "http://b")];
        assert_eq!(
            to(&["--otlp", "http://f:4318"], &both),
            "http://f:4318/v1/metrics"
        );
        assert_eq!(
            to(&["--otlp", "http://f:4318/own"], &both),
            "http://f:4318/own"
        );
        let key = ["--otlp", "http://f?key=1"];
        assert_eq!(to(&key, &[]), "http://f/v1/metrics?key=1");
        assert!(
            !with(&key, &[])
                .unwrap()
                .unwrap()
                .to_string()
                .contains("key")
        );
        let grpc = ["--otlp", "http://f:4317/x", "--otlp-protocol", "grpc"];
        assert_eq!(to(&grpc, &[]), "http://f:4317/");
    }

    #[test]
    fn variables_turn_the_push_off() {
        for off in [
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_METRICS_EXPORTER", "prometheus, console"),
            ("OTEL_SDK_DISABLED", "TRUE"),
        ] {
            assert!(with(&[], &[(BASE, "http://h"), off]).unwrap().is_none());
            assert!(with(&["--otlp", "http://h"], &[off]).unwrap().is_some());
        }
        let on = [
            (BASE, "http://h"),
            ("OTEL_METRICS_EXPORTER", "console,otlp"),
        ];
        assert!(with(&[], &on).unwrap().is_some());
    }

    #[test]
    fn the_variable_of_metrics_takes_precedence() {
        let set = [
            (BASE, "http://h"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "200"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "3000"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
                "Authorization=Basic%20cGluOnNjb3Bl",
            ),
        ];
        let settings = with(&[], &set).unwrap().unwrap();
        assert_eq!(settings.protocol, Protocol::Grpc);
        assert!(!settings.gzip);
        assert_eq!(settings.timeout, Duration::from_millis(200));
        assert_eq!(settings.interval, Duration::from_secs(3));
        assert_eq!(settings.headers["authorization"], "Basic cGluOnNjb3Bl");
        assert!(!settings.headers.contains_key("a"));
        // No way to print the settings shows a header's value.
        for text in [settings.to_string(), format!("{settings:?}")] {
            assert!(text.contains("authorization"), "{text}");
            assert!(!text.contains("cGluOnNjb3Bl"), "{text}");
        }
        let flags = ["--otlp-interval", "5s", "--otlp-protocol", "http/protobuf"];
        let settings = with(&flags, &set).unwrap().unwrap();
        assert_eq!(settings.interval, Duration::from_secs(5));
        assert_eq!(settings.protocol, Protocol::Http);
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_its_variable() {
        for (name, value) in [
            (BASE, "collector:4318"),
            (BASE, "ftp://h"),
            (BASE, "http://user:secret@h"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0Ab"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a"),
        ] {
            let set = [(name, value), (BASE, "http://h")];
            let said = format!("{:#}", with(&[], &set).unwrap_err());
            assert!(said.contains(name) && !said.contains("secret"), "{said}");
        }
        let set = [
            (BASE, "https://h"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent"),
        ];
        let said = format!("{:#}", with(&[], &set).unwrap_err());
        assert!(said.contains("/nonexistent"), "{said}");
    }
}
