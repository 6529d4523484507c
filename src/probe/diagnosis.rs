//! Evidence in, causes out, the most likely first: why a message is not where it should be.
//!
//! A cause is never more than the evidence bears: what the provider did not say, what the mailbox was not asked and what
//! no field of the message tells is not claimed.

mod absent;
mod arrived;
mod neighbours;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

pub use neighbours::{Listener, Neighbour, Standing, Way};

use super::arrival::Arrival;
use super::provider::Word;
use super::report::LateArrival;
use super::run::{Limits, Sighting};
use super::send::{Acceptance, Failure};
use super::verdict::{Cause, CauseCode, Stage, Verdict};
use std::time::Duration;

/// Everything that is known about a run. Times count from its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The probe's limits.
    pub limits: Limits,
    /// When this was gathered.
    pub at: Duration,
    /// The recipient.
    pub to: String,
    /// Who was to take the message, with its address: ``brevo `https://api.brevo.com/v3` ``.
    pub sender: String,
    /// How its messages come in.
    pub way: Way,
    /// How handing it over ended.
    pub handover: Handover,
    /// Start of the send.
    pub send_started: Option<Duration>,
    /// How often the sender put it off, in a sentence.
    pub deferral: Option<String>,
    /// The provider's block of the recipient, where it is there and stays.
    pub blocked: Option<Cause>,
    /// What the provider's event log says.
    pub provider: Word,
    /// The message, as it was seen.
    pub seen: Option<Sighting>,
    /// What the message that was seen tells of its way.
    pub arrival: Option<Arrival>,
    /// The mailbox, and when it could be read.
    pub mailbox: Mailbox,
    /// Messages that carry the token and are not ours, a sentence each.
    pub quotes: Vec<String>,
    /// Messages of earlier runs that turned up.
    pub late_arrivals: Vec<LateArrival>,
    /// What other probes of the same invocation see.
    pub neighbours: Vec<Neighbour>,
    /// The state of the mail ports, where they were checked.
    pub listeners: Vec<Listener>,
    /// A signal ended the run.
    pub interrupted: bool,
}

/// How handing the message over ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Handover {
    /// It was not begun.
    NotBegun,
    /// No answer yet.
    UnderWay,
    /// The sender said yes.
    Taken(Acceptance),
    /// The sender has not got it.
    Refused(Failure),
    /// The answer was lost.
    Unknown(Failure),
}

/// The mailbox during a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mailbox {
    /// Why it was never open, if it was not.
    pub shut: Option<Cause>,
    /// Folders in which the last clean look did not show the message.
    pub looked: Vec<String>,
    /// Why a folder could not be read at the end.
    pub unreadable: Option<Cause>,
    /// When a folder could not be read.
    pub gaps: Vec<Gap>,
    /// How full it is, where the server tells.
    pub quota: Vec<Quota>,
}

/// A time in which a folder could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which folder.
    pub folder: String,
    /// Since when.
    pub from: Duration,
    /// Until when; none where it lasts.
    pub to: Option<Duration>,
    /// Why.
    pub why: String,
}

/// One limit of the mailbox (RFC 9208).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The server's name for what is limited together.
    pub root: String,
    /// What is counted: `STORAGE` in KiB, `MESSAGE`.
    pub resource: String,
    /// How much is used.
    pub usage: u64,
    /// How much there may be.
    pub limit: u64,
}

impl Quota {
    /// Whether another message may find no room: a test message has up to four KiB.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let room = if self.resource.eq_ignore_ascii_case("STORAGE") {
            4
        } else {
            0
        };
        self.limit > 0 && self.usage.saturating_add(room) >= self.limit
    }
}

/// What the evidence comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// The verdict.
    pub verdict: Verdict,
    /// Most likely first, each code once. The first is the cause of a verdict other than `delivered`; it is never empty
    /// then.
    pub causes: Vec<Cause>,
}

/// What a finished run comes to.
#[must_use]
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let (verdict, causes) = judge(evidence);
    let mut diagnosis = Diagnosis {
        verdict,
        causes: Vec::new(),
    };
    for cause in causes {
        let known = diagnosis.causes.iter().any(|one| one.code == cause.code);
        if !known {
            diagnosis.causes.push(cause);
        }
    }
    if let Some(first) = diagnosis.causes.first_mut()
        && verdict != Verdict::Delivered
    {
        neighbours::add(first, verdict, evidence);
    }
    diagnosis
}

/// What can be said of a message that is not there yet, while its run goes on.
#[must_use]
pub fn so_far(evidence: &Evidence) -> Cause {
    let mut cause = absent::causes(evidence)
        .into_iter()
        .next()
        .unwrap_or_else(|| absent::unexplained(evidence));
    if let Some(gap) = evidence.mailbox.gaps.iter().find(|gap| gap.to.is_none()) {
        cause.evidence.push(gap.quote());
    }
    neighbours::add(&mut cause, Verdict::Missing, evidence);
    cause
}

fn judge(evidence: &Evidence) -> (Verdict, Vec<Cause>) {
    if let Some(seen) = &evidence.seen {
        return arrived::judge(seen, evidence);
    }
    // The provider's word about this very message needs no mailbox.
    if evidence.provider.is_given_up() {
        return (Verdict::Bounced, absent::causes(evidence));
    }
    if evidence.interrupted {
        return (Verdict::Undetermined, vec![interruption(evidence)]);
    }
    if let Some(cause) = &evidence.mailbox.shut {
        return (Verdict::Undetermined, vec![cause.clone()]);
    }
    if let Some(cause) = absent::not_taken(evidence) {
        return (Verdict::Refused, vec![cause]);
    }
    if let Some(cause) = &evidence.mailbox.unreadable {
        let mut cause = cause.clone();
        cause.stage = Stage::Await;
        let mut causes = vec![cause];
        // What the provider knows is told, and decides nothing while the mailbox may hold the message.
        if evidence.provider.decisive().is_some() {
            causes.extend(absent::causes(evidence));
        }
        return (Verdict::Undetermined, causes);
    }
    let causes = absent::causes(evidence);
    let is_blocked = causes
        .first()
        .is_some_and(|cause| cause.code == CauseCode::RecipientBlocked);
    let verdict = if is_blocked {
        Verdict::Bounced
    } else {
        Verdict::Missing
    };
    (verdict, causes)
}

fn interruption(evidence: &Evidence) -> Cause {
    let doing = match &evidence.handover {
        Handover::Taken(_) | Handover::Unknown(_) => "while waiting for the message",
        Handover::UnderWay | Handover::Refused(_) => "while handing the message over",
        Handover::NotBegun => "before anything was sent",
    };
    let mut cause = Cause::new(
        CauseCode::Interrupted,
        Stage::Await,
        format!("stopped by a signal {doing}"),
        "nothing to do: a later run deletes the message if it still arrives",
    );
    let is_under_way = matches!(evidence.handover, Handover::Taken(_) | Handover::Unknown(_));
    if is_under_way {
        let known = so_far(evidence);
        cause.evidence.push(format!(
            "so far, after {:.1} s: {}",
            evidence.waited().as_secs_f64(),
            known.summary
        ));
        cause.evidence.extend(known.evidence);
    } else if let Some(shut) = &evidence.mailbox.shut {
        cause.evidence.push(format!("so far: {}", shut.summary));
    } else if let Handover::Refused(failure) = &evidence.handover {
        cause
            .evidence
            .push(format!("so far: {}", failure.cause.summary));
    }
    cause
}

impl Evidence {
    /// Nothing is known but the limits.
    #[must_use]
    pub fn new(limits: Limits, at: Duration) -> Self {
        Self {
            limits,
            at,
            to: String::new(),
            sender: String::new(),
            way: Way::Outside,
            handover: Handover::NotBegun,
            send_started: None,
            deferral: None,
            blocked: None,
            provider: Word::None,
            seen: None,
            arrival: None,
            mailbox: Mailbox::default(),
            quotes: Vec::new(),
            late_arrivals: Vec::new(),
            neighbours: Vec::new(),
            listeners: Vec::new(),
            interrupted: false,
        }
    }

    /// From the start of the send until now.
    fn waited(&self) -> Duration {
        self.at
            .saturating_sub(self.send_started.unwrap_or_default())
    }

    /// What the sender calls the message.
    fn message_id(&self) -> Option<&str> {
        let by_event = || match &self.provider {
            Word::Events(events) => events.iter().find_map(|event| event.message_id.as_deref()),
            _ => None,
        };
        match &self.handover {
            Handover::Taken(acceptance) => acceptance.message_id.as_deref().or_else(by_event),
            _ => by_event(),
        }
    }
}

impl Gap {
    /// `` `INBOX` could not be read from 12.0 s to 19.5 s: … ``.
    fn quote(&self) -> String {
        let to = self.to.map_or_else(
            || "on".to_owned(),
            |to| format!("to {:.1} s", to.as_secs_f64()),
        );
        format!(
            "`{}` could not be read from {:.1} s {to}: {}",
            self.folder,
            self.from.as_secs_f64(),
            self.why
        )
    }
}

impl Quota {
    /// `quota User quota: 10240 of 10240 STORAGE`.
    fn quote(&self) -> String {
        format!(
            "quota `{}`: {} of {} {}",
            self.root,
            self.usage,
            self.limit,
            if self.resource.eq_ignore_ascii_case("STORAGE") {
                "KiB"
            } else {
                &self.resource
            }
        )
    }
}
