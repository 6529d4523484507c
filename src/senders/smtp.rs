//! An SMTP server: submission with a log-in (RFC 6409, RFC 8314), or an MX that takes mail from here.
//!
//! lettre formats commands and reads replies; connecting is ours, so that a PROXY header can come first and
//! certificates are checked and remembered as everywhere else. A yes means that the server has the message in its queue.

mod message;
#[cfg(test)]
mod script;
mod session;
mod trouble;
mod wire;

use crate::config::plan::{SmtpPlan, TlsMode};
use crate::log::About;
use crate::net::tls::{Tls, TlsError};
use crate::probe::compose::{Author, Message};
use crate::probe::path::PathPlan;
use crate::probe::send::{Acceptance, Failure};
use chrono::{DateTime, Utc};
use lettre::Address;
use session::Session;
use std::time::Duration;
use trouble::{Kind, Step, Trouble};

/// One attempt. Servers may take minutes (RFC 5321 section 4.5.3.2): a content filter works before the last reply, and
/// what is cut off there may have been taken all the same.
pub const ATTEMPT_LIMIT: Duration = Duration::from_secs(120);
/// What is longer is no queue id.
const LONGEST_QUEUE_ID: usize = 64;

/// An SMTP server.
#[derive(Debug)]
pub struct Smtp {
    plan: SmtpPlan,
    tls: Tls,
}

impl Smtp {
    /// Not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: SmtpPlan) -> Result<Self, TlsError> {
        let tls = Tls::new(plan.ca_file.as_deref())?;
        Ok(Self { plan, tls })
    }

    /// Whether it is the server behind this mailbox, or one that the config calls ours.
    pub(super) fn is_ours(&self, mailbox_host: &str, path: &PathPlan) -> bool {
        let hosts = [&self.plan.host, &self.plan.tls_server_name];
        hosts
            .iter()
            .any(|host| host.eq_ignore_ascii_case(mailbox_host) || path.is_ours(host))
    }

    /// See [`super::Sender::attempt`].
    ///
    /// # Errors
    /// Anything but a yes.
    pub async fn attempt(&self, message: &Message, limit: Duration) -> Result<Acceptance, Failure> {
        let outcome = self.hand_over(message, limit).await;
        outcome.map_err(|trouble| trouble.failure(&self.plan))
    }

    async fn hand_over(&self, message: &Message, limit: Duration) -> Result<Acceptance, Trouble> {
        let no_message = |reason| Trouble::new(Step::Mail, Kind::NoMessage(reason));
        let bytes = message::bytes(message).map_err(no_message)?;
        let address = |text: &str| {
            text.parse::<Address>()
                .map_err(|error| no_message(error.to_string()))
        };
        let (from, to) = (address(&message.from.address)?, address(&message.to)?);
        let mut session = Session::open(&self.plan, &self.tls, limit).await?;
        let outcome = session.hand_over(from, to, &bytes).await;
        session.quit();
        let reply = outcome?;
        let about = About::current();
        tracing::debug!(
            probe = about.probe,
            token = about.token(),
            endpoint = self.endpoint(),
            reply,
            "smtp took the message"
        );
        Ok(Acceptance {
            message_id: Some(message::message_id(message)),
            queue_id: queue_id(&reply),
            status: 250,
        })
    }

    /// Connects, secures the connection and logs in, and leaves again.
    ///
    /// # Errors
    /// Why that does not work.
    pub async fn log_in(&self, limit: Duration) -> Result<(), Failure> {
        let session = Session::open(&self.plan, &self.tls, limit).await;
        session
            .map(Session::quit)
            .map_err(|trouble| trouble.failure(&self.plan))
    }

    /// See [`super::Sender::endpoint`].
    #[must_use]
    pub fn endpoint(&self) -> String {
        trouble::endpoint(&self.plan)
    }

    /// See [`super::Sender::from`].
    #[must_use]
    pub fn from(&self) -> Author {
        Author {
            address: self.plan.from.clone(),
            name: self.plan.from_name.clone(),
        }
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.plan.tls != TlsMode::None
    }

    /// The end of validity of the certificate that it showed last.
    #[must_use]
    pub fn certificate_expiry(&self) -> Option<DateTime<Utc>> {
        self.tls.certificate().map(|one| one.not_after)
    }
}

/// What the server calls the message in its log, from the reply that ends a hand-over. The text is free; these are the
/// ways of Postfix, Stalwart, Exim, Exchange, Haraka, Gmail, and of Sendmail and OpenSMTPD.
fn queue_id(reply: &str) -> Option<String> {
    let after = |mark: &str| reply.split_once(mark).map(|(_, rest)| rest);
    let before = |mark: &str| reply.split_once(mark).map(|(rest, _)| rest);
    let first = after("queued as ")
        .or_else(|| after("queued with id "))
        .or_else(|| after("OK id="))
        .or_else(|| after("InternalId="))
        .or_else(|| after("Message Queued ("))
        .and_then(|rest| rest.split([' ', ',', ')', ']', '>']).next());
    let last = before(" - gsmtp")
        .or_else(|| before(" Message accepted for delivery"))
        .and_then(|rest| rest.rsplit(' ').next());
    let id = first.or(last)?.trim_end_matches(['.', ':']);
    let is_id = !id.is_empty()
        && id.len() <= LONGEST_QUEUE_ID
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
#[path = "smtp/tests.rs"]
mod tests;
