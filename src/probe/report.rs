//! One finished run as data: what stdout and every sink receives.

use super::verdict::{Cause, CauseCode, Stage, Verdict, Warning};
use chrono::{DateTime, SecondsFormat, Utc};
use core::net::IpAddr;
use serde::{Deserialize, Serialize, Serializer};
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
    /// The way of the message, oldest first; null unless the message was read.
    pub hops: Option<Vec<Hop>>,
    /// SPF, DKIM, DMARC and ARC as our own border saw them; null where nothing says it that can be believed.
    pub authentication: Option<Authentication>,
    /// The spam filter's opinion; null where it left none.
    pub spam: Option<Spam>,
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
    /// Whether late arrivals were looked for in every folder; where not, how many there are is unknown.
    pub knows_late_arrivals: bool,
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

/// One `Received` field's worth of travel (RFC 5321 section 4.4). What the field does not say is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hop {
    /// Who handed the message over.
    pub from: HopFrom,
    /// Who took it, by its own name.
    pub by: Option<String>,
    /// The protocol, as written: `ESMTPS`, `LMTP`, `Microsoft SMTP Server`.
    pub with: Option<String>,
    /// What the server that took it calls it: the queue id, for its log.
    pub id: Option<String>,
    /// How the connection was encrypted; null where it was not, or where nothing tells.
    pub tls: Option<Tls>,
    /// The stamp: when the server began to take it, by its own clock, to the second.
    #[serde(serialize_with = "optional_timestamp")]
    pub at: Option<DateTime<Utc>>,
    /// Seconds since the stamp of the hop before; of the first hop, since the message was sent. Never negative.
    pub delay_seconds: Option<f64>,
    /// By so many seconds at least the clocks that the delay was taken from disagree; absent where nothing tells of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew_seconds: Option<f64>,
    /// Who the server that took it is to us; null where the config does not tell.
    pub role: Option<Role>,
}

impl Hop {
    /// The part of the delay that no disagreement of clocks explains.
    #[must_use]
    pub fn certain_delay_seconds(&self) -> Option<f64> {
        self.delay_seconds
            .map(|delay| (delay - self.skew_seconds.unwrap_or(0.0)).max(0.0))
    }
}

/// The client of a hop.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct HopFrom {
    /// What it called itself (HELO, EHLO, LHLO).
    pub helo: Option<String>,
    /// What its address resolves to, as the server that took the message found it; null for `unknown`.
    pub name: Option<String>,
    /// Its address, as the server that took the message saw it.
    pub address: Option<IpAddr>,
}

/// How a hop was encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Tls {
    /// Such as `TLSv1.3`; null where the protocol word alone tells of TLS (`ESMTPS`).
    pub version: Option<String>,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: Option<String>,
}

/// Who took a message at a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Somebody before our border.
    Outside,
    /// Ours, which takes mail while the MX is away.
    BackupMx,
    /// Our first own server; what stands below its field can be forged.
    Border,
    /// Ours, behind the border.
    Inside,
}

impl Role {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::BackupMx => "backup_mx",
            Self::Border => "border",
            Self::Inside => "inside",
        }
    }
}

/// What our own border found out about the sender (RFC 8601).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Authentication {
    /// Whose words these are.
    pub authserv_id: Option<String>,
    /// Whether the client may send for the envelope sender's domain.
    pub spf: Option<MethodResult>,
    /// The best of `dkim_signatures`.
    pub dkim: Option<MethodResult>,
    /// Whether one of the two stands for the domain in From.
    pub dmarc: Option<MethodResult>,
    /// Whether the chain of forwarders that signed is whole.
    pub arc: Option<MethodResult>,
    /// Every result of DKIM, one a signature.
    pub dkim_signatures: Vec<MethodResult>,
}

/// The outcome of one method for one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MethodResult {
    /// The outcome.
    pub result: AuthResult,
    /// The domain that it is about: smtp.mailfrom or smtp.helo, header.d or header.i, header.from.
    pub domain: Option<String>,
    /// DKIM's selector (header.s).
    pub selector: Option<String>,
    /// What the verifier adds: its `reason`, else its comment.
    pub reason: Option<String>,
}

/// The results of RFC 8601 section 2.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthResult {
    /// Nothing to check: no record, no signature.
    None,
    /// In order.
    Pass,
    /// Not in order.
    Fail,
    /// SPF: probably not in order.
    Softfail,
    /// Nothing is claimed, or the signature cannot be judged.
    Neutral,
    /// In order, and not to our taste.
    Policy,
    /// Could not be checked now.
    Temperror,
    /// Cannot be checked: a record or a signature is broken.
    Permerror,
}

impl AuthResult {
    /// Every result, in the order in which documents list them.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Pass,
        Self::Fail,
        Self::Softfail,
        Self::Neutral,
        Self::Policy,
        Self::Temperror,
        Self::Permerror,
    ];

    /// The name in reports and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Softfail => "softfail",
            Self::Neutral => "neutral",
            Self::Policy => "policy",
            Self::Temperror => "temperror",
            Self::Permerror => "permerror",
        }
    }
}

/// The spam filter's opinion.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Spam {
    /// Points, more is worse.
    pub score: Option<f64>,
    /// The points that the filter holds the score against. In Rspamd's field that is the threshold of *refusal*:
    /// filing to Junk begins earlier, and `action` tells of it.
    pub threshold: Option<f64>,
    /// What the filter decided, in its own words: `add header`, `Yes`, `SFV:SPM`.
    pub action: Option<String>,
    /// What it found, and the points for each; null where the filter does not tell them apart.
    pub symbols: BTreeMap<String, Option<f64>>,
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

/// In JSON as in [`rfc3339`].
pub(super) fn timestamp<S: Serializer>(
    at: &DateTime<Utc>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

/// The same for what may be unknown: `null`.
// serde hands over a reference to the field's own type.
#[allow(clippy::ref_option)]
pub(super) fn optional_timestamp<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => timestamp(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// A finished run for tests: delivered in a second, ended at `ended_at`.
#[cfg(test)]
#[must_use]
pub fn sample(probe: &str, run: &str, ended_at: DateTime<Utc>) -> Report {
    let ago = |milliseconds| ended_at - chrono::TimeDelta::milliseconds(milliseconds);
    Report {
        schema: SCHEMA,
        probe: probe.to_owned(),
        run: run.to_owned(),
        verdict: Verdict::Delivered,
        success: true,
        cause: None,
        warnings: Vec::new(),
        started_at: ago(1200),
        accepted_at: Some(ago(1100)),
        seen_at: Some(ago(100)),
        ended_at,
        duration_seconds: Some(1.1),
        delivery_seconds: Some(1.0),
        delivery_error_seconds: Some(0.02),
        folder: Some("INBOX".to_owned()),
        stages: Vec::new(),
        hops: None,
        authentication: None,
        spam: None,
        sender: SenderReport {
            kind: "brevo".to_owned(),
            message_id: Some("<1@example.org>".to_owned()),
            queue_id: None,
            status: Some(201),
        },
        token_found_in: None,
        late_arrivals: Vec::new(),
        pushes: Vec::new(),
        for_metrics: ForMetrics::default(),
    }
}

#[cfg(test)]
#[path = "report_samples.rs"]
pub mod samples;
