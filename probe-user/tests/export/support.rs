//! An exporter over a recording, and the client that scrapes it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use pinscope::recording::{Frames, Recording};

pub(crate) const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/demo.pscope");

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Exporter {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinscope"));
    command.arg("export").args(flags);
    let sets = |name: &str| ["PINSCOPE_", "OTEL_"].iter().any(|p| name.starts_with(p));
    for (name, _) in std::env::vars().filter(|(n, _)| sets(n)) {
        command.env_remove(name);
    }
    command
}

impl Exporter {
    /// Starts an exporter whose log goes to a file, and waits until it serves.
    pub(crate) fn logging(mut command: Command, log: &Path) -> Self {
        let child = command
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let mut exporter = Self {
            child,
            address: String::new(),
        };
        exporter.address = soon("the address", || {
            let text = std::fs::read_to_string(log).unwrap();
            let (_, rest) = text.split_once("://")?;
            Some(rest.split_once("/metrics")?.0.to_owned())
        });
        exporter
    }

    /// Starts an exporter over the recording, on a free port.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(flags, &[])
    }

    /// Starts it with additional variables in its environment.
    pub(crate) fn start_in(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = command(&["--replay", RECORDING, "--listen", "127.0.0.1:0"])
            .args(flags)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // After warnings, if there are any.
        let address = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("://")?;
            Some(rest.strip_suffix("/metrics")?.to_owned())
        });
        let address = address.unwrap();
        // Read the rest of stderr, so that the exporter never blocks on it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    pub(crate) fn get(&self, path: &str, headers: &str) -> (u16, String, Vec<u8>) {
        let stream = TcpStream::connect(&self.address).unwrap();
        exchange(stream, &request(path, headers))
    }

    pub(crate) fn metrics(&self) -> String {
        let (status, _, body) = self.get("/metrics", "");
        assert_eq!(status, 200);
        String::from_utf8(body).unwrap()
    }

    /// Scrapes until the exporter serves the recording's last sample.
    pub(crate) fn at_the_end(self) -> Self {
        let recording = Recording::open(Path::new(RECORDING)).unwrap();
        let last = recording.frame(recording.count() - 1).unwrap();
        let all = last.snapshot.excess.buckets.iter().sum::<u64>() as f64;
        let begun = Instant::now();
        while samples(&self.metrics())["pinscope_excess_references_count"] < all {
            assert!(begun.elapsed() < LIMIT);
            sleep(Duration::from_millis(15));
        }
        // One sample later, nothing changes any more.
        sleep(Duration::from_millis(50));
        self.metrics();
        sleep(Duration::from_millis(50));
        self
    }

    pub(crate) fn status(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|l| l.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// Waits until there is a value.
pub(crate) fn soon<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < LIMIT, "{what}");
        sleep(Duration::from_millis(50));
    }
}

/// Returns whether the server has closed a connection on which it has sent nothing.
pub(crate) fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let closed = !matches!(stream.peek(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    closed
}

/// Reads one response of a connection that stays open, and returns its head and body.
pub(crate) fn response(stream: &mut impl BufRead) -> (String, Vec<u8>) {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if let Some(n) = line.strip_prefix("content-length: ") {
            length = n.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

pub(crate) fn request(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
}

/// Sends a request, and returns the status, head and body of the response.
pub(crate) fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String, Vec<u8>) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A TLS server may close the connection without a notification.
    let _ = stream.read_to_end(&mut answer);
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

/// Returns the samples of a text format by name and labels, without exemplars.
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| {
            let line = l.split(" # {").next().unwrap();
            let (key, value) = line.rsplit_once(' ').unwrap();
            (key.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Returns a command for a tool that setup installs, or `None` if it is missing and not required.
pub(crate) fn tool(name: &str) -> Option<Command> {
    if Command::new(name).arg("--version").output().is_err() {
        assert!(
            std::env::var_os("PINSCOPE_REQUIRE_TOOLS").is_none(),
            "{name} is missing"
        );
        eprintln!("skipped: {name} is not installed");
        return None;
    }
    Some(Command::new(name))
}

pub(crate) fn passed(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
