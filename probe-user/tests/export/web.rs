//! TLS and passwords.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring, pki_types::ServerName,
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

/// A client that trusts these certificates.
fn client(trusted: &[&rcgen::Certificate]) -> std::sync::Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add((*certificate).der().clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.into()
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

fn connect(config: &std::sync::Arc<ClientConfig>, address: &str) -> TlsStream {
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(config.clone(), name).unwrap();
    StreamOwned::new(client, TcpStream::connect(address).unwrap())
}

fn basic(credentials: &str) -> String {
    use base64::Engine;
    let coded = base64::engine::general_purpose::STANDARD.encode(credentials);
    format!("Authorization: Basic {coded}\r\n")
}

#[test]
fn tls_and_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let (path, pair) = web(dir.path(), "");
    let exporter = Exporter::start(&["--web-config", path.to_str().unwrap()]);
    let config = client(&[&pair.cert]);
    let get = |headers: &str| {
        let stream = connect(&config, &exporter.address);
        exchange(stream, &request("/metrics", headers))
    };
    let (good, wrong, other) = ("alice:secret", "alice:wrong", "bob:secret");
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

/// Answers are counted, not seconds: a right password waits for the check under way, and not for
/// those that came before it.
#[test]
fn a_login_does_not_wait_for_guesses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    // Costly enough that the other requests arrive during one check.
    let hash = bcrypt::hash("secret", 9).unwrap();
    std::fs::write(&path, format!("basic_auth_users:\n  alice: {hash}\n")).unwrap();
    let exporter = Exporter::start(&["--web-config", path.to_str().unwrap()]);
    let send = |credentials: &str| {
        let mut stream = TcpStream::connect(&exporter.address).unwrap();
        let ask = request("/metrics", &basic(credentials));
        stream.write_all(ask.as_bytes()).unwrap();
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let guesses: Vec<TcpStream> = (0..60).map(|n| send(&format!("alice:guess {n}"))).collect();
    assert_eq!(answer(send("alice:secret")), "200");
    let waiting = guesses.iter().filter(|s| !is_closed(s)).count();
    assert!(waiting >= 8, "{} guesses were answered first", 60 - waiting);
    // All are answered in the end: some were checked, and the rest refused at once.
    let answers: Vec<String> = guesses.into_iter().map(answer).collect();
    let count = |code: &str| answers.iter().filter(|a| *a == code).count();
    assert_eq!(count("401") + count("429"), 60, "{answers:?}");
    assert!(count("401") >= 8, "{answers:?}");
    // Now it is remembered, and a wrong one is too.
    assert_eq!(answer(send("alice:secret")), "200");
    assert_eq!(answer(send("alice:other")), "401");
}

/// A directory as Kubernetes makes it of a secret: ..data is a symlink, which is replaced at once.
fn secret(dir: &Path, version: u32, files: &[(&str, String)]) {
    use std::os::unix::fs::symlink;
    let data = dir.join(format!("..version_{version}"));
    std::fs::create_dir(&data).unwrap();
    for (name, text) in files {
        std::fs::write(data.join(name), text).unwrap();
        let link = dir.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    symlink(data.file_name().unwrap(), dir.join("..data_tmp")).unwrap();
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

#[test]
fn a_rotated_certificate_is_served_without_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let pair = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (first, second) = (pair(), pair());
    let files = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        [
            ("tls.crt", pair.cert.pem()),
            ("tls.key", pair.signing_key.serialize_pem()),
            (
                "web.yml",
                "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n".to_owned(),
            ),
        ]
    };
    secret(dir.path(), 1, &files(&first));
    let path = dir.path().join("web.yml");
    let flags = ["--web-config", path.to_str().unwrap()];
    let log = dir.path().join("log");
    let mut replay = command(&["--replay", RECORDING, "--interval", "10ms"]);
    replay.args(flags);
    let exporter = Exporter::logging(replay, &log);
    let config = client(&[&first.cert, &second.cert]);
    let scrape = || {
        let mut stream = connect(&config, &exporter.address);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        let served = stream.conn.peer_certificates().unwrap()[0].clone();
        let (status, _, body) = exchange(stream, &request("/metrics", ""));
        assert_eq!(status, 200);
        (served, samples(&String::from_utf8(body).unwrap()))
    };
    let (served, before) = scrape();
    assert_eq!(served, *first.cert.der());
    let (successful, time) = (
        "pinscope_config_last_reload_successful",
        "pinscope_config_last_reload_success_timestamp_seconds",
    );
    assert_eq!(before[successful], 1.0);
    // A connection that is kept does not keep the certificate.
    let ask = request("/healthz", "").replace("Connection: close\r\n", "");
    let mut kept = std::io::BufReader::new(connect(&config, &exporter.address));
    kept.get_mut().write_all(ask.as_bytes()).unwrap();
    assert!(response(&mut kept).0.starts_with("HTTP/1.1 200"));

    secret(dir.path(), 2, &files(&second));
    let after = soon("the second certificate", || {
        let (served, samples) = scrape();
        (served == *second.cert.der()).then_some(samples)
    });
    assert_eq!(after[successful], 1.0);
    soon("the time of the reload", || {
        (scrape().1[time] > before[time]).then_some(())
    });
    assert_eq!(kept.read(&mut [0]).unwrap_or(0), 0);

    let mut broken = files(&first);
    broken[0].1 = "nonsense".to_owned();
    secret(dir.path(), 3, &broken);
    soon("the failed reload", || {
        (scrape().1[successful] == 0.0).then_some(())
    });
    // It is tried again, and said once.
    sleep(Duration::from_secs(5));
    let (served, failed) = scrape();
    assert_eq!(served, *second.cert.der());
    assert!(failed[time] > before[time]);
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("cannot reload").count(), 1, "{text}");
    assert_eq!(
        text.matches("reloaded the web configuration").count(),
        1,
        "{text}"
    );
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
