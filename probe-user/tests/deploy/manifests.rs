//! The manifests without a chart.

use crate::support::{accepted, arguments, check_config, container, kind, text, validate, yaml};

#[test]
fn the_manifests_are_valid() {
    let daemonset = text("deploy/kubernetes/daemonset.yaml");
    validate(&daemonset, "daemonset.yaml");
    let documents = yaml(&daemonset);
    let daemonset = kind(&documents, "DaemonSet");
    accepted(
        &check_config(&arguments(daemonset, None), &[]),
        "daemonset.yaml",
    );
    let container = container(daemonset);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert!(container[probe]["httpGet"].is_object(), "{probe}");
    }
    let class = &daemonset["spec"]["template"]["spec"]["priorityClassName"];
    assert_eq!(class, "system-node-critical");
    let monitor = yaml(&text("deploy/kubernetes/podmonitor.yaml"));
    let monitor = kind(&monitor, "PodMonitor");
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"],
        daemonset["spec"]["selector"]["matchLabels"]
    );
}
