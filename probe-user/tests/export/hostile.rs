//! Hostile clients, and many well-behaved ones.

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::*;

#[test]
fn sigterm_ends_it_with_status_0() {
    let mut exporter = Exporter::start(&[]);
    let pid = exporter.child.id().to_string();
    passed(&Command::new("kill").args(["-TERM", &pid]).output().unwrap());
    assert_eq!(exporter.child.wait().unwrap().code(), Some(0));
}

/// Hundreds of silent clients, endless headers, garbage, and clients that read nothing: limited in
/// number, memory and time, and the next client is served.
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
        // The server may close the connection during the write.
        let _ = stream.write_all(&hostile);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.contains(" 4"), "{answer}");
    }
    // Sends one request after another, and reads nothing.
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

/// The connections are counted, not the seconds: while a scrape is served, most of the others are
/// still open, so that it did not wait for one of them to end.
#[test]
fn a_scrape_waits_for_no_idle_connection() {
    let ask = request("/metrics", "").replace("Connection: close\r\n", "");
    let sent: [(&str, String); 4] = [
        ("nothing", String::new()),
        ("a part of a head", ask[..20].to_owned()),
        ("a request", ask.clone()),
        ("requests whose responses fill the buffers", ask.repeat(30)),
    ];
    for (what, bytes) in sent {
        let exporter = Exporter::start(&[]);
        let others: Vec<TcpStream> = (0..200)
            .map(|_| {
                let mut stream = TcpStream::connect(&exporter.address).unwrap();
                // Fails if this one has given way already.
                let _ = stream.write_all(bytes.as_bytes());
                stream
            })
            .collect();
        assert_eq!(exporter.get("/metrics", "").0, 200, "{what}");
        assert_eq!(exporter.get("/healthz", "").0, 200, "{what}");
        let fds = Path::new("/proc").join(format!("{}/fd", exporter.child.id()));
        let open = || std::fs::read_dir(&fds).unwrap().count();
        let now = open();
        assert!(now > 100, "{what}: {now} descriptors");
        // One address may have 128 for long.
        soon("fewer descriptors", || (open() < 128 + 40).then_some(()));
        if bytes.len() < ask.len() {
            let closed = others.iter().filter(|s| is_closed(s)).count();
            assert!(closed < 100, "{what}: {closed} of 200 are closed");
        }
    }
}

/// A scraper comes back after its interval, on the same connection; a client that reads nothing is
/// closed before that.
#[test]
fn an_idle_connection_stays_and_a_deaf_one_does_not() {
    let exporter = Exporter::start(&[]);
    let mut idle = BufReader::new(TcpStream::connect(&exporter.address).unwrap());
    let ask = request("/metrics", "").replace("Connection: close\r\n", "");
    let mut scrape = || {
        idle.get_mut().write_all(ask.as_bytes()).unwrap();
        let (head, body) = response(&mut idle);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(body.len() > 5_000);
    };
    scrape();
    let begun = Instant::now();
    let mut deaf = TcpStream::connect(&exporter.address).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while deaf.write_all(ask.as_bytes()).is_ok() {}
    // A write fails with another error than the timeout once the server has closed.
    deaf.set_write_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    soon("the deaf client is closed", || {
        let error = deaf.write_all(b"x").err()?;
        (error.kind() != std::io::ErrorKind::WouldBlock).then_some(())
    });
    sleep(Duration::from_secs(12).saturating_sub(begun.elapsed()));
    scrape();
}

#[test]
fn ten_thousand_scrapes_leave_no_memory_behind() {
    let exporter = Exporter::start(&["--interval", "10ms", "--cgroups", "5"]).at_the_end();
    let mut stream = BufReader::new(TcpStream::connect(&exporter.address).unwrap());
    let ask = request("/metrics", "").replace("Connection: close\r\n", "");
    let mut scrape = || {
        stream.get_mut().write_all(ask.as_bytes()).unwrap();
        assert!(response(&mut stream).1.len() > 5_000);
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
