//! Providers that are spoken to over HTTP, Brevo aside: one file each for what a request looks like and what an answer
//! means, and here what all of them share.
//!
//! A yes means "queued" and nothing more, as with Brevo. Unless a provider takes a key that makes repeats harmless, a
//! request whose answer was lost is not repeated: two copies would arrive.

mod account;
mod mailgun;
mod mailjet;
mod postmark;
mod resend;
mod sendgrid;
mod ses;
mod sigv4;

pub use account::Account;

use crate::config::plan::{ApiPlan, ProviderPlan};
use crate::net::http::{Answer, Fault, Http};
use crate::net::quotable;
use crate::net::tls::TlsError;
use crate::probe::compose::{Author, Message};
use crate::probe::send::{Acceptance, Failure, Retry, Taken};
use crate::probe::verdict::{Cause, CauseCode, Stage};
use chrono::{DateTime, Utc};
use lettre::message::Mailbox;
use reqwest::RequestBuilder;
use serde_json::Value;
use std::time::Duration;

/// Ids have about sixty characters; what is longer is none.
const LONGEST_ID: usize = 200;

/// An account at one of these providers.
#[derive(Debug)]
pub struct Api {
    plan: ApiPlan,
    http: Http,
}

/// What an answer means to its provider.
#[derive(Debug, PartialEq)]
enum Reading {
    /// A yes, and what the provider calls the message.
    Taken(Option<String>),
    /// A no of its own.
    Refused(Refusal),
    /// Nothing beyond what the status says.
    Usual,
}

/// A no, in a provider's own terms.
#[derive(Debug, PartialEq)]
struct Refusal {
    code: CauseCode,
    /// Behind the endpoint: `does not know the domain`.
    what: String,
    hint: String,
    taken: Taken,
    retry: Retry,
}

impl Refusal {
    /// One that no repeat can change.
    fn new(code: CauseCode, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            hint: hint.into(),
            taken: Taken::No,
            retry: Retry::Never,
        }
    }

    fn again(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}

impl From<Refusal> for Reading {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Api {
    /// Not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: ApiPlan) -> Result<Self, TlsError> {
        let http = Http::new(&plan.base_url, plan.ca_file.as_deref())?;
        Ok(Self { plan, http })
    }

    /// See [`super::Sender::attempt`].
    ///
    /// # Errors
    /// Anything but a yes.
    pub async fn attempt(&self, message: &Message, limit: Duration) -> Result<Acceptance, Failure> {
        let request = self.request(message, Utc::now()).await;
        match self.http.send(request, limit).await {
            Ok(answer) => self.of_answer(&answer, Utc::now()),
            Err(fault) => Err(self.of_silence("hand the message to", &fault)),
        }
    }

    async fn request(&self, message: &Message, now: DateTime<Utc>) -> RequestBuilder {
        let Self { plan, http } = self;
        let client = http.client();
        match &plan.provider {
            ProviderPlan::Mailgun { api_key, domain } => {
                mailgun::request(plan, api_key, domain, client, message)
            }
            ProviderPlan::Postmark {
                server_token,
                message_stream,
            } => postmark::request(plan, server_token, message_stream, client, message),
            ProviderPlan::Sendgrid { api_key } => sendgrid::request(plan, api_key, client, message),
            ProviderPlan::Ses(ses) => ses::request(plan, ses, client, message, now).await,
            ProviderPlan::Resend { api_key } => resend::request(plan, api_key, client, message),
            ProviderPlan::Mailjet {
                api_key,
                secret_key,
            } => mailjet::request(plan, api_key, secret_key, client, message),
        }
    }

    fn of_answer(&self, answer: &Answer, now: DateTime<Utc>) -> Result<Acceptance, Failure> {
        let reading = match &self.plan.provider {
            ProviderPlan::Mailgun { domain, .. } => mailgun::read(answer, domain),
            ProviderPlan::Postmark { .. } => postmark::read(answer),
            ProviderPlan::Sendgrid { .. } => sendgrid::read(answer, now),
            ProviderPlan::Ses(ses) => ses::read(answer, &ses.region),
            ProviderPlan::Resend { .. } => resend::read(answer),
            ProviderPlan::Mailjet { .. } => mailjet::read(answer),
        };
        let refusal = match reading {
            Reading::Taken(id) => {
                return Ok(Acceptance {
                    message_id: id.filter(|id| is_id(id)),
                    queue_id: None,
                    status: answer.status,
                });
            }
            Reading::Refused(refusal) => refusal,
            Reading::Usual => self.usual(answer),
        };
        Err(self.failure(answer, refusal))
    }

    /// What a status means everywhere.
    fn usual(&self, answer: &Answer) -> Refusal {
        let Self { plan, .. } = self;
        let failing = |taken, retry| Refusal {
            taken,
            retry,
            ..Refusal::new(
                CauseCode::SenderFailed,
                "fails",
                "see the provider's status page; nothing is wrong with the way to the mailbox",
            )
        };
        match answer.status {
            200..=299 if answer.cut.is_some() => Refusal {
                taken: Taken::Unknown,
                retry: self.repeat(),
                ..Refusal::new(
                    CauseCode::SenderFailed,
                    format!(
                        "began to answer, and the rest was lost ({})",
                        answer.cut.as_deref().unwrap_or_default()
                    ),
                    "the mailbox decides whether the message was taken; what stands between, such as a proxy?",
                )
            },
            // Somebody else's.
            200..=299 => Refusal {
                taken: Taken::Unknown,
                retry: self.repeat(),
                ..Refusal::new(
                    CauseCode::SenderFailed,
                    "gives an answer that is not of the API",
                    "does a proxy or a captive portal answer in its place? see `base_url` and HTTPS_PROXY",
                )
            },
            300..=399 => Refusal::new(
                CauseCode::SenderFailed,
                "answers with a redirect",
                "set `base_url` to where the API is; redirects are not followed, since the key must not go elsewhere",
            ),
            401 => Refusal::new(
                CauseCode::SenderUnauthorized,
                "does not accept the key",
                format!(
                    "the key comes from {}: was it revoked or replaced, and is it of this account?",
                    plan.provider.key().source
                ),
            ),
            403 => Refusal::new(
                CauseCode::SenderUnauthorized,
                "does not allow this account or key to send",
                "look at the provider for a suspension, an unverified sender, and what the key may do",
            ),
            408 => failing(Taken::Unknown, self.repeat()),
            429 => rate_limited(answer.seconds("retry-after")),
            400..=499 => Refusal::new(
                CauseCode::SenderRejectedMessage,
                "refuses the message",
                "the provider's words say which part: is `from` a verified sender there, and `to` an address?",
            ),
            500 | 503 => failing(Taken::No, Retry::Soon),
            // Something in front of the API lost the answer.
            _ => failing(Taken::Unknown, self.repeat()),
        }
    }

    /// Whether to try again where the message may have been taken.
    fn repeat(&self) -> Retry {
        match self.plan.provider {
            ProviderPlan::Resend { .. } => Retry::Soon,
            _ => Retry::Never,
        }
    }

    fn failure(&self, answer: &Answer, refusal: Refusal) -> Failure {
        let said = quotable(&format!("HTTP {} {}", answer.status, said(answer)));
        let summary = format!("{} {}: {said}", self.endpoint(), refusal.what);
        let mut cause = Cause::new(refusal.code, Stage::Send, summary, refusal.hint);
        cause.evidence.push(said);
        // What the provider's support asks for.
        for name in [
            "x-amzn-requestid",
            "x-mailgun-request-id",
            "x-mj-request-guid",
        ] {
            if let Some(id) = answer.headers.get(name).and_then(|id| id.to_str().ok()) {
                cause.evidence.push(format!("{name}: {}", quotable(id)));
            }
        }
        Failure {
            cause,
            taken: refusal.taken,
            retry: refusal.retry,
            status: Some(answer.status),
        }
    }

    /// What it means that there is no answer. `doing` stands between "cannot" and the endpoint.
    fn of_silence(&self, doing: &str, fault: &Fault) -> Failure {
        let (code, hint, taken, retry) = match fault {
            Fault::Unreachable(_) => (
                CauseCode::SenderUnreachable,
                "does this machine get out: name resolution, firewall, HTTPS_PROXY? is `base_url` right?".to_owned(),
                Taken::No,
                Retry::Soon,
            ),
            Fault::Certificate(certificate) => (
                CauseCode::SenderTlsInvalid,
                format!("{}; does a proxy open the connection on its way?", certificate.hint),
                Taken::No,
                Retry::Never,
            ),
            Fault::TimedOut(_) | Fault::Broken(_) => (
                CauseCode::SenderFailed,
                "the mailbox decides whether the message was taken; see the provider's status page".to_owned(),
                Taken::Unknown,
                self.repeat(),
            ),
        };
        let summary = format!("cannot {doing} {}: {fault}", self.endpoint());
        let mut cause = Cause::new(code, Stage::Send, summary, hint);
        if let Fault::Certificate(certificate) = fault {
            cause.evidence.clone_from(&certificate.evidence);
        }
        Failure {
            cause,
            taken,
            retry,
            status: None,
        }
    }

    /// The config's `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.plan.provider.kind()
    }

    /// See [`super::Sender::endpoint`].
    #[must_use]
    pub fn endpoint(&self) -> String {
        let url = self.plan.base_url.as_str().trim_end_matches('/');
        format!("{} `{url}`", self.kind())
    }

    /// See [`super::Sender::from`].
    #[must_use]
    pub fn from(&self) -> Author {
        Author {
            address: self.plan.from.clone(),
            name: self.plan.from_name.clone(),
        }
    }

    /// The HTTP endpoint.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.http
    }
}

/// A 429: to come again after the wait that is asked for, or after one of our choice.
fn rate_limited(wait: Option<Duration>) -> Refusal {
    let asks = wait.map_or_else(
        || "asks to send less often".to_owned(),
        |wait| format!("asks to wait {} s", wait.as_secs()),
    );
    let hint = "what else sends with this account? the limit is for all of it";
    let shortest = Duration::from_millis(100);
    Refusal::new(CauseCode::SenderRateLimited, asks, hint)
        .again(wait.map_or(Retry::Soon, |wait| Retry::After(wait.max(shortest))))
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The address of a path below the base URL.
fn address(plan: &ApiPlan, path: &[&str]) -> url::Url {
    let mut url = plan.base_url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// `Name <address>`, the name quoted where it has to be.
fn author(message: &Message) -> String {
    match message.from.address.parse() {
        Ok(address) => Mailbox::new(message.from.name.clone(), address).to_string(),
        Err(_) => message.from.address.clone(),
    }
}

/// What went wrong, in the provider's words: the code and the text of its JSON, or the beginning of a body of another
/// kind.
fn said(answer: &Answer) -> String {
    let body: Value = answer.json().unwrap_or_default();
    let at = |path: &str| match body.pointer(path)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let first = |paths: &[&str]| paths.iter().find_map(|path| at(path));
    let code = first(&[
        "/Messages/0/Errors/0/ErrorCode",
        "/ErrorCode",
        "/name",
        "/__type",
    ]);
    let text = first(&[
        "/Messages/0/Errors/0/ErrorMessage",
        "/ErrorMessage",
        "/errors/0/message",
        "/message",
        "/Message",
    ]);
    match (code, text) {
        (Some(code), Some(text)) => format!("{code}: {text}"),
        (None, Some(text)) => text,
        (Some(code), None) => code,
        (None, None) => answer.quote(),
    }
}

#[cfg(test)]
#[path = "api/tests.rs"]
mod tests;
