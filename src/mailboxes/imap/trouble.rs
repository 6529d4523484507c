//! What keeps a mailbox from being read, as a cause that a person can act on.

use super::connect::TAKEN_AS_IN;
use super::session::Fault;
use super::wire::quotable;
use crate::config::plan::{MailboxAuth, MailboxPlan};
use crate::net::spelled;
use crate::net::tls::{self, Certificate};
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

/// Whether the same thing can go better the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It may pass by itself.
    Soon,
    /// It may pass, but repeated log-ins get an address banned.
    Once,
    /// Somebody has to do something.
    Never,
}

/// Why a mailbox cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    step: Step,
    code: CauseCode,
    detail: String,
    hint: Option<String>,
    evidence: Vec<String>,
    repeat: Repeat,
    throttled: bool,
}

impl Trouble {
    fn new(step: Step, code: CauseCode, detail: &str, repeat: Repeat) -> Self {
        Self {
            step,
            code,
            detail: quotable(detail),
            hint: None,
            evidence: Vec::new(),
            repeat,
            throttled: false,
        }
    }

    pub(super) fn unreachable(step: Step, detail: &str) -> Self {
        Self::new(step, CauseCode::MailboxUnreachable, detail, Repeat::Soon)
    }

    pub(super) fn refused(step: Step, detail: &str) -> Self {
        Self::new(step, CauseCode::MailboxLoginRefused, detail, Repeat::Never)
    }

    pub(super) fn hangs(step: Step, limit: Duration) -> Self {
        let detail = format!("no answer within {}", spelled(limit));
        Self::new(step, CauseCode::MailboxUnreachable, &detail, Repeat::Soon)
    }

    /// A log-in that timed out may have been a slow refusal.
    pub(super) fn log_in_hangs(limit: Duration) -> Self {
        Self {
            repeat: Repeat::Once,
            ..Self::hangs(Step::LogIn, limit)
        }
    }

    pub(super) fn folder_missing(folder: &str, existing: &[String]) -> Self {
        let detail = "there is no such folder";
        let step = Step::Open(folder.to_owned());
        let list: Vec<_> = existing.iter().take(20).map(String::as_str).collect();
        Self {
            evidence: vec![quotable(&format!("folders: {}", list.join(", ")))],
            ..Self::new(step, CauseCode::MailboxFolderMissing, detail, Repeat::Never)
        }
    }

    /// What a refused or lost command means at this step.
    pub(super) fn of_command(step: Step, fault: &Fault) -> Self {
        let passing = fault.is_throttling()
            || fault.code().is_some_and(|code| {
                // RFC 5530, and what Dovecot answers when it is busy.
                ["UNAVAILABLE", "INUSE", "SERVERBUG"].contains(&code.as_str())
            });
        let (code, repeat) = match (fault, &step) {
            (Fault::Lost { .. } | Fault::Deadline { .. }, Step::Look(_) | Step::Handle(_)) => {
                (CauseCode::MailboxConnectionLost, Repeat::Soon)
            }
            (Fault::Lost { .. } | Fault::Deadline { .. }, _) => {
                (CauseCode::MailboxUnreachable, Repeat::Soon)
            }
            // RFC 5530: no room. Gmail means its limits on use by it, which pass.
            (Fault::No { .. }, Step::Handle(_) | Step::Store(_))
                if fault.code().as_deref() == Some("OVERQUOTA") =>
            {
                (CauseCode::MailboxOverQuota, Repeat::Never)
            }
            (_, _) if passing => (CauseCode::MailboxUnreachable, Repeat::Soon),
            (_, Step::LogIn) => (CauseCode::MailboxLoginRefused, Repeat::Never),
            (_, Step::Open(_)) => (CauseCode::MailboxFolderMissing, Repeat::Never),
            (_, Step::StartTls) => (CauseCode::MailboxTlsInvalid, Repeat::Never),
            (_, _) => (CauseCode::MailboxUnreachable, Repeat::Soon),
        };
        Self {
            throttled: fault.is_throttling(),
            ..Self::new(step, code, &fault.to_string(), repeat)
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
                Repeat::Never,
            )
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn repeat(&self) -> Repeat {
        self.repeat
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
