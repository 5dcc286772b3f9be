//! The attributes of the OTLP resource, by OpenTelemetry's semantic conventions.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::kernel::host::host;

/// The namespace in which the conventions derive a `service.instance.id` from another id.
const INSTANCES: Uuid = Uuid::from_u128(0x4d63009a_8d0f_11ee_aad7_4c796ed8e320);

const NAME: &str = "service.name";

/// Returns the attributes: this process's own, replaced and extended by those of
/// `OTEL_RESOURCE_ATTRIBUTES`; `OTEL_SERVICE_NAME` takes precedence over both.
pub(super) fn attributes(
    listen: SocketAddr,
    given: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<(String, String)>> {
    let host = host();
    let mut all = vec![
        (NAME.to_owned(), "pinscope".to_owned()),
        (
            "service.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        (
            "service.instance.id".to_owned(),
            instance(&machine(), &host.hostname, listen),
        ),
        ("host.name".to_owned(), host.hostname),
        ("os.type".to_owned(), "linux".to_owned()),
        ("os.version".to_owned(), host.kernel),
    ];
    for (key, value) in pairs(given.unwrap_or_default())? {
        set(&mut all, key, value);
    }
    if let Some(name) = name {
        set(&mut all, NAME.to_owned(), name.to_owned());
    }
    Ok(all)
}

fn set(all: &mut Vec<(String, String)>, key: String, value: String) {
    match all.iter_mut().find(|(k, _)| *k == key) {
        Some((_, old)) => *old = value,
        None => all.push((key, value)),
    }
}

/// Returns an id that stays the same when pinscope restarts, so that its series go on, and that
/// differs between two exporters of a host.
fn instance(machine: &str, hostname: &str, listen: SocketAddr) -> String {
    let source = format!("pinscope {machine} {hostname} {listen}");
    Uuid::new_v5(&INSTANCES, source.as_bytes()).to_string()
}

/// Returns the machine's id, or in its absence (in many containers) that of the boot. It must not
/// leave the host as it is (machine-id(5)), so there is no `host.id`, only a hash.
fn machine() -> String {
    let read = |path| {
        fs::read_to_string(path)
            .ok()
            .filter(|id| !id.trim().is_empty())
    };
    read("/etc/machine-id")
        .or_else(|| read("/proc/sys/kernel/random/boot_id"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Returns the pairs of a list `NAME=VALUE,…` whose values may be percent-encoded (W3C Baggage),
/// the form of `OTEL_RESOURCE_ATTRIBUTES` and of headers. An error shows no value: it may be a
/// secret.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let entries = text.split(',').enumerate();
    for (n, entry) in entries.filter(|(_, e)| !e.trim().is_empty()) {
        let bad = || format!("entry {} is not NAME=VALUE", n + 1);
        let (name, value) = entry.split_once('=').with_context(bad)?;
        let decoded = |s: &str| {
            let text = percent_decode_str(s.trim()).decode_utf8();
            text.map(|t| t.into_owned())
                .with_context(|| format!("entry {} is not UTF-8 in percent-encoding", n + 1))
        };
        let name = decoded(name)?;
        ensure!(!name.is_empty(), bad());
        all.push((name, decoded(value)?));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[(String, String)], key: &str) -> String {
        let mut found = all.iter().filter(|(k, _)| k == key);
        let (_, value) = found.next().unwrap();
        assert_eq!(found.next(), None);
        value.clone()
    }

    #[test]
    fn the_environment_replaces_and_extends() {
        let listen = "127.0.0.1:9723".parse().unwrap();
        let own = attributes(listen, None, None).unwrap();
        assert_eq!(of(&own, NAME), "pinscope");
        assert_eq!(of(&own, "os.type"), "linux");
        let given = "service.name=a,deployment.environment.name=b%2Cc, host.name = d";
        let all = attributes(listen, Some(given), None).unwrap();
        assert_eq!(of(&all, NAME), "a");
        assert_eq!(of(&all, "deployment.environment.name"), "b,c");
        assert_eq!(of(&all, "host.name"), "d");
        let all = attributes(listen, Some(given), Some("e")).unwrap();
        assert_eq!(of(&all, NAME), "e");
        assert!(attributes(listen, Some("a=b,c"), None).is_err());
    }

    #[test]
    fn an_instance_is_stable_and_unique() {
        let at = |port: u16| instance("0123", "h", SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(at(1), at(1));
        assert_ne!(at(1), at(2));
        assert_ne!(
            at(1),
            instance("4567", "h", SocketAddr::from(([127, 0, 0, 1], 1)))
        );
        let id: Uuid = at(1).parse().unwrap();
        assert_eq!(id.get_version_num(), 5);
    }

    #[test]
    fn an_error_shows_no_value() {
        for bad in ["secret", "a=b,secret", "=secret", "a=%ffsecret"] {
            let said = format!("{:#}", pairs(bad).unwrap_err());
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
