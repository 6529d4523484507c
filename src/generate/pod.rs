//! The pod that the program runs in, with the least that it needs.

use super::kubernetes::{NAME, Workload};
use super::mounts::Mounts;
use super::resources::Resources;
use super::yaml::{Node, map, owned, texts};
use crate::config::plan::Plan;

/// The port of HTTP, as Service and ServiceMonitor know it.
pub(super) const PORT: &str = "http";

/// `spec` of a pod that runs this image.
pub(super) fn pod(plan: &Plan, mounts: &Mounts<'_>, workload: Workload, image: &str) -> Node {
    let (mut volume_mounts, mut volumes) = mounts.volumes();
    if let (Workload::Deployment, Some(directory)) = (workload, &plan.serve.state_dir) {
        volume_mounts.push(map([
            ("name", "state".into()),
            ("mountPath", directory.to_string_lossy().as_ref().into()),
        ]));
        volumes.push(map([
            ("name", "state".into()),
            ("emptyDir", Node::Map(Vec::new())),
        ]));
    }
    let mut spec = vec![
        ("serviceAccountName", NAME.into()),
        ("automountServiceAccountToken", false.into()),
        ("enableServiceLinks", false.into()),
    ];
    if workload == Workload::CronJob {
        spec.push(("restartPolicy", "Never".into()));
    }
    spec.extend([
        ("terminationGracePeriodSeconds", 45.into()),
        (
            "securityContext",
            map([
                ("runAsNonRoot", true.into()),
                ("runAsUser", 65_532.into()),
                ("runAsGroup", 65_532.into()),
                ("fsGroup", 65_532.into()),
                ("seccompProfile", map([("type", "RuntimeDefault".into())])),
            ]),
        ),
        (
            // One question for a name that has dots, not one for each search domain before it.
            "dnsConfig",
            map([(
                "options",
                vec![map([("name", "ndots".into()), ("value", "2".into())])].into(),
            )]),
        ),
        (
            "containers",
            vec![container(plan, mounts, volume_mounts, workload, image)].into(),
        ),
        ("volumes", volumes.into()),
    ]);
    owned(spec)
}

fn container(
    plan: &Plan,
    mounts: &Mounts<'_>,
    volume_mounts: Vec<Node>,
    workload: Workload,
    image: &str,
) -> Node {
    let arguments: &[&str] = match workload {
        Workload::CronJob => &[
            "run",
            "--push",
            "--exit-zero-when-reported",
            "--log-format",
            "json",
        ],
        Workload::Deployment => &["serve", "--log-format", "json"],
    };
    let mut spec = vec![
        ("name", NAME.into()),
        ("image", image.into()),
        ("args", texts(arguments.iter().copied())),
    ];
    let variables = mounts.variables();
    if !variables.is_empty() {
        spec.push(("env", variables.into()));
    }
    if workload == Workload::Deployment {
        let port = map([
            ("name", PORT.into()),
            ("containerPort", i64::from(plan.serve.listen.port()).into()),
        ]);
        spec.push(("ports", vec![port].into()));
        spec.extend(health());
    }
    spec.extend([
        (
            "securityContext",
            map([
                ("allowPrivilegeEscalation", false.into()),
                ("readOnlyRootFilesystem", true.into()),
                ("capabilities", map([("drop", texts(["ALL"]))])),
            ]),
        ),
        ("resources", resources(plan)),
        ("volumeMounts", volume_mounts.into()),
    ]);
    owned(spec)
}

/// How the cluster asks `serve` whether it has started, is ready and lives.
fn health() -> [(&'static str, Node); 3] {
    let get = |path: &str| map([("path", path.into()), ("port", PORT.into())]);
    [
        (
            "startupProbe",
            map([
                ("httpGet", get("/healthz")),
                ("failureThreshold", 30.into()),
                ("periodSeconds", 1.into()),
            ]),
        ),
        (
            "readinessProbe",
            map([
                ("httpGet", get("/readyz")),
                ("periodSeconds", 10.into()),
                ("timeoutSeconds", 5.into()),
            ]),
        ),
        (
            "livenessProbe",
            map([
                ("httpGet", get("/healthz")),
                ("periodSeconds", 30.into()),
                ("timeoutSeconds", 5.into()),
            ]),
        ),
    ]
}

fn resources(plan: &Plan) -> Node {
    let Resources {
        processor,
        memory,
        memory_limit,
    } = Resources::of(plan.probes.len());
    map([
        (
            "requests",
            map([
                ("cpu", processor.as_str().into()),
                ("memory", memory.as_str().into()),
            ]),
        ),
        ("limits", map([("memory", memory_limit.as_str().into())])),
    ])
}
