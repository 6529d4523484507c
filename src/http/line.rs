//! Who waits for what others have: for a place to be served at, or to have a page rendered.
//!
//! Pages of all probes take room and time: so many are rendered at the same time, and few wait.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// Pages at the same time, from the request until the client has all of it.
pub(super) const AT_ONCE: usize = 2;
/// Requests that wait for one of these to end; more are told to come back.
pub(super) const WAITING: usize = 8;
/// And so long: longer than a client may stand in the way, and shorter than Prometheus waits.
const WAIT_LIMIT: Duration = Duration::from_secs(8);
/// When it is worth while to come back, in seconds.
const COME_BACK: u16 = 5;

/// Whoever waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    count: Arc<watch::Sender<usize>>,
}

/// While this lives, somebody waits.
#[derive(Debug)]
pub(super) struct Waiting(Line);

/// The places to have a page rendered.
#[derive(Debug, Clone)]
pub(super) struct Renderings {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    line: Line,
}

impl Line {
    pub(super) fn wait(&self) -> Waiting {
        self.count.send_modify(|count| *count += 1);
        Waiting(self.clone())
    }

    /// Comes back when somebody waits.
    pub(super) async fn is_long(&self) {
        // The sender lives as long as we do.
        let _ = self.count.subscribe().wait_for(|count| *count > 0).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

impl Renderings {
    pub(super) fn new(line: Line) -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            line,
        }
    }

    /// A place, soon; none where too many want one.
    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let _one_of_few = self.waiting.try_acquire().ok()?;
        let _waiting = self.line.wait();
        let place = Arc::clone(&self.places).acquire_owned();
        timeout(WAIT_LIMIT, place).await.ok()?.ok()
    }
}

/// Has few pages rendered at the same time. A place is given back when the client has taken the page, or is gone.
pub(super) async fn one_of_few(
    State(renderings): State<Renderings>,
    request: Request,
    next: Next,
) -> Response {
    let Some(place) = renderings.enter().await else {
        let busy = "too many want pages like this one at the same time\n";
        let later = [(header::RETRY_AFTER, COME_BACK.into())];
        let later: [(_, axum::http::HeaderValue); 1] = later;
        return (StatusCode::SERVICE_UNAVAILABLE, later, busy).into_response();
    };
    next.run(request).await.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let _held = &place;
            piece
        }))
    })
}
