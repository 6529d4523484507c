//! Where a report goes.

pub mod pushgateway;
pub mod queue;
pub mod uptime_kuma;

use crate::config::plan::SinkPlan;
use crate::net::http::Fault;
use crate::net::tls::TlsError;
use crate::probe::report::{Push, Report, seconds};
use crate::probe::surroundings::Surroundings;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A configured sink.
#[derive(Debug)]
pub enum Sink {
    /// Prometheus Pushgateway.
    Pushgateway(pushgateway::Pushgateway),
    /// Uptime Kuma push monitor.
    UptimeKuma(uptime_kuma::UptimeKuma),
}

/// A push that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    /// What went wrong, in a sentence.
    error: String,
    /// What to do about it.
    hint: String,
    /// Whether the same push can succeed later.
    again: bool,
}

impl Sink {
    /// A sink that is not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: &SinkPlan) -> Result<Self, TlsError> {
        match plan {
            SinkPlan::Pushgateway(plan) => {
                pushgateway::Pushgateway::new(plan.clone()).map(Self::Pushgateway)
            }
            SinkPlan::UptimeKuma(plan) => {
                uptime_kuma::UptimeKuma::new(plan.clone()).map(Self::UptimeKuma)
            }
        }
    }

    /// Type and address, without secrets: `pushgateway http://host:9091`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pushgateway(gateway) => gateway.name(),
            Self::UptimeKuma(kuma) => kuma.name(),
        }
    }

    /// Whether this report is for this sink: a monitor hears nothing of a run that a signal ended.
    #[must_use]
    pub fn wants(&self, report: &Report) -> bool {
        match self {
            Self::Pushgateway(_) => true,
            Self::UptimeKuma(_) => !report.is_interrupted(),
        }
    }

    /// Tells a finished run, within `limit`.
    pub async fn push(&self, report: &Report, limit: Duration) -> Push {
        match self {
            Self::Pushgateway(gateway) => gateway.push(report, limit).await,
            Self::UptimeKuma(kuma) => kuma.push(report, limit).await,
        }
    }

    /// Tells that a run waits beyond `late_after`, and what is known by then; none where the sink does not want to know.
    pub async fn push_overdue(&self, probe: &str, known: &str, limit: Duration) -> Option<Push> {
        match self {
            Self::Pushgateway(gateway) => Some(gateway.push_overdue(probe, limit).await),
            Self::UptimeKuma(kuma) => kuma.push_overdue(known, limit).await,
        }
    }

    /// Tells what was found beside the runs; none where the sink does not want to know.
    pub async fn push_surroundings(&self, found: &Surroundings, limit: Duration) -> Option<Push> {
        match self {
            Self::Pushgateway(gateway) => Some(gateway.push_surroundings(found, limit).await),
            // A monitor stands for one probe.
            Self::UptimeKuma(_) => None,
        }
    }
}

/// Pauses between attempts.
const BACKOFF: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Three attempts at most, each with the time that is left, while `attempt` says that another one can help.
async fn with_attempts<F: Future<Output = Result<(), Refusal>>>(
    name: &str,
    limit: Duration,
    mut attempt: impl FnMut(Duration) -> F,
) -> Push {
    let begun = Instant::now();
    let mut pauses = BACKOFF.into_iter();
    let mut attempts = 0;
    let outcome = loop {
        attempts += 1;
        let left = limit.saturating_sub(begun.elapsed());
        // An attempt may ask a question of its own about a refusal.
        let outcome = timeout(left, attempt(left))
            .await
            .unwrap_or_else(|_| Err(unanswered(&Fault::TimedOut(limit))));
        match (&outcome, pauses.next()) {
            (Err(Refusal { again: true, .. }), Some(pause)) if begun.elapsed() + pause < limit => {
                tokio::time::sleep(pause).await;
            }
            _ => break outcome,
        }
    };
    let (error, hint) = match outcome {
        Ok(()) => (None, None),
        Err(refusal) => (
            Some(crate::secret::redact(&refusal.error).into_owned()),
            Some(refusal.hint),
        ),
    };
    Push {
        sink: name.to_owned(),
        ok: error.is_none(),
        attempts,
        seconds: seconds(begun.elapsed()),
        error,
        hint,
    }
}

/// What it means for a push that there was no answer.
fn unanswered(fault: &Fault) -> Refusal {
    let hint = match fault {
        Fault::Unreachable(_) => {
            "is it up, and does this machine get there: name resolution, network policy, NO_PROXY?"
        }
        Fault::Certificate(certificate) => certificate.hint.as_str(),
        Fault::TimedOut(_) | Fault::Broken(_) => "is it overloaded, or is something in between?",
    };
    Refusal {
        error: fault.to_string(),
        hint: hint.to_owned(),
        again: !matches!(fault, Fault::Certificate(_)),
    }
}

#[cfg(test)]
mod tests;
