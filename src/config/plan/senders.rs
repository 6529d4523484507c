//! Senders other than Brevo.

use super::{SecretPlan, TlsMode};
use crate::net::proxy_protocol::ProxyProtocol;
use std::path::PathBuf;
use url::Url;

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

/// An account at a provider that is spoken to over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiPlan {
    /// The NAME of `[sender.NAME]`.
    pub name: String,
    /// Header From: address.
    pub from: String,
    /// Header From: display name.
    pub from_name: Option<String>,
    /// Without a trailing slash.
    pub base_url: Url,
    /// Trust this CA instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Which provider, and what only it needs.
    pub provider: ProviderPlan,
}

/// A provider, and what only it needs.
#[derive(Debug, Clone, PartialEq)]
pub enum ProviderPlan {
    /// `type = "mailgun"`.
    Mailgun {
        /// Sending key or account key.
        api_key: SecretPlan,
        /// The sending domain.
        domain: String,
    },
    /// `type = "postmark"`.
    Postmark {
        /// A server's API token.
        server_token: SecretPlan,
        /// The stream's id.
        message_stream: String,
    },
    /// `type = "sendgrid"`.
    Sendgrid {
        /// An API key that may send.
        api_key: SecretPlan,
    },
    /// `type = "ses"`.
    Ses(SesPlan),
    /// `type = "resend"`.
    Resend {
        /// An API key that may send.
        api_key: SecretPlan,
    },
    /// `type = "mailjet"`.
    Mailjet {
        /// The public half.
        api_key: SecretPlan,
        /// The private half.
        secret_key: SecretPlan,
    },
}

/// Amazon SES v2.
#[derive(Debug, Clone, PartialEq)]
pub struct SesPlan {
    /// Such as `eu-central-1`.
    pub region: String,
    /// Of an IAM user or role.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: SecretPlan,
    /// For temporary credentials.
    pub session_token: Option<SecretPlan>,
    /// The configuration set to send by.
    pub configuration_set: Option<String>,
}

impl ProviderPlan {
    /// The config's `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Mailgun { .. } => "mailgun",
            Self::Postmark { .. } => "postmark",
            Self::Sendgrid { .. } => "sendgrid",
            Self::Ses(_) => "ses",
            Self::Resend { .. } => "resend",
            Self::Mailjet { .. } => "mailjet",
        }
    }

    /// The secret by which the provider knows the account.
    #[must_use]
    pub fn key(&self) -> &SecretPlan {
        match self {
            Self::Mailgun { api_key, .. }
            | Self::Sendgrid { api_key }
            | Self::Resend { api_key } => api_key,
            Self::Postmark { server_token, .. } => server_token,
            Self::Ses(ses) => &ses.secret_access_key,
            Self::Mailjet { secret_key, .. } => secret_key,
        }
    }
}
