//! `pinscope export` over a recording: formats, configuration, TLS and passwords, hostile
//! clients. What needs a live kernel is in tests/guest/export.rs.

// clippy.toml allows these in tests, and takes the helpers beside them for something else.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use pinscope::recording::{Frames, Recording};
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
use prost::Message;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/demo.pscope");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const LIMIT: Duration = Duration::from_secs(60);

struct Exporter {
    child: Child,
    address: String,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinscope"));
    command.arg("export").args(flags);
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("PINSCOPE_")) {
        command.env_remove(name);
    }
    command
}

impl Exporter {
    /// Over the recording, at a port that is free.
    fn start(flags: &[&str]) -> Self {
        let mut child = command(&["--replay", RECORDING, "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let address = line.split_once("://").unwrap().1;
        let address = address.strip_suffix("/metrics").unwrap().to_owned();
        // Whatever else it says is read, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn get(&self, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
        let stream = TcpStream::connect(&self.address).unwrap();
        exchange(stream, &request(path, headers))
    }

    fn metrics(&self) -> String {
        let (status, _, body) = self.get("/metrics", "");
        assert_eq!(status, 200);
        String::from_utf8(body).unwrap()
    }

    /// The recording's last look is shown.
    fn at_the_end(self) -> Self {
        let recording = Recording::open(Path::new(RECORDING)).unwrap();
        let last = recording.frame(recording.count() - 1).unwrap();
        let all = last.snapshot.excess.buckets.iter().sum::<u64>() as f64;
        let begun = Instant::now();
        while samples(&self.metrics())["pinscope_excess_references_count"] < all {
            assert!(begun.elapsed() < LIMIT);
            sleep(Duration::from_millis(15));
        }
        // Nothing moves from the look after that one on.
        sleep(Duration::from_millis(50));
        self.metrics();
        sleep(Duration::from_millis(50));
        self
    }

    fn status(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|l| l.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

fn request(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
}

/// Status, head and body.
fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String, Vec<u8>) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A TLS server may close without saying so.
    let _ = stream.read_to_end(&mut answer);
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

/// Samples of a text format by name and labels, without exemplars.
fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| {
            let line = l.split(" # {").next().unwrap();
            let (key, value) = line.rsplit_once(' ').unwrap();
            (key.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Runs a tool that setup brings; `None` where it isn't there and needn't be.
fn tool(name: &str) -> Option<Command> {
    if Command::new(name).arg("--version").output().is_err() {
        assert!(
            std::env::var_os("PINSCOPE_REQUIRE_TOOLS").is_none(),
            "{name} is missing"
        );
        eprintln!("not run: {name} isn't installed");
        return None;
    }
    Some(Command::new(name))
}

fn passed(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let Some(mut promtool) = tool("promtool") else {
        return;
    };
    let exporter = Exporter::start(&["--cgroups", "3", "--interval", "10ms"]).at_the_end();
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = exporter.metrics();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    passed(&output);
    assert!(
        output.stderr.is_empty() && output.stdout.is_empty(),
        "{output:?}"
    );
}

#[test]
fn rules_pass_their_tests() {
    for arguments in [
        &["check", "rules", "recording.rules.yml", "alerts.rules.yml"][..],
        &["test", "rules", "rules_test.yml"],
        &["check", "config", "scrape.yml"],
    ] {
        let Some(mut promtool) = tool("promtool") else {
            return;
        };
        let output = promtool
            .args(arguments)
            .current_dir(Path::new(ROOT).join("deploy/prometheus"))
            .output()
            .unwrap();
        passed(&output);
    }
}

/// A chart can only read what lies within it.
#[test]
fn the_chart_has_the_same_rules() {
    let deploy = Path::new(ROOT).join("deploy");
    for name in ["recording.rules.yml", "alerts.rules.yml"] {
        let read = |dir: &str| std::fs::read_to_string(deploy.join(dir).join(name)).unwrap();
        assert_eq!(
            read("prometheus"),
            read("helm/pinscope/rules"),
            "copy {name} from deploy/prometheus"
        );
    }
}

/// A Prometheus server that scrapes the exporter, with the rules loaded.
struct Server {
    child: Child,
    address: String,
    home: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(exporter: &Exporter) -> Option<Self> {
        let mut prometheus = tool("prometheus")?;
        let home = tempfile::tempdir().unwrap();
        let rules = Path::new(ROOT).join("deploy/prometheus");
        let config = format!(
            "global: {{scrape_interval: 400ms, evaluation_interval: 400ms}}\n\
             rule_files: ['{0}/recording.rules.yml', '{0}/alerts.rules.yml']\n\
             scrape_configs:\n- job_name: pinscope\n  static_configs:\n  - targets: ['{1}']\n",
            rules.canonicalize().unwrap().display(),
            exporter.address
        );
        std::fs::write(home.path().join("prometheus.yml"), config).unwrap();
        // A port that was free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let child = prometheus
            .current_dir(home.path())
            .arg("--config.file=prometheus.yml")
            // Debian's would keep it in /var.
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(home.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            address,
            home,
        };
        let begun = Instant::now();
        while server.query("sum(up == 1)").is_none_or(|r| r.is_empty()) {
            let log = std::fs::read_to_string(server.home.path().join("log"));
            assert!(begun.elapsed() < LIMIT, "{log:?}");
            sleep(Duration::from_millis(100));
        }
        Some(server)
    }

    /// The series that a query gives; `None` while the server isn't there yet.
    fn query(&self, query: &str) -> Option<Vec<serde_json::Value>> {
        let coded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let stream = TcpStream::connect(&self.address).ok()?;
        let path = format!("/api/v1/query?query={coded}");
        // HTTP/1.0, so that the answer isn't chunked.
        let ask = request(&path, "").replace("HTTP/1.1", "HTTP/1.0");
        let (status, _, body) = exchange(stream, &ask);
        if status == 503 {
            return None;
        }
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(
            answer["data"]["result"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        )
    }
}

/// All `expr`s of a dashboard, with Grafana's variables filled in.
fn queries(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("expr", serde_json::Value::String(expr)) => found.push(
                        expr.replace("$__rate_interval", "5s")
                            .replace("$__range", "5s")
                            .replace("$__interval", "5s")
                            .replace("${__range}", "5s")
                            .replace("$job", "pinscope")
                            .replace("${job}", "pinscope")
                            .replace("$instance", ".*")
                            .replace("${instance}", ".*")
                            .replace("$cgroup", ".*")
                            .replace("$top", "5"),
                    ),
                    (_, value) => queries(value, found),
                }
            }
        }
        serde_json::Value::Array(all) => all.iter().for_each(|v| queries(v, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_the_dashboard_and_the_docs_is_answered() {
    let exporter = Exporter::start(&["--interval", "100ms", "--cgroups", "5"]);
    let Some(server) = Server::start(&exporter) else {
        return;
    };
    let root = Path::new(ROOT);
    let text = std::fs::read_to_string(root.join("deploy/grafana/pinscope.json")).unwrap();
    let mut found = Vec::new();
    queries(&serde_json::from_str(&text).unwrap(), &mut found);
    assert!(found.len() >= 30, "{} queries", found.len());
    for query in &found {
        assert!(!query.contains('$'), "a variable is left in {query}");
    }
    let numbers = std::fs::read_to_string(root.join("docs/numbers.md")).unwrap();
    // In fences; a line that isn't indented begins a query.
    let mut of_docs: Vec<String> = Vec::new();
    let blocks = numbers.split("```").skip(1).step_by(2);
    for line in blocks.flat_map(str::lines).filter(|l| !l.trim().is_empty()) {
        match of_docs.last_mut() {
            Some(query) if line.starts_with(' ') => query.push_str(line),
            _ => of_docs.push(line.to_owned()),
        }
    }
    of_docs.retain(|q| q.contains("pinscope_"));
    assert!(of_docs.len() >= 5, "{of_docs:?}");
    // A few scrapes and an evaluation of the rules, and there is a rate.
    let begun = Instant::now();
    let there = |query: &str| server.query(query).is_some_and(|r| !r.is_empty());
    while !(there("sum_over_time(up[5s]) >= 5")
        && there("sum(rate(pinscope_unmaps_total{verdict=\"futile_referenced\"}[5s])) > 0")
        && there("{__name__=~\"instance:pinscope_futile.*\"}"))
    {
        assert!(begun.elapsed() < LIMIT);
        sleep(Duration::from_millis(200));
    }
    let mut empty = Vec::new();
    for query in found.iter().chain(&of_docs) {
        if server.query(query).unwrap().is_empty() {
            empty.push(query);
        }
    }
    // Alerts and restarts, of which there are none yet, and what this recording hasn't.
    assert!(
        empty.len() * 4 < found.len(),
        "{} of {}: {empty:#?}",
        empty.len(),
        found.len()
    );
    // The rules were evaluated too.
    let rules = server.query("{__name__=~\"instance:pinscope.*\"}").unwrap();
    assert!(rules.len() >= 5, "{rules:?}");
}

/// Classic buckets, sums and counts are the same in all three; native buckets add up to them.
#[test]
fn every_format_tells_the_same() {
    let exporter = Exporter::start(&["--interval", "10ms"]).at_the_end();
    // From here on one reading for all.
    let (_, head, open) = exporter.get("/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    let open = String::from_utf8(open).unwrap();
    assert!(open.ends_with("# EOF\n") && open.contains(" # {reclaimer_comm="));
    let counted = |samples: BTreeMap<String, f64>| -> BTreeMap<String, f64> {
        let own = |k: &String| k.starts_with("pinscope_");
        samples.into_iter().filter(|(k, _)| own(k)).collect()
    };
    let plain = exporter.metrics();
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT") && !plain.contains(" # {"));
    assert_eq!(counted(samples(&plain)), counted(samples(&open)));

    let accept = "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                  encoding=delimited\r\n";
    let (_, head, body) = exporter.get("/metrics", accept);
    assert!(head.contains("io.prometheus.client.MetricFamily"), "{head}");
    let mut rest = body.as_slice();
    let (mut histograms, mut exemplars, mut counters) = (0, 0, 0);
    let text = samples(&plain);
    while !rest.is_empty() {
        let family = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        for metric in &family.metric {
            let labels: Vec<String> = metric
                .label
                .iter()
                .map(|l| format!("{}=\"{}\"", l.name, l.value))
                .collect();
            let key = |name: &str| match labels.len() {
                0 => name.to_owned(),
                _ => format!("{name}{{{}}}", labels.join(",")),
            };
            if let Some(h) = &metric.histogram {
                histograms += 1;
                let count = h.sample_count as f64;
                assert_eq!(text[&key(&format!("{}_count", family.name))], count);
                assert_eq!(text[&key(&format!("{}_sum", family.name))], h.sample_sum);
                let last = h.bucket.last().unwrap();
                assert_eq!(last.cumulative_count as f64, count);
                exemplars += h.bucket.iter().filter(|b| b.exemplar.is_some()).count();
                if !h.positive_span.is_empty() {
                    let mut bucket = 0;
                    let buckets: i64 = h
                        .positive_delta
                        .iter()
                        .map(|d| {
                            bucket += d;
                            bucket
                        })
                        .sum();
                    assert_eq!(buckets as u64 + h.zero_count, h.sample_count);
                }
            } else if let Some(c) = &metric.counter
                && family.name.starts_with("pinscope_")
            {
                counters += 1;
                assert_eq!(text[&key(&family.name)], c.value, "{}", family.name);
            }
        }
    }
    assert!(histograms > 3 && exemplars > 0 && counters > 30);
}

#[test]
fn counters_never_go_back_and_two_scrapers_see_the_same() {
    let exporter = Exporter::start(&["--interval", "20ms", "--cgroups", "2"]);
    let mut before = samples(&exporter.metrics());
    for _ in 0..20 {
        let now = samples(&exporter.metrics());
        for (key, value) in before.iter().filter(|(k, _)| k.contains("_total")) {
            assert!(now.get(key).is_none_or(|n| n >= value), "{key} went back");
        }
        before = now;
        sleep(Duration::from_millis(15));
    }
    let same = Exporter::start(&["--interval", "1h"]);
    let (a, b) = (same.get("/metrics", "").2, same.get("/metrics", "").2);
    assert_eq!(a, b);
}

#[test]
fn a_budget_bounds_the_series_and_tells_what_it_left_out() {
    let all = Exporter::start(&["--cgroups", "5", "--interval", "10ms"]).at_the_end();
    let text = all.metrics();
    assert!(text.contains("pinscope_series_dropped_total 0"), "{text}");
    let few = Exporter::start(&[
        "--cgroups",
        "5",
        "--max-series",
        "100",
        "--interval",
        "10ms",
    ]);
    let first = samples(&few.metrics());
    sleep(Duration::from_millis(50));
    let second = samples(&few.metrics());
    let count = samples(&text).len();
    assert!(
        count > 100 && second.len() <= 100,
        "{count} {}",
        second.len()
    );
    // What says so stays, and counts from reading to reading.
    let key = "pinscope_series_dropped_total";
    assert!(first[key] == 0.0 && second[key] > 0.0, "{}", second[key]);
}

#[test]
fn pages_answer() {
    let exporter = Exporter::start(&[]);
    for (path, status, word) in [
        ("/healthz", 200, "ok"),
        ("/readyz", 200, "ready"),
        ("/", 200, "<h1>pinscope"),
        ("/nothing", 404, "/metrics"),
    ] {
        let (code, head, body) = exporter.get(path, "");
        assert_eq!(code, status, "{path}");
        assert!(String::from_utf8(body).unwrap().contains(word), "{path}");
        assert!(head.contains("cache-control: no-store"), "{head}");
    }
    let stream = TcpStream::connect(&exporter.address).unwrap();
    let post =
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(stream, post).0, 405);
    // What isn't active is told with its reason.
    let (_, _, body) = exporter.get("/readyz", "");
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("page_ref_freeze is unsupported: "), "{body}");
}

#[test]
fn sigterm_ends_it_with_0() {
    let mut exporter = Exporter::start(&[]);
    let pid = exporter.child.id().to_string();
    passed(&Command::new("kill").args(["-TERM", &pid]).output().unwrap());
    assert_eq!(exporter.child.wait().unwrap().code(), Some(0));
}

fn check(flags: &[&str], file: Option<&str>, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(flags);
    if let Some(text) = file {
        let path = dir.path().join("pinscope.toml");
        std::fs::write(&path, text).unwrap();
        command.arg("--config").arg(path);
    }
    let out = command
        .arg("--check-config")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(out.stdout.is_empty());
    (out.status.code(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let file = Some("listen = \"127.0.0.1:1\"\ncgroups = 1\n");
    let (code, said) = check(&[], file, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("127.0.0.1:1\"") && said.contains("cgroups = 1"),
        "{said}"
    );
    let environment = [
        ("PINSCOPE_LISTEN", "127.0.0.1:2"),
        ("PINSCOPE_CGROUPS", "2"),
    ];
    let (_, said) = check(&[], file, &environment);
    assert!(
        said.contains("127.0.0.1:2\"") && said.contains("cgroups = 2"),
        "{said}"
    );
    let (_, said) = check(&["--listen", "127.0.0.1:3"], file, &environment);
    assert!(
        said.contains("127.0.0.1:3\"") && said.contains("cgroups = 2"),
        "{said}"
    );
}

#[test]
fn a_bad_configuration_is_told_of_and_ends_with_2() {
    for (flags, file, word) in [
        (&["--listen", "0.0.0.0:9723"][..], None, "--allow-remote"),
        (&["--listen", "nowhere"], None, "invalid"),
        (&["--cgroups", "100000"], None, "at most 200"),
        (&["--max-series", "1"], None, "max_series"),
        (&["--config", "/nonexistent"], None, "/nonexistent"),
        (&["--web-config", "/nonexistent"], None, "/nonexistent"),
        (&[], Some("lisen = \"127.0.0.1:1\""), "lisen"),
        (&[], Some("listen = 5"), "string"),
        (&[], Some("attach = \"uprobe\""), "auto, kprobe or fentry"),
        (&[], Some("hook = [\"nosuch=off\"]"), "nosuch"),
        (&[], Some("interval = \"soon\""), "soon"),
        (&[], Some("listen = \"[::]:1\""), "allow_remote"),
        (&[], Some("= ="), "TOML"),
    ] {
        let (code, said) = check(flags, file, &[]);
        assert_eq!(code, Some(2), "{flags:?} {file:?}: {said}");
        assert!(said.contains(word), "{word} not in {said}");
    }
    let (code, said) = check(&["--listen", "0.0.0.0:1", "--allow-remote"], None, &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_configuration_that_ships_is_good() {
    let shipped = Path::new(ROOT).join("deploy/packages/pinscope.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let (code, said) = check(&[], Some(&text), &[]);
    assert_eq!(code, Some(0), "{said}");
    // Its commented keys are keys, and their values what is built in.
    let keys: String = text
        .lines()
        .filter_map(|l| l.strip_prefix('#'))
        .filter(|l| l.contains(" = ") && !l.starts_with(' ') && !l.starts_with("web_config"))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(keys.lines().count(), 8, "{keys}");
    let (with, without) = (check(&[], Some(&keys), &[]), check(&[], None, &[]));
    assert_eq!(with, without, "{keys}");
}

/// A certificate of its own, and a web configuration that names it.
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
    // What is broken now goes on as it was; what is good again counts.
    let hup = || {
        let pid = exporter.child.id().to_string();
        passed(&Command::new("kill").args(["-HUP", &pid]).output().unwrap());
        sleep(Duration::from_millis(300));
    };
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "nonsense: 1\n").unwrap();
    hup();
    assert_eq!(get(&basic(good)).0, 200);
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&path, format!("{text}\n").replace("alice:", "carol:")).unwrap();
    hup();
    assert_eq!(get(&basic(good)).0, 401);
    let _ = hash;
    // Plain text isn't answered.
    let stream = TcpStream::connect(&exporter.address).unwrap();
    let mut plain = stream;
    plain.write_all(request("/metrics", "").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn a_web_configuration_that_cannot_hold_is_refused() {
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
            "isn't supported",
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

/// Silent clients by the hundred, endless headers, garbage, readers that don't read: bounded in
/// number, memory and time; whoever comes after them is served.
#[test]
fn hostile_clients_are_bounded() {
    let exporter = Exporter::start(&["--interval", "10ms"]).at_the_end();
    let before = exporter.status("VmRSS:");
    let connect = || TcpStream::connect(&exporter.address).unwrap();
    let silent: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
    let fds = Path::new("/proc")
        .join(exporter.child.id().to_string())
        .join("fd");
    sleep(Duration::from_millis(500));
    let open = std::fs::read_dir(fds).unwrap().count();
    assert!(open < 128 + 40, "{open} descriptors");
    drop(silent);
    for hostile in [
        vec![b'x'; 1 << 20],
        [b"GET / HTTP/1.1\r\n".to_vec(), b"A: b\r\n".repeat(100_000)].concat(),
        [b"GET /".to_vec(), vec![b'a'; 1 << 20]].concat(),
        (0..=255u8).cycle().take(1 << 18).collect(),
        [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'b'; 1 << 20]].concat(),
    ] {
        let mut stream = connect();
        stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // It may be cut off while it still writes.
        let _ = stream.write_all(&hostile);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.contains(" 4"), "{answer}");
    }
    // Asks on and on, and reads nothing.
    let mut deaf = connect();
    deaf.set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let ask = request("/metrics", "").replace("Connection: close\r\n", "");
    while deaf.write_all(ask.as_bytes()).is_ok() {}
    let begun = Instant::now();
    assert_eq!(exporter.get("/metrics", "").0, 200);
    assert!(begun.elapsed() < Duration::from_secs(30));
    let after = exporter.status("VmRSS:");
    assert!(
        after < before + 16 * 1024,
        "{before} KiB grew to {after} KiB"
    );
}

#[test]
fn ten_thousand_scrapes_leave_no_memory_behind() {
    let exporter = Exporter::start(&["--interval", "10ms", "--cgroups", "5"]).at_the_end();
    let mut stream = BufReader::new(TcpStream::connect(&exporter.address).unwrap());
    let ask = request("/metrics", "").replace("Connection: close\r\n", "");
    let mut scrape = || {
        if stream.get_mut().write_all(ask.as_bytes()).is_err() {
            // A connection lasts a minute at most.
            stream = BufReader::new(TcpStream::connect(&exporter.address).unwrap());
            stream.get_mut().write_all(ask.as_bytes()).unwrap();
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if let Some(n) = line.strip_prefix("content-length: ") {
                length = n.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        assert!(length > 5_000);
    };
    for _ in 0..1_000 {
        scrape();
    }
    let early = exporter.status("VmRSS:");
    for _ in 0..9_000 {
        scrape();
    }
    let late = exporter.status("VmRSS:");
    assert!(late <= early + 512, "{early} KiB grew to {late} KiB");
}

/// What a collector receives, decoded by the published protobuf.
#[cfg(feature = "otlp")]
#[test]
fn otlp_pushes_what_metrics_show() {
    use opentelemetry_proto::tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        metrics::v1::{metric::Data, number_data_point::Value},
    };
    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/metrics", collector.local_addr().unwrap());
    let exporter = Exporter::start(&["--otlp", &url, "--otlp-interval", "200ms"]);
    let mut last: Option<(f64, u64)> = None;
    for _ in 0..5 {
        let (stream, _) = collector.accept().unwrap();
        let mut stream = BufReader::new(stream);
        let (mut length, mut kind) = (0, String::new());
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.to_ascii_lowercase();
            if let Some(n) = line.strip_prefix("content-length: ") {
                length = n.trim().parse().unwrap();
            }
            if let Some(k) = line.strip_prefix("content-type: ") {
                kind = k.trim().to_owned();
            }
            if line == "\r\n" {
                break;
            }
        }
        assert_eq!(kind, "application/x-protobuf");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        let request = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
        let resource = &request.resource_metrics[0];
        let names: Vec<&str> = resource
            .resource
            .iter()
            .flat_map(|r| &r.attributes)
            .map(|a| a.key.as_str())
            .collect();
        assert_eq!(names, ["service.name", "service.version", "host.name"]);
        let metrics = &resource.scope_metrics[0].metrics;
        let unmaps = metrics
            .iter()
            .find(|m| m.name == "pinscope_unmaps")
            .unwrap();
        let Some(Data::Sum(sum)) = &unmaps.data else {
            panic!("{unmaps:?}");
        };
        let total: i64 = sum
            .data_points
            .iter()
            .map(|p| match p.value {
                Some(Value::AsInt(n)) => n,
                _ => panic!("{p:?}"),
            })
            .sum();
        let point = &sum.data_points[0];
        assert!(sum.is_monotonic && point.start_time_unix_nano < point.time_unix_nano);
        // Cumulative: from the same start, and never back.
        if let Some((before, start)) = last {
            assert!(total as f64 >= before && point.start_time_unix_nano == start);
        }
        last = Some((total as f64, point.start_time_unix_nano));
    }
    drop(collector);
    // A collector that is away does no harm.
    sleep(Duration::from_millis(500));
    let now = samples(&exporter.metrics());
    let total: f64 = now
        .iter()
        .filter(|(k, _)| k.starts_with("pinscope_unmaps_total"))
        .map(|(_, n)| n)
        .sum();
    assert!(total >= last.unwrap().0);
}
