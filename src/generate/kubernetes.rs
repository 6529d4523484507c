//! Manifests for Kubernetes: a CronJob that runs every probe, with the least that it needs.

use super::network::Ports;
use super::resources::Resources;
use super::timing::OVERRUN;
use super::yaml::{Node, map, texts};
use crate::config::plan::{Plan, SecretSource};
use std::path::Path;
use std::time::Duration;

const NAME: &str = "mailprobe";
const IMAGE: &str = "mailprobe:latest";
/// Where the config is mounted.
const CONFIG: &str = "/etc/mailprobe/mailprobe.toml";
/// What the cluster may take until the program runs, and until it is gone: image, scheduling, the last push.
const CLUSTER_SLACK: Duration = Duration::from_secs(90);

/// Why there are no manifests.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A CronJob has one schedule.
    #[error(
        "error: {path}: the probes have several schedules ({schedules}), and a CronJob has one\nhint: give them one, or run `mailprobe serve` as a Deployment: deploy/kubernetes/overlays/serve"
    )]
    Schedules {
        /// The config.
        path: String,
        /// What there is.
        schedules: String,
    },
    /// The config goes into a ConfigMap, which is no place for secrets.
    #[error(
        "error: {0}: a secret stands in the file, and would stand in the ConfigMap\nhint: write {{ env = \"NAME\" }}, and put it into the Secret `mailprobe`"
    )]
    LiteralSecret(String),
}

/// All objects as one stream of documents. `config` is the text of the config.
///
/// # Errors
/// A config that does not fit into one CronJob.
pub fn kubernetes(plan: &Plan, config: &str) -> Result<String, ManifestError> {
    let path = plan.source.display().to_string();
    if plan.secrets.contains(&SecretSource::Literal) {
        return Err(ManifestError::LiteralSecret(path));
    }
    let mut schedules: Vec<String> = plan
        .probes
        .iter()
        .map(|probe| probe.schedule.to_string())
        .collect();
    schedules.sort();
    schedules.dedup();
    let [schedule] = schedules.as_slice() else {
        return Err(ManifestError::Schedules {
            path,
            schedules: schedules.join(", "),
        });
    };
    // `*/20 * * * * (UTC)`, as schedules are displayed.
    let (crontab, zone) = schedule.split_once(" (").unwrap_or((schedule, "UTC)"));
    let objects = [
        service_account(),
        config_map(config),
        cron_job(plan, crontab, zone.trim_end_matches(')')),
        network_policy(plan),
    ];
    let documents: Vec<String> = objects.iter().map(Node::to_yaml).collect();
    Ok(documents.join("---\n"))
}

fn labels() -> Node {
    map([("app.kubernetes.io/name", NAME.into())])
}

fn metadata() -> Node {
    map([("name", NAME.into()), ("labels", labels())])
}

fn object(version: &str, kind: &str, rest: Vec<(String, Node)>) -> Node {
    let mut pairs = vec![
        ("apiVersion".to_owned(), version.into()),
        ("kind".to_owned(), kind.into()),
        ("metadata".to_owned(), metadata()),
    ];
    pairs.extend(rest);
    Node::Map(pairs)
}

fn service_account() -> Node {
    let no_token = ("automountServiceAccountToken".to_owned(), false.into());
    object("v1", "ServiceAccount", vec![no_token])
}

fn config_map(config: &str) -> Node {
    let data = map([("mailprobe.toml", config.into())]);
    object("v1", "ConfigMap", vec![("data".to_owned(), data)])
}

fn cron_job(plan: &Plan, schedule: &str, zone: &str) -> Node {
    let longest = plan.probes.iter().map(|probe| probe.timeout).max();
    let deadline = longest.unwrap_or_default() + OVERRUN + CLUSTER_SLACK;
    let job = map([
        ("backoffLimit", 0.into()),
        ("activeDeadlineSeconds", seconds(deadline)),
        ("ttlSecondsAfterFinished", 86_400.into()),
        (
            "template",
            map([
                ("metadata", map([("labels", labels())])),
                ("spec", pod(plan)),
            ]),
        ),
    ]);
    let spec = map([
        ("schedule", schedule.into()),
        ("timeZone", zone.into()),
        ("concurrencyPolicy", "Forbid".into()),
        // Later than this the run belongs to the next.
        ("startingDeadlineSeconds", 120.into()),
        ("successfulJobsHistoryLimit", 1.into()),
        ("failedJobsHistoryLimit", 3.into()),
        ("jobTemplate", map([("spec", job)])),
    ]);
    object("batch/v1", "CronJob", vec![("spec".to_owned(), spec)])
}

fn seconds(duration: Duration) -> Node {
    Node::Number(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

fn pod(plan: &Plan) -> Node {
    let (mounts, volumes) = files(plan);
    let variables: Vec<Node> = plan
        .secrets
        .iter()
        .filter_map(|source| match source {
            SecretSource::Variable(name) => Some(name),
            SecretSource::File(_) | SecretSource::Literal => None,
        })
        .map(|name| {
            let key = map([("name", NAME.into()), ("key", name.as_str().into())]);
            map([
                ("name", name.as_str().into()),
                ("valueFrom", map([("secretKeyRef", key)])),
            ])
        })
        .collect();
    let container = map([
        ("name", NAME.into()),
        ("image", IMAGE.into()),
        (
            "args",
            texts([
                "run",
                "--push",
                "--exit-zero-when-reported",
                "--log-format",
                "json",
            ]),
        ),
        ("env", variables.into()),
        (
            "securityContext",
            map([
                ("allowPrivilegeEscalation", false.into()),
                ("readOnlyRootFilesystem", true.into()),
                ("capabilities", map([("drop", texts(["ALL"]))])),
            ]),
        ),
        ("resources", resources(plan)),
        ("volumeMounts", mounts.into()),
    ]);
    map([
        ("serviceAccountName", NAME.into()),
        ("automountServiceAccountToken", false.into()),
        ("enableServiceLinks", false.into()),
        ("restartPolicy", "Never".into()),
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
        ("containers", vec![container].into()),
        ("volumes", volumes.into()),
    ])
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

/// The config, secrets that are files, and what else the config names.
fn files(plan: &Plan) -> (Vec<Node>, Vec<Node>) {
    let mount = |volume: &str, path: &str, key: &str| {
        map([
            ("name", volume.into()),
            ("mountPath", path.into()),
            ("subPath", key.into()),
            ("readOnly", true.into()),
        ])
    };
    let key = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let mut mounts = vec![mount("config", CONFIG, "mailprobe.toml")];
    let mut volumes = vec![map([
        ("name", "config".into()),
        ("configMap", map([("name", NAME.into())])),
    ])];
    let secrets: Vec<&Path> = plan
        .secrets
        .iter()
        .filter_map(|source| match source {
            SecretSource::File(path) => Some(path.as_path()),
            SecretSource::Variable(_) | SecretSource::Literal => None,
        })
        .collect();
    for path in &secrets {
        mounts.push(mount("secrets", &path.to_string_lossy(), &key(path)));
    }
    if !secrets.is_empty() {
        volumes.push(map([
            ("name", "secrets".into()),
            ("secret", map([("secretName", NAME.into())])),
        ]));
    }
    for path in &plan.files {
        mounts.push(mount("files", &path.to_string_lossy(), &key(path)));
    }
    if !plan.files.is_empty() {
        volumes.push(map([
            ("name", "files".into()),
            ("configMap", map([("name", "mailprobe-files".into())])),
        ]));
    }
    (mounts, volumes)
}

/// Nothing in; out to the ports that the config names, and to the DNS.
fn network_policy(plan: &Plan) -> Node {
    let port = |protocol: &str, port: u16| {
        map([
            ("protocol", protocol.into()),
            ("port", i64::from(port).into()),
        ])
    };
    let Ports { dns, tcp } = Ports::of(plan);
    let udp = dns.iter().map(|one| port("UDP", *one));
    let tcp = dns.union(&tcp).map(|one| port("TCP", *one));
    let ports: Vec<Node> = udp.chain(tcp).collect();
    let spec = map([
        ("podSelector", map([("matchLabels", labels())])),
        ("policyTypes", texts(["Ingress", "Egress"])),
        ("ingress", Node::List(Vec::new())),
        ("egress", vec![map([("ports", ports.into())])].into()),
    ]);
    object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        vec![("spec".to_owned(), spec)],
    )
}
