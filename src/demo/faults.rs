//! The incidents that the demo plays.

use super::brevo::{Behaviour, error};
use crate::probe::verdict::{CauseCode, Verdict};
use clap::ValueEnum;

/// An incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The API key was revoked
    BrevoKey,
    /// The day's 300 messages are used up
    BrevoQuota,
    /// Brevo answers 429, and takes the message after the wait that it asks for
    BrevoRate,
    /// Brevo answers 503, whatever is tried
    BrevoDown,
    /// The IMAP server does not listen
    ImapDown,
    /// The IMAP server takes connections and says nothing
    ImapHang,
    /// The mailbox's password was changed in one place only
    ImapPassword,
    /// The IMAP server's certificate is for another name
    ImapCertificate,
    /// The Pushgateway does not listen
    PushGatewayDown,
    /// Two thousand messages of others, look-alikes and forgeries among them, and more pouring in
    CrowdedMailbox,
}

impl Fault {
    /// The verdict and the cause that such a run ends with; for a run that is delivered, the code of its warning.
    #[must_use]
    pub fn outcome(self) -> (Verdict, Option<CauseCode>) {
        match self {
            Self::BrevoKey => (Verdict::Refused, Some(CauseCode::SenderUnauthorized)),
            Self::BrevoQuota => (Verdict::Refused, Some(CauseCode::SenderQuotaExhausted)),
            Self::BrevoRate => (Verdict::Delivered, Some(CauseCode::SenderRateLimited)),
            Self::BrevoDown => (Verdict::Refused, Some(CauseCode::SenderFailed)),
            Self::ImapDown | Self::ImapHang => {
                (Verdict::Undetermined, Some(CauseCode::MailboxUnreachable))
            }
            Self::ImapPassword => (Verdict::Undetermined, Some(CauseCode::MailboxLoginRefused)),
            Self::ImapCertificate => (Verdict::Undetermined, Some(CauseCode::MailboxTlsInvalid)),
            Self::PushGatewayDown => (Verdict::Delivered, Some(CauseCode::SinkFailed)),
            Self::CrowdedMailbox => (Verdict::Delivered, None),
        }
    }

    /// How Brevo answers the first requests to send, and all others.
    pub(super) fn behaviour(self) -> (Option<Behaviour>, Option<Behaviour>) {
        let answer = |status, code, message| Some(Behaviour::Answer(error(status, code, message)));
        match self {
            Self::BrevoRate => {
                let limited = error(429, "too_many_requests", "rate limit exceeded")
                    .with_header("x-sib-ratelimit-limit", "1000")
                    .with_header("x-sib-ratelimit-remaining", "0")
                    .with_header("x-sib-ratelimit-reset", "1");
                (Some(Behaviour::Answer(limited)), None)
            }
            Self::BrevoKey => (None, answer(401, "unauthorized", "Key not found")),
            Self::BrevoQuota => (
                None,
                answer(
                    400,
                    "not_enough_credits",
                    "You do not have enough credits, please buy more",
                ),
            ),
            Self::BrevoDown => {
                let page = "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>";
                (
                    None,
                    Some(Behaviour::Answer(super::http::Response::text(503, page))),
                )
            }
            _ => (None, None),
        }
    }
}
