//! Uptime Kuma push monitors: GET, and success is status 200 *and* JSON `ok: true`.

use super::{Push, Refusal, unanswered, with_attempts};
use crate::config::plan::UptimeKumaPlan;
use crate::net::http::{Answer, Fault, Http};
use crate::net::tls::TlsError;
use crate::probe::report::Report;
use crate::probe::verdict::Verdict;
use crate::visible::escape_line;
use serde::Deserialize;
use std::time::Duration;
use url::Url;

/// Kuma answers only when every notification is sent, and records a push whose client gave up: patience instead of
/// repeats.
const PATIENCE: Duration = Duration::from_secs(38);
/// Far below what a request line may hold (about 16 KB, 8 KB behind a proxy), every letter escaped to nine.
const LONGEST_MESSAGE: usize = 400;

/// A monitor.
#[derive(Debug)]
pub struct UptimeKuma {
    http: Http,
    url: Url,
    interim: bool,
    name: String,
}

#[derive(Deserialize)]
struct Said {
    ok: Option<bool>,
    msg: Option<String>,
}

impl UptimeKuma {
    /// Not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read, or a URL that is none.
    pub fn new(plan: UptimeKumaPlan) -> Result<Self, TlsError> {
        // The config made sure of it.
        let url = Url::parse(plan.push_url.value.expose())
            .map_err(|error| TlsError::Rustls(format!("`push_url` is no URL: {error}")))?;
        let http = Http::new(&url, plan.ca_file.as_deref())?;
        let name = format!("uptime_kuma {}", url.origin().ascii_serialization());
        Ok(Self {
            http,
            url,
            interim: plan.interim,
            name,
        })
    }

    /// See [`super::Sink::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells a finished run.
    pub async fn push(&self, report: &Report, limit: Duration) -> Push {
        let message = match (&report.cause, report.verdict) {
            (Some(cause), Verdict::Undetermined) => format!("BLIND: {}", cause.summary),
            _ => report.sentence(),
        };
        let ping = report.duration_seconds.map(milliseconds);
        self.get(report.success, &message, ping, limit).await
    }

    /// Tells that a run waits beyond `late_after`, where that is wanted: it pages.
    pub async fn push_overdue(&self, known: &str, limit: Duration) -> Option<Push> {
        if !self.interim {
            return None;
        }
        let message = format!("overdue: {known}");
        Some(self.get(false, &message, None, limit).await)
    }

    /// Whether anything answers there; no push is made.
    ///
    /// # Errors
    /// Why not.
    pub async fn is_reachable(&self, limit: Duration) -> Result<(), String> {
        let mut url = self.url.clone();
        url.set_path("/");
        match self.http.send(self.http.client().get(url), limit).await {
            Ok(_) => Ok(()),
            Err(fault) => Err(fault.to_string()),
        }
    }

    /// Pushes once that all is well, to see whether the monitor takes it. For `check --write`.
    pub async fn push_test(&self, limit: Duration) -> Push {
        self.get(true, "mailprobe check --write", None, limit).await
    }

    async fn get(&self, up: bool, message: &str, ping: Option<u64>, limit: Duration) -> Push {
        // Monitors hand it on to chats and pagers.
        let message: String = escape_line(message).chars().take(LONGEST_MESSAGE).collect();
        let mut query = vec![
            ("status", if up { "up" } else { "down" }.to_owned()),
            ("msg", message),
        ];
        // Kuma takes no ping for none.
        query.extend(
            ping.filter(|ping| *ping > 0)
                .map(|ping| ("ping", ping.to_string())),
        );
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(query);
        let url = &url;
        with_attempts(&self.name, limit, |left| async move {
            let request = self.http.client().get(url.clone());
            match self.http.send(request, left.min(PATIENCE)).await {
                Ok(answer) => outcome(&answer),
                Err(fault) => Err(Refusal {
                    // Whatever may have been received must not be sent again: Kuma would notify twice.
                    again: matches!(fault, Fault::Unreachable(_)),
                    ..unanswered(&fault)
                }),
            }
        })
        .await
    }
}

fn outcome(answer: &Answer) -> Result<(), Refusal> {
    let said = answer.json::<Said>();
    let words = said.as_ref().and_then(|said| said.msg.clone());
    let (error, hint) = match (answer.status, said.and_then(|said| said.ok)) {
        (200, Some(true)) => return Ok(()),
        (200, None) if answer.cut.is_some() => (
            format!(
                "HTTP 200, and the end of the answer is missing: {}",
                answer.cut.as_deref().unwrap_or_default()
            ),
            "whether the push was taken is unknown; what stands between, such as a proxy?",
        ),
        (200, None) => (
            "HTTP 200 with a page instead of an answer".to_owned(),
            "`push_url` does not lead to the push API: copy it again from the monitor's page",
        ),
        (404, Some(false)) => (
            format!("HTTP 404 {}", words.unwrap_or_default()),
            "is the monitor paused or deleted, or was its token changed?",
        ),
        (status, _) => (
            format!("HTTP {status} {}", words.unwrap_or_else(|| answer.quote())),
            "is Uptime Kuma being upgraded, or does a proxy answer in its place?",
        ),
    };
    Err(Refusal {
        error: crate::net::quotable(&error),
        hint: hint.to_owned(),
        again: false,
    })
}

/// Whole milliseconds; what is not zero is at least one.
fn milliseconds(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).map_or(0, |duration| {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        milliseconds.max(u64::from(!duration.is_zero()))
    })
}
