//! `[sender.NAME]` with `type = "smtp"`.

use super::Environment;
use super::document::Section;
use super::listeners::proxy;
use super::plan::{SmtpAuth, SmtpLogin, SmtpPlan, TlsMode};
use super::values::{address, helo, host, is_loopback, text};

/// A sender of this type; none where it has faults or its secrets were not asked for.
pub(super) fn smtp(
    name: &str,
    section: &Section<'_>,
    environment: Option<Environment<'_>>,
) -> Option<SmtpPlan> {
    let host_name = section.required("host", host);
    let tls = section.choice(
        "tls",
        &[
            ("implicit", TlsMode::Implicit),
            ("starttls", TlsMode::StartTls),
            ("none", TlsMode::None),
        ],
    );
    let default_port = match tls {
        Some(TlsMode::StartTls) => 587,
        Some(TlsMode::None) => 25,
        Some(TlsMode::Implicit) | None => 465,
    };
    let port = match section.entry("port") {
        Some(_) => section.integer("port", 1, u32::from(u16::MAX)),
        None => Some(default_port),
    };
    let tls_server_name = section.checked("tls_server_name", host);
    let ca_file = section.ca_file();
    let login = login(section, environment);
    let from = section.required("from", address);
    let from_name = section.checked("from_name", text);
    let helo = section.checked("helo", helo);
    let proxy = proxy(section);
    let allow_plaintext = section.boolean("allow_plaintext", false);
    if let (Some(host), Some(TlsMode::None), Some(entry)) =
        (&host_name, tls, section.entry("password"))
        && !allow_plaintext
        && !is_loopback(host)
    {
        entry.hidden_fault(
            "would go over the network in clear with `tls = \"none\"`; say `allow_plaintext = true` if that is wanted",
        );
    }
    section.end();
    let host_name = host_name?;
    Some(SmtpPlan {
        name: name.to_owned(),
        port: u16::try_from(port?).ok()?,
        tls: tls?,
        tls_server_name: tls_server_name.unwrap_or_else(|| host_name.clone()),
        host: host_name,
        ca_file,
        login: login?,
        from: from?,
        from_name,
        helo,
        proxy: proxy?,
    })
}

/// How to log in, if at all; none where the keys have faults or the password was not asked for.
fn login(section: &Section<'_>, environment: Option<Environment<'_>>) -> Option<Option<SmtpLogin>> {
    let username = section.checked("username", text);
    let password = section.secret("password", environment);
    let auth = section.choice(
        "auth",
        &[
            ("auto", SmtpAuth::Auto),
            ("plain", SmtpAuth::Plain),
            ("login", SmtpAuth::Login),
            ("xoauth2", SmtpAuth::XOauth2),
        ],
    );
    let has = |key| section.entry(key).is_some();
    if has("username") != has("password") {
        section.fault("`username` and `password` go together");
        return None;
    }
    if !has("username") {
        if has("auth") {
            section.fault("there is an `auth`, and no `username` and `password` to log in with");
        }
        return Some(None);
    }
    Some(Some(SmtpLogin {
        username: username?,
        password: password?,
        auth: auth?,
    }))
}
