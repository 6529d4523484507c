//! What `check` finds out about one part.

use crate::probe::verdict::Cause;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// A certificate that ends sooner should have been renewed.
const RENEWED_BEFORE: TimeDelta = TimeDelta::days(14);

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    Warn,
    Fail,
}

/// What was found out about one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) part: String,
    pub(super) level: Level,
    pub(super) summary: String,
    pub(super) hint: Option<String>,
    pub(super) evidence: Vec<String>,
}

impl Finding {
    pub(super) fn new(part: &str, level: Level, summary: impl Into<String>) -> Self {
        Self {
            part: part.to_owned(),
            level,
            summary: summary.into(),
            hint: None,
            evidence: Vec::new(),
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn of_cause(part: &str, cause: Cause) -> Self {
        Self {
            evidence: cause.evidence,
            ..Self::new(part, Level::Fail, cause.summary).hint(cause.hint)
        }
    }
}

pub(super) fn certificate(part: &str, expiry: Option<DateTime<Utc>>) -> Option<Finding> {
    let expiry = expiry?;
    let left = expiry - Utc::now();
    let day = expiry.format("%Y-%m-%d");
    Some(if left < TimeDelta::zero() {
        // Said already, by the failure that it is.
        return None;
    } else if left < RENEWED_BEFORE {
        Finding::new(
            part,
            Level::Warn,
            format!("the certificate ends on {day}, in {} days", left.num_days()),
        )
        .hint("renew it, and reload the server")
    } else {
        Finding::new(
            part,
            Level::Ok,
            format!("the certificate is valid until {day}"),
        )
    })
}
