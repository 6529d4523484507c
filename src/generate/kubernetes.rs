//! Manifests for Kubernetes: a CronJob that runs every probe, or the scheduler as a Deployment, with the least that it needs.

use super::mounts::Mounts;
use super::network::Ports;
use super::pod::{PORT, pod};
use super::timing::OVERRUN;
use super::yaml::{Node, map, owned, texts};
use crate::config::plan::{Plan, SecretSource};
use crate::probe::schedule::Schedule;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Of every object, the Secret and the ConfigMap of the config among them.
pub(super) const NAME: &str = "mailprobe";
/// What the cluster may take until the program runs, and until it is gone: image, scheduling, the last push.
const CLUSTER_SLACK: Duration = Duration::from_secs(90);

/// Of `state_dir`, for who reads the manifests.
const HISTORY: &str =
    "# The history lies in an emptyDir, which goes with its pod; a claim in its place keeps it.\n";

/// What runs the probes in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// `mailprobe run` on the schedule of the config.
    CronJob,
    /// `mailprobe serve`, the scheduler.
    Deployment,
}

/// Why there are no manifests.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A CronJob has one schedule.
    #[error(
        "error: {path}: the probes have several schedules ({schedules}), and a CronJob has one\nhint: give them one, or have `mailprobe serve` run them: `mailprobe generate kubernetes --serve`"
    )]
    Schedules {
        /// The config.
        path: String,
        /// What there is.
        schedules: String,
    },
    /// Kubernetes reads these day fields otherwise.
    #[error(
        "error: {path}: `schedule = \"{schedule}\"` asks for days of the month that are also such weekdays, and a CronJob would run on either\nhint: make one of the two fields `*`, or have `mailprobe serve` run the probes: `mailprobe generate kubernetes --serve`"
    )]
    BothDays {
        /// The config.
        path: String,
        /// Its crontab.
        schedule: String,
    },
    /// The config goes into a ConfigMap, which is no place for secrets.
    #[error(
        "error: {0}: a secret stands in the file, and would stand in the ConfigMap\nhint: write {{ env = \"NAME\" }}, and put it into the Secret `mailprobe`"
    )]
    LiteralSecret(String),
    /// What a relative path leads to depends on where the program was started, and a mount needs a directory of its own.
    #[error(
        "error: {path}: paths at which nothing can be mounted in a pod: {unmountable}\nhint: write the whole path that the file shall have in the pod, such as `/run/secrets/imap/password`: in a directory below `/etc` or `/run`, not in these themselves, and apart from `state_dir`"
    )]
    Unmountable {
        /// The config.
        path: String,
        /// The paths.
        unmountable: String,
    },
    /// `serve` on a loopback address.
    #[error(
        "error: {path}: [serve] listens on {listen}, which nobody outside of the pod reaches, neither Prometheus nor the cluster's probes\nhint: [serve] listen = \"0.0.0.0:9797\", and token = {{ env = \"MAILPROBE_API_TOKEN\" }} for who may act on it"
    )]
    Loopback {
        /// The config.
        path: String,
        /// The address.
        listen: SocketAddr,
    },
}

/// All objects as one stream of documents, with a comment that says what they need besides. `config` is the text of the
/// config, and `image` what the pods run, as the cluster pulls it.
///
/// # Errors
/// A config that does not fit into a cluster, or into one CronJob.
pub fn kubernetes(
    plan: &Plan,
    config: &str,
    workload: Workload,
    image: &str,
) -> Result<String, ManifestError> {
    let path = plan.source.display().to_string();
    if plan.secrets.contains(&SecretSource::Literal) {
        return Err(ManifestError::LiteralSecret(path));
    }
    let mounts = Mounts::of(plan);
    let state = plan.serve.state_dir.as_deref();
    let state = state.filter(|_| workload == Workload::Deployment);
    let mut unmountable = mounts.unmountable();
    // The history is written, and what is mounted for files can only be read.
    let is_read_only = |state: &Path| {
        mounts
            .directories()
            .iter()
            .any(|one| state.starts_with(one))
    };
    unmountable.extend(state.filter(|state| !state.is_absolute() || is_read_only(state)));
    if !unmountable.is_empty() {
        let unmountable: Vec<String> = unmountable
            .iter()
            .map(|path| format!("`{}`", path.to_string_lossy().escape_debug()))
            .collect();
        let unmountable = unmountable.join(", ");
        return Err(ManifestError::Unmountable { path, unmountable });
    }
    let mut objects = vec![service_account(), config_map(config)];
    let mut comment = mounts.comment();
    match workload {
        Workload::CronJob => objects.push(cron_job(plan, &mounts, image)?),
        Workload::Deployment => {
            let listen = plan.serve.listen;
            if listen.ip().is_loopback() {
                return Err(ManifestError::Loopback { path, listen });
            }
            objects.push(deployment(plan, &mounts, config, image));
            objects.extend([service(listen.port()), disruption_budget()]);
            if state.is_some() {
                comment.push_str(HISTORY);
            }
        }
    }
    objects.push(network_policy(plan, workload));
    let documents: Vec<String> = objects.iter().map(Node::to_yaml).collect();
    Ok(comment + &documents.join("---\n"))
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

/// The one schedule of all probes.
fn schedule(plan: &Plan) -> Result<&Schedule, ManifestError> {
    let mut schedules: Vec<&Schedule> = plan.probes.iter().map(|probe| &probe.schedule).collect();
    schedules.sort_by_key(ToString::to_string);
    schedules.dedup();
    let [schedule] = schedules.as_slice() else {
        let schedules: Vec<String> = schedules.iter().map(ToString::to_string).collect();
        return Err(ManifestError::Schedules {
            path: plan.source.display().to_string(),
            schedules: schedules.join(", "),
        });
    };
    Ok(schedule)
}

fn cron_job(plan: &Plan, mounts: &Mounts<'_>, image: &str) -> Result<Node, ManifestError> {
    let schedule = schedule(plan)?;
    let crontab = schedule.robfig().ok_or_else(|| ManifestError::BothDays {
        path: plan.source.display().to_string(),
        schedule: schedule.crontab().to_owned(),
    })?;
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
                ("spec", pod(plan, mounts, Workload::CronJob, image)),
            ]),
        ),
    ]);
    let spec = map([
        ("schedule", crontab.into()),
        ("timeZone", schedule.zone().name().into()),
        ("concurrencyPolicy", "Forbid".into()),
        // Later than this the run belongs to the next.
        ("startingDeadlineSeconds", 120.into()),
        ("successfulJobsHistoryLimit", 1.into()),
        ("failedJobsHistoryLimit", 3.into()),
        ("jobTemplate", map([("spec", job)])),
    ]);
    let spec = vec![("spec".to_owned(), spec)];
    Ok(object("batch/v1", "CronJob", spec))
}

fn deployment(plan: &Plan, mounts: &Mounts<'_>, config: &str, image: &str) -> Node {
    // The pod reads its config when it starts: another config makes another pod.
    let hash = HEXLOWER.encode(digest(&SHA256, config.as_bytes()).as_ref());
    let metadata = map([
        ("labels", labels()),
        ("annotations", map([("checksum/config", hash.into())])),
    ]);
    let template = map([
        ("metadata", metadata),
        ("spec", pod(plan, mounts, Workload::Deployment, image)),
    ]);
    let spec = map([
        // Two of them would send everything twice.
        ("replicas", 1.into()),
        ("strategy", map([("type", "Recreate".into())])),
        ("selector", map([("matchLabels", labels())])),
        ("template", template),
    ]);
    object("apps/v1", "Deployment", vec![("spec".to_owned(), spec)])
}

fn service(port: u16) -> Node {
    let port = map([
        ("name", PORT.into()),
        ("port", i64::from(port).into()),
        ("targetPort", PORT.into()),
    ]);
    let spec = map([("selector", labels()), ("ports", vec![port].into())]);
    object("v1", "Service", vec![("spec".to_owned(), spec)])
}

/// One pod, and it may move: an interrupted run pages nobody.
fn disruption_budget() -> Node {
    let spec = map([
        ("maxUnavailable", 1.into()),
        ("selector", map([("matchLabels", labels())])),
    ]);
    let spec = vec![("spec".to_owned(), spec)];
    object("policy/v1", "PodDisruptionBudget", spec)
}

fn seconds(duration: Duration) -> Node {
    Node::Number(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// In to the port of `serve` alone; out to the ports that the config names, and to the DNS.
fn network_policy(plan: &Plan, workload: Workload) -> Node {
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
    let mut spec = vec![
        ("podSelector", map([("matchLabels", labels())])),
        ("policyTypes", texts(["Ingress", "Egress"])),
    ];
    // Named above and not here, nothing comes in. An empty list would say the same, but the API server drops it, which
    // Terraform takes for a fault.
    if workload == Workload::Deployment {
        let http = vec![port("TCP", plan.serve.listen.port())];
        spec.push(("ingress", vec![map([("ports", http.into())])].into()));
    }
    spec.push(("egress", vec![map([("ports", ports.into())])].into()));
    object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        vec![("spec".to_owned(), owned(spec))],
    )
}
