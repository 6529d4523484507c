//! Brevo's event log: what became of one message.
//!
//! Questions are scarce, 300 an hour for all that share the key. So a run asks when its message is overdue and at its
//! end, and not at all once the answers say that little is left.

use super::{ASK, Brevo};
use crate::net::http::Answer;
use crate::net::quotable;
use crate::probe::provider::{Event, Kind, Word};
use crate::probe::verdict::{Cause, CauseCode, Stage};
use crate::senders::Inquiry;
use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::Method;
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A message has a handful of events; a recipient of many probes some hundred in two days.
const MOST_EVENTS: usize = 500;
/// So many requests are left for whoever else uses the key.
const RESERVE: u32 = 20;
/// Where an answer does not say when the count begins anew.
const WINDOW: Duration = Duration::from_secs(3600);

/// How many questions the last answer said are left.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Option<Left>>);

#[derive(Debug, Clone, Copy)]
struct Left {
    count: u32,
    anew_at: Instant,
}

#[derive(Deserialize)]
struct Log {
    events: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    event: Option<String>,
    date: Option<String>,
    subject: Option<String>,
    message_id: Option<String>,
    reason: Option<String>,
}

/// What became of a message: asked for by its id, or, where that is unknown or finds nothing, by its recipient, when the
/// token in the subject tells it from others.
pub(super) async fn of_message(brevo: &Brevo, inquiry: &Inquiry, limit: Duration) -> Word {
    let end = Instant::now() + limit;
    if let Some(id) = &inquiry.message_id {
        let query = [
            ("messageId", id.clone()),
            ("limit", MOST_EVENTS.to_string()),
        ];
        match ask(brevo, &query, left(end)).await {
            Ok(entries) => {
                let is_ours =
                    |entry: &Entry| entry.message_id.as_deref().is_none_or(|one| same(one, id));
                let events = events(&entries, is_ours);
                if !events.is_empty() {
                    return Word::Events(events);
                }
            }
            Err(cause) => return Word::Unavailable(cause),
        }
    }
    let query = [
        ("email", inquiry.to.clone()),
        ("days", "2".to_owned()),
        ("limit", MOST_EVENTS.to_string()),
    ];
    match ask(brevo, &query, left(end)).await {
        Ok(entries) => Word::Events(events(&entries, |entry| {
            let subject = entry.subject.as_deref().unwrap_or_default();
            subject.to_ascii_lowercase().contains(&inquiry.token)
        })),
        Err(cause) => Word::Unavailable(cause),
    }
}

async fn ask(
    brevo: &Brevo,
    query: &[(&str, String)],
    limit: Duration,
) -> Result<Vec<Entry>, Cause> {
    if let Some(left) = brevo.budget.exhausted() {
        return Err(not_asked(brevo, left));
    }
    let path = ["smtp", "statistics", "events"];
    let answer = brevo.ask_at_all(Method::GET, &path, query, limit).await?;
    brevo.budget.learn(&answer);
    match answer.status {
        200..=299 => {}
        // So it answers for a message that it does not know, or not yet.
        404 => return Ok(Vec::new()),
        _ => return Err(brevo.refused(&answer)),
    }
    match answer.json::<Log>() {
        Some(log) => Ok(log.events.unwrap_or_default()),
        None if answer.body.is_empty() => Ok(Vec::new()),
        None => Err(brevo.classifier(ASK).of_nonsense(&answer).cause),
    }
}

fn not_asked(brevo: &Brevo, left: Left) -> Cause {
    let wait = left.anew_at.saturating_duration_since(Instant::now());
    Cause::new(
        CauseCode::SenderRateLimited,
        Stage::Await,
        format!(
            "the event log of {} was not asked: {} of the hour's requests are left, for {:.0} s more",
            brevo.endpoint(),
            left.count,
            wait.as_secs_f64()
        ),
        "what else asks with this account's key? the limit is for all of it",
    )
}

fn events(entries: &[Entry], is_ours: impl Fn(&Entry) -> bool) -> Vec<Event> {
    entries
        .iter()
        .filter(|entry| is_ours(entry))
        .map(|entry| Event {
            at: entry.date.as_deref().and_then(date),
            kind: kind(entry.event.as_deref().unwrap_or_default()),
            message_id: entry.message_id.as_deref().map(quotable),
            reason: entry
                .reason
                .as_deref()
                .map(quotable)
                .filter(|reason| !reason.is_empty()),
        })
        .collect()
}

/// Ids come with and without their angle brackets.
fn same(one: &str, other: &str) -> bool {
    let bare = |id: &str| id.trim_matches(['<', '>', ' ']).to_ascii_lowercase();
    bare(one) == bare(other)
}

/// The log's own words, and those of webhooks and of a message's history, which newer versions may use as well.
fn kind(word: &str) -> Kind {
    match word {
        "requests" | "request" | "sent" => Kind::Accepted,
        "deferred" => Kind::Deferred,
        "delivered" => Kind::Delivered,
        "softBounces" | "softBounce" | "soft_bounce" => Kind::SoftBounce,
        "hardBounces" | "hardBounce" | "hard_bounce" => Kind::HardBounce,
        "invalid" | "invalid_email" => Kind::Invalid,
        "blocked" => Kind::Blocked,
        "error" => Kind::Error,
        _ => Kind::Other,
    }
}

/// With an offset, as it is seen, or without one, when it is UTC as the documents say.
fn date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f %z"))
        .map(|at| at.with_timezone(&Utc))
        .or_else(|_| {
            let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
                .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"));
            naive.map(|at| at.and_utc())
        })
        .ok()
}

impl Budget {
    fn learn(&self, answer: &Answer) {
        let count = answer
            .headers
            .get("x-sib-ratelimit-remaining")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse().ok());
        let count = match (count, answer.status) {
            (_, 429) => Some(0),
            (count, _) => count,
        };
        // A duration, not a time of day.
        let reset = answer.seconds("x-sib-ratelimit-reset").unwrap_or(WINDOW);
        if let Some(count) = count {
            let anew_at = Instant::now() + reset.min(WINDOW);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Left { count, anew_at });
        }
    }

    /// What is left, where that is too little to ask.
    fn exhausted(&self) -> Option<Left> {
        let left = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.filter(|left| left.count <= RESERVE && Instant::now() < left.anew_at)
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::{BrevoPlan, SecretPlan, SecretSource};
    use crate::demo::http::{Request, Response, serve};
    use crate::secret::Secret;
    use serde_json::json;
    use std::sync::Arc;
    use tokio::net::TcpListener;

    const TOKEN: &str = "e2e-probe-aevjoulmagrbbmul6yaaaboagtlbirqtufvjvvnhv4";

    /// An API that answers so, and what it was asked.
    async fn api(
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> (Brevo, Arc<Mutex<Vec<Request>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v3", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
        let requests = Arc::clone(&asked);
        tokio::spawn(serve(listener, None, move |request| {
            let response = answer(&request);
            requests.lock().unwrap().push(request);
            async move { response }
        }));
        let plan = BrevoPlan {
            name: "brevo".to_owned(),
            api_key: SecretPlan {
                value: Secret::new("xkeysib-known"),
                source: SecretSource::Literal,
            },
            from: "monitoring@example.org".to_owned(),
            from_name: None,
            unblock_recipient: true,
            base_url: base_url.parse().unwrap(),
            ca_file: None,
            daily_limit: None,
        };
        (Brevo::new(plan).unwrap(), asked)
    }

    fn inquiry(id: Option<&str>) -> Inquiry {
        Inquiry {
            message_id: id.map(str::to_owned),
            to: "smoke+test@example.org".to_owned(),
            token: TOKEN.to_owned(),
        }
    }

    async fn word(brevo: &Brevo, id: Option<&str>) -> Word {
        of_message(brevo, &inquiry(id), Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn events_are_asked_for_by_this_very_id_and_dates_keep_their_offset() {
        let (brevo, asked) = api(|_| {
            Response::json(
                200,
                &json!({ "events": [
                    { "event": "deferred", "date": "2026-11-25T04:14:07.000+02:00", "messageId": "<1@x>", "reason": "452 4.3.1\r\nfull" },
                    { "event": "delivered", "date": "2026-11-25T04:14:07Z", "messageId": "<another@x>" },
                    { "event": "requests", "date": "2026-11-25 02:14:01", "messageId": "1@x" },
                ] }),
            )
        })
        .await;
        let Word::Events(events) = word(&brevo, Some("<1@x>")).await else {
            panic!("no events");
        };
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Deferred, Kind::Accepted]);
        assert_eq!(
            events[0].quote(),
            "deferred at 2026-11-25T02:14:07Z: 452 4.3.1 full"
        );
        assert_eq!(events[1].quote(), "accepted at 2026-11-25T02:14:01Z");
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].query("messageId"), Some("<1@x>"));
    }

    #[tokio::test]
    async fn where_the_answer_was_lost_the_token_in_the_subject_tells_our_message() {
        let (brevo, asked) = api(|_| {
            Response::json(
                200,
                &json!({ "events": [
                    { "event": "blocked", "messageId": "<1@x>", "subject": format!("[E2E Monitor] {TOKEN}") },
                    { "event": "delivered", "messageId": "<2@x>", "subject": "[E2E Monitor] e2e-probe-other" },
                    { "event": "delivered", "messageId": "<3@x>" },
                ] }),
            )
        })
        .await;
        let found = word(&brevo, None).await;
        assert_eq!(found.decisive().unwrap().kind, Kind::Blocked);
        assert_eq!(
            found.decisive().unwrap().message_id.as_deref(),
            Some("<1@x>")
        );
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0].query("email"), Some("smoke+test@example.org"));
        assert_eq!(asked[0].query("messageId"), None);
    }

    #[tokio::test]
    async fn null_absent_and_404_are_a_log_that_does_not_know_the_message_yet() {
        let answers = [
            || Response::json(200, &json!({ "events": null })),
            || Response::json(200, &json!({})),
            || crate::demo::brevo::error(404, "document_not_found", "no events"),
            || Response::text(204, ""),
        ];
        for answer in answers {
            let (brevo, _) = api(move |_| answer()).await;
            assert_eq!(word(&brevo, Some("<1@x>")).await, Word::Events(Vec::new()));
        }
    }

    #[tokio::test]
    async fn a_log_that_fails_or_babbles_is_no_word() {
        for (status, body) in [(500, "no"), (200, "<html>"), (401, "{}")] {
            let (brevo, _) = api(move |_| Response::text(status, body)).await;
            let word = word(&brevo, Some("<1@x>")).await;
            assert!(matches!(word, Word::Unavailable(_)), "{status}: {word:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_asked_once_the_answers_say_that_little_is_left() {
        let (brevo, asked) = api(|_| {
            Response::json(
                200,
                &json!({ "events": [{ "event": "requests", "messageId": "<1@x>" }] }),
            )
            .with_header("x-sib-ratelimit-remaining", "20")
            .with_header("x-sib-ratelimit-reset", "1200")
        })
        .await;
        assert!(matches!(word(&brevo, Some("<1@x>")).await, Word::Events(_)));
        let Word::Unavailable(cause) = word(&brevo, Some("<1@x>")).await else {
            panic!("asked again");
        };
        assert_eq!(cause.code, CauseCode::SenderRateLimited);
        assert!(
            cause.summary.contains("20 of the hour's requests"),
            "{cause:?}"
        );
        assert_eq!(asked.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_limit_that_is_reached_is_not_run_into_again() {
        let (brevo, asked) =
            api(|_| Response::text(429, "").with_header("x-sib-ratelimit-reset", "3600")).await;
        for _ in 0..2 {
            assert!(matches!(
                word(&brevo, Some("<1@x>")).await,
                Word::Unavailable(_)
            ));
        }
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}
