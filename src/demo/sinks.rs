//! The sinks of the demo world: a Pushgateway and an Uptime Kuma that remember what they are told.

use super::http::{Request, Response, serve};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// What a sink has received.
#[derive(Debug, Clone, Default)]
pub struct Received(Arc<Mutex<Vec<Request>>>);

impl Received {
    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn add(&self, request: Request) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    }
}

/// A gateway that takes every push. Serves until the task is dropped.
pub async fn serve_pushgateway(listener: TcpListener, received: Received) {
    serve(listener, None, move |request: Request| {
        let response = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/api/v1/metrics") => {
                Response::json(200, &json!({ "status": "success", "data": [] }))
            }
            ("GET", "/-/ready") => Response::text(200, "OK"),
            ("POST" | "PUT", path) if path.starts_with("/metrics/job/") => Response::text(200, ""),
            _ => Response::text(404, "404 page not found"),
        };
        received.add(request);
        async move { response }
    })
    .await;
}

/// A Kuma with one monitor. Serves until the task is dropped.
pub async fn serve_uptime_kuma(listener: TcpListener, token: String, received: Received) {
    serve(listener, None, move |request: Request| {
        let response = if request.path == format!("/api/push/{token}") {
            Response::json(200, &json!({ "ok": true }))
        } else {
            Response::json(
                404,
                &json!({ "ok": false, "msg": "Monitor not found or not active." }),
            )
        };
        received.add(request);
        async move { response }
    })
    .await;
}
