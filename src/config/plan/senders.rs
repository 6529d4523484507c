//! Senders other than Brevo.

use super::{SecretPlan, TlsMode};
use crate::net::proxy_protocol::ProxyProtocol;
use std::path::PathBuf;

/// `type = "smtp"`: a submission server, or an MX that takes mail from here.
#[derive(Debug, Clone, PartialEq)]
pub struct SmtpPlan {
    /// The NAME of `[sender.NAME]`.
    pub name: String,
    /// Host name or address to connect to.
    pub host: String,
    /// Port.
    pub port: u16,
    /// When TLS starts, if at all.
    pub tls: TlsMode,
    /// The name that the certificate must carry; `host` where the config does not say.
    pub tls_server_name: String,
    /// Trust this CA instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// How to log in; none for a relay.
    pub login: Option<SmtpLogin>,
    /// Envelope sender and header From: address.
    pub from: String,
    /// Header From: display name.
    pub from_name: Option<String>,
    /// What EHLO says; none for the host's name.
    pub helo: Option<String>,
    /// What is sent before all else, for a port behind a load balancer.
    pub proxy: Option<ProxyProtocol>,
}

/// How to log in to a submission server.
#[derive(Debug, Clone, PartialEq)]
pub struct SmtpLogin {
    /// User name.
    pub username: String,
    /// Password, or access token with XOAUTH2.
    pub password: SecretPlan,
    /// By which mechanism.
    pub auth: SmtpAuth,
}

/// A mechanism of SMTP AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpAuth {
    /// PLAIN where the server offers it, else LOGIN.
    Auto,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN.
    Login,
    /// XOAUTH2; the password is the access token.
    XOauth2,
}
