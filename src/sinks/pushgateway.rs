//! Prometheus Pushgateway: POST, so that what a run does not say stays as it was.

use super::{Push, Refusal, unanswered, with_attempts};
use crate::config::plan::{HttpCredentials, PushgatewayPlan};
use crate::metrics;
use crate::net::http::{Answer, Http, with_basic};
use crate::net::tls::TlsError;
use crate::probe::report::Report;
use crate::probe::surroundings::Surroundings;
use data_encoding::BASE64URL;
use reqwest::RequestBuilder;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// One attempt; the first check of a bcrypt password is slow.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// The label that tells our probes apart.
const PROBE: &str = "probe";
const JOB: &str = "job";

/// A gateway.
#[derive(Debug)]
pub struct Pushgateway {
    plan: PushgatewayPlan,
    http: Http,
    name: String,
}

/// A group in the gateway that nobody pushes to any more, or that keeps ours out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// Its grouping key.
    pub labels: BTreeMap<String, String>,
    /// What is wrong with it. Lower case, no full stop.
    pub reason: String,
    /// Whether it keeps every push of ours out.
    pub keeps_out: bool,
    /// The command that deletes it.
    pub delete: String,
}

/// The answer of `GET /api/v1/metrics`: groups, each with its labels, two flags, and its metrics by name.
#[derive(Deserialize)]
struct Groups {
    data: Vec<BTreeMap<String, serde_json::Value>>,
}

impl Pushgateway {
    /// Not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: PushgatewayPlan) -> Result<Self, TlsError> {
        let http = Http::new(&plan.url, plan.ca_file.as_deref())?;
        let name = format!("pushgateway {}", plan.url.as_str().trim_end_matches('/'));
        Ok(Self { plan, http, name })
    }

    /// See [`super::Sink::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells a finished run.
    pub async fn push(&self, report: &Report, limit: Duration) -> Push {
        let labels = self.labels(&report.probe);
        self.post(
            &labels,
            metrics::encode(&metrics::Gauges::of(report)),
            limit,
        )
        .await
    }

    /// Tells what was found beside the runs, in a group without a probe.
    pub async fn push_surroundings(&self, found: &Surroundings, limit: Duration) -> Push {
        let text = metrics::encode_surroundings(found);
        self.post(&self.shared_labels(), text, limit).await
    }

    /// Tells that a run waits beyond `late_after`.
    pub async fn push_overdue(&self, probe: &str, limit: Duration) -> Push {
        let labels = self.labels(probe);
        self.post(&labels, metrics::encode_overdue(), limit).await
    }

    async fn post(&self, labels: &BTreeMap<String, String>, text: String, limit: Duration) -> Push {
        let url = &self.group(labels);
        let text = &text;
        with_attempts(&self.name, limit, |left| async move {
            let request = self.http.client().post(url.clone());
            let request = self
                .authorised(request)
                .header("content-type", metrics::CONTENT_TYPE)
                .body(text.clone());
            match self.http.send(request, left.min(ATTEMPT_LIMIT)).await {
                Ok(answer) => self.outcome(&answer, left).await,
                Err(fault) => Err(unanswered(&fault)),
            }
        })
        .await
    }

    async fn outcome(&self, answer: &Answer, left: Duration) -> Result<(), Refusal> {
        let said = answer.quote();
        let refusal = |hint: &str, again| Refusal {
            error: format!("HTTP {} {said}", answer.status),
            hint: hint.to_owned(),
            again,
        };
        Err(match answer.status {
            200 | 202 => return taken(answer),
            400 if said.contains("HTTP request to an HTTPS server") => {
                refusal("the gateway speaks TLS: write https:// in `url`", false)
            }
            400 => {
                let delete = self.clashing(left).await;
                let hint = delete.map_or_else(
                    || "`mailprobe check` looks for groups in the gateway whose metrics have other types".to_owned(),
                    |left_over| format!("{}: {}", left_over.reason, left_over.delete),
                );
                refusal(&hint, false)
            }
            401 | 403 => refusal(
                "set `username` and `password`, or `bearer_token`, of this sink",
                false,
            ),
            404 | 405 => refusal(
                "is `url` the gateway's own, with the prefix under which it is served?",
                false,
            ),
            300..=399 => refusal(
                "`url` leads to a redirect, which turns a push into something else: write where it leads",
                false,
            ),
            _ => refusal("is the gateway, or a proxy before it, overloaded?", true),
        })
    }

    async fn clashing(&self, limit: Duration) -> Option<LeftOver> {
        let found = self
            .left_overs(None, limit.min(Duration::from_secs(5)))
            .await
            .ok()?;
        found.into_iter().next()
    }

    /// Groups that keep our pushes out since their metrics have our names and other types, and, where `probes` are
    /// given, those that an old script or a probe that is gone left behind: they stay frozen and alarm for ever.
    ///
    /// # Errors
    /// Why the gateway cannot be asked.
    pub async fn left_overs(
        &self,
        probes: Option<&[&str]>,
        limit: Duration,
    ) -> Result<Vec<LeftOver>, String> {
        let mut url = self.plan.url.clone();
        extend(&mut url, &["api", "v1", "metrics"]);
        let request = self.authorised(self.http.client().get(url));
        let answer = self
            .http
            .send(request, limit)
            .await
            .map_err(|fault| fault.to_string())?;
        if answer.status != 200 {
            return Err(format!("HTTP {} {}", answer.status, answer.quote()));
        }
        let groups: Groups = answer
            .json()
            .ok_or("the answer is not that of a Pushgateway's API")?;
        Ok(groups
            .data
            .iter()
            .filter_map(|group| self.left_over(group, probes))
            .collect())
    }

    fn left_over(
        &self,
        group: &BTreeMap<String, serde_json::Value>,
        probes: Option<&[&str]>,
    ) -> Option<LeftOver> {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(group.get("labels")?.clone()).ok()?;
        let ours: Vec<(&String, &str)> = group
            .iter()
            .filter(|(name, _)| {
                metrics::PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            })
            .map(|(name, family)| {
                (
                    name,
                    family
                        .get("type")
                        .and_then(|kind| kind.as_str())
                        .unwrap_or_default(),
                )
            })
            .collect();
        ours.first()?;
        let probe = labels.get(PROBE).map(String::as_str);
        let is_of_this_sink = probe.is_some_and(|probe| labels == self.labels(probe));
        let clash = ours.iter().find(|(_, kind)| *kind != "GAUGE");
        let reason = match (clash, probe, probes) {
            (Some((name, kind)), _, _) => {
                format!(
                    "`{name}` of this group is {kind}, not GAUGE, which keeps every push of ours out"
                )
            }
            (None, None, Some(_)) => {
                // Without a probe, what is checked beside the runs is ours; the outcome of a run is not.
                let (name, _) = ours
                    .iter()
                    .find(|(name, _)| name.starts_with(metrics::OF_RUNS))?;
                format!(
                    "has `{name}` and no probe: an older script left it, and it alarms for ever"
                )
            }
            (None, Some(probe), Some(probes)) if is_of_this_sink && !probes.contains(&probe) => {
                format!("is of probe `{probe}`, which the config does not have")
            }
            _ => return None,
        };
        let delete = format!("curl -X DELETE '{}'", self.group(&labels));
        let keeps_out = clash.is_some();
        Some(LeftOver {
            labels,
            reason,
            keeps_out,
            delete,
        })
    }

    /// The grouping key of a probe's runs.
    fn labels(&self, probe: &str) -> BTreeMap<String, String> {
        let mut labels = self.shared_labels();
        labels.insert(PROBE.to_owned(), probe.to_owned());
        labels
    }

    /// The grouping key of what is checked beside the runs.
    fn shared_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.plan.labels.clone();
        labels.insert(JOB.to_owned(), self.plan.job.clone());
        labels
    }

    /// The URL of a group: `job` first, then the others.
    fn group(&self, labels: &BTreeMap<String, String>) -> Url {
        let mut url = self.plan.url.clone();
        let job = labels.get_key_value(JOB);
        let others = labels.iter().filter(|(name, _)| *name != JOB);
        let mut segments = vec!["metrics".to_owned()];
        for (name, value) in job.into_iter().chain(others) {
            // A slash would be taken for the end of the value even when it is escaped, and nothing for a doubled one.
            if value.is_empty() || value.contains('/') {
                let encoded = BASE64URL.encode(value.as_bytes());
                segments.push(format!("{name}@base64"));
                segments.push(if encoded.is_empty() {
                    "=".to_owned()
                } else {
                    encoded
                });
            } else {
                segments.extend([name.clone(), value.clone()]);
            }
        }
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        extend(&mut url, &segments);
        url
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.plan.credentials {
            Some(HttpCredentials::Basic { username, password }) => {
                with_basic(request, username, &password.value)
            }
            Some(HttpCredentials::Bearer(token)) => request.bearer_auth(token.value.expose()),
            None => request,
        }
    }
}

/// A Pushgateway says 200, or 202 where it checks nothing, and no more: words beside it are another server's.
fn taken(answer: &Answer) -> Result<(), Refusal> {
    let status = answer.status;
    if !answer.body.trim_ascii().is_empty() {
        return Err(Refusal {
            error: format!(
                "HTTP {status} with a page instead of the empty answer of a Pushgateway: {}",
                answer.quote()
            ),
            hint: "does `url` lead to the gateway? a log-in page, a proxy or another web server answers there".to_owned(),
            again: false,
        });
    }
    match &answer.cut {
        None => Ok(()),
        Some(cut) => Err(Refusal {
            error: format!("HTTP {status}, and the end of the answer is missing: {cut}"),
            hint: "is it overloaded, or is something in between?".to_owned(),
            again: true,
        }),
    }
}

fn extend(url: &mut Url, segments: &[&str]) {
    // Fails only for URLs without a host, which the config does not let through.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
}
