//! The incidents that the demo plays.

use super::brevo::{Behaviour, error};
use super::mx::Conduct;
use crate::probe::verdict::{CauseCode, Verdict};
use clap::ValueEnum;
use std::time::Duration;

/// How long a message lies in a queue that does not move: longer than the `late_after` of these incidents.
const STALL: Duration = Duration::from_secs(2);

/// An incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The recipient is on Brevo's block list since a bounce; the run lifts the block
    BrevoBlocked,
    /// Without SPF record and DKIM key in the internal DNS zone, the message is filed as spam
    Junked,
    /// The mail volume is full, and the server answers 452 to everything
    DiskFull,
    /// A filter that Postfix asks does not answer, and it says 451 to everything
    MilterTempfail,
    /// Port 25 of the MX is closed
    MxUnreachable,
    /// The server takes the message, and its queue does not move for a while
    Stalls,
    /// The message comes through the backup MX, which hands it on later
    BackupMx,
    /// The server takes the message, and a filter behind it throws it away
    SieveDiscard,
    /// The IMAP server does not listen
    ImapDown,
    /// The IMAP server takes connections and says nothing
    ImapHang,
    /// The mailbox's password was changed in one place only
    ImapPassword,
    /// The IMAP server's certificate is for another name
    ImapCertificate,
    /// The API key was revoked
    BrevoKey,
    /// The day's 300 messages are used up
    BrevoQuota,
    /// Brevo answers 429, and takes the message after the wait that it asks for
    BrevoRate,
    /// Brevo answers 503, whatever is tried
    BrevoDown,
    /// The Pushgateway does not listen
    PushGatewayDown,
    /// Two thousand messages of others, look-alikes and forgeries among them, and more pouring in
    CrowdedMailbox,
}

/// What a run shows that meets an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Showing {
    /// Its verdict.
    pub verdict: Verdict,
    /// Its cause; for a run that is delivered, the code of its warning.
    pub code: Option<CauseCode>,
    /// What its sentence, its evidence or its hint quotes.
    pub quotes: &'static [&'static str],
}

impl Fault {
    /// What a run shows that meets this incident.
    #[must_use]
    pub fn shows(self) -> Showing {
        let (verdict, code) = self.outcome();
        Showing {
            verdict,
            code,
            quotes: self.quotes(),
        }
    }

    fn outcome(self) -> (Verdict, Option<CauseCode>) {
        let (verdict, code) = match self {
            Self::CrowdedMailbox => return (Verdict::Delivered, None),
            Self::BrevoBlocked => (Verdict::Delivered, CauseCode::RecipientBlocked),
            Self::BrevoRate => (Verdict::Delivered, CauseCode::SenderRateLimited),
            Self::PushGatewayDown => (Verdict::Delivered, CauseCode::SinkFailed),
            Self::Junked => (Verdict::Junked, CauseCode::FilteredAsSpam),
            Self::Stalls => (Verdict::Late, CauseCode::DelayedOnTheWay),
            Self::BackupMx => (Verdict::Late, CauseCode::ViaBackupMx),
            Self::DiskFull | Self::MilterTempfail | Self::MxUnreachable => {
                (Verdict::Missing, CauseCode::Deferred)
            }
            Self::SieveDiscard => (Verdict::Missing, CauseCode::AcceptedByMxNotInMailbox),
            Self::ImapDown | Self::ImapHang => {
                (Verdict::Undetermined, CauseCode::MailboxUnreachable)
            }
            Self::ImapPassword => (Verdict::Undetermined, CauseCode::MailboxLoginRefused),
            Self::ImapCertificate => (Verdict::Undetermined, CauseCode::MailboxTlsInvalid),
            Self::BrevoKey => (Verdict::Refused, CauseCode::SenderUnauthorized),
            Self::BrevoQuota => (Verdict::Refused, CauseCode::SenderQuotaExhausted),
            Self::BrevoDown => (Verdict::Refused, CauseCode::SenderFailed),
        };
        (verdict, Some(code))
    }

    fn quotes(self) -> &'static [&'static str] {
        match self {
            Self::BrevoBlocked => &["`smoke-test@example.org`", "hardBounce", "blocked since"],
            Self::Junked => &[
                "`Junk`",
                "6.09 of 6.00",
                "R_DKIM_PERMFAIL +4.50",
                "dkim=none (selector brevo1 of example.org",
                "brevo1._domainkey.example.org",
            ],
            Self::DiskFull => &["452 4.3.1 Insufficient system storage", "disk is full"],
            Self::MilterTempfail => &["451 4.3.0 Error: queue file write error", "milter"],
            Self::MxUnreachable => &["Connection refused", "port 25"],
            Self::Stalls => &["between `mail.example.org` and `mailserver-0`", "4F2A"],
            Self::BackupMx => &["backup MX `mx2.example.org`", "held it for"],
            Self::SieveDiscard => &["queued as 4F2A", "`INBOX`, `Junk`", "Sieve"],
            Self::ImapDown => &["cannot connect to imap `127.0.0.1:", "refused"],
            Self::ImapHang => &["cannot secure the connection", "no answer within"],
            Self::ImapPassword => &[
                "`spam@example.org`",
                "AUTHENTICATIONFAILED",
                "imap-password",
            ],
            Self::ImapCertificate => &["other.example.net", "mail.example.org", "tls_server_name"],
            Self::BrevoKey => &["HTTP 401", "Key not found", "brevo-api-key"],
            Self::BrevoQuota => &[
                "not_enough_credits",
                "x-sib-ratelimit-remaining: 0",
                "x-sib-ratelimit-reset: 31200",
            ],
            Self::BrevoRate => &["HTTP 429", "wait 1 s"],
            Self::BrevoDown => &["HTTP 503", "Service Temporarily Unavailable"],
            Self::PushGatewayDown => &["pushgateway http://127.0.0.1:", "3 attempts"],
            Self::CrowdedMailbox => &[],
        }
    }

    /// How the mail server treats what it gets.
    pub(super) fn conduct(self) -> Conduct {
        match self {
            Self::Junked => Conduct::Junk,
            // As Postfix says it before it takes anything.
            Self::DiskFull => Conduct::RefuseSender("452 4.3.1 Insufficient system storage"),
            Self::MilterTempfail => {
                Conduct::RefuseMessage("451 4.3.0 Error: queue file write error")
            }
            Self::Stalls => Conduct::Stall(STALL),
            Self::SieveDiscard => Conduct::Discard,
            _ => Conduct::Deliver,
        }
    }

    /// How the backup MX treats what it gets, where mail comes through it.
    pub(super) fn backup(self) -> Option<Conduct> {
        (self == Self::BackupMx).then_some(Conduct::Stall(STALL))
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
            Self::BrevoQuota => {
                let exhausted = error(
                    400,
                    "not_enough_credits",
                    "You do not have enough credits, please buy more",
                )
                .with_header("x-sib-ratelimit-limit", "300")
                .with_header("x-sib-ratelimit-remaining", "0")
                .with_header("x-sib-ratelimit-reset", "31200");
                (None, Some(Behaviour::Answer(exhausted)))
            }
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
