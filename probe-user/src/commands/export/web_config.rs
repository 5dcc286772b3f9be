//! TLS and passwords in the web configuration of Prometheus' exporter-toolkit
//! (docs/web-configuration.md there): YAML, with a hash by bcrypt for each user.
//!
//! What of that format isn't supported is an error, not a silent hole. On SIGHUP it is read
//! again; when that fails, what held before goes on holding.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
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

/// The most work that a hash may ask for: 2^14 rounds are about a second.
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
    // rustls has safe ones only, and its own order.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    // Scrapes are single requests: HTTP/1.1 is all that is spoken.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// What the file comes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Web {
    /// TLS, where it is asked for.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Who may ask; nobody: everybody.
    pub(super) users: Users,
    /// Headers of every answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What holds now.
#[derive(Debug)]
pub(super) struct WebConfig {
    path: Option<PathBuf>,
    now: RwLock<Arc<Web>>,
}

impl WebConfig {
    pub(super) fn shared(path: Option<PathBuf>, web: Web) -> Arc<Self> {
        Arc::new(Self {
            path,
            now: RwLock::new(Arc::new(web)),
        })
    }

    pub(super) fn now(&self) -> Arc<Web> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again.
    pub(super) fn reload(&self) -> Result<()> {
        if let Some(path) = &self.path {
            let web = read(path)?;
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(web);
        }
        Ok(())
    }
}

/// Reads and checks the file. Files that it names lie beside it unless their paths are absolute.
pub(super) fn read(path: &Path) -> Result<Web> {
    parse(path).with_context(|| format!("the web configuration {}", path.display()))
}

fn parse(path: &Path) -> Result<Web> {
    let file: File = serde_saphyr::from_str(&super::config::text(path)?)?;
    let beside = |name: &Path| path.parent().unwrap_or(Path::new("")).join(name);
    for (user, hash) in &file.basic_auth_users {
        let cost = hash
            .parse::<bcrypt::HashParts>()
            .map(|parts| parts.get_cost());
        match cost {
            Ok(cost) if cost <= MAX_COST => {}
            Ok(cost) => bail!("the password hash of {user:?} costs {cost}: at most {MAX_COST}"),
            Err(_) => bail!(
                "the password of {user:?} is no bcrypt hash: `htpasswd -nBC 10 {user}` makes one"
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
        .map(|tls| server(&tls, &beside).map(Arc::new))
        .transpose()?;
    Ok(Web {
        tls,
        users: file.basic_auth_users,
        headers,
    })
}

fn server(tls: &Tls, beside: &impl Fn(&Path) -> PathBuf) -> Result<ServerConfig> {
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
            bail!("client_ca_file is given, but client_auth_type asks for no certificate")
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
            bail!("client_auth_type = {wants} needs a client_ca_file")
        }
        (other, _) => bail!(
            "client_auth_type = {other:?} isn't supported: NoClientCert, \
             VerifyClientCertIfGiven and RequireAndVerifyClientCert are"
        ),
    };
    builder
        .with_single_cert(certificates, key)
        .context("cert_file and key_file don't belong together")
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let cannot = || format!("cannot read certificates from {}", path.display());
    let all = CertificateDer::pem_file_iter(path)
        .with_context(cannot)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(cannot)?;
    ensure!(!all.is_empty(), "{} holds no certificate", path.display());
    Ok(all)
}

fn version(name: Option<&str>, otherwise: u8) -> Result<u8> {
    match name {
        None => Ok(otherwise),
        Some("TLS12") => Ok(12),
        Some("TLS13") => Ok(13),
        Some(other) => bail!("TLS version {other:?} isn't supported: TLS12 and TLS13 are"),
    }
}
