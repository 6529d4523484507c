//! What the program uses: every value checked, every reference resolved, every secret read.

mod dns;
mod listeners;
mod senders;
mod serve;

pub use dns::{DnsPlan, Resolver};
pub use listeners::ListenerPlan;
pub use senders::{ApiPlan, ProviderPlan, SesPlan, SmtpAuth, SmtpLogin, SmtpPlan};
pub use serve::ServePlan;

use crate::files::{LARGEST_SECRET, aside, read_text};
use crate::probe::path::PathPlan;
use crate::probe::schedule::Schedule;
use crate::probe::token::Keyring;
use crate::probe::verdict::Verdict;
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// A config that was read and found good, for the probes that were selected.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The file it came from, for messages.
    pub source: PathBuf,
    /// The selected probes, in the order of the file.
    pub probes: Vec<Arc<ProbePlan>>,
    /// The names of all probes of the file, selected or not.
    pub all_probes: Vec<String>,
    /// The sinks that take one of the selected probes.
    pub sinks: Vec<Arc<SinkPlan>>,
    /// The mail ports, in the order of the file.
    pub listeners: Vec<Arc<ListenerPlan>>,
    /// Whom to ask for the records that mail depends on; none where nobody is to be asked.
    pub dns: Option<DnsPlan>,
    /// The scheduler's own settings.
    pub serve: ServePlan,
    /// Which tokens are ours: of every probe of the file, selected or not.
    pub keyring: Arc<Keyring>,
    /// Who is who on the way of a message.
    pub path: Arc<PathPlan>,
    /// What works and should not be so (a literal secret, a password over plain HTTP), each with `file:line`. `check`
    /// prints them.
    pub warnings: Vec<String>,
    /// Where the secrets of the whole file come from, each place once.
    pub secrets: Vec<SecretSource>,
    /// The files that it names besides those of secrets (`ca_file`), each once.
    pub files: Vec<PathBuf>,
}

/// One path to test.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbePlan {
    /// Unique in the file; `[A-Za-z0-9._-]`, 64 characters at most.
    pub name: String,
    /// The recipient, as written.
    pub to: String,
    /// When to run.
    pub schedule: Schedule,
    /// `serve` only: a run starts up to this much after its time.
    pub jitter: Duration,
    /// From the start of the send; seen later than this is `late`.
    pub late_after: Duration,
    /// From the start of the run; not seen by then is `missing`. Always more than `late_after`.
    pub timeout: Duration,
    /// Verdicts besides `delivered` that count as success.
    pub accept: Vec<Verdict>,
    /// Who takes the message.
    pub sender: Arc<SenderPlan>,
    /// Where it should arrive.
    pub mailbox: Arc<MailboxPlan>,
}

/// A secret and where it came from, for hints.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretPlan {
    /// The value.
    pub value: Secret,
    /// Where it came from.
    pub source: SecretSource,
}

impl SecretPlan {
    /// The value as it is now: access tokens in files are renewed while we run. The one that was read first, where
    /// the file can no longer be read.
    pub async fn current(&self) -> Secret {
        let SecretSource::File(path) = &self.source else {
            return self.value.clone();
        };
        let file = path.clone();
        let read = aside(path, move || read_text(&file, LARGEST_SECRET)).await;
        match read.flatten() {
            Ok(text) if !text.trim().is_empty() => {
                Secret::of_file(path, text.trim_end_matches(['\r', '\n']))
            }
            Ok(_) => self.value.clone(),
            Err(error) => {
                let file = path.display();
                tracing::warn!(
                    "file `{file}` cannot be read again, what was read first is used: {error}"
                );
                self.value.clone()
            }
        }
    }
}

/// Where a secret came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretSource {
    /// An environment variable.
    Variable(String),
    /// A file; a trailing line break is not part of the secret.
    File(PathBuf),
    /// The config file itself.
    Literal,
}

impl std::fmt::Display for SecretSource {
    /// ``variable `NAME` ``, ``file `PATH` `` or `the config file`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "variable `{name}`"),
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Literal => f.write_str("the config file"),
        }
    }
}

/// What a message is handed to.
#[derive(Debug, Clone, PartialEq)]
pub enum SenderPlan {
    /// The Brevo HTTP API.
    Brevo(BrevoPlan),
    /// An SMTP server.
    Smtp(SmtpPlan),
    /// Another provider that is spoken to over HTTP.
    Api(ApiPlan),
}

/// `type = "brevo"`.
#[derive(Debug, Clone, PartialEq)]
pub struct BrevoPlan {
    /// The NAME of `[sender.NAME]`.
    pub name: String,
    /// The v3 API key.
    pub api_key: SecretPlan,
    /// Header From: address.
    pub from: String,
    /// Header From: display name.
    pub from_name: Option<String>,
    /// Lift Brevo's block of the recipient before sending.
    pub unblock_recipient: bool,
    /// Without a trailing slash; `https`, or `http` to loopback.
    pub base_url: Url,
    /// Trust this CA instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// What the account may send a day.
    pub daily_limit: Option<u32>,
}

/// An account that is read.
#[derive(Debug, Clone, PartialEq)]
pub struct MailboxPlan {
    /// The NAME of `[mailbox.NAME]`.
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
    /// Log-in name.
    pub username: String,
    /// Password, or access token with XOAUTH2.
    pub password: SecretPlan,
    /// How to log in.
    pub auth: MailboxAuth,
    /// Where messages should arrive; never empty.
    pub folders: Vec<String>,
    /// Where spam is filed.
    pub junk: JunkFolder,
}

/// When TLS starts on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// From the first byte.
    Implicit,
    /// After STARTTLS, which is then demanded.
    StartTls,
    /// Never.
    None,
}

/// How to log in to a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailboxAuth {
    /// AUTHENTICATE PLAIN where the server offers it, else LOGIN.
    Auto,
    /// AUTHENTICATE PLAIN.
    Plain,
    /// LOGIN.
    Login,
    /// AUTHENTICATE XOAUTH2; the password is the access token.
    XOauth2,
}

/// Where spam is filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JunkFolder {
    /// By SPECIAL-USE `\Junk`, else by common names.
    Auto,
    /// This folder, which must exist.
    Named(String),
    /// Not watched.
    None,
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkPlan {
    /// Prometheus Pushgateway.
    Pushgateway(PushgatewayPlan),
    /// Uptime Kuma push monitor.
    UptimeKuma(UptimeKumaPlan),
}

/// `type = "pushgateway"`.
#[derive(Debug, Clone, PartialEq)]
pub struct PushgatewayPlan {
    /// Base URL without a trailing slash, query or credentials.
    pub url: Url,
    /// The group's `job`.
    pub job: String,
    /// More of the grouping key; never `job` or `probe`.
    pub labels: BTreeMap<String, String>,
    /// How to log in, where it is needed.
    pub credentials: Option<HttpCredentials>,
    /// Trust this CA instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

/// How to log in to an HTTP endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpCredentials {
    /// Basic.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: SecretPlan,
    },
    /// Bearer token.
    Bearer(SecretPlan),
}

/// `type = "uptime_kuma"`.
#[derive(Debug, Clone, PartialEq)]
pub struct UptimeKumaPlan {
    /// The probe whose runs go there.
    pub probe: String,
    /// `BASE/api/push/TOKEN` without query and without a slash behind the token. The token in it is the only
    /// credential, so the whole URL is a secret.
    pub push_url: SecretPlan,
    /// Also push `overdue`.
    pub interim: bool,
    /// Trust this CA instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

impl SenderPlan {
    /// The NAME of `[sender.NAME]`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Brevo(brevo) => &brevo.name,
            Self::Smtp(smtp) => &smtp.name,
            Self::Api(api) => &api.name,
        }
    }

    /// What the account may send a day, where the config says.
    #[must_use]
    pub fn daily_limit(&self) -> Option<u32> {
        match self {
            Self::Brevo(brevo) => brevo.daily_limit,
            Self::Smtp(_) | Self::Api(_) => None,
        }
    }

    /// The config's `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Brevo(_) => "brevo",
            Self::Smtp(_) => "smtp",
            Self::Api(api) => api.provider.kind(),
        }
    }
}

impl SinkPlan {
    /// Whether runs of this probe are reported here.
    #[must_use]
    pub fn takes(&self, probe: &str) -> bool {
        match self {
            Self::Pushgateway(_) => true,
            Self::UptimeKuma(kuma) => kuma.probe == probe,
        }
    }
}
