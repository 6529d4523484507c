//! What a message is handed to.

pub mod api;
pub mod brevo;
pub mod smtp;

use crate::config::plan::SenderPlan;
use crate::net::tls::TlsError;
use crate::probe::compose::{Author, Message};
use crate::probe::diagnosis::Way;
use crate::probe::path::PathPlan;
use crate::probe::provider::Word;
use crate::probe::run::ATTEMPT_LIMIT;
use crate::probe::send::{Acceptance, Failure, Preparation};
use chrono::{DateTime, Utc};
use std::time::Duration;

/// A configured sender.
#[derive(Debug)]
pub enum Sender {
    /// The Brevo HTTP API.
    Brevo(brevo::Brevo),
    /// An SMTP server.
    Smtp(smtp::Smtp),
    /// Another provider's HTTP API.
    Api(api::Api),
}

/// Which message to ask a provider about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// What the provider calls it; none where its answer was lost.
    pub message_id: Option<String>,
    /// The recipient.
    pub to: String,
    /// The run's token, which its subject carries.
    pub token: String,
}

impl Sender {
    /// A sender that is not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: &SenderPlan) -> Result<Self, TlsError> {
        match plan {
            SenderPlan::Brevo(plan) => brevo::Brevo::new(plan.clone()).map(Self::Brevo),
            SenderPlan::Smtp(plan) => smtp::Smtp::new(plan.clone()).map(Self::Smtp),
            SenderPlan::Api(plan) => api::Api::new(plan.clone()).map(Self::Api),
        }
    }

    /// Looks whether the provider blocks the recipient, and lifts a block that may be lifted.
    pub async fn prepare(&self, to: &str, limit: Duration) -> Preparation {
        match self {
            Self::Brevo(brevo) => brevo.prepare(to, limit).await,
            Self::Smtp(_) | Self::Api(_) => Preparation::default(),
        }
    }

    /// How long one attempt may take.
    #[must_use]
    pub fn attempt_limit(&self) -> Duration {
        match self {
            Self::Brevo(_) | Self::Api(_) => ATTEMPT_LIMIT,
            Self::Smtp(_) => smtp::ATTEMPT_LIMIT,
        }
    }

    /// Hands the message over, once.
    ///
    /// # Errors
    /// Anything but a yes, and whether the sender may have the message all the same.
    pub async fn attempt(&self, message: &Message, limit: Duration) -> Result<Acceptance, Failure> {
        match self {
            Self::Brevo(brevo) => brevo.attempt(message, limit).await,
            Self::Smtp(smtp) => smtp.attempt(message, limit).await,
            Self::Api(api) => api.attempt(message, limit).await,
        }
    }

    /// How its messages come to the server behind this mailbox: a host that is ours takes them from inside.
    #[must_use]
    pub fn way(&self, mailbox_host: &str, path: &PathPlan) -> Way {
        match self {
            Self::Smtp(smtp) if smtp.is_ours(mailbox_host, path) => Way::Inside,
            Self::Brevo(_) | Self::Smtp(_) | Self::Api(_) => Way::Outside,
        }
    }

    /// Whether there is an event log that tells what became of a message.
    #[must_use]
    pub fn has_event_log(&self) -> bool {
        match self {
            Self::Brevo(_) => true,
            Self::Smtp(_) | Self::Api(_) => false,
        }
    }

    /// What the provider's event log says of a message.
    pub async fn word(&self, inquiry: &Inquiry, limit: Duration) -> Word {
        match self {
            Self::Brevo(brevo) => brevo.word(inquiry, limit).await,
            Self::Smtp(_) | Self::Api(_) => Word::None,
        }
    }

    /// How many more messages the sender will take, where it tells.
    pub async fn quota(&self, limit: Duration) -> Option<f64> {
        match self {
            Self::Brevo(brevo) => brevo.account(limit).await.ok()?.credits,
            Self::Smtp(_) | Self::Api(_) => None,
        }
    }

    /// The config's `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Brevo(_) => "brevo",
            Self::Smtp(_) => "smtp",
            Self::Api(api) => api.kind(),
        }
    }

    /// Type and address, for messages: ``brevo `https://api.brevo.com/v3` ``.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match self {
            Self::Brevo(brevo) => brevo.endpoint(),
            Self::Smtp(smtp) => smtp.endpoint(),
            Self::Api(api) => api.endpoint(),
        }
    }

    /// Who its messages are from.
    #[must_use]
    pub fn from(&self) -> Author {
        match self {
            Self::Brevo(brevo) => brevo.from(),
            Self::Smtp(smtp) => smtp.from(),
            Self::Api(api) => api.from(),
        }
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Brevo(brevo) => brevo.http().is_tls(),
            Self::Smtp(smtp) => smtp.is_tls(),
            Self::Api(api) => api.http().is_tls(),
        }
    }

    /// The end of validity of the certificate that it showed last.
    #[must_use]
    pub fn certificate_expiry(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Brevo(brevo) => brevo.http().certificate_expiry(),
            Self::Smtp(smtp) => smtp.certificate_expiry(),
            Self::Api(api) => api.http().certificate_expiry(),
        }
    }
}
