//! What keeps a mailbox from being read, as a cause that a person can act on.

use super::connect::TAKEN_AS_IN;
use super::session::Fault;
use crate::config::plan::{MailboxAuth, MailboxPlan};
use crate::net::quotable;
use crate::net::spelled;
use crate::net::tls::{self, Certificate};
use crate::probe::run::Again;
use crate::probe::verdict::{Cause, CauseCode, Stage};
use std::io;
use std::time::Duration;

/// What was being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Tls,
    Greeting,
    StartTls,
    LogIn,
    /// Finding folders.
    List,
    /// Opening this folder.
    Open(String),
    /// Asking this folder for new mail.
    Look(String),
    /// Reading or deleting a message in this folder.
    Handle(String),
    /// Storing a message in this folder.
    Store(String),
}

/// Why a mailbox cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    step: Step,
    code: CauseCode,
    detail: String,
    hint: Option<String>,
    evidence: Vec<String>,
    again: Again,
    throttled: bool,
}

impl Trouble {
    fn new(step: Step, code: CauseCode, detail: &str, again: Again) -> Self {
        Self {
            step,
            code,
            detail: quotable(detail),
            hint: None,
            evidence: Vec::new(),
            again,
            throttled: false,
        }
    }

    pub(super) fn unreachable(step: Step, detail: &str) -> Self {
        Self::new(step, CauseCode::MailboxUnreachable, detail, Again::Yes)
    }

    pub(super) fn refused(step: Step, detail: &str) -> Self {
        Self::new(step, CauseCode::MailboxLoginRefused, detail, Again::No)
    }

    pub(super) fn hangs(step: Step, limit: Duration) -> Self {
        let detail = format!("no answer within {}", spelled(limit));
        Self::new(step, CauseCode::MailboxUnreachable, &detail, Again::Yes)
    }

    /// A log-in that timed out may have been a slow refusal.
    pub(super) fn log_in_hangs(limit: Duration) -> Self {
        Self {
            again: Again::Once,
            ..Self::hangs(Step::LogIn, limit)
        }
    }

    pub(super) fn folder_missing(folder: &str, existing: &[String]) -> Self {
        let detail = "there is no such folder";
        let step = Step::Open(folder.to_owned());
        let list: Vec<_> = existing.iter().take(20).map(String::as_str).collect();
        Self {
            evidence: vec![quotable(&format!("folders: {}", list.join(", ")))],
            ..Self::new(step, CauseCode::MailboxFolderMissing, detail, Again::No)
        }
    }

    /// What a refused or lost command means at this step.
    pub(super) fn of_command(step: Step, fault: &Fault) -> Self {
        let passing = fault.is_throttling()
            || fault.code().is_some_and(|code| {
                // RFC 5530, and what Dovecot answers when it is busy.
                ["UNAVAILABLE", "INUSE", "SERVERBUG"].contains(&code.as_str())
            });
        let (code, again) = match (fault, &step) {
            (Fault::Lost { .. } | Fault::Deadline { .. }, Step::Look(_) | Step::Handle(_)) => {
                (CauseCode::MailboxConnectionLost, Again::Yes)
            }
            (Fault::Lost { .. } | Fault::Deadline { .. }, _) => {
                (CauseCode::MailboxUnreachable, Again::Yes)
            }
            // RFC 5530: no room. Gmail means its limits on use by it, which pass.
            (Fault::No { .. }, Step::Handle(_) | Step::Store(_))
                if fault.code().as_deref() == Some("OVERQUOTA") =>
            {
                (CauseCode::MailboxOverQuota, Again::No)
            }
            (_, _) if passing => (CauseCode::MailboxUnreachable, Again::Yes),
            (_, Step::LogIn) => (CauseCode::MailboxLoginRefused, Again::No),
            (_, Step::Open(_)) => (CauseCode::MailboxFolderMissing, Again::No),
            (_, Step::StartTls) => (CauseCode::MailboxTlsInvalid, Again::No),
            (_, _) => (CauseCode::MailboxUnreachable, Again::Yes),
        };
        Self {
            throttled: fault.is_throttling(),
            ..Self::new(step, code, &fault.to_string(), again)
        }
    }

    /// A TLS handshake that failed: on the certificate, or otherwise.
    pub(super) fn of_handshake(
        error: &io::Error,
        plan: &MailboxPlan,
        certificate: Option<&Certificate>,
    ) -> Self {
        let Some(fault) = tls::certificate_fault(error, &plan.tls_server_name, certificate) else {
            return Self::unreachable(Step::Tls, &error.to_string());
        };
        Self {
            hint: Some(fault.hint),
            evidence: fault.evidence,
            ..Self::new(
                Step::Tls,
                CauseCode::MailboxTlsInvalid,
                &fault.reason,
                Again::No,
            )
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn again(&self) -> Again {
        self.again
    }

    /// Whether the server asks for fewer questions.
    #[must_use]
    pub fn is_throttling(&self) -> bool {
        self.throttled
    }

    /// For the report, with the endpoint and what to do.
    #[must_use]
    pub fn cause(&self, plan: &MailboxPlan) -> Cause {
        let endpoint = format!("imap `{}:{}`", plan.host, plan.port);
        let doing = match &self.step {
            Step::Connect => format!("cannot connect to {endpoint}"),
            Step::Tls => format!("cannot secure the connection to {endpoint}"),
            Step::Greeting => format!("no greeting from {endpoint}"),
            Step::StartTls => format!("{endpoint} refuses STARTTLS"),
            Step::LogIn => format!("cannot log in to {endpoint} as `{}`", plan.username),
            Step::List => format!(
                "cannot list the folders of `{}` on {endpoint}",
                plan.username
            ),
            Step::Open(folder) => format!(
                "cannot open folder `{folder}` of `{}` on {endpoint}",
                plan.username
            ),
            Step::Store(folder) => format!(
                "cannot store a message in folder `{folder}` of `{}` on {endpoint}",
                plan.username
            ),
            Step::Look(folder) => format!("lost folder `{folder}` on {endpoint}"),
            Step::Handle(folder) => format!("lost folder `{folder}` on {endpoint}"),
        };
        let stage = match &self.step {
            Step::Look(_) => Stage::Await,
            Step::Handle(_) => Stage::Cleanup,
            _ => Stage::MailboxConnect,
        };
        Cause {
            code: self.code,
            stage,
            summary: format!("{doing}: {}", self.detail),
            hint: self.hint.clone().unwrap_or_else(|| self.usual_hint(plan)),
            evidence: self.evidence.clone(),
        }
    }

    fn usual_hint(&self, plan: &MailboxPlan) -> String {
        let source = &plan.password.source;
        match self.code {
            CauseCode::MailboxLoginRefused if plan.auth == MailboxAuth::XOauth2 => format!(
                "the access token comes from {source}; has it expired, and is IMAP allowed for this account?"
            ),
            CauseCode::MailboxLoginRefused if self.detail.contains("LOGINDISABLED") => {
                "the server takes no password on an unencrypted connection: set `tls = \"starttls\"` or `\"implicit\"`".to_owned()
            }
            CauseCode::MailboxLoginRefused if self.detail.starts_with(TAKEN_AS_IN) => format!(
                "what stands between this machine and the server and logs in for it? it may show another account's mail: connect past it, to a server that asks `{}` for its password",
                plan.username
            ),
            CauseCode::MailboxLoginRefused => format!(
                "the password comes from {source}; was it changed on the server?"
            ),
            CauseCode::MailboxFolderMissing => format!(
                "create the folder, or correct `folders` and `junk` of `[mailbox.{}]`",
                plan.name
            ),
            CauseCode::MailboxTlsInvalid => format!(
                "use the port for implicit TLS with `tls = \"implicit\"` in `[mailbox.{}]`, or switch TLS on at the server",
                plan.name
            ),
            CauseCode::MailboxOverQuota => "delete mail, or raise the mailbox's quota".to_owned(),
            _ if self.throttled => "the server limits connections or commands: close leaked sessions, \
                 or raise its limit (Dovecot: `mail_max_userip_connections`)".to_owned(),
            _ => "is the IMAP server up, and reachable from here on that port? this says nothing about mail delivery".to_owned(),
        }
    }
}
