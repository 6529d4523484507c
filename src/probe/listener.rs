//! One check of one mail port as data: its steps, what can be wrong with the port, and what a silent or an odd opening
//! says about PROXY protocol.

use super::report::{seconds, timestamp};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::Duration;

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP between servers, with STARTTLS (port 25).
    Smtp,
    /// Submission inside TLS (port 465, RFC 8314).
    Smtps,
    /// Submission with STARTTLS (port 587, RFC 6409).
    Submission,
    /// IMAP with STARTTLS (port 143).
    Imap,
    /// IMAP inside TLS (port 993).
    Imaps,
    /// POP3 inside TLS (port 995).
    Pop3s,
}

/// The language of a protocol, whenever its TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// RFC 5321.
    Smtp,
    /// RFC 3501.
    Imap,
    /// RFC 1939.
    Pop3,
}

impl Protocol {
    /// Every protocol, in the order in which documents list them.
    pub const ALL: [Self; 6] = [
        Self::Smtp,
        Self::Smtps,
        Self::Submission,
        Self::Imap,
        Self::Imaps,
        Self::Pop3s,
    ];

    /// The name in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Smtps => "smtps",
            Self::Submission => "submission",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Pop3s => "pop3s",
        }
    }

    /// Whether TLS begins with the first byte.
    #[must_use]
    pub fn is_inside_tls(self) -> bool {
        matches!(self, Self::Smtps | Self::Imaps | Self::Pop3s)
    }

    /// What is spoken.
    #[must_use]
    pub fn language(self) -> Language {
        match self {
            Self::Smtp | Self::Smtps | Self::Submission => Language::Smtp,
            Self::Imap | Self::Imaps => Language::Imap,
            Self::Pop3s => Language::Pop3,
        }
    }

    /// Whether clients have to be able to log in there.
    #[must_use]
    pub fn needs_auth(self) -> bool {
        self != Self::Smtp
    }
}

/// A part of a check that takes time and can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Name and TCP.
    Connect,
    /// Writing the PROXY header.
    Proxy,
    /// The TLS handshake, certificate included.
    Tls,
    /// The server's first words.
    Greeting,
    /// EHLO, CAPABILITY or CAPA.
    Capabilities,
    /// STARTTLS.
    Starttls,
    /// An attempt to have mail for a foreign domain relayed, never up to DATA.
    Relay,
    /// QUIT or LOGOUT.
    Quit,
    /// The same port the other way: without the header that it demands, or with one that it must not take.
    Opposite,
}

/// How long one step took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepTime {
    /// Which one.
    pub name: Step,
    /// Seconds.
    pub seconds: f64,
}

impl StepTime {
    /// A step that took so long.
    #[must_use]
    pub fn new(name: Step, took: Duration) -> Self {
        Self {
            name,
            seconds: seconds(took),
        }
    }
}

/// What is wrong with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection: name, route, or nothing listens.
    Unreachable,
    /// A step was not answered in time.
    Silent,
    /// The server turns the client away or cannot serve: 421, 554, BYE, -ERR.
    TurnedAway,
    /// What comes is not the protocol, or the connection ended in the middle.
    Broken,
    /// The PROXY header that was sent is refused.
    HeaderRefused,
    /// The port takes the PROXY header for commands: it is a stock port.
    HeaderNotExpected,
    /// The port demands a PROXY header, and none was sent.
    HeaderDemanded,
    /// A port that demands a PROXY header serves clients without one.
    HeaderNotDemanded,
    /// A stock port believes the PROXY header of anybody.
    HeaderBelieved,
    /// The certificate is not valid for the name.
    Certificate,
    /// TLS fails for another reason.
    Tls,
    /// STARTTLS is not offered, or refused.
    NoStarttls,
    /// Clear text came behind the answer to STARTTLS (CVE-2011-0411 and its kin).
    Injection,
    /// Passwords are asked for in clear text.
    AuthInClear,
    /// There is no way to log in.
    NoAuth,
    /// Mail from anybody to anybody is relayed.
    OpenRelay,
}

impl Fault {
    /// Whether asking the port the other way, with or without a header, can explain it.
    #[must_use]
    pub fn may_be_about_the_header(self) -> bool {
        matches!(
            self,
            Self::Silent | Self::TurnedAway | Self::Broken | Self::HeaderRefused | Self::Tls
        )
    }
}

/// What is wrong, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Which of the closed set.
    pub fault: Fault,
    /// One sentence, the server's words verbatim. Lower case, no full stop.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

impl Trouble {
    /// A trouble with its remedy.
    #[must_use]
    pub fn new(fault: Fault, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            fault,
            error: error.into(),
            hint: hint.into(),
        }
    }
}

/// The certificate that a port showed, valid or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownCertificate {
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Start of its validity.
    #[serde(serialize_with = "timestamp")]
    pub not_before: DateTime<Utc>,
    /// End of its validity.
    #[serde(serialize_with = "timestamp")]
    pub not_after: DateTime<Utc>,
    /// Whole days until then; negative once it is over.
    pub days_left: i64,
    /// Whether chain, dates and name are in order.
    pub valid: bool,
}

/// One check of one listener. Serialises to the JSON line of `check --listeners`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListenerCheck {
    /// The listener's name.
    pub listener: String,
    /// Whether everything about it is as it should be.
    pub ok: bool,
    /// How long each step took, in order; steps that were not reached are absent.
    pub stages: Vec<StepTime>,
    /// What it showed; null where the check did not come so far.
    pub certificate: Option<ShownCertificate>,
    /// What is wrong, in a sentence.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Protocol, host and port, for messages.
    #[serde(skip)]
    pub endpoint: String,
    /// What is wrong, of the closed set.
    #[serde(skip)]
    pub fault: Option<Fault>,
}

impl ListenerCheck {
    /// Seconds from the first packet until the server was ready for commands, TLS included; none where it is not ok.
    #[must_use]
    pub fn handshake_seconds(&self) -> Option<f64> {
        let is_part = |step: Step| !matches!(step, Step::Relay | Step::Quit | Step::Opposite);
        let steps = self.stages.iter().filter(|time| is_part(time.name));
        self.ok.then(|| steps.map(|time| time.seconds).sum())
    }

    /// The check in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self {
            listener, endpoint, ..
        } = self;
        match &self.error {
            Some(error) => format!("listener `{listener}` ({endpoint}): {error}"),
            None => format!(
                "listener `{listener}` ({endpoint}) answers in {:.3} s",
                self.handshake_seconds().unwrap_or_default()
            ),
        }
    }
}

/// What a server did where its greeting was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening<'w> {
    /// It said this, and no greeting.
    Said(&'w str),
    /// It closed the connection without a word.
    Closed,
    /// It reset the connection without a word.
    Reset,
    /// It said nothing for so long.
    Silent(Duration),
    /// It speaks TLS, or answered with a TLS alert.
    Tls,
}

/// What an opening that is no greeting says about a port. `header` is the version of the PROXY header that was sent,
/// such as `v2`.
///
/// Postfix answers `421 4.3.0` (smtpd) or `421 4.3.2` (postscreen) on connect where the header is missing or wrong, and
/// never for overload; Dovecot closes or resets without a word.
#[must_use]
pub fn judge_opening(opening: Opening<'_>, header: Option<&str>, protocol: Protocol) -> Trouble {
    match (opening, header) {
        (Opening::Said(words), header) => turned_away(words, header),
        (Opening::Tls, Some(version)) => Trouble::new(
            Fault::HeaderNotExpected,
            format!("does not take the PROXY header ({version}) that was sent: it answers in TLS"),
            NOT_EXPECTED,
        ),
        (Opening::Tls, None) => Trouble::new(
            Fault::Broken,
            format!("answers in TLS, not in {}", protocol.name()),
            "does the port begin with TLS? then its protocol is smtps, imaps or pop3s",
        ),
        (Opening::Closed | Opening::Reset, header) => wordless(opening, header, protocol),
        (Opening::Silent(waited), Some(version)) => Trouble::new(
            Fault::Silent,
            format!(
                "says nothing for {} s after the PROXY header",
                waited.as_secs()
            ),
            format!(
                "is the server overloaded, or does the port demand another version than {version}?"
            ),
        ),
        (Opening::Silent(waited), None) => Trouble::new(
            Fault::Silent,
            format!("says nothing for {} s", waited.as_secs()),
            "is the server overloaded, or does the port wait for a PROXY header (`proxy_protocol`) or for TLS (`protocol`)?",
        ),
    }
}

/// Words in the place of a greeting.
fn turned_away(words: &str, header: Option<&str>) -> Trouble {
    match (postfix_fingerprint(words), header) {
        (Some(daemon), Some(version)) => Trouble::new(
            Fault::HeaderRefused,
            format!("refuses the PROXY header: `{words}` on connect is how {daemon} says so"),
            format!(
                "does the port take {version}, and Postfix the family of the address (`inet_protocols`)? its log names what it missed; a balancer before the port that writes a header of its own leads here as well"
            ),
        ),
        (Some(daemon), None) => Trouble::new(
            Fault::HeaderDemanded,
            format!("demands a PROXY header: `{words}` on connect is how {daemon} says so"),
            "set `proxy_protocol = \"v2\"` on this listener, or take the haproxy setting (`smtpd_upstream_proxy_protocol`, `postscreen_upstream_proxy_protocol`) off the port",
        ),
        (None, _) => Trouble::new(
            Fault::TurnedAway,
            format!("turns the client away: `{words}`"),
            "the server's log says why; is this machine on a block list, or banned?",
        ),
    }
}

const NOT_EXPECTED: &str = "set `proxy_protocol = \"none\"` on this listener, or have the port demand the header: `smtpd_upstream_proxy_protocol` or `postscreen_upstream_proxy_protocol` (Postfix), `haproxy = yes` (Dovecot)";

/// The end of a connection without a word.
fn wordless(opening: Opening<'_>, header: Option<&str>, protocol: Protocol) -> Trouble {
    let what = if opening == Opening::Reset {
        "resets the connection"
    } else {
        "closes the connection"
    };
    match (header, protocol.language()) {
        (Some(version), Language::Smtp) => Trouble::new(
            Fault::HeaderRefused,
            format!("{what} without a word after the PROXY header ({version})"),
            "does the port demand the header at all, and this version of it?",
        ),
        (Some(version), Language::Imap | Language::Pop3) => Trouble::new(
            Fault::HeaderRefused,
            format!(
                "refuses the PROXY header ({version}): {what} without a word, which is how Dovecot says so"
            ),
            "is `haproxy = yes` set on the port, and this machine's address in `haproxy_trusted_networks`? Dovecot's log says \"Client not trusted\" if not",
        ),
        (None, Language::Smtp) => Trouble::new(
            Fault::Broken,
            format!("{what} without a greeting"),
            "is the server starting, or is this machine banned (fail2ban, firewall)?",
        ),
        (None, Language::Imap | Language::Pop3) => Trouble::new(
            Fault::Broken,
            format!(
                "{what} without a word, which is how Dovecot's ports with `haproxy = yes` treat a client without a PROXY header"
            ),
            "set `proxy_protocol = \"v2\"` on this listener, or take `haproxy = yes` off the port; if neither, is this machine banned?",
        ),
    }
}

/// The words with which a port that greeted refuses the first command, since it took a PROXY header for commands.
#[must_use]
pub fn taken_for_commands(version: &str, words: &str) -> Trouble {
    Trouble::new(
        Fault::HeaderNotExpected,
        format!(
            "does not take the PROXY header ({version}) that was sent, but reads it as commands: `{words}`"
        ),
        NOT_EXPECTED,
    )
}

/// The port served a client without the header that it should demand.
#[must_use]
pub fn header_not_demanded(words: &str) -> Trouble {
    Trouble::new(
        Fault::HeaderNotDemanded,
        format!("serves a client that sends no PROXY header: `{words}`"),
        "such a client is logged and judged under the address of whatever connects: does something before the port write a header of its own? else have the port demand it, or set `proxy_protocol = \"none\"`",
    )
}

/// The port believed a header that it should not take.
#[must_use]
pub fn header_believed(words: &str) -> Trouble {
    Trouble::new(
        Fault::HeaderBelieved,
        format!("takes a PROXY header from anybody: `{words}` to the command behind it"),
        "whoever reaches the port can claim any address, one of `mynetworks` among them: allow the header to the balancer's address only",
    )
}

/// A port that failed with the header, and serves without: the header is what is wrong.
#[must_use]
pub fn explained_by_serving_without(trouble: &Trouble, version: &str, words: &str) -> Trouble {
    Trouble::new(
        Fault::HeaderNotExpected,
        format!(
            "does not take the PROXY header ({version}): with it the port {}, without it the port says `{words}`",
            trouble.error
        ),
        NOT_EXPECTED,
    )
}

/// A port that failed without a header, and serves behind one: it demands it.
#[must_use]
pub fn explained_by_serving_with(trouble: &Trouble, words: &str) -> Trouble {
    Trouble::new(
        Fault::HeaderDemanded,
        format!(
            "demands a PROXY header: without one the port {}, behind one it says `{words}`",
            trouble.error
        ),
        "set `proxy_protocol = \"v2\"` on this listener, or take the header off the port",
    )
}

/// Which daemon of Postfix refuses a missing or wrong header with these words. A postscreen under load answers
/// `421 4.3.2 All server ports are busy`, which is none of them.
#[must_use]
pub fn postfix_fingerprint(words: &str) -> Option<&'static str> {
    if words.starts_with("421 4.3.0") && words.contains("Server local error") {
        Some("Postfix smtpd")
    } else if words.starts_with("421 4.3.2") && words.contains("No system resources") {
        Some("Postfix postscreen")
    } else {
        None
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
