//! JSON for programs, checked against the schemas.

use pinscope::{
    model::{Capture, Interval},
    render::{
        self,
        json::{self, ReadError, lines},
    },
    snapshot::{HookState, HookStatus, Snapshot},
};
use probe_ebpf::Hook;
use serde_json::Value;

use crate::{fixtures as f, texts::doctor_report};

fn schema(text: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn capture_schema() -> jsonschema::Validator {
    schema(include_str!("../../schema/pinscope.capture-1.schema.json"))
}

fn all() -> Vec<Snapshot> {
    let mut blind = f::busy();
    f::without(
        &mut blind,
        Hook::Unmap,
        HookState::Failed,
        "attaching failed: EPERM",
    );
    vec![
        f::busy(),
        f::quiet(),
        f::missing_hooks(),
        f::nothing(),
        f::many_victims(),
        blind,
    ]
}

fn check(validator: &jsonschema::Validator, value: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn captures_meet_their_schema() {
    let validator = capture_schema();
    for snapshot in all() {
        for events in [vec![], vec![f::event()]] {
            let c = Capture::between(&f::host(), f::window(), None, &snapshot, &events);
            let mut out = Vec::new();
            json::write(&mut out, &c).unwrap();
            check(&validator, &serde_json::from_slice(&out).unwrap());
            let mut out = Vec::new();
            let lacking = c.lacking(3, Some("it was cut off after sample 2"));
            json::write(&mut out, &lacking).unwrap();
            check(&validator, &serde_json::from_slice(&out).unwrap());
        }
    }
}

#[test]
fn events_that_were_left_out_are_counted_in_the_report() {
    let of = |omitted| {
        Capture::between(&f::host(), f::window(), None, &f::busy(), &[f::event()])
            .lacking(omitted, None)
    };
    assert_eq!(
        of(0),
        Capture::between(&f::host(), f::window(), None, &f::busy(), &[f::event()])
    );
    let capture = of(1234);
    let text = render::text::report::report(&capture, &render::text::Style::default());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("The list of events has the newest 1; 1,234 before them were left out."),
        "{text}"
    );
}

/// Earlier versions listed hooks that they only planned.
#[test]
fn planned_hooks_of_earlier_versions_are_dropped() {
    let planned = |name: &str, reason: &str| HookStatus {
        name: name.to_owned(),
        symbol: "handle_mm_fault".to_owned(),
        attach: None,
        state: HookState::Disabled,
        reason: Some(reason.to_owned()),
        hits: None,
        missed: None,
    };
    let mut snapshot = f::busy();
    let own = snapshot.hooks.clone();
    snapshot.hooks.extend([
        planned("migration", "this version measures reclaim"),
        planned("try_to_migrate", "this version watches reclaim only"),
        planned("refault", "this version does not follow refaults"),
    ]);
    // A later version may have such a hook, turned off by its user.
    snapshot
        .hooks
        .push(planned("refault", "turned off by --hook"));
    let last = snapshot.hooks.last().cloned();
    let c = Capture::between(&f::host(), f::window(), None, &snapshot, &[]);
    let mut out = Vec::new();
    json::write(&mut out, &c).unwrap();
    let again = json::read(std::str::from_utf8(&out).unwrap()).unwrap();
    let expected: Vec<_> = own.into_iter().chain(last).collect();
    assert_eq!(again.hooks, expected);
}

#[test]
fn the_schema_is_strict() {
    let validator = capture_schema();
    let good = serde_json::to_value(f::capture(&f::busy())).unwrap();
    let bad = |path: &str, value: Value| {
        let mut json = good.clone();
        *json.pointer_mut(path).unwrap() = value;
        assert!(!validator.is_valid(&json), "{path}");
    };
    bad("/schema", "pinscope.capture/2".into());
    bad("/window/seconds", "30".into());
    bad("/hooks/0/state", "working".into());
    bad("/unmaps/by_verdict/freed/folios", (-1).into());
    bad("/victims/0/pid", "212".into());
    bad(
        "/groups/0/by_verdict",
        serde_json::json!({ "lucky": { "folios": 1, "pages": 1 } }),
    );
    bad(
        "/histograms/unmap_seconds/buckets/0",
        serde_json::json!([1]),
    );
    bad("/findings/0/severity", "fatal".into());
    let required = good.as_object().unwrap().keys().filter(|k| {
        ![
            "answer",
            "in_flight",
            "subscribers",
            "not_measured",
            "weaker",
            "accuracy",
        ]
        .contains(&k.as_str())
    });
    for key in required {
        let mut json = good.clone();
        json.as_object_mut().unwrap().remove(key);
        assert!(!validator.is_valid(&json), "{key}");
    }
    let mut more = good.clone();
    more["ours"] = 1.into();
    check(&validator, &more);
}

#[test]
fn doctor_meets_its_schema() {
    let validator = schema(include_str!("../../schema/pinscope.doctor-1.schema.json"));
    let mut out = Vec::new();
    json::write_doctor(&mut out, &doctor_report()).unwrap();
    let mut value = serde_json::from_slice(&out).unwrap();
    check(&validator, &value);
    value["checks"][0]["ok"] = "yes".into();
    assert!(!validator.is_valid(&value));
}

#[test]
fn lines_have_their_type() {
    let snapshot = f::busy();
    let c = f::capture(&snapshot);
    let mut out = Vec::new();
    lines::start(&mut out, &c.host, &c.window, &c.hooks).unwrap();
    lines::interval(&mut out, &Interval::new(None, None, &snapshot)).unwrap();
    lines::event(&mut out, &f::event()).unwrap();
    lines::report(&mut out, &c).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let types: Vec<&str> = lines.iter().map(|l| l["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["start", "interval", "event", "report"]);
    assert_eq!(lines[0]["window"]["start"], "2026-08-01T12:00:00.000Z");
    assert_eq!(lines[1]["rates"]["futile"], 52.8);
    assert_eq!(lines[1]["totals"]["unmaps"]["total"], 2048);
    assert_eq!(lines[2]["address"], "0x7f1234567000");
    check(&capture_schema(), &lines[3]);
    assert_eq!(json::read(&text).unwrap(), c);
    let cut = text.lines().take(3).collect::<Vec<_>>().join("\n");
    assert!(matches!(json::read(&cut), Err(ReadError::NoReport)));
    assert!(matches!(
        json::read(lines[0].to_string().as_str()),
        Err(ReadError::NoReport)
    ));
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(json::read(""), Err(ReadError::Json(_))));
    assert!(matches!(json::read("{}"), Err(ReadError::Schema { .. })));
    let other = json::read(r#"{"schema": "pinscope.doctor/1"}"#).unwrap_err();
    assert!(other.to_string().contains("pinscope.doctor/1"), "{other}");
    assert!(matches!(
        json::read(r#"{"schema": "pinscope.capture/1"}"#),
        Err(ReadError::Json(_))
    ));
}
