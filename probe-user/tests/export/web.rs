//! TLS and passwords.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use crate::{config::check, support::*};

/// Writes a new certificate, and a web configuration that names it.
fn web(dir: &Path, more: &str) -> (PathBuf, rcgen::CertifiedKey<rcgen::KeyPair>) {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), pair.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let path = dir.join("web.yml");
    let hash = bcrypt::hash("secret", 4).unwrap();
    let text = format!(
        "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n\
         basic_auth_users:\n  alice: {hash}\n\
         http_server_config:\n  headers:\n    X-Frame-Options: deny\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    (path, pair)
}

#[test]
fn tls_and_passwords() {
    use tokio_rustls::rustls::{
        ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
        pki_types::ServerName,
    };
    let dir = tempfile::tempdir().unwrap();
    let (path, pair) = web(dir.path(), "");
    let exporter = Exporter::start(&["--web-config", path.to_str().unwrap()]);
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = std::sync::Arc::new(config);
    let get = |headers: &str| {
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(config.clone(), name).unwrap();
        let stream = TcpStream::connect(&exporter.address).unwrap();
        exchange(
            StreamOwned::new(client, stream),
            &request("/metrics", headers),
        )
    };
    // alice:secret, alice:wrong, bob:secret
    let (good, wrong, other) = ("YWxpY2U6c2VjcmV0", "YWxpY2U6d3Jvbmc=", "Ym9iOnNlY3JldA==");
    let basic = |coded: &str| format!("Authorization: Basic {coded}\r\n");
    let (status, head, _) = get("");
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate: Basic"), "{head}");
    assert_eq!(get(&basic(wrong)).0, 401);
    assert_eq!(get(&basic(other)).0, 401);
    let (status, head, _) = get(&basic(good));
    assert_eq!(status, 200);
    assert!(head.contains("x-frame-options: deny"), "{head}");
    // A broken file leaves the settings as they were; a valid one takes effect.
    let hup = || {
        let pid = exporter.child.id().to_string();
        passed(&Command::new("kill").args(["-HUP", &pid]).output().unwrap());
        sleep(Duration::from_millis(300));
    };
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "nonsense: 1\n").unwrap();
    hup();
    assert_eq!(get(&basic(good)).0, 200);
    std::fs::write(&path, format!("{text}\n").replace("alice:", "carol:")).unwrap();
    hup();
    assert_eq!(get(&basic(good)).0, 401);
    // The server does not respond to plain HTTP.
    let stream = TcpStream::connect(&exporter.address).unwrap();
    let mut plain = stream;
    plain.write_all(request("/metrics", "").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn an_invalid_web_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (text, word) in [
        ("basic_auth_users:\n  alice: secret\n", "bcrypt"),
        (
            "basic_auth_users:\n  a: $2y$31$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE\n",
            "31",
        ),
        (
            "tls_server_config:\n  cert_file: no.pem\n  key_file: no.pem\n",
            "no.pem",
        ),
        (
            "tls_server_config:\n  cert_file: a\n  key_file: b\n  cipher_suites: [x]\n",
            "cipher_suites",
        ),
        ("rate_limit:\n  burst: 1\n", "rate_limit"),
        (
            "http_server_config:\n  headers:\n    \"a b\": c\n",
            "header",
        ),
        ("- 1\n", "web.yml"),
    ] {
        let path = dir.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        let (code, said) = check(&["--web-config", path.to_str().unwrap()], None, &[]);
        assert_eq!(code, Some(2), "{text}: {said}");
        assert!(said.contains(word), "{word} not in {said}");
    }
    for (more, word) in [
        (
            "  client_auth_type: RequireAndVerifyClientCert\n",
            "client_ca_file",
        ),
        (
            "  client_auth_type: RequireAnyClientCert\n",
            "is not supported",
        ),
        ("  min_version: TLS10\n", "TLS10"),
        ("  min_version: TLS13\n  max_version: TLS12\n", "below"),
    ] {
        let (path, _) = web(dir.path(), "");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            &path,
            text.replace(
                "  key_file: key.pem\n",
                &format!("  key_file: key.pem\n{more}"),
            ),
        )
        .unwrap();
        let (code, said) = check(&["--web-config", path.to_str().unwrap()], None, &[]);
        assert_eq!(code, Some(2), "{more}: {said}");
        assert!(said.contains(word), "{word} not in {said}");
    }
}
