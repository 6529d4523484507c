//! Every metric name. What is pushed to a gateway stays there until the next push, so what a run does not know is NaN
//! or left out, and never zero.

mod counters;
mod gauges;
mod surroundings;

pub use counters::Counters;
pub use gauges::Gauges;
pub use surroundings::encode_surroundings;

use crate::probe::report::AuthResult;
use crate::probe::surroundings::Surroundings;
use crate::probe::verdict::{CauseCode, Stage, Verdict};
use chrono::{DateTime, Utc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, GaugeVec, Opts, Registry, TextEncoder};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The prefixes of our names, for finding groups in a gateway that hold them.
pub const PREFIXES: [&str; 2] = [OF_RUNS, "mailprobe_"];

/// What the names of an older script's metrics begin with, as ours of a run's outcome do.
pub const OF_RUNS: &str = "email_roundtrip_";

/// How the lines of a push begin that tell most in the least room.
pub const HEADLINES: [&str; 5] = [
    OF_RUNS,
    LAST_DELIVERY.name,
    LAST_DELIVERY_ERROR.name,
    VERDICT.name,
    CAUSE.name,
];

/// The label that tells probes apart.
const PROBE: &str = "probe";

/// The content type of [`encode`] and [`encode_overdue`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The verdict of a run that still waits, in `mailprobe_verdict` alone.
const OVERDUE: &str = "overdue";
/// The cause of a run that has none.
const NO_CAUSE: &str = "none";

/// A metric; rules and dashboards ask for it by its name.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    help: &'static str,
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

pub(crate) const SUCCESS: Metric = Metric {
    name: "email_roundtrip_success",
    help: "1 if the last run counts as success, else 0.",
};
pub(crate) const DURATION: Metric = Metric {
    name: "email_roundtrip_duration_seconds",
    help: "From the start of the send until the message was seen, or until the run gave up.",
};
pub(crate) const LAST_SUCCESS: Metric = Metric {
    name: "email_roundtrip_last_success_timestamp",
    help: "Unix time of the end of the last run that was a success.",
};
pub(crate) const LAST_RUN: Metric = Metric {
    name: "mailprobe_last_run_timestamp_seconds",
    help: "When the last run ended.",
};
pub(crate) const NEXT_RUN: Metric = Metric {
    name: "mailprobe_next_run_timestamp_seconds",
    help: "When the next run is due.",
};
pub(crate) const VERDICT: Metric = Metric {
    name: "mailprobe_verdict",
    help: "1 for the verdict of the last run, 0 for every other one; overdue while a run waits beyond late_after.",
};
pub(crate) const CAUSE: Metric = Metric {
    name: "mailprobe_cause",
    help: "1 for the cause of the last run, none included, 0 for every other one.",
};
pub(crate) const LATE_ARRIVALS: Metric = Metric {
    name: "mailprobe_late_arrivals",
    help: "How many messages of earlier runs have turned up since the run before; NaN if the mailbox could not be searched.",
};
const LATE_ARRIVAL_DELIVERY: Metric = Metric {
    name: "mailprobe_late_arrival_delivery_seconds",
    help: "How long the slowest of them took; NaN if there was none.",
};
pub(crate) const RECIPIENT_UNBLOCKED: Metric = Metric {
    name: "mailprobe_recipient_unblocked",
    help: "1 if the provider's block of the recipient had to be lifted in the last run.",
};
pub(crate) const STAGE_DURATION: Metric = Metric {
    name: "mailprobe_stage_duration_seconds",
    help: "How long each stage of the last run took; NaN for a stage that was not reached.",
};
pub(crate) const QUOTA_REMAINING: Metric = Metric {
    name: "mailprobe_sender_quota_remaining",
    help: "How many more messages the sender will take.",
};
pub(crate) const LAST_ARRIVAL: Metric = Metric {
    name: "mailprobe_last_arrival_timestamp_seconds",
    help: "When a message was last seen; the metrics of arrivals are of that time.",
};
pub(crate) const LAST_DELIVERY: Metric = Metric {
    name: "mailprobe_last_delivery_seconds",
    help: "From acceptance by the sender until the message was seen.",
};
pub(crate) const LAST_DELIVERY_ERROR: Metric = Metric {
    name: "mailprobe_last_delivery_error_seconds",
    help: "How much earlier the message may have been there at most.",
};
pub(crate) const HOPS: Metric = Metric {
    name: "mailprobe_hops",
    help: "How many servers took the last message that was seen on its way.",
};
pub(crate) const HOP_DELAY_MAX: Metric = Metric {
    name: "mailprobe_hop_delay_seconds_max",
    help: "Its longest delay at one hop that no disagreement of clocks explains; NaN if no hop tells its time.",
};
pub(crate) const SPAM_SCORE: Metric = Metric {
    name: "mailprobe_spam_score",
    help: "The points that the spam filter gave it.",
};
pub(crate) const AUTHENTICATION: Metric = Metric {
    name: "mailprobe_authentication",
    help: "1 for the result of each method as our border saw it, 0 for every other one; NaN for a method that it did not tell of.",
};
pub(crate) const CERTIFICATE_EXPIRY: Metric = Metric {
    name: "mailprobe_certificate_expiry_timestamp_seconds",
    help: "The end of validity of the certificate that each endpoint showed.",
};
const BUILD_INFO: Metric = Metric {
    name: "mailprobe_build_info",
    help: "1, with what was built.",
};

/// What is checked beside the runs can stand still while they go on.
pub(crate) const LAST_CHECK: Metric = Metric {
    name: "mailprobe_last_check_timestamp_seconds",
    help: "When the listeners and the DNS records were last checked.",
};
pub(crate) const LISTENER_UP: Metric = Metric {
    name: "mailprobe_listener_up",
    help: "1 if the mail port does all that it should, else 0.",
};
const LISTENER_HANDSHAKE: Metric = Metric {
    name: "mailprobe_listener_handshake_seconds",
    help: "From the first packet until the mail port was ready for commands, TLS included; NaN where it never was.",
};
const DNS_RECORDS_FAULTY: Metric = Metric {
    name: "mailprobe_dns_records_faulty",
    help: "How many DNS records of each kind are missing or wrong; NaN where one could not be asked for.",
};
const DNS_RECORDS_DRIFTED: Metric = Metric {
    name: "mailprobe_dns_records_drifted",
    help: "How many DNS records of each kind the resolver of compare_with answers otherwise.",
};

const RUNS: Metric = Metric {
    name: "mailprobe_runs_total",
    help: "Runs that have ended, by verdict.",
};
const DELIVERY: Metric = Metric {
    name: "mailprobe_delivery_seconds",
    help: "From acceptance by the sender until the message was seen, of every message that was seen.",
};
const TICKS_SKIPPED: Metric = Metric {
    name: "mailprobe_ticks_skipped_total",
    help: "Times at which a run was due while the one before was still going.",
};
const PUSHES: Metric = Metric {
    name: "mailprobe_pushes_total",
    help: "Reports for sinks, by what became of them: ok, failed, dropped.",
};
const RELOAD_SUCCESSFUL: Metric = Metric {
    name: "mailprobe_config_last_reload_successful",
    help: "1 if the config that was read last is the one in use.",
};
const RELOAD_SUCCESS_TIMESTAMP: Metric = Metric {
    name: "mailprobe_config_last_reload_success_timestamp_seconds",
    help: "When the config in use was read.",
};

/// What a finished run says to a gateway, in the text format 0.0.4.
///
/// A run that a signal ended says its verdict and cause alone: a drained node pages nobody.
#[must_use]
pub fn encode(run: &Gauges) -> String {
    let page = Page::default();
    verdict_and_cause(&page, run, run.verdict.name());
    if !run.is_interrupted() {
        every_run(&page, run);
        page.value(&NEXT_RUN, known(run.next_run_at));
        arrival(&page, run);
        build_info(&page);
    }
    page.text()
}

fn verdict(page: &Page, current: &str) {
    let verdicts = Verdict::ALL.iter().map(|one| one.name()).chain([OVERDUE]);
    page.one_of(&VERDICT, "verdict", verdicts, current);
}

fn verdict_and_cause(page: &Page, run: &Gauges, current: &str) {
    verdict(page, current);
    let causes = CauseCode::ALL.iter().map(|one| one.name());
    let cause = run.cause.map_or(NO_CAUSE, CauseCode::name);
    page.one_of(&CAUSE, "cause", [NO_CAUSE].into_iter().chain(causes), cause);
}

fn arrival(page: &Page, run: &Gauges) {
    let Some(seen) = &run.arrival else {
        return;
    };
    page.value(&LAST_ARRIVAL, seen.seen_at);
    page.value(&LAST_DELIVERY, known(seen.delivery_seconds));
    page.value(&LAST_DELIVERY_ERROR, known(seen.delivery_error_seconds));
    // What the message told of its way. Without its word nothing is pushed, and the gateway keeps the last one.
    if let Some((count, slowest)) = seen.hops {
        page.value(&HOPS, f64::from(count));
        page.value(&HOP_DELAY_MAX, known(slowest));
    }
    if let Some(score) = seen.spam_score {
        page.value(&SPAM_SCORE, score);
    }
    let methods = ["spf", "dkim", "dmarc"].into_iter();
    for (method, told) in methods.zip(seen.authentication.into_iter().flatten()) {
        for result in AuthResult::ALL {
            let value = told.map(|told| f64::from(u8::from(told == result)));
            let labels = [("method", method), ("result", result.name())];
            page.set(&AUTHENTICATION, &labels, known(value));
        }
    }
}

fn every_run(page: &Page, run: &Gauges) {
    page.value(&SUCCESS, f64::from(u8::from(run.success)));
    page.value(&DURATION, known(run.duration_seconds));
    if run.success {
        page.value(&LAST_SUCCESS, run.ended_at);
    }
    page.value(&LAST_RUN, run.ended_at);
    page.value(&LATE_ARRIVALS, known(run.late_arrivals.map(f64::from)));
    page.value(
        &LATE_ARRIVAL_DELIVERY,
        known(run.late_arrival_delivery_seconds),
    );
    page.value(
        &RECIPIENT_UNBLOCKED,
        f64::from(u8::from(run.recipient_unblocked)),
    );
    let stages = Stage::ALL
        .iter()
        .filter(|stage| **stage != Stage::Push)
        .map(|stage| (stage.name(), known(run.stages.get(stage).copied())));
    page.labelled(&STAGE_DURATION, "stage", stages);
    if let Some(left) = run.quota_remaining {
        page.value(&QUOTA_REMAINING, left);
    }
    let ends = &run.certificates;
    // A push replaces the whole metric: with one endpoint unseen it is left as it was.
    if !ends.is_empty() && ends.values().all(Option::is_some) {
        let expiries = ends
            .iter()
            .map(|(endpoint, at)| (endpoint.as_str(), known(*at)));
        page.labelled(&CERTIFICATE_EXPIRY, "endpoint", expiries);
    }
}

fn build_info(page: &Page) {
    let build = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", revision()),
    ];
    page.set(&BUILD_INFO, &build, 1.0);
}

/// What a run that waits beyond `late_after` says to a gateway.
#[must_use]
pub fn encode_overdue() -> String {
    let page = Page::default();
    verdict(&page, OVERDUE);
    page.text()
}

/// The revision that was built, where the build was told: `MAILPROBE_REVISION`.
#[must_use]
pub fn revision() -> &'static str {
    option_env!("MAILPROBE_REVISION").unwrap_or("unknown")
}

/// What `/metrics` shows of one probe.
#[derive(Debug, Clone)]
pub struct ProbeMetrics {
    /// Its name.
    pub probe: String,
    /// Its last run.
    pub last: Option<Arc<Gauges>>,
    /// Its last run whose message was seen.
    pub last_arrival: Option<Arc<Gauges>>,
    /// When a run was a success last.
    pub last_success_at: Option<DateTime<Utc>>,
    /// When the next run is due.
    pub next_run_at: Option<DateTime<Utc>>,
    /// A run is under way and waits beyond `late_after`.
    pub is_overdue: bool,
}

/// Probes whose series are there at the same time on the way to `/metrics`: as objects they take ten times the room that
/// their text takes.
const TOGETHER: usize = 50;

/// The last runs of many probes, each series with its probe, and what was checked beside them last: piece by piece a page
/// in the text format 0.0.4, of which each piece is made when it is asked for.
pub fn encode_all<'p>(
    probes: &'p [ProbeMetrics],
    surroundings: &'p Surroundings,
) -> impl Iterator<Item = String> + 'p {
    names(probes, surroundings)
        .into_iter()
        .flat_map(move |name| {
            let some = probes.chunks(TOGETHER).map(Some);
            let mut is_described = false;
            some.chain([None]).filter_map(move |some| {
                let page = Page {
                    take: Take::One(name),
                    ..Page::default()
                };
                match some {
                    Some(some) => some.iter().for_each(|one| last_run(&page, one)),
                    None => beside(&page, surroundings),
                }
                let text = page.text();
                if text.is_empty() {
                    return None;
                }
                // The two lines that describe a metric stand above all of its series.
                let series = match std::mem::replace(&mut is_described, true) {
                    false => text,
                    true => text
                        .split_inclusive('\n')
                        .filter(|line| !line.starts_with('#'))
                        .collect(),
                };
                Some(series)
            })
        })
}

/// The metrics that there is anything to say of.
fn names(probes: &[ProbeMetrics], surroundings: &Surroundings) -> BTreeSet<&'static str> {
    let page = Page {
        take: Take::Names(RefCell::default()),
        ..Page::default()
    };
    for one in probes {
        last_run(&page, one);
    }
    beside(&page, surroundings);
    match page.take {
        Take::Names(names) => names.into_inner(),
        Take::All | Take::One(_) => BTreeSet::new(),
    }
}

/// What is of no probe.
fn beside(page: &Page, surroundings: &Surroundings) {
    page.probe.replace(None);
    build_info(page);
    // To Prometheus an empty label is none; a metric that probes have, too, needs the same labels here.
    page.probe.replace(Some(String::new()));
    surroundings::add(page, surroundings);
}

fn last_run(page: &Page, one: &ProbeMetrics) {
    page.probe.replace(Some(one.probe.clone()));
    page.value(&NEXT_RUN, known(one.next_run_at.map(unix)));
    if let Some(run) = &one.last {
        let verdict = match one.is_overdue {
            true => OVERDUE,
            false => run.verdict.name(),
        };
        verdict_and_cause(page, run, verdict);
        every_run(page, run);
    } else if one.is_overdue {
        // The first run of a probe: that is all there is to say of it yet.
        verdict(page, OVERDUE);
    }
    if let Some(at) = one.last_success_at {
        page.value(&LAST_SUCCESS, unix(at));
    }
    if let Some(run) = &one.last_arrival {
        arrival(page, run);
    }
}

/// Metrics on their way to one text.
#[derive(Default)]
struct Page {
    registry: Registry,
    families: RefCell<BTreeMap<&'static str, GaugeVec>>,
    /// The probe that every series is of, where the page is of many probes.
    probe: RefCell<Option<String>>,
    take: Take,
}

/// What of all that is set on a page is taken.
#[derive(Default)]
enum Take {
    #[default]
    All,
    /// This metric.
    One(&'static str),
    /// No series, but the names of their metrics.
    Names(RefCell<BTreeSet<&'static str>>),
}

impl Page {
    /// One series. Fails only for names that Prometheus does not allow, and ours are constants that a test encodes.
    fn set(&self, metric: &Metric, labels: &[(&str, &str)], value: f64) {
        match &self.take {
            Take::All => {}
            Take::One(name) if *name == metric.name => {}
            Take::One(_) => return,
            Take::Names(names) => {
                names.borrow_mut().insert(metric.name);
                return;
            }
        }
        let probe = self.probe.borrow();
        let probe = probe.as_deref().map(|probe| (PROBE, probe));
        let all = probe.iter().chain(labels).copied();
        let (names, values): (Vec<&str>, Vec<&str>) = all.unzip();
        let family = self.families.borrow().get(metric.name).cloned();
        let family = match family {
            Some(family) => family,
            None => {
                let Ok(family) = GaugeVec::new(Opts::new(metric.name, metric.help), &names) else {
                    return;
                };
                let _ = self.registry.register(Box::new(family.clone()));
                self.families
                    .borrow_mut()
                    .insert(metric.name, family.clone());
                family
            }
        };
        if let Ok(gauge) = family.get_metric_with_label_values(&values) {
            gauge.set(value);
        }
    }

    fn value(&self, metric: &Metric, value: f64) {
        self.set(metric, &[], value);
    }

    fn labelled<'v>(
        &self,
        metric: &Metric,
        label: &str,
        values: impl Iterator<Item = (&'v str, f64)>,
    ) {
        for (name, value) in values {
            self.set(metric, &[(label, name)], value);
        }
    }

    fn one_of<'v>(
        &self,
        metric: &Metric,
        label: &str,
        names: impl Iterator<Item = &'v str>,
        current: &str,
    ) {
        let values = names.map(|name| (name, f64::from(u8::from(name == current))));
        self.labelled(metric, label, values);
    }

    fn text(self) -> String {
        text(&self.registry.gather())
    }
}

fn text(families: &[MetricFamily]) -> String {
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = TextEncoder::new().encode(families, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

fn known(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

/// Unix time in seconds, with milliseconds.
fn unix(at: DateTime<Utc>) -> f64 {
    // Exact: milliseconds since 1970 have 41 bits.
    #[allow(clippy::cast_precision_loss)]
    let milliseconds = at.timestamp_millis() as f64;
    milliseconds / 1000.0
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
