//! The Brevo v3 API (developers.brevo.com, references of `smtp/email`, `smtp/blockedContacts`, `account`).
//!
//! A yes means "queued" and nothing more: what becomes of the message shows later, in the mailbox.

mod answers;
mod blocks;
mod events;
mod identity;

pub use identity::Identity;

use super::Inquiry;
use crate::config::plan::BrevoPlan;
use crate::log::About;
use crate::net::http::{Answer, Fault, Http};
use crate::net::tls::TlsError;
use crate::probe::compose::{Author, Message, TAG};
use crate::probe::provider::Word;
use crate::probe::send::{Acceptance, Failure, Preparation};
use crate::probe::verdict::Cause;
use answers::{ASK, Classifier};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;
use url::form_urlencoded;

/// A Brevo account.
#[derive(Debug)]
pub struct Brevo {
    plan: BrevoPlan,
    http: Http,
    budget: events::Budget,
}

/// What `GET /account` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Type of the plan, such as `free`.
    pub plan: String,
    /// Messages left; on the free plan, of today's.
    pub credits: Option<f64>,
    /// Whether transactional mail is switched on; none where Brevo does not say.
    pub relay_enabled: Option<bool>,
}

#[derive(Deserialize)]
struct AccountBody {
    #[serde(default)]
    plan: Vec<PlanBody>,
    relay: Option<RelayBody>,
}

#[derive(Deserialize)]
struct PlanBody {
    #[serde(rename = "type", default)]
    kind: String,
    credits: Option<f64>,
}

#[derive(Deserialize)]
struct RelayBody {
    enabled: Option<bool>,
}

impl Brevo {
    /// Not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: BrevoPlan) -> Result<Self, TlsError> {
        let http = Http::new(&plan.base_url, plan.ca_file.as_deref())?;
        Ok(Self {
            plan,
            http,
            budget: events::Budget::default(),
        })
    }

    /// See [`super::Sender::attempt`].
    ///
    /// # Errors
    /// Anything but a yes.
    pub async fn attempt(&self, message: &Message, limit: Duration) -> Result<Acceptance, Failure> {
        let request = self
            .request(Method::POST, &["smtp", "email"], &[])
            .json(&body(message));
        match self.http.send(request, limit).await {
            Ok(answer) => self.classifier(answers::SEND).of_answer(&answer),
            Err(fault) => Err(self.classifier(answers::SEND).of_fault(&fault)),
        }
    }

    /// See [`super::Sender::prepare`].
    pub async fn prepare(&self, to: &str, limit: Duration) -> Preparation {
        if !self.plan.unblock_recipient {
            return Preparation::default();
        }
        blocks::prepare(self, to, limit).await
    }

    /// See [`super::Sender::word`].
    pub async fn word(&self, inquiry: &Inquiry, limit: Duration) -> Word {
        events::of_message(self, inquiry, limit).await
    }

    /// The account behind the key.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn account(&self, limit: Duration) -> Result<Account, Cause> {
        let answer = self.ask(Method::GET, &["account"], &[], limit).await?;
        let Some(body) = answer.json::<AccountBody>() else {
            return Err(self.classifier(answers::ASK).of_nonsense(&answer).cause);
        };
        let plan = body.plan.iter().find(|plan| plan.kind != "sms");
        Ok(Account {
            plan: plan.map(|plan| plan.kind.clone()).unwrap_or_default(),
            credits: plan.and_then(|plan| plan.credits),
            relay_enabled: body.relay.and_then(|relay| relay.enabled),
        })
    }

    /// Whether the account may send from the address that messages are from.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub async fn identity(&self, limit: Duration) -> Result<Identity, Cause> {
        identity::of(self, limit).await
    }

    /// Whether the account has this recipient on its block list, and why, and whether the next run lifts that.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub async fn block(&self, to: &str, limit: Duration) -> Result<Option<(Cause, bool)>, Cause> {
        blocks::block(self, to, limit).await
    }

    /// A question beside sending; anything but 2xx is a cause.
    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        limit: Duration,
    ) -> Result<Answer, Cause> {
        let answer = self.ask_at_all(method, path, query, limit).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(self.refused(&answer))
    }

    /// The same, where every answer will do.
    async fn ask_at_all(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        limit: Duration,
    ) -> Result<Answer, Cause> {
        let request = self.request(method, path, query);
        let answer = self.http.send(request, limit).await;
        answer.map_err(|fault| self.classifier(answers::ASK).of_fault(&fault).cause)
    }

    /// What it means that a question was not answered with 2xx.
    fn refused(&self, answer: &Answer) -> Cause {
        match self.classifier(answers::ASK).of_answer(answer) {
            Err(failure) => failure.cause,
            Ok(_) => self.classifier(answers::ASK).of_nonsense(answer).cause,
        }
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.plan.base_url.clone();
        let mut whole = url.path().trim_end_matches('/').to_owned();
        for segment in path {
            whole.push('/');
            // As in a query: an address with a plus must not be read as one with a space.
            whole.extend(form_urlencoded::byte_serialize(segment.as_bytes()));
        }
        url.set_path(&whole);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let about = About::current();
        tracing::trace!(probe = about.probe, token = about.token(), %method, %url, "brevo request");
        self.http
            .client()
            .request(method, url)
            .header("api-key", self.plan.api_key.value.expose())
            .header("accept", "application/json")
    }

    fn classifier(&self, doing: &'static str) -> Classifier<'_> {
        Classifier {
            plan: &self.plan,
            doing,
        }
    }

    /// See [`super::Sender::endpoint`].
    #[must_use]
    pub fn endpoint(&self) -> String {
        answers::endpoint(&self.plan)
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

/// The request that sends a message: `POST /smtp/email`.
fn body(message: &Message) -> Value {
    let mut sender = Map::new();
    sender.insert("email".to_owned(), json!(message.from.address));
    if let Some(name) = &message.from.name {
        sender.insert("name".to_owned(), json!(name));
    }
    let mut headers: Map<String, Value> = message
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    // Not a header: Brevo takes it out, and takes a message with the same key once (for 30 minutes).
    headers.insert("idempotencyKey".to_owned(), json!(message.idempotency_key));
    json!({
        "sender": sender,
        "to": [{ "email": message.to }],
        "subject": message.subject,
        "textContent": message.text,
        "htmlContent": message.html,
        "headers": headers,
        "tags": [TAG],
    })
}

#[cfg(test)]
mod tests;
