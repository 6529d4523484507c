//! What `serve` shows and takes over HTTP: routes only.

mod api;
mod guard;
mod page;
mod seats;

use crate::metrics::{self, Counters};
use crate::scheduler::Command;
use crate::scheduler::logbook::Logbook;
use crate::secret::Secret;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use seats::{Seat, Seats, Sending};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// How long a client may take to send a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may last, idle or not.
const CONNECTION_LIMIT: Duration = Duration::from_secs(120);
/// Header fields of a request, and bytes of all of them together with the request line.
const MOST_HEADERS: usize = 64;
const LONGEST_HEAD: usize = 16 * 1024;
/// Connections at the same time; of more, those that ask for nothing go.
const MOST_CONNECTIONS: usize = 128;

/// What the routes need.
#[derive(Debug)]
pub struct App {
    /// What is known of each probe.
    pub logbook: Arc<Logbook>,
    /// What was counted.
    pub counters: Arc<Counters>,
    /// The way to the scheduler.
    pub commands: mpsc::Sender<Command>,
    /// Only this machine gets in.
    pub is_loopback: bool,
    /// Where it listens.
    pub port: u16,
    /// What whoever wants something done has to show.
    pub token: RwLock<Option<Secret>>,
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, app: Arc<App>) {
    let router = router(app);
    let mut seats = Seats::new(MOST_CONNECTIONS);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                seats
                    .take(|seat| async move {
                        // A client that breaks off or is too slow is nothing to tell of.
                        let _ = timeout(CONNECTION_LIMIT, converse(stream, router, seat)).await;
                    })
                    .await;
            }
            // No descriptors left: they come back.
            Err(error) => {
                tracing::warn!("cannot take an HTTP connection: {error}");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router, seat: Seat) {
    let _ = stream.set_nodelay(true);
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let at_work = seat.at_work();
        let answer = routes.call(request);
        async move {
            let answer = answer.await;
            answer.map(|answer| answer.map(|body| Sending::new(body, at_work)))
        }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_headers(MOST_HEADERS)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Every route.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/style.css", get(page::style))
        .route("/api/probes", get(api::probes))
        .route("/api/probes/{name}", get(api::probe))
        .route("/api/runs/{token}", get(api::report))
        .route_layer(from_fn_with_state(Arc::clone(&app), guard::look))
        // From here on whoever reads learns no more than a monitor, and whoever acts is asked for more.
        .route("/metrics", get(all_metrics))
        .route("/probe", get(probe_metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(|| async { "ready\n" }))
        .route("/api/probes/{name}/run", post(api::run))
        .route("/-/reload", post(api::reload))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here\n") })
        .layer(map_response(with_headers))
        .with_state(app)
}

/// What every answer carries: nothing is kept, framed, guessed at or loaded from elsewhere.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn status_page(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let number = parameter(query.as_deref(), "page").and_then(|text| text.parse().ok());
    page::show(app.logbook.rows(), number.unwrap_or(1))
}

/// Rendered beside the runtime's thread: with thousands of probes it takes a while, in which no mailbox would be looked at.
/// Sent metric by metric, so that the page is in memory but once.
async fn all_metrics(State(app): State<Arc<App>>) -> Response {
    let rendered = tokio::task::spawn_blocking(move || {
        let mut texts = metrics::encode_all(&app.logbook.metrics(), &app.logbook.surroundings());
        texts.push(app.counters.encode());
        texts
    });
    match rendered.await {
        Ok(texts) => {
            let texts = stream::iter(texts.into_iter().map(Ok::<_, Infallible>));
            text_metrics(Body::from_stream(texts))
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The last run of one probe. Never runs one: whoever can reach this page must not be able to send mail.
async fn probe_metrics(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let Some(name) = parameter(query.as_deref(), "probe") else {
        return (
            StatusCode::BAD_REQUEST,
            "name the probe: /probe?probe=NAME\n",
        )
            .into_response();
    };
    match app.logbook.row(&name) {
        Some(row) => match row.metrics().last {
            Some(run) => text_metrics(metrics::encode(&run)),
            None => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the probe has not run yet\n",
            )
                .into_response(),
        },
        None => (StatusCode::NOT_FOUND, "there is no such probe\n").into_response(),
    }
}

async fn health(State(app): State<Arc<App>>) -> Response {
    if app.logbook.is_ticking() {
        "the scheduler ticks\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the scheduler does not tick\n",
        )
            .into_response()
    }
}

fn text_metrics(text: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text.into()).into_response()
}

fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

impl App {
    /// Takes another token into use.
    pub fn set_token(&self, token: Option<Secret>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

#[cfg(test)]
mod tests;
