//! A real Prometheus server evaluates the rules, and the queries of the dashboard and the docs.

use std::{
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::*;

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

/// A chart can only read files inside it, hence the copies.
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
            // Debian's default is in /var.
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

    /// Returns the series that a query yields, or `None` while the server isn't ready.
    fn query(&self, query: &str) -> Option<Vec<serde_json::Value>> {
        let coded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let stream = TcpStream::connect(&self.address).ok()?;
        let path = format!("/api/v1/query?query={coded}");
        // HTTP/1.0, so that the response isn't chunked.
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

/// Collects all `expr`s of a dashboard, with Grafana's variables replaced.
fn queries(value: &serde_json::Value, instance: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("expr", serde_json::Value::String(expr)) => found.push(
                        expr.replace("$__rate_interval", "5s")
                            .replace("$job", "pinscope")
                            .replace("$instance", instance),
                    ),
                    (_, value) => queries(value, instance, found),
                }
            }
        }
        serde_json::Value::Array(all) => all.iter().for_each(|v| queries(v, instance, found)),
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
    queries(
        &serde_json::from_str(&text).unwrap(),
        &exporter.address,
        &mut found,
    );
    assert!(found.len() >= 30, "{} queries", found.len());
    for query in &found {
        assert!(!query.contains('$'), "a variable is left in {query}");
    }
    let numbers = std::fs::read_to_string(root.join("docs/numbers.md")).unwrap();
    // Queries are in fences. A line that isn't indented begins a query.
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
    // A rate needs a few scrapes and an evaluation of the rules.
    let begun = Instant::now();
    let there = |query: &str| server.query(query).is_some_and(|r| !r.is_empty());
    while !(there("sum_over_time(up[5s]) >= 5")
        && there("sum(rate(pinscope_unmaps_total{verdict=\"futile_referenced\"}[5s])) > 0")
        && there("{__name__=~\"instance:pinscope_futile.*\"}"))
    {
        assert!(begun.elapsed() < LIMIT);
        sleep(Duration::from_millis(200));
    }
    // This recording has no alerts, restarts, timed programs, futile unmaps of lazyfree memory, missed
    // calls, losses or missing hooks, and is of no live kernel. Every other query yields something.
    let may_be_empty = [
        "ALERTS",
        "changes(",
        "pinscope_bpf_run",
        "restored",
        "== 0",
        "pinscope_missed_calls",
        "pinscope_events_lost_total",
        "pinscope_pinned_pages",
        "pinscope_map_entries",
    ];
    for query in found.iter().chain(&of_docs) {
        let empty = server.query(query).unwrap().is_empty();
        let may = may_be_empty.iter().any(|word| query.contains(word));
        assert!(!empty || may, "{query} yields nothing");
    }
    // The rules were evaluated too.
    let rules = server.query("{__name__=~\"instance:pinscope.*\"}").unwrap();
    assert!(rules.len() >= 5, "{rules:?}");
}
