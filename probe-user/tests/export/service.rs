//! What those who run the exporter rely on: health, logs, the service manager, locked memory, and a
//! host on which nothing can be measured.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::*;

fn kill(exporter: &Exporter, signal: &str) {
    let pid = exporter.child.id().to_string();
    passed(&Command::new("kill").args([signal, &pid]).output().unwrap());
}

/// Writes a web configuration with one user, alice, whose password is "secret".
fn passwords(dir: &Path) -> String {
    let path = dir.join("web.yml");
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&path, format!("basic_auth_users:\n  alice: {hash}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn health_needs_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = Exporter::start(&["--web-config", &passwords(dir.path())]);
    let (status, _, body) = exporter.get("/healthz", "");
    assert_eq!((status, body.as_slice()), (200, &b"ok\n"[..]));
    let (status, _, body) = exporter.get("/readyz", "");
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("ready\n"), "{body}");
    // Hooks that no version attaches yet are not degraded.
    assert!(
        !body.contains("migration") && !body.contains("refault"),
        "{body}"
    );
    for path in [
        "/",
        "/metrics",
        "/healthz/",
        "//healthz",
        "/nosuch",
        "/metrics?/healthz",
    ] {
        assert_eq!(exporter.get(path, "").0, 401, "{path}");
    }
}

#[test]
fn logs_are_json_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let flags = [
        "--replay",
        RECORDING,
        "--web-config",
        &passwords(dir.path()),
    ];
    let mut command = command(&flags);
    command.env("PINSCOPE_LOG_FORMAT", "json").arg("-vv");
    let exporter = Exporter::logging(command, &log);
    // alice:wrong-password
    let wrong = "Authorization: Basic YWxpY2U6d3JvbmctcGFzc3dvcmQ=\r\n";
    for _ in 0..3 {
        assert_eq!(exporter.get("/metrics", wrong).0, 401);
    }
    kill(&exporter, "-HUP");
    let text = soon("the reload", || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains("reloaded the web configuration")
            .then_some(text)
    });
    let mut messages = Vec::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
        messages.push(line["message"].as_str().unwrap().to_owned());
    }
    let count = |words: &str| messages.iter().filter(|m| m.contains(words)).count();
    assert_eq!(count("metrics at http://"), 1, "{text}");
    assert_eq!(count("a login from 127.0.0.1 failed"), 1, "{text}");
    assert!(!text.contains("wrong-password"), "{text}");
    // An error that ends it is JSON too.
    let flags = [
        "--log-format=json",
        "--replay",
        "/nonexistent",
        "--listen=127.0.0.1:0",
    ];
    let out = crate::support::command(&flags).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let line: serde_json::Value = serde_json::from_slice(&out.stderr).unwrap();
    assert!(line["message"].as_str().unwrap().contains("/nonexistent"));
    let flags = ["--log-format=json", "--web-config=/nonexistent"];
    let out = crate::support::command(&flags).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let line: serde_json::Value = serde_json::from_slice(&out.stderr).unwrap();
    assert!(line["message"].as_str().unwrap().contains("/nonexistent"));
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let web = passwords(dir.path());
    let colours = |color: &str| {
        let flags = [
            "--replay",
            RECORDING,
            "--web-config",
            &web,
            "--color",
            color,
        ];
        let exporter = Exporter::logging(command(&flags), &log);
        assert_eq!(
            exporter.get("/metrics", "Authorization: Basic eDp5\r\n").0,
            401
        );
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.contains("a login from 127.0.0.1 failed"), "{text}");
        text.contains('\x1b')
    };
    assert!(!colours("auto"));
    assert!(!colours("never"));
    assert!(colours("always"));
}

/// A service manager, which is a socket.
#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let next = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    // Of the state, without the watchdog's messages between.
    let state = || loop {
        let message = next();
        if message != "WATCHDOG=1\n" {
            return message;
        }
    };
    let mut command = command(&["--replay", RECORDING]);
    command
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .env("WATCHDOG_USEC", "300000")
        .arg("--web-config")
        .arg(passwords(dir.path()));
    let mut exporter = Exporter::logging(command, &dir.path().join("log"));
    let ready = state();
    assert!(
        ready.starts_with("READY=1\nSTATUS=Metrics at http://"),
        "{ready}"
    );
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1\n");
    }
    kill(&exporter, "-HUP");
    let reloading = state();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let time: u64 = time.unwrap().trim().parse().unwrap();
    assert!(time > 0);
    assert_eq!(state(), "READY=1\n");
    kill(&exporter, "-TERM");
    assert_eq!(state(), "STOPPING=1\n");
    assert_eq!(exporter.child.wait().unwrap().code(), Some(0));
}

/// Whoever runs this test: no capability is left for the exporter.
fn without_privileges(flags: &[&str]) -> Option<Command> {
    let mut command = tool("setpriv")?;
    command
        .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
        .arg(env!("CARGO_BIN_EXE_pinscope"))
        .arg("export")
        .args(flags);
    Some(command)
}

#[test]
fn an_unsupported_host_exits_with_77_or_serves_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut exits) = without_privileges(&["--listen", "127.0.0.1:0"]) else {
        return;
    };
    let out = exits.stdout(Stdio::null()).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(77), "{said}");
    let log = dir.path().join("log");
    let serves = without_privileges(&["--on-unsupported", "serve"]).unwrap();
    let exporter = Exporter::logging(serves, &log);
    assert_eq!(exporter.get("/healthz", "").0, 200);
    let (status, _, body) = exporter.get("/readyz", "");
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(
        body.contains("missing CAP_BPF") && body.contains("remedy: "),
        "{body}"
    );
    let metrics = exporter.metrics();
    let samples = samples(&metrics);
    assert_eq!(samples["pinscope_supported"], 0.0);
    let hooks = |key: &&String| key.starts_with("pinscope_hook_active{");
    assert!(samples.keys().filter(hooks).count() > 5, "{metrics}");
    for key in samples.keys().filter(hooks) {
        assert_eq!(samples[key], 0.0, "{key}");
    }
    assert!(metrics.contains("pinscope_build_info{"), "{metrics}");
    // Nothing is measured, which is not 0.
    assert!(!metrics.contains("pinscope_unmaps_total"), "{metrics}");
    exporter.metrics();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("missing CAP_BPF").count(), 1, "{text}");
    // The default and a recording are supported.
    let metrics = Exporter::start(&[]).metrics();
    assert!(metrics.contains("\npinscope_supported 1\n"), "{metrics}");
}

/// All that it uses is locked, if that is allowed; otherwise it says what is not, and runs.
#[test]
fn memory_is_locked_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let exporter = Exporter::logging(command(&["--replay", RECORDING, "--lock-memory"]), &log);
    exporter.metrics();
    let locked = exporter.status("VmLck:");
    let text = std::fs::read_to_string(&log).unwrap();
    if text.contains("cannot lock all memory") {
        assert!(text.contains("RLIMIT_MEMLOCK"), "{text}");
        eprintln!("skipped: the limit does not allow locking: {text}");
        return;
    }
    let resident = exporter.status("VmRSS:");
    assert!(
        locked >= resident,
        "{locked} KiB of {resident} KiB are locked"
    );
    let exporter = Exporter::start(&[]);
    assert_eq!(exporter.status("VmLck:"), 0);
}
