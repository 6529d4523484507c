//! The API: what is known as JSON, and the two things that can be had done.

use super::{App, guard};
use crate::history::NoAnswer;
use crate::scheduler::{Asked, Command};
use crate::visible::escape;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the scheduler may take to answer: it reads the config, at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Why nothing is begun any more.
const ENDING: &str = "the process is about to end";
/// Why no report is shown.
const NO_DISK: &str = "the disk of the history does not answer";

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// Sent probe by probe, each looked up when the client has taken those before it: together their reports are long.
pub(super) async fn probes(State(app): State<Arc<App>>) -> Response {
    let probes = stream::try_unfold(Next::First, move |next| {
        let app = Arc::clone(&app);
        async move {
            let last = match &next {
                Next::First => None,
                Next::After(probe) => Some(probe.as_str()),
                Next::Nothing => return Ok(None),
            };
            let begin = if last.is_none() { "{\"probes\":[" } else { "," };
            let Some(row) = app.logbook.after(last) else {
                let begin = if last.is_none() { begin } else { "" };
                return Ok(Some((format!("{begin}]}}\n"), Next::Nothing)));
            };
            let next = Next::After(row.probe.name.clone());
            let (entry, answered) = app.logbook.entry(row).await;
            // Half a list would pass for the whole: it breaks off.
            answered.map_err(|_| std::io::Error::other(NO_DISK))?;
            let text = format!("{begin}{}", entry.json());
            Ok::<_, std::io::Error>(Some((escape(&text).into_owned(), next)))
        }
    });
    (JSON, Body::from_stream(probes)).into_response()
}

/// Where a list of probes is.
enum Next {
    First,
    After(String),
    Nothing,
}

pub(super) async fn probe(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let Some(row) = app.logbook.row(&name) else {
        return fault(StatusCode::NOT_FOUND, "there is no such probe");
    };
    match app.logbook.entry(row).await {
        (entry, Ok(())) => json_text(StatusCode::OK, entry.json()),
        (_, Err(NoAnswer)) => fault(StatusCode::SERVICE_UNAVAILABLE, NO_DISK),
    }
}

pub(super) async fn report(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    match app.logbook.report(&token.to_ascii_lowercase()).await {
        Ok(Some(report)) => json_text(StatusCode::OK, report.to_string()),
        Ok(None) => fault(
            StatusCode::NOT_FOUND,
            "there is no finished run with this token, or it is no longer kept",
        ),
        Err(NoAnswer) => fault(StatusCode::SERVICE_UNAVAILABLE, NO_DISK),
    }
}

pub(super) async fn run(
    State(app): State<Arc<App>>,
    Path(probe): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = guard::admit(&app, &uri, &headers) {
        return *refusal;
    }
    let (reply, answer) = oneshot::channel();
    let asked = match ask(&app, Command::Run { probe, reply }, answer).await {
        Ok(asked) => asked,
        Err(reason) => return fault(StatusCode::SERVICE_UNAVAILABLE, reason),
    };
    match asked {
        Asked::Begun => json_text(
            StatusCode::ACCEPTED,
            json!({ "begun": true, "hint": "the report is `last_run` of the probe once the run is over" })
                .to_string(),
        ),
        Asked::Unknown => fault(StatusCode::NOT_FOUND, "there is no such probe"),
        Asked::Running => fault(StatusCode::CONFLICT, "a run of this probe is under way"),
        Asked::TooSoon(wait) => {
            let seconds = wait.as_secs() + 1;
            let mut response = fault(
                StatusCode::TOO_MANY_REQUESTS,
                &format!("asked for too soon after the last time: wait {seconds} s"),
            );
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
            response
        }
        Asked::Ending => fault(StatusCode::SERVICE_UNAVAILABLE, ENDING),
    }
}

pub(super) async fn reload(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    if let Err(refusal) = guard::admit(&app, &uri, &headers) {
        return *refusal;
    }
    let (reply, answer) = oneshot::channel();
    match ask(&app, Command::Reload { reply }, answer).await {
        Ok(Ok(())) => (StatusCode::OK, "the config was read again\n").into_response(),
        Ok(Err(error)) => {
            let text = escape(&error).into_owned() + "\n";
            (StatusCode::UNPROCESSABLE_ENTITY, text).into_response()
        }
        Err(reason) => fault(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

/// What the scheduler says, or why it says nothing.
async fn ask<T>(
    app: &App,
    command: Command,
    answer: oneshot::Receiver<T>,
) -> Result<T, &'static str> {
    let asked = async {
        app.commands.send(command).await.ok()?;
        answer.await.ok()
    };
    match timeout(ANSWER_LIMIT, asked).await {
        Ok(said) => said.ok_or(ENDING),
        Err(_) => Err("the scheduler has not answered within 20 s; it may still do it"),
    }
}

fn fault(status: StatusCode, error: &str) -> Response {
    json_text(status, json!({ "error": error }).to_string())
}

fn json_text(status: StatusCode, text: String) -> Response {
    // Whoever asks by `curl` has it on a terminal.
    let text = escape(&text).into_owned() + "\n";
    (status, JSON, text).into_response()
}
