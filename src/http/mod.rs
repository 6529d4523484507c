//! What `serve` shows and takes over HTTP: routes only.

mod api;
mod guard;
mod line;
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
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use line::{Line, Renderings};
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
    serve_so_many(MOST_CONNECTIONS, listener, app).await;
}

async fn serve_so_many(most: usize, listener: TcpListener, app: Arc<App>) {
    let line = Line::default();
    let router = router(app, &Renderings::new(line.clone()));
    let mut seats = Seats::new(most, line.clone());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, line) = (router.clone(), line.clone());
                seats
                    .take(|seat| async move {
                        // A client that breaks off or is too slow is nothing to tell of.
                        tokio::select! {
                            _ = timeout(CONNECTION_LIMIT, converse(stream, router, seat.clone())) => {}
                            () = seat.is_in_the_way(&line) => {}
                        }
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
fn router(app: Arc<App>, renderings: &Renderings) -> Router {
    let few = from_fn_with_state(renderings.clone(), line::one_of_few);
    Router::new()
        .route("/", get(status_page).layer(few.clone()))
        .route("/style.css", get(page::style))
        .route("/api/probes", get(api::probes).layer(few.clone()))
        .route("/api/probes/{name}", get(api::probe))
        .route("/api/runs/{token}", get(api::report))
        .route_layer(from_fn_with_state(Arc::clone(&app), guard::look))
        // From here on whoever reads learns no more than a monitor, and whoever acts is asked for more.
        .route("/metrics", get(all_metrics).layer(few))
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
    page::show(&app.logbook, number.unwrap_or(1)).await
}

/// Rendered beside the runtime's thread: with thousands of probes it takes a while, in which no mailbox would be looked at.
/// Sent piece by piece, each made when the client has taken the one before it: the whole is large.
async fn all_metrics(State(app): State<Arc<App>>) -> Response {
    let (sender, mut pieces) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let (probes, surroundings) = (app.logbook.metrics(), app.logbook.surroundings());
        let counted = std::iter::once_with(|| app.counters.encode());
        for piece in metrics::encode_all(&probes, &surroundings).chain(counted) {
            // The client has gone.
            if sender.blocking_send(piece).is_err() {
                break;
            }
        }
    });
    let pieces = stream::poll_fn(move |context| pieces.poll_recv(context));
    text_metrics(Body::from_stream(pieces.map(Ok::<_, Infallible>)))
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
