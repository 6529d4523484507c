//! One finished run as data: what stdout and every sink receives.

use super::verdict::{Cause, CauseCode, Stage, Verdict, Warning};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// The version of the JSON shape, its field `schema`.
pub const SCHEMA: u32 = 1;

/// One finished run. Serialises to the JSON object of `--output json`; knowledge that is absent is null.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The probe's name.
    pub probe: String,
    /// The token of the run, `e2e-probe-…`.
    pub run: String,
    /// The outcome.
    pub verdict: Verdict,
    /// Whether the outcome counts as success for this probe.
    pub success: bool,
    /// Why not `delivered`; null where it is.
    pub cause: Option<Cause>,
    /// What went wrong on the way without deciding the verdict.
    pub warnings: Vec<Warning>,
    /// Start of the run.
    #[serde(serialize_with = "timestamp")]
    pub started_at: DateTime<Utc>,
    /// When the sender said yes.
    #[serde(serialize_with = "optional_timestamp")]
    pub accepted_at: Option<DateTime<Utc>>,
    /// When the first answer that shows the message was received.
    #[serde(serialize_with = "optional_timestamp")]
    pub seen_at: Option<DateTime<Utc>>,
    /// End of the run, pushes not counted.
    #[serde(serialize_with = "timestamp")]
    pub ended_at: DateTime<Utc>,
    /// Seconds from the start of the send until seen, or until the run gave up; null if nothing was sent.
    pub duration_seconds: Option<f64>,
    /// Seconds from acceptance until seen; null unless seen.
    pub delivery_seconds: Option<f64>,
    /// Seconds from the sending of the last look that did not show the message until it was seen.
    pub delivery_error_seconds: Option<f64>,
    /// The folder in which it was seen.
    pub folder: Option<String>,
    /// How long each stage took, in order; a stage that was not reached is absent.
    pub stages: Vec<StageTime>,
    /// The way of the message, oldest first; null as long as nothing reads it.
    pub hops: Option<Vec<serde_json::Value>>,
    /// SPF, DKIM, DMARC and ARC as our own border saw them.
    pub authentication: Option<serde_json::Value>,
    /// The spam filter's opinion.
    pub spam: Option<serde_json::Value>,
    /// Who took the message.
    pub sender: SenderReport,
    /// Where in the message the token was found; null unless the message was read.
    pub token_found_in: Option<Vec<TokenPlace>>,
    /// Messages of earlier runs that turned up since.
    pub late_arrivals: Vec<LateArrival>,
    /// What became of each push.
    pub pushes: Vec<Push>,
    /// What only the metrics need.
    #[serde(skip)]
    pub for_metrics: ForMetrics,
}

/// Values that go into metrics and not into the JSON report.
#[derive(Debug, Clone, Default)]
pub struct ForMetrics {
    /// When the schedule's next run is due.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Whether the provider's block of the recipient had to be lifted.
    pub recipient_unblocked: bool,
    /// How many more messages the sender will take.
    pub sender_quota_remaining: Option<f64>,
    /// Each endpoint that speaks TLS (`mailbox`, `sender`) and the end of its certificate's validity, if it was seen.
    pub certificates: BTreeMap<String, Option<DateTime<Utc>>>,
}

/// How long one stage took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StageTime {
    /// Which one.
    pub name: Stage,
    /// Seconds.
    pub seconds: f64,
}

/// Who took the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SenderReport {
    /// The config's `type`, such as `brevo`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the sender calls the message, brackets included.
    pub message_id: Option<String>,
    /// What the accepting server calls it in its log; null where the sender does not say.
    pub queue_id: Option<String>,
    /// The last status that the sender answered (HTTP status or SMTP reply code).
    pub status: Option<u16>,
}

/// A part of a message that carries the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPlace {
    /// The field `X-Mailprobe-Token`.
    Header,
    /// The Subject.
    Subject,
    /// The text of the message.
    Body,
}

/// A message of an earlier run that was stored after its deadline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LateArrival {
    /// Its token.
    pub run: String,
    /// The probe that sent it.
    pub probe: String,
    /// When it was sent.
    #[serde(serialize_with = "timestamp")]
    pub sent_at: DateTime<Utc>,
    /// Seconds from sending until the server stored it; one second of grain (INTERNALDATE).
    pub delivery_seconds: f64,
    /// Where it was found.
    pub folder: String,
}

/// What became of one push.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Push {
    /// The sink, without secrets: `pushgateway http://host:9091` or `uptime_kuma https://host`.
    pub sink: String,
    /// Whether the sink took it.
    pub ok: bool,
    /// How many requests were made.
    pub attempts: u32,
    /// Seconds until the outcome was known.
    pub seconds: f64,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip)]
    pub hint: Option<String>,
}

impl Report {
    /// The verdict and its cause in one sentence, for people: `missing: …` or `delivered in 1.042 s (or up to 0.012 s sooner)`.
    #[must_use]
    pub fn sentence(&self) -> String {
        match (&self.cause, self.verdict) {
            (Some(cause), verdict) => format!("{verdict}: {}", cause.summary),
            (None, verdict) => match (self.delivery_seconds, self.delivery_error_seconds) {
                (Some(delivery), Some(error)) => {
                    format!("{verdict} in {delivery:.3} s (or up to {error:.3} s sooner)")
                }
                _ => verdict.to_string(),
            },
        }
    }

    /// Whether a signal ended the run; such a run says nothing about the mail path.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.cause
            .as_ref()
            .is_some_and(|cause| cause.code == CauseCode::Interrupted)
    }
}

/// RFC 3339, UTC, milliseconds, `Z`.
#[must_use]
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Seconds rounded to a tenth of a millisecond: more digits would pretend a precision that no stage has.
#[must_use]
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10_000.0
}

fn timestamp<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

// serde hands over a reference to the field's own type.
#[allow(clippy::ref_option)]
fn optional_timestamp<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => timestamp(at, serializer),
        None => serializer.serialize_none(),
    }
}
