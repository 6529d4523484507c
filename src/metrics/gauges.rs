//! What metrics say of a finished run: small, and kept in the history, so that a restart of the scheduler neither blinds
//! an alert nor ends one.

use super::unix;
use crate::probe::arrival;
use crate::probe::report::{AuthResult, Report};
use crate::probe::verdict::{CauseCode, Stage, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The gauges of one run. Points in time are unix time in seconds; what is not known is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gauges {
    pub(super) verdict: Verdict,
    pub(super) cause: Option<CauseCode>,
    pub(super) success: bool,
    pub(super) ended_at: f64,
    pub(super) duration_seconds: Option<f64>,
    pub(super) next_run_at: Option<f64>,
    pub(super) late_arrivals: Option<u32>,
    pub(super) late_arrival_delivery_seconds: Option<f64>,
    pub(super) recipient_unblocked: bool,
    /// The stages that were reached, pushes not among them.
    pub(super) stages: BTreeMap<Stage, f64>,
    pub(super) quota_remaining: Option<f64>,
    pub(super) certificates: BTreeMap<String, Option<f64>>,
    /// Where the message was seen.
    pub(super) arrival: Option<Arrival>,
}

/// The gauges of a message that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Arrival {
    pub(super) seen_at: f64,
    pub(super) delivery_seconds: Option<f64>,
    pub(super) delivery_error_seconds: Option<f64>,
    /// How many, and the longest delay.
    pub(super) hops: Option<(u32, Option<f64>)>,
    pub(super) spam_score: Option<f64>,
    /// By SPF, DKIM and DMARC; none where nothing that can be believed tells of any.
    pub(super) authentication: Option<[Option<AuthResult>; 3]>,
}

impl Gauges {
    /// Those of a finished run.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let more = &report.for_metrics;
        let late = &report.late_arrivals;
        let stages = report.stages.iter();
        Self {
            verdict: report.verdict,
            cause: report.cause.as_ref().map(|cause| cause.code),
            success: report.success,
            ended_at: unix(report.ended_at),
            duration_seconds: report.duration_seconds,
            next_run_at: more.next_run_at.map(unix),
            late_arrivals: more
                .knows_late_arrivals
                .then_some(u32::try_from(late.len()).unwrap_or(u32::MAX)),
            late_arrival_delivery_seconds: late
                .iter()
                .map(|late| late.delivery_seconds)
                .reduce(f64::max),
            recipient_unblocked: more.recipient_unblocked,
            // The push itself cannot be in what is pushed.
            stages: stages
                .filter(|time| time.name != Stage::Push)
                .map(|time| (time.name, time.seconds))
                .collect(),
            quota_remaining: more.sender_quota_remaining,
            certificates: more
                .certificates
                .iter()
                .map(|(endpoint, at)| (endpoint.clone(), at.map(unix)))
                .collect(),
            arrival: Arrival::of(report),
        }
    }

    /// Whether the message was seen.
    #[must_use]
    pub fn has_arrival(&self) -> bool {
        self.arrival.is_some()
    }

    /// Whether a signal ended the run.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.cause == Some(CauseCode::Interrupted)
    }
}

impl Arrival {
    fn of(report: &Report) -> Option<Self> {
        let seen_at = unix(report.seen_at?);
        Some(Self {
            seen_at,
            delivery_seconds: report.delivery_seconds,
            delivery_error_seconds: report.delivery_error_seconds,
            hops: report.hops.as_ref().map(|hops| {
                let count = u32::try_from(hops.len()).unwrap_or(u32::MAX);
                (count, arrival::slowest(hops).map(|(seconds, _)| seconds))
            }),
            spam_score: report.spam.as_ref().and_then(|spam| spam.score),
            authentication: report.authentication.as_ref().map(|all| {
                [&all.spf, &all.dkim, &all.dmarc].map(|told| told.as_ref().map(|told| told.result))
            }),
        })
    }
}
