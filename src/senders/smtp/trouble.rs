//! What keeps an SMTP server from taking the message, as a cause that a person can act on.

use crate::config::plan::{SmtpPlan, TlsMode};
use crate::net::spelled;
use crate::net::tls::CertificateFault;
use crate::probe::send::{Failure, Retry, Taken};
use crate::probe::verdict::{Cause, CauseCode, Stage};
use crate::secret::redact;
use std::time::Duration;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Proxy,
    Tls,
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The message and the dot.
    EndOfData,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A reply of 4xx or 5xx.
    Reply { code: u16, text: String },
    /// No connection.
    Unreachable(String),
    /// The server's certificate is not valid for it.
    Certificate(CertificateFault),
    /// No TLS, for another reason.
    Handshake(String),
    /// The server does not offer STARTTLS, which is demanded.
    StartTlsMissing,
    /// Behind the answer to STARTTLS there was more, in plain text.
    Injected,
    /// None of the mechanisms that we may use is offered; what is.
    NoMechanism(Vec<String>),
    /// The connection ended.
    Lost(String),
    /// No answer in this time.
    TimedOut(Duration),
    /// Not a reply that belongs here.
    Nonsense(String),
    /// The message cannot be made.
    NoMessage(String),
}

/// Why the server has not taken the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) step: Step,
    pub(super) kind: Kind,
    /// The end of the message was sent, so the server may have it.
    pub(super) is_uncertain: bool,
    pub(super) evidence: Vec<String>,
}

/// ``smtp `host:587` ``.
pub(super) fn endpoint(plan: &SmtpPlan) -> String {
    format!("smtp `{}:{}`", plan.host, plan.port)
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Proxy => "the PROXY header",
            Self::Tls => "the TLS handshake",
            Self::Greeting => "the greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
            Self::Data => "DATA",
            Self::EndOfData => "the end of the data",
        }
    }
}

impl Trouble {
    pub(super) fn new(step: Step, kind: Kind) -> Self {
        Self {
            step,
            kind,
            is_uncertain: false,
            evidence: Vec::new(),
        }
    }

    /// For the run: what it means, and whether to try again.
    pub(super) fn failure(self, plan: &SmtpPlan) -> Failure {
        let code = self.code();
        let summary = self.summary(plan);
        let hint = self.hint(plan, code);
        let mut cause = Cause::new(code, Stage::Send, summary, hint);
        if let Kind::Reply { text, .. } = &self.kind {
            cause.evidence.push(format!("{}: {text}", self.step.name()));
        }
        if let Kind::Certificate(fault) = &self.kind {
            cause.evidence.clone_from(&fault.evidence);
        }
        cause.evidence.extend(self.evidence.iter().cloned());
        let status = match &self.kind {
            Kind::Reply { code, .. } => Some(*code),
            _ => None,
        };
        Failure {
            cause,
            taken: if self.is_uncertain {
                Taken::Unknown
            } else {
                Taken::No
            },
            retry: self.retry(),
            status,
        }
    }

    fn retry(&self) -> Retry {
        match &self.kind {
            // A second copy could arrive; the mailbox will tell.
            _ if self.is_uncertain => Retry::Never,
            Kind::Reply {
                code: 400..=499, ..
            } => Retry::Later,
            Kind::Unreachable(_) | Kind::Handshake(_) | Kind::Lost(_) | Kind::TimedOut(_) => {
                Retry::Soon
            }
            Kind::Reply { .. }
            | Kind::Nonsense(_)
            | Kind::Certificate(_)
            | Kind::StartTlsMissing
            | Kind::Injected
            | Kind::NoMechanism(_)
            | Kind::NoMessage(_) => Retry::Never,
        }
    }

    fn code(&self) -> CauseCode {
        match &self.kind {
            Kind::Reply { code, text } => of_reply(self.step, *code, text),
            Kind::Unreachable(_) => CauseCode::SenderUnreachable,
            Kind::Certificate(_) | Kind::Handshake(_) | Kind::StartTlsMissing | Kind::Injected => {
                CauseCode::SenderTlsInvalid
            }
            Kind::NoMechanism(_) => CauseCode::SenderUnauthorized,
            Kind::Lost(_) | Kind::TimedOut(_) | Kind::Nonsense(_) => CauseCode::SenderFailed,
            Kind::NoMessage(_) => CauseCode::SenderRejectedMessage,
        }
    }

    fn summary(&self, plan: &SmtpPlan) -> String {
        let endpoint = endpoint(plan);
        let step = self.step.name();
        let text = match &self.kind {
            Kind::Reply { code, text } if self.step == Step::Auth => {
                let user = plan.login.as_ref().map_or("", |login| &login.username);
                let doing = if *code < 500 { "cannot" } else { "does not" };
                format!("{endpoint} {doing} log in `{user}`: {text}")
            }
            Kind::Reply {
                code: 400..=499,
                text,
            } => format!("{endpoint} puts the message off at {step}: {text}"),
            Kind::Reply { text, .. } => format!("{endpoint} refuses at {step}: {text}"),
            Kind::Unreachable(reason) => format!("cannot connect to {endpoint}: {reason}"),
            Kind::Certificate(fault) => {
                format!(
                    "cannot secure the connection to {endpoint}: {}",
                    fault.reason
                )
            }
            Kind::Handshake(reason) => {
                format!("cannot secure the connection to {endpoint}: {reason}")
            }
            Kind::StartTlsMissing => format!(
                "{endpoint} does not offer STARTTLS, so nothing was sent: without it the message and the password would go in clear"
            ),
            Kind::Injected => format!(
                "{endpoint} sent more in clear behind its answer to STARTTLS, as somebody on the way would"
            ),
            Kind::NoMechanism(offered) if offered.is_empty() => {
                format!("{endpoint} does not offer to log in")
            }
            Kind::NoMechanism(offered) => format!(
                "{endpoint} does not offer the way to log in that is asked for; it offers {}",
                offered.join(", ")
            ),
            Kind::Lost(reason) if self.is_uncertain => {
                format!("{endpoint} has the message, and its answer was lost: {reason}")
            }
            Kind::Lost(reason) => format!("lost {endpoint} at {step}: {reason}"),
            Kind::TimedOut(limit) if self.is_uncertain => format!(
                "{endpoint} has the message, and did not answer within {}",
                spelled(*limit)
            ),
            Kind::TimedOut(limit) => format!(
                "{endpoint} does not answer at {step} within {}",
                spelled(*limit)
            ),
            Kind::Nonsense(reason) => {
                format!("{endpoint} does not speak SMTP at {step}: {reason}")
            }
            Kind::NoMessage(reason) => format!("cannot make the message: {reason}"),
        };
        redact(&text).into_owned()
    }

    fn hint(&self, plan: &SmtpPlan, code: CauseCode) -> String {
        let section = format!("`[sender.{}]`", plan.name);
        let is_early = matches!(self.step, Step::Greeting | Step::Tls);
        match (&self.kind, plan.proxy) {
            // What Postfix and postscreen say where the header is missing or wrong; Dovecot says nothing at all.
            (Kind::Reply { code: 421, text }, None) if is_early && text.contains("4.3.") => {
                return format!(
                    "is this a port for a load balancer, which speaks only to clients with a PROXY header? then set `proxy_protocol` in {section}, or use the other port"
                );
            }
            (Kind::Reply { code: 421, text }, Some(_)) if is_early && text.contains("4.3.") => {
                return format!(
                    "the server does not take this PROXY header: is it the right version, and does the server listen on the address family of `proxy_source` in {section}?"
                );
            }
            (Kind::Lost(_), None) if is_early => {
                return format!(
                    "did the server limit connections, or does this port want a PROXY header first? then set `proxy_protocol` in {section}"
                );
            }
            (Kind::Reply { .. } | Kind::Nonsense(_), Some(_)) if self.step == Step::Ehlo => {
                return format!(
                    "the server seems to take the PROXY header for a command: set `proxy_protocol = \"none\"` in {section}, or use the port behind the load balancer"
                );
            }
            _ => {}
        }
        match &self.kind {
            Kind::Certificate(fault) => fault.hint.clone(),
            Kind::Handshake(_) if plan.tls == TlsMode::Implicit => format!(
                "does this port speak TLS from the first byte? if it begins in clear, set `tls = \"starttls\"` in {section}"
            ),
            Kind::StartTlsMissing => format!(
                "does something on the way strip STARTTLS? else switch TLS on at the server, or use its port for `tls = \"implicit\"` in {section}"
            ),
            Kind::Injected => {
                "find out who is on the way between here and the server; nothing was sent"
                    .to_owned()
            }
            Kind::NoMechanism(_) => format!(
                "set `auth` in {section} to what the server offers; many offer to log in on port 587 and 465 only, and only under TLS"
            ),
            _ => usual_hint(plan, code, self.is_uncertain),
        }
    }
}

/// What a 4xx or 5xx means, by the step, the reply code and the enhanced status code (RFC 3463).
fn of_reply(step: Step, code: u16, text: &str) -> CauseCode {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let status = |words: &[&str]| text.split(['-', ' ']).any(|word| words.contains(&word));
    match (step, code) {
        (Step::Rcpt | Step::EndOfData, _) if status(&["4.2.2", "5.2.2"]) => {
            CauseCode::MailboxOverQuota
        }
        (_, 400..=499) if says(&["too many", "too much", "rate limit"]) => {
            CauseCode::SenderRateLimited
        }
        (_, 400..=499) => CauseCode::Deferred,
        // Authentication required, or the mechanism is too weak, or TLS comes first.
        (Step::Auth, _) | (_, 530 | 534 | 535 | 538) => CauseCode::SenderUnauthorized,
        (Step::Greeting | Step::Ehlo, _) => CauseCode::SenderUnauthorized,
        (Step::StartTls, _) => CauseCode::SenderTlsInvalid,
        (Step::Rcpt, _) if says(&["relay", "not permitted", "authenticat"]) => {
            CauseCode::SenderUnauthorized
        }
        // Policy says nothing about the mailbox.
        (Step::Rcpt, _) if says(&[" 5.7.", "-5.7."]) => CauseCode::SenderRejectedMessage,
        (Step::Rcpt, _) => CauseCode::HardBounced,
        _ => CauseCode::SenderRejectedMessage,
    }
}

fn usual_hint(plan: &SmtpPlan, code: CauseCode, is_uncertain: bool) -> String {
    match (code, &plan.login) {
        (CauseCode::SenderUnreachable, _) => {
            "is the server up, and reachable from here on that port? many networks close port 25 outward".to_owned()
        }
        (CauseCode::SenderUnauthorized, Some(login)) => format!(
            "the password comes from {}; was it changed on the server, and may `{}` send as `{}`?",
            login.password.source, login.username, plan.from
        ),
        (CauseCode::SenderUnauthorized, None) => format!(
            "the server takes nothing from strangers: set `username` and `password` in `[sender.{}]`, or have it trust this machine's address",
            plan.name
        ),
        (CauseCode::Deferred, _) => {
            "greylisting passes after some minutes by itself; else the server's words say what it lacks, such as disk space or a filter that does not answer".to_owned()
        }
        (CauseCode::SenderRateLimited, _) => {
            "the server limits how often this client may come: send less often, or raise its limit for this address".to_owned()
        }
        (CauseCode::MailboxOverQuota, _) => {
            "the recipient's mailbox is full: delete mail, or raise its quota".to_owned()
        }
        (CauseCode::HardBounced, _) => {
            "the server does not know the recipient: is `to` right, and do its alias and its mailbox exist?".to_owned()
        }
        (CauseCode::SenderFailed, _) if is_uncertain => {
            "the mailbox shows whether the server kept it; look in the server's log for the Message-ID".to_owned()
        }
        (CauseCode::SenderFailed, _) => {
            "look into the server's log at this time; is it overloaded, or being restarted?".to_owned()
        }
        _ => "the server's words say what it has against the message; its log says more".to_owned(),
    }
}
