//! Checks of single values. Each error is what is said behind the quoted value.

use lettre::Address;
use rustls_pki_types::ServerName;
use std::net::IpAddr;
use std::str::FromStr;
use url::Url;

/// Any text without control characters, and not empty.
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("has a control character in it".to_owned());
    }
    Ok(text.to_owned())
}

/// What names a probe: it becomes a label, part of a path and part of a file name.
pub(super) fn probe_name(name: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_allowed) {
        return Err(
            "is no name for a probe; use 1 to 64 letters, digits, `.`, `_` and `-`".to_owned(),
        );
    }
    Ok(name.to_owned())
}

/// A mail address.
pub(super) fn address(text: &str) -> Result<String, String> {
    match Address::from_str(text) {
        Ok(_) if text.is_ascii() => Ok(text.to_owned()),
        Ok(_) => Err("has letters beyond ASCII, which not every mail server takes".to_owned()),
        Err(error) => Err(format!("is not a mail address: {error}")),
    }
}

/// A host name or an address, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    match ServerName::try_from(text.to_owned()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            Err("is not a host name or an IP address (a port has a key of its own)".to_owned())
        }
    }
}

/// What EHLO may say: a host name, or an address in brackets (RFC 5321 section 4.1.3).
pub(super) fn helo(text: &str) -> Result<String, String> {
    let literal = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_good = match literal {
        Some(literal) => literal
            .strip_prefix("IPv6:")
            .unwrap_or(literal)
            .parse::<IpAddr>()
            .is_ok(),
        None => text.parse::<IpAddr>().is_err() && host(text).is_ok(),
    };
    if is_good {
        Ok(text.to_owned())
    } else {
        Err("is not a host name, nor an address in brackets such as [192.0.2.1]".to_owned())
    }
}

/// Whether a connection to this host stays on this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The base URL of an HTTP API, without a slash at its end.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("is not an http:// or https:// URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user name or a password in it".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a `?` or a `#` in it".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The push URL of Uptime Kuma, without query and without a slash behind the token.
pub(super) fn push_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    let mut url = match url.scheme() {
        "http" | "https" if url.has_host() => url,
        _ => return Err("is not an http:// or https:// URL".to_owned()),
    };
    // Kuma shows the URL with an example query; the values are ours.
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    let token = path.rsplit_once("/api/push/").map(|(_, token)| token);
    if token.is_none_or(|token| token.is_empty() || token.contains('/')) {
        return Err(
            "is not a push URL; it ends in /api/push/TOKEN, as the monitor's page shows it"
                .to_owned(),
        );
    }
    url.set_path(&path);
    Ok(url)
}

/// A label name that Prometheus takes and that we do not use ourselves.
pub(super) fn label(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let starts = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !starts || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') || name.starts_with("__") {
        return Err(format!("has `{name}`, which is no label name"));
    }
    if matches!(name, "job" | "probe") {
        return Err(format!("has `{name}`, which mailprobe sets itself"));
    }
    Ok(())
}
