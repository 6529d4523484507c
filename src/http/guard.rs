//! Who may have something done, and who may look.
//!
//! With the token, everybody. On loopback everybody on this machine, but not a web page that a browser on this machine
//! shows: such a page can make the browser send requests here, under a name of its own that it makes point here.

use super::App;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, PoisonError};

/// The port that a browser does not write.
const HTTP: u16 = 80;

/// Whether this request may have something done; the answer where not.
pub(super) fn admit(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let token = app.token.read().unwrap_or_else(PoisonError::into_inner);
    let shown = field(headers, header::AUTHORIZATION).and_then(bearer);
    if let (Some(token), Some(shown)) = (token.as_ref(), shown)
        && is_same(token.expose(), shown)
    {
        return Ok(());
    }
    if app.is_loopback && shown.is_none() {
        return from_this_machine(uri, headers)
            .map_err(|reason| refused(StatusCode::FORBIDDEN, reason));
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
        None if app.is_loopback => refused(
            StatusCode::FORBIDDEN,
            "[serve] has no `token` that this could be: set one, or ask without `Authorization`",
        ),
        None => refused(
            StatusCode::FORBIDDEN,
            "nothing can be done from here: `listen` is not loopback, and [serve] has no `token`",
        ),
    })
}

/// Lets nobody look on loopback who came by a name that a web page made point here.
///
/// Such a page knows our port and names it in `Host`, as it has to. A proxy on this machine has a port of its own, so a
/// name that it passes on stands alone or beside that one, and is let through.
pub(super) async fn look(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_here = |authority: &str| match place(authority) {
        Some(Place { name, port }) => {
            name.parse::<IpAddr>().is_ok() || is_loopback(name) || port != app.port
        }
        None => false,
    };
    let all_here = authorities(request.uri(), request.headers())
        .all(|authority| authority.is_some_and(is_here));
    if app.is_loopback && !all_here {
        return *refused(
            StatusCode::FORBIDDEN,
            "ask for it as localhost or 127.0.0.1",
        );
    }
    next.run(request).await
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
fn from_this_machine(uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    let is_here = |authority: &str| place(authority).is_some_and(|one| is_loopback(one.name));
    let all_here = authorities(uri, headers).all(|one| one.is_some_and(is_here));
    let host = field(headers, header::HOST).unwrap_or_default();
    if !all_here || headers.get_all(header::HOST).iter().count() != 1 {
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

/// Every place that the request says it is for: it may have several fields `Host`, and a whole URL besides. `None` for
/// what is no text.
fn authorities<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> impl Iterator<Item = Option<&'r str>> {
    let fields = headers.get_all(header::HOST).iter();
    let of_url = uri.authority().map(|authority| Some(authority.as_str()));
    fields.map(|field| field.to_str().ok()).chain(of_url)
}

/// What `Host` names.
struct Place<'r> {
    /// A name, or an address without brackets.
    name: &'r str,
    port: u16,
}

fn place(authority: &str) -> Option<Place<'_>> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            match rest {
                "" => (address, None),
                _ => (address, Some(rest.strip_prefix(':')?)),
            }
        }
        None => match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(HTTP), |port| port.parse().ok())?;
    Some(Place { name, port })
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|one| one.is_loopback())
}
