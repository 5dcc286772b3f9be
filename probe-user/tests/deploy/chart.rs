//! The Helm chart: every rendering is valid for Kubernetes and for the binary, and the schema refuses
//! what the binary refuses.

use std::path::Path;

use probe_ebpf::{Hook, hooks::Target};
use serde_json::{Value, json};

use crate::support::{
    accepted, arguments, check_config, container, helm, kind, path, text, validate, yaml,
};

const CHART: &str = "deploy/helm/pinscope";

/// Renders the chart, or returns what Helm says about values that it refuses.
fn render(arguments: &[&str]) -> Option<Result<String, String>> {
    let output = helm()?
        .args(["template", "pinscope"])
        .arg(path(CHART))
        .args(["--namespace", "pinscope"])
        .args(arguments)
        .output()
        .unwrap();
    Some(if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    })
}

/// Makes a directory like the secret of a web configuration, under the key that the rendering names.
fn secret(values: &Value) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let web = &values["webConfig"];
    let mut config = String::from(
        "basic_auth_users:\n  prometheus: $2y$05$fcu4R2cLFNU2e6o96OV1huxjx8xFbqZ8Yy0CZMHHzcXGPr3YlNJ7i\n",
    );
    if web["tls"] != false {
        let names = vec!["pinscope".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(home.path().join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(
            home.path().join("tls.key"),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
        config.push_str("tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n");
        if web["clientCertificates"] == true {
            config.push_str(
                "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: tls.crt\n",
            );
        }
    }
    let key = web["key"].as_str().unwrap_or("web.yml");
    std::fs::write(home.path().join(key), config).unwrap();
    home
}

#[test]
fn the_chart_passes_its_lint() {
    for file in values_files() {
        let Some(mut helm) = helm() else { return };
        let output = helm
            .args(["lint", "--strict"])
            .arg(path(CHART))
            .arg("--values")
            .arg(&file)
            .output()
            .unwrap();
        accepted(&output, &file);
    }
}

/// Returns the files of values that the chart is tried with.
fn values_files() -> Vec<String> {
    let entries = std::fs::read_dir(path(CHART).join("ci")).unwrap();
    let mut files: Vec<String> = entries
        .map(|e| e.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

#[test]
fn every_rendering_is_valid() {
    for file in values_files() {
        let Some(rendered) = render(&["--values", &file]) else {
            return;
        };
        let rendered = rendered.unwrap_or_else(|e| panic!("{file}: {e}"));
        validate(&rendered, &file);
        let documents = yaml(&rendered);
        let values = yaml(&std::fs::read_to_string(&file).unwrap()).remove(0);
        let daemonset = kind(&documents, "DaemonSet");
        let secret = secret(&values);
        let arguments = arguments(daemonset, Some(secret.path()));
        accepted(&check_config(&arguments, &[]), &file);
        let has = |kind: &str| documents.iter().any(|d| d["kind"] == kind);
        let scheme = schemes(daemonset, &values, &file);
        if has("PodMonitor") {
            let endpoint = &kind(&documents, "PodMonitor")["spec"]["podMetricsEndpoints"][0];
            assert_eq!(endpoint["scheme"], scheme, "{file}");
        }
        if has("PrometheusRule") {
            let groups = &kind(&documents, "PrometheusRule")["spec"]["groups"];
            let of = |name: &str| {
                let text = text(&format!("deploy/prometheus/{name}.rules.yml"));
                yaml(&text)[0]["groups"].as_array().unwrap().clone()
            };
            let shipped = [of("recording"), of("alerts")].concat();
            assert_eq!(groups, &Value::from(shipped), "{file}");
        }
        if has("ConfigMap") {
            let map = kind(&documents, "ConfigMap");
            assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
            let text_of = |v: &Value| serde_json::from_str::<Value>(v.as_str().unwrap()).unwrap();
            assert_eq!(
                text_of(&map["data"]["pinscope.json"]),
                serde_json::from_str::<Value>(&text("deploy/grafana/pinscope.json")).unwrap()
            );
        }
    }
}

/// Checks the probes, and returns the scheme that everything must use.
fn schemes(daemonset: &Value, values: &Value, file: &str) -> &'static str {
    let web = &values["webConfig"];
    let tls = web["existingSecret"].is_string() && web["tls"] != false;
    let scheme = if tls { "https" } else { "http" };
    let container = container(daemonset);
    for (probe, page) in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        if web["clientCertificates"] == true {
            assert!(container[probe]["tcpSocket"].is_object(), "{file}");
        } else {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["path"], page, "{file}");
            assert_eq!(get["scheme"], scheme.to_uppercase(), "{file}");
        }
    }
    scheme
}

#[test]
fn the_default_pod_is_one_that_the_node_keeps() {
    let Some(rendered) = render(&[]) else { return };
    let documents = yaml(&rendered.unwrap());
    let pod = &kind(&documents, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["privileged"], false);
    let words = container["args"].to_string();
    for flag in ["--on-unsupported=serve", "--lock-memory"] {
        assert!(words.contains(flag), "{flag}: {words}");
    }
    assert_eq!(container["resources"]["requests"]["memory"], "128Mi");
}

/// A value of the chart, and the words of the command line that it becomes.
fn cases(values: &[(Value, &str)]) -> Vec<(Value, Vec<String>)> {
    let words = |flags: &str| {
        let export = ["export", "--allow-remote"].map(str::to_owned);
        export
            .into_iter()
            .chain(flags.split(' ').map(str::to_owned))
            .collect()
    };
    values.iter().map(|(v, f)| (v.clone(), words(f))).collect()
}

fn try_values(values: &Value) -> Option<Result<String, String>> {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), values.to_string()).unwrap();
    render(&["--values", file.path().to_str().unwrap()])
}

#[test]
fn the_schema_refuses_what_the_binary_refuses() {
    let refused = cases(&[
        (json!({"cgroups": 201}), "--cgroups=201"),
        (json!({"cgroups": -1}), "--cgroups=-1"),
        (json!({"maxSeries": 99}), "--max-series=99"),
        (json!({"maxSeries": 100_001}), "--max-series=100001"),
        (json!({"interval": "9ms"}), "--interval=9ms"),
        (json!({"interval": "0s"}), "--interval=0s"),
        (json!({"interval": "5"}), "--interval=5"),
        (json!({"interval": "10000h"}), "--interval=10000h"),
        (json!({"interval": "soon"}), "--interval=soon"),
        (
            json!({"listenAddress": "[::]:9723"}),
            "--listen=[[::]:9723]:9723",
        ),
        (
            json!({"listenAddress": "localhost"}),
            "--listen=localhost:9723",
        ),
        (
            json!({"listenAddress": "0.0.0.0:80"}),
            "--listen=0.0.0.0:80:9723",
        ),
        (json!({"port": 65536}), "--listen=0.0.0.0:65536"),
        (json!({"attach": "magic"}), "--attach=magic"),
        (json!({"hooks": {"nothing": "off"}}), "--hook=nothing=off"),
        (
            json!({"hooks": {"notifier_end": ""}}),
            "--hook=notifier_end=",
        ),
        (
            json!({"hooks": {"notifier_end": "a b"}}),
            "--hook=notifier_end=a b",
        ),
        (
            json!({"hooks": {"try_to_unmap": "off"}}),
            "--hook=try_to_unmap=off",
        ),
        (
            json!({"hooks": {"write_folio": "a_symbol"}}),
            "--hook=write_folio=a_symbol",
        ),
        (json!({"onUnsupported": "crash"}), "--on-unsupported=crash"),
        (json!({"logFormat": "xml"}), "--log-format=xml"),
        (json!({"selfCost": "perhaps"}), "--self-cost=perhaps"),
        (json!({"lockMemory": "perhaps"}), "--lock-memory=perhaps"),
    ]);
    for (values, mut words) in refused {
        // One value has a space, which is one word of the command line.
        if let Some(at) = words.iter().position(|w| w == "b") {
            let rest = words.remove(at);
            words[at - 1] = format!("{} {rest}", words[at - 1]);
        }
        let output = check_config(&words, &[]);
        assert_eq!(output.status.code(), Some(2), "{words:?} is valid");
        let Some(rendered) = try_values(&values) else {
            return;
        };
        let said = rendered.expect_err(&values.to_string());
        assert!(said.contains("schema"), "{values}: {said}");
    }
}

#[test]
fn the_schema_refuses_what_cannot_fit_together() {
    for values in [
        json!({"webConfig": {"clientCertificates": true}}),
        json!({"webConfig": {"existingSecret": "a", "tls": false, "clientCertificates": true}}),
        json!({"podMonitor": {"endpoint": {"scheme": "https"}}}),
        json!({"extraEnv": [{"name": "PINSCOPE_CGROUPS", "value": "900"}]}),
        json!({"listenAddress": "127.0.0.1"}),
        json!({"listenAddress": "::1"}),
        json!({"noSuchValue": 1}),
    ] {
        let Some(rendered) = try_values(&values) else {
            return;
        };
        let said = rendered.expect_err(&values.to_string());
        assert!(said.contains("schema"), "{values}: {said}");
    }
}

#[test]
fn the_schema_takes_what_the_binary_takes() {
    for values in [
        json!({"cgroups": 0, "maxSeries": 100, "interval": "10ms"}),
        json!({"cgroups": 200, "maxSeries": 100_000, "interval": "999h"}),
        json!({"interval": "9999999s", "listenAddress": "::"}),
        json!({"interval": "99999m", "listenAddress": "fd00::1", "port": 1}),
        json!({"interval": "999999999ms", "maxSeries": null, "attach": "fentry"}),
        json!({"onUnsupported": "exit", "lockMemory": false, "logFormat": "text"}),
    ] {
        let Some(rendered) = try_values(&values) else {
            return;
        };
        let documents = yaml(&rendered.unwrap_or_else(|e| panic!("{values}: {e}")));
        let words = arguments(kind(&documents, "DaemonSet"), None);
        accepted(&check_config(&words, &[]), &values.to_string());
    }
}

fn schema() -> Value {
    serde_json::from_str(&text("deploy/helm/pinscope/values.schema.json")).unwrap()
}

#[test]
fn the_schema_knows_every_hook() {
    let schema = schema();
    let known = schema["properties"]["hooks"]["properties"]
        .as_object()
        .unwrap();
    for hook in Hook::ALL {
        let entry = hook.entry();
        let expected = match entry.target {
            Target::Tracepoint { .. } => "#/definitions/tracepoint",
            Target::Function { .. } if hook == Hook::Unmap => "#/definitions/required",
            Target::Function { .. } => "#/definitions/hook",
        };
        assert_eq!(known[entry.name]["$ref"], expected, "{}", entry.name);
    }
    assert_eq!(known.len(), Hook::ALL.len());
}

/// Each option of `export` that a file may set has a value in the chart, or a reason why not.
#[test]
fn the_chart_knows_every_option() {
    let output = check_config(&["export".to_owned()], &[]);
    accepted(&output, "the defaults");
    let printed =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    let schema = schema();
    let values = schema["properties"].as_object().unwrap();
    let mut seen = 0;
    for line in printed.lines().filter(|l| l.starts_with("  ")) {
        let Some((key, _)) = line.trim().split_once(" = ") else {
            continue;
        };
        seen += 1;
        // The chart has them in another form: an address without its port, always remote, a secret.
        if ["listen", "allow_remote", "web_config", "hook"].contains(&key) {
            continue;
        }
        // The chart has no collector to push to; extraEnv has OTEL_* variables for one.
        if key.starts_with("otlp") {
            continue;
        }
        let mut camel = String::new();
        for (n, part) in key.split('_').enumerate() {
            let (first, rest) = part.split_at(1);
            camel += &if n == 0 {
                first.to_owned()
            } else {
                first.to_uppercase()
            };
            camel += rest;
        }
        assert!(
            values.contains_key(&camel),
            "the chart has no {camel} for {key}"
        );
    }
    assert!(seen >= 8, "{printed}");
    assert!(Path::new(&path(CHART)).join("values.yaml").is_file());
}
