//! The closed lists an operator alerts on: verdicts, causes and stages.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Seen in an expected folder within `late_after`.
    Delivered,
    /// Seen in an expected folder after `late_after`, before `timeout`.
    Late,
    /// Seen in the junk folder.
    Junked,
    /// The sender took no message.
    Refused,
    /// Taken, then given up on: the provider reports this very message as bounced or blocked.
    Bounced,
    /// Taken, and not seen by `timeout` in a mailbox that could be read at the end.
    Missing,
    /// The probe could not do its work. Says nothing about the mail path.
    Undetermined,
}

impl Verdict {
    /// Every verdict, in the order in which documents list them.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Late,
        Self::Junked,
        Self::Refused,
        Self::Bounced,
        Self::Missing,
        Self::Undetermined,
    ];

    /// The name in reports, labels and config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Late => "late",
            Self::Junked => "junked",
            Self::Refused => "refused",
            Self::Bounced => "bounced",
            Self::Missing => "missing",
            Self::Undetermined => "undetermined",
        }
    }

    /// Whether the run counts as success: `delivered`, or a verdict that the probe's `accept` lists.
    #[must_use]
    pub fn is_success(self, accept: &[Self]) -> bool {
        self == Self::Delivered || accept.contains(&self)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! cause_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Why a run's verdict is not `delivered`, or what went wrong on the way to it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum CauseCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl CauseCode {
            /// Every cause, in the order in which documents list them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in reports and labels.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

cause_codes! {
    /// No connection to the sender: DNS, TCP or TLS.
    SenderUnreachable = "sender_unreachable",
    /// The sender does not accept our key, or not from this address.
    SenderUnauthorized = "sender_unauthorized",
    /// The sender's allowance is used up.
    SenderQuotaExhausted = "sender_quota_exhausted",
    /// The sender asked to wait.
    SenderRateLimited = "sender_rate_limited",
    /// The sender cannot be spoken to over TLS as demanded: its certificate, or STARTTLS.
    SenderTlsInvalid = "sender_tls_invalid",
    /// The sender found fault with this message.
    SenderRejectedMessage = "sender_rejected_message",
    /// The sender's own service failed, or its answer was lost.
    SenderFailed = "sender_failed",
    /// The provider has the recipient on its block list.
    RecipientBlocked = "recipient_blocked",
    /// The receiving server refused for good.
    HardBounced = "hard_bounced",
    /// The provider gave up after temporary refusals.
    SoftBounced = "soft_bounced",
    /// The receiving server answers 4xx, the provider still tries.
    Deferred = "deferred",
    /// Taken by the provider, with no attempt at delivery known.
    HeldAtProvider = "held_at_provider",
    /// Our MX said 250, the mailbox has nothing.
    AcceptedByMxNotInMailbox = "accepted_by_mx_not_in_mailbox",
    /// Filed as spam.
    FilteredAsSpam = "filtered_as_spam",
    /// Arrived, slowly.
    DelayedOnTheWay = "delayed_on_the_way",
    /// Came through the backup MX.
    ViaBackupMx = "via_backup_mx",
    /// No connection to the mailbox, or it does not answer.
    MailboxUnreachable = "mailbox_unreachable",
    /// The mailbox server's certificate is not valid for it.
    MailboxTlsInvalid = "mailbox_tls_invalid",
    /// The mailbox server does not let us in.
    MailboxLoginRefused = "mailbox_login_refused",
    /// A configured folder does not exist.
    MailboxFolderMissing = "mailbox_folder_missing",
    /// The mailbox was lost during the wait, and did not come back.
    MailboxConnectionLost = "mailbox_connection_lost",
    /// The mailbox is full.
    MailboxOverQuota = "mailbox_over_quota",
    /// Our border sees one address for every sender: the PROXY header was lost on the way.
    ProxyHeaderLost = "proxy_header_lost",
    /// The message came with Authentication-Results in our name that we did not write.
    AuthenticationResultsForged = "authentication_results_forged",
    /// No hop of the message is the border that the config names.
    BorderNotFound = "border_not_found",
    /// Two clocks on the way disagree.
    ClockSkew = "clock_skew",
    /// Our own message could not be deleted from the mailbox.
    MessageNotDeleted = "message_not_deleted",
    /// A DNS record that mail depends on is missing, or is missing at one of two resolvers.
    DnsDrift = "dns_drift",
    /// A sink did not take the report.
    SinkFailed = "sink_failed",
    /// Stopped by a signal.
    Interrupted = "interrupted",
    /// Nothing that we know explains it.
    Unknown = "unknown",
}

impl fmt::Display for CauseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of a run that takes time and can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Connect, TLS, log-in, folders.
    MailboxConnect,
    /// From the first attempt to hand the message over to the last answer.
    Send,
    /// From the end of the send until the message is seen or given up on.
    Await,
    /// Reading the message that arrived.
    Inspect,
    /// Deleting it, and what earlier runs left.
    Cleanup,
    /// Telling the sinks.
    Push,
}

impl Stage {
    /// Every stage, in the order in which a run passes them.
    pub const ALL: [Self; 6] = [
        Self::MailboxConnect,
        Self::Send,
        Self::Await,
        Self::Inspect,
        Self::Cleanup,
        Self::Push,
    ];

    /// The name in reports and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MailboxConnect => "mailbox_connect",
            Self::Send => "send",
            Self::Await => "await",
            Self::Inspect => "inspect",
            Self::Cleanup => "cleanup",
            Self::Push => "push",
        }
    }
}

/// Why the verdict is not `delivered`, for the person who must act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Which of the closed set.
    pub code: CauseCode,
    /// Where in the run it showed.
    pub stage: Stage,
    /// One sentence: what was being done, to which endpoint, and what went wrong. Lower case, no full stop.
    pub summary: String,
    /// What to do about it.
    pub hint: String,
    /// Verbatim replies, addresses, identifiers.
    pub evidence: Vec<String>,
}

impl Cause {
    /// A cause without evidence yet.
    #[must_use]
    pub fn new(
        code: CauseCode,
        stage: Stage,
        summary: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            code,
            stage,
            summary: summary.into(),
            hint: hint.into(),
            evidence: Vec::new(),
        }
    }

    /// The same with one more piece of evidence.
    #[must_use]
    pub fn with_evidence(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// The same thing told beside a verdict that it did not decide.
    #[must_use]
    pub fn into_warning(self) -> Warning {
        Warning {
            code: self.code,
            summary: self.summary,
            hint: self.hint,
            evidence: self.evidence,
        }
    }
}

/// What went wrong on the way without deciding the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Which of the closed set.
    pub code: CauseCode,
    /// One sentence. Lower case, no full stop.
    pub summary: String,
    /// What to do about it.
    pub hint: String,
    /// Verbatim replies, addresses, identifiers.
    pub evidence: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_what_serde_writes() {
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.name());
        }
        for code in CauseCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
        for stage in Stage::ALL {
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
        }
    }

    #[test]
    fn accept_makes_a_late_message_a_success_and_nothing_else() {
        assert!(Verdict::Late.is_success(&[Verdict::Late]));
        assert!(!Verdict::Junked.is_success(&[Verdict::Late]));
        assert!(Verdict::Delivered.is_success(&[]));
    }
}
