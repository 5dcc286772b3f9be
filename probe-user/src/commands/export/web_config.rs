//! TLS and passwords in the format of Prometheus's exporter-toolkit (its
//! docs/web-configuration.md): YAML, with a bcrypt hash for each user.
//!
//! A setting that pinscope does not support is an error rather than ignored. The file, and those
//! that it names, are read again when they change and on SIGHUP; if that fails, the previous
//! settings stay in effect.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

/// Users and the bcrypt hashes of their passwords.
pub(super) type Users = BTreeMap<String, String>;

/// The highest bcrypt cost that is accepted: 2^14 rounds take about a second.
const MAX_COST: u32 = 14;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tls_server_config: Option<Tls>,
    #[serde(default)]
    http_server_config: Http,
    #[serde(default)]
    basic_auth_users: Users,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    client_auth_type: Option<String>,
    client_ca_file: Option<PathBuf>,
    min_version: Option<String>,
    max_version: Option<String>,
    // Accepted and ignored: rustls has only safe suites, in its own order.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    // Accepted and ignored: scrapes are single requests, so the server supports HTTP/1.1 only.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// What shows that a file was replaced or written to, wherever symlinks lead.
pub(super) type Stamp = Option<[i64; 7]>;

/// Returns the stamp of a file; `None` if there is none.
pub(super) fn stamp(path: &Path) -> Stamp {
    let of = fs::metadata(path).ok()?;
    Some([
        of.dev().cast_signed(),
        of.ino().cast_signed(),
        of.size().cast_signed(),
        of.mtime(),
        of.mtime_nsec(),
        of.ctime(),
        of.ctime_nsec(),
    ])
}

/// Files with their stamps.
pub(super) type Files = BTreeMap<PathBuf, Stamp>;

/// The settings that a file results in.
#[derive(Clone, Debug, Default)]
pub(super) struct Web {
    /// The files that they came from, with the stamps that these had before they were read.
    pub(super) files: Files,
    /// TLS, if the file configures it.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// The users that may scrape; if empty, everybody.
    pub(super) users: Users,
    /// Additional headers of every response.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// Reads and checks the file. Relative paths in it are relative to its directory.
pub(super) fn read(path: &Path) -> Result<Web> {
    parse(path).with_context(|| format!("the web configuration {}", path.display()))
}

fn parse(path: &Path) -> Result<Web> {
    let mut files = Files::from([(path.to_owned(), stamp(path))]);
    let file: File = serde_saphyr::from_str(&super::config::text(path)?)?;
    let mut beside = |name: &Path| {
        let path = path.parent().unwrap_or(Path::new("")).join(name);
        files.insert(path.clone(), stamp(&path));
        path
    };
    for (user, hash) in &file.basic_auth_users {
        let cost = hash
            .parse::<bcrypt::HashParts>()
            .map(|parts| parts.get_cost());
        match cost {
            Ok(cost) if cost <= MAX_COST => {}
            Ok(cost) => {
                bail!("the password hash of {user:?} has cost {cost}: the maximum is {MAX_COST}")
            }
            Err(_) => bail!(
                "the password of {user:?} is not a bcrypt hash: make one with `htpasswd -nBC 10 {user}`"
            ),
        }
    }
    let headers = file
        .http_server_config
        .headers
        .iter()
        .map(|(name, value)| {
            let bad = || format!("the header {name:?}");
            Ok((
                HeaderName::try_from(name.as_str()).with_context(bad)?,
                HeaderValue::try_from(value.as_str()).with_context(bad)?,
            ))
        })
        .collect::<Result<_>>()?;
    let tls = file
        .tls_server_config
        .map(|tls| server(&tls, &mut beside).map(Arc::new))
        .transpose()?;
    Ok(Web {
        files,
        tls,
        users: file.basic_auth_users,
        headers,
    })
}

fn server(tls: &Tls, beside: &mut impl FnMut(&Path) -> PathBuf) -> Result<ServerConfig> {
    let certificates = certificates(&beside(&tls.cert_file))?;
    let key = beside(&tls.key_file);
    let key = PrivateKeyDer::from_pem_file(&key)
        .with_context(|| format!("cannot read a private key from {}", key.display()))?;
    let min = version(tls.min_version.as_deref(), 12)?;
    let max = version(tls.max_version.as_deref(), 13)?;
    let versions: &[_] = match (min, max) {
        (12, 13) => &[&TLS13, &TLS12],
        (12, 12) => &[&TLS12],
        (13, 13) => &[&TLS13],
        _ => bail!("max_version is below min_version"),
    };
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?;
    let wants = tls.client_auth_type.as_deref().unwrap_or("NoClientCert");
    let builder = match (wants, &tls.client_ca_file) {
        ("NoClientCert", None) => builder.with_no_client_auth(),
        ("NoClientCert", Some(_)) => {
            bail!("client_ca_file is set, but client_auth_type requires no certificate")
        }
        ("RequireAndVerifyClientCert" | "VerifyClientCertIfGiven", Some(ca)) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(&beside(ca))? {
                roots.add(certificate).context("client_ca_file")?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if wants == "VerifyClientCertIfGiven" {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
        ("RequireAndVerifyClientCert" | "VerifyClientCertIfGiven", None) => {
            bail!("client_auth_type = {wants} requires a client_ca_file")
        }
        (other, _) => bail!(
            "client_auth_type = {other:?} is not supported: use NoClientCert, \
             VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        ),
    };
    builder
        .with_single_cert(certificates, key)
        .context("cert_file and key_file do not match")
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let cannot = || format!("cannot read certificates from {}", path.display());
    let all = CertificateDer::pem_file_iter(path)
        .with_context(cannot)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(cannot)?;
    ensure!(
        !all.is_empty(),
        "{} contains no certificate",
        path.display()
    );
    Ok(all)
}

fn version(name: Option<&str>, otherwise: u8) -> Result<u8> {
    match name {
        None => Ok(otherwise),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some(other) => bail!("TLS version {other:?} is not supported: use TLS12 or TLS13"),
    }
}
