//! The API: what is known as JSON, and the two things that can be had done.

use super::{App, guard};
use crate::scheduler::{Asked, Command};
use crate::visible::escape;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the scheduler may take to answer: it reads the config, at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Why nothing is begun any more.
const ENDING: &str = "the process is about to end";

pub(super) async fn probes(State(app): State<Arc<App>>) -> Response {
    let rendered = tokio::task::spawn_blocking(move || {
        let probes: Vec<Value> = app.logbook.rows().iter().map(|row| row.json()).collect();
        json!({ "probes": probes }).to_string()
    });
    match rendered.await {
        Ok(text) => json_text(StatusCode::OK, text),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) async fn probe(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match app.logbook.row(&name) {
        Some(row) => json_text(StatusCode::OK, row.json().to_string()),
        None => fault(StatusCode::NOT_FOUND, "there is no such probe"),
    }
}

pub(super) async fn report(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    match app.logbook.report(&token.to_ascii_lowercase()).await {
        Some(report) => json_text(StatusCode::OK, report.to_string()),
        None => fault(
            StatusCode::NOT_FOUND,
            "there is no finished run with this token, or it is no longer kept",
        ),
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
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, text).into_response()
}
