//! Who may have something done.
//!
//! With the token, everybody. On loopback everybody on this machine, but not a web page that a browser on this machine
//! shows: such a page can make the browser send requests here, under a name of its own that it makes point here.

use super::App;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use std::net::IpAddr;
use std::sync::PoisonError;

/// Whether this request may have something done; the answer where not.
pub(super) fn admit(app: &App, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let token = app.token.read().unwrap_or_else(PoisonError::into_inner);
    let shown = field(headers, header::AUTHORIZATION).and_then(bearer);
    if let (Some(token), Some(shown)) = (token.as_ref(), shown)
        && is_same(token.expose(), shown)
    {
        return Ok(());
    }
    if app.is_loopback && shown.is_none() {
        return from_this_machine(headers).map_err(|reason| refused(StatusCode::FORBIDDEN, reason));
    }
    Err(match token.as_ref() {
        Some(_) => {
            let mut response = refused(
                StatusCode::UNAUTHORIZED,
                "show the token of [serve]: `Authorization: Bearer TOKEN`",
            );
            let challenge = header::HeaderValue::from_static("Bearer realm=\"mailprobe\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
            response
        }
        None => refused(
            StatusCode::FORBIDDEN,
            "nothing can be done from here: `listen` is not loopback, and [serve] has no `token`",
        ),
    })
}

fn refused(status: StatusCode, reason: &'static str) -> Box<Response> {
    Box::new((status, format!("{reason}\n")).into_response())
}

fn field(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Compares in a time that does not depend on where the difference is.
fn is_same(one: &str, other: &str) -> bool {
    let hash = |text: &str| digest(&SHA256, text.as_bytes());
    hash(one).as_ref() == hash(other).as_ref()
}

/// Whether a program on this machine asks, and not a page in a browser.
fn from_this_machine(headers: &HeaderMap) -> Result<(), &'static str> {
    let host = field(headers, header::HOST).unwrap_or_default();
    if !is_loopback(host) {
        return Err("ask for it as localhost or 127.0.0.1, or show the token of [serve]");
    }
    let elsewhere = "a page from elsewhere may not ask for this";
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
        if origin.is_none_or(|(_, authority)| authority != host) {
            return Err(elsewhere);
        }
    }
    match headers.get("sec-fetch-site").map(|site| site.to_str()) {
        None | Some(Ok("same-origin" | "none")) => Ok(()),
        Some(_) => Err(elsewhere),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|one| one.is_loopback())
}
