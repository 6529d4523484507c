//! One run as a state machine: what happened goes in, what to do next comes out.
//!
//! Every time is the duration since the start of the run, on the monotonic clock of whoever drives the machine.
//!
//! ```text
//! Opening --ready--> Preparing --> Sending <--> (pause) --> Waiting --> LastLook --> Over
//!    |                                |                        |
//!    '-- unreadable --> Over          '-- refused --> Over     '-- seen --> Over
//! ```

use super::diagnosis::{self, Evidence, Gap, Handover, Mailbox};
use super::provider::Word;
use super::send::{Acceptance, Failure, Preparation, Retry, Taken};
use super::verdict::{Cause, CauseCode, Stage, Verdict, Warning};
use std::collections::BTreeMap;
use std::time::Duration;

/// Attempts to hand the message over, at the most.
pub const MOST_ATTEMPTS: u32 = 3;
/// All attempts together, waits that the sender asked for not counted.
pub const ATTEMPTS_LIMIT: Duration = Duration::from_secs(60);
/// One attempt, where the sender has no limit of its own.
pub const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);
/// Looking for the recipient's block, and lifting it.
pub const PREPARE_LIMIT: Duration = Duration::from_secs(10);
/// Pauses between attempts.
const ATTEMPT_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Pauses after SMTP 4xx: greylisting asks for one to five minutes (RFC 6647), which a retry every few seconds would
/// never see the end of.
const DEFERRAL_PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
const LONGEST_DEFERRAL_PAUSE: Duration = Duration::from_secs(240);
/// Once the message is seen, so long the sender may still take to say that it took it.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// Pauses between attempts to open the mailbox: doubling, up to the longest.
const FIRST_OPEN_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_OPEN_PAUSE: Duration = Duration::from_secs(30);
/// With less time than this left, the mailbox is not tried again: it would hide what the attempts before met.
const SHORTEST_OPEN: Duration = Duration::from_secs(1);
/// How much later than its limit an attempt to open the mailbox may end.
const OPEN_GRACE: Duration = Duration::from_secs(1);
/// The last look has so long to be answered.
const LAST_LOOK_LIMIT: Duration = Duration::from_secs(7);
/// The provider has so long to say what it knows, while the run goes on.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// At the end of the wait it has less: the run is over.
const LAST_ASK_LIMIT: Duration = Duration::from_secs(6);
/// So many times in which a folder could not be read are remembered.
const MOST_GAPS: usize = 20;
/// Where somebody is waiting, the provider is asked so long after the start of the send as well.
const EAGER_ASKS: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// How evidence of a reconnection begins.
const AGAIN: &str = "connecting again: ";

/// The limits of a run, from the probe's config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the start of the send: seen later is late. Before the send, from the start of the run: so long a mailbox
    /// that cannot be read is tried again.
    pub late_after: Duration,
    /// From the start of the run: not seen by then is missing.
    pub timeout: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The mailbox is open, its folders are remembered.
    MailboxOpen,
    /// The mailbox could not be opened.
    MailboxShut {
        /// Why.
        cause: Cause,
        /// Whether trying again can help.
        again: Again,
    },
    /// The recipient's block was looked for.
    Prepared(Preparation),
    /// An attempt began, since [`Action::Attempt`] was carried out.
    AttemptBegun,
    /// It ended.
    AttemptEnded(Result<Acceptance, Failure>),
    /// The message was seen.
    Seen(Sighting),
    /// A message carries the token and is not ours: a sentence about it.
    Quoted(String),
    /// A folder can no longer be read.
    FolderLost {
        /// Which.
        folder: String,
        /// Why.
        cause: Cause,
    },
    /// It can be read again.
    FolderBack {
        /// Which.
        folder: String,
    },
    /// The last look into a folder: clean, or why not.
    LastLook {
        /// Which.
        folder: String,
        /// Why it could not be read.
        trouble: Option<Cause>,
    },
    /// What the provider's event log says of the message.
    ProviderSaid(Word),
    /// The interim report is on its way.
    OverdueReported,
    /// A signal asks to end.
    Interrupted,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It may pass.
    Yes,
    /// It may pass, but must not be tried often: repeated log-ins get an address banned.
    Once,
    /// No.
    No,
}

/// The message, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When the first answer that shows it was received.
    pub at: Duration,
    /// When the last look that did not show it was sent; none if the first look showed it.
    pub not_before: Option<Duration>,
    /// Where.
    pub folder: String,
    /// Whether that is the junk folder.
    pub is_junk: bool,
}

/// What to do next. A job that was started is not asked for again before its event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open the mailbox, within this time.
    Open(Duration),
    /// Look for the recipient's block, within this time.
    Prepare(Duration),
    /// Hand the message over, within this time.
    Attempt(Duration),
    /// Look once more into every folder.
    LastLook,
    /// Ask the provider what became of the message, within this time.
    AskProvider(Duration),
    /// Tell the sinks that the message is overdue.
    ReportOverdue,
    /// Nothing, until something happens or it is so late.
    WaitUntil(Duration),
    /// The run is over.
    Finish,
}

/// Whether the provider can be asked what became of the message, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It has no event log.
    Never,
    /// When the message is overdue, and at the end: questions are scarce.
    WhenOverdue,
    /// Also soon after the send, since somebody is waiting.
    Eagerly,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `delivered`.
    pub cause: Option<Cause>,
    /// What went wrong on the way.
    pub warnings: Vec<Warning>,
    /// Start of the first attempt whose outcome was acceptance or unknown, or, where none was, of the first attempt.
    pub send_started: Option<Duration>,
    /// When the sender said yes.
    pub accepted: Option<(Duration, Acceptance)>,
    /// The message, as it was seen.
    pub seen: Option<Sighting>,
    /// The last status that the sender answered.
    pub sender_status: Option<u16>,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Opening,
    Preparing,
    Sending,
    Waiting,
    LastLook { since: Duration },
    Over,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    limits: Limits,
    folders: usize,
    phase: Phase,
    /// The job that was started is still at work.
    busy: bool,
    /// A job must not start before.
    not_before: Duration,
    opens: u32,
    slow_opens: u32,
    attempts: u32,
    /// One attempt may take so long.
    attempt_limit: Duration,
    /// Attempts that ended with a request to come back in minutes.
    deferrals: u32,
    /// A sentence about them.
    deferral: Option<String>,
    /// Start of the attempts since the last such request.
    burst_started: Option<Duration>,
    /// Time spent waiting in this burst because the sender asked for it.
    asked_to_wait: Duration,
    first_attempt: Option<Duration>,
    attempt_started: Option<Duration>,
    /// Start of the first attempt that may have succeeded.
    send_started: Option<Duration>,
    accepted: Option<(Duration, Acceptance)>,
    last_failure: Option<Failure>,
    unknown: Option<Failure>,
    sender_status: Option<u16>,
    blocked: Option<Cause>,
    seen: Option<Sighting>,
    lost: BTreeMap<String, Cause>,
    looked: BTreeMap<String, Option<Cause>>,
    quotes: Vec<String>,
    overdue_reported: bool,
    /// The provider can be asked.
    has_provider: bool,
    /// When it is asked before the end, after the start of the send, the next last.
    asks: Vec<Duration>,
    asked_last: bool,
    provider: Word,
    gaps: Vec<Gap>,
    last_look_begun: bool,
    interrupted: bool,
    /// The mailbox was never readable, and why.
    shut: Option<Cause>,
    warnings: Vec<Warning>,
}

impl Run {
    /// A run that starts now. `folders` are watched: once the mailbox is open, [`Run::set_folders`] says how many.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            folders: 0,
            phase: Phase::Opening,
            busy: false,
            not_before: Duration::ZERO,
            opens: 0,
            slow_opens: 0,
            attempts: 0,
            attempt_limit: ATTEMPT_LIMIT,
            deferrals: 0,
            deferral: None,
            burst_started: None,
            asked_to_wait: Duration::ZERO,
            first_attempt: None,
            attempt_started: None,
            send_started: None,
            accepted: None,
            last_failure: None,
            unknown: None,
            sender_status: None,
            blocked: None,
            seen: None,
            lost: BTreeMap::new(),
            looked: BTreeMap::new(),
            quotes: Vec::new(),
            overdue_reported: false,
            has_provider: false,
            asks: Vec::new(),
            asked_last: false,
            provider: Word::None,
            gaps: Vec::new(),
            last_look_begun: false,
            interrupted: false,
            shut: None,
            warnings: Vec::new(),
        }
    }

    /// How many folders are watched.
    pub fn set_folders(&mut self, folders: usize) {
        self.folders = folders;
    }

    /// How long one attempt may take, where that is not [`ATTEMPT_LIMIT`].
    pub fn set_attempt_limit(&mut self, limit: Duration) {
        self.attempt_limit = limit;
    }

    /// Whether, and how often, the provider can be asked what became of the message.
    pub fn set_asking(&mut self, asking: Asking) {
        self.has_provider = asking != Asking::Never;
        self.asks = match asking {
            Asking::Never => Vec::new(),
            Asking::WhenOverdue => vec![self.limits.late_after],
            Asking::Eagerly => {
                let mut asks = vec![self.limits.late_after];
                asks.extend(EAGER_ASKS);
                asks.sort();
                asks.dedup();
                asks.reverse();
                asks
            }
        };
    }

    /// What to do at this time.
    pub fn next(&mut self, now: Duration) -> Action {
        if self.interrupted || self.is_seen_and_settled(now) {
            self.phase = Phase::Over;
        }
        match self.phase {
            Phase::Over => Action::Finish,
            // It ends by its own limit, a moment later, and says where it hung.
            Phase::Opening if self.busy && now < self.limits.late_after + OPEN_GRACE => {
                Action::WaitUntil(self.limits.late_after + OPEN_GRACE)
            }
            Phase::Opening if now >= self.limits.late_after => {
                self.shut.get_or_insert_with(never_opened);
                self.finish()
            }
            Phase::Opening if now < self.not_before => {
                Action::WaitUntil(self.not_before.min(self.limits.late_after))
            }
            Phase::Opening
                if self.shut.is_some() && now + SHORTEST_OPEN > self.limits.late_after =>
            {
                Action::WaitUntil(self.limits.late_after)
            }
            Phase::Opening => {
                self.busy = true;
                self.opens += 1;
                Action::Open(self.limits.late_after - now)
            }
            Phase::Preparing if self.busy => Action::WaitUntil(self.limits.timeout),
            Phase::Preparing => {
                self.busy = true;
                Action::Prepare(PREPARE_LIMIT.min(self.limits.timeout.saturating_sub(now)))
            }
            Phase::Sending => self.next_while_sending(now),
            Phase::Waiting => self.next_while_waiting(now),
            Phase::LastLook { since } => self.next_at_the_end(since, now),
        }
    }

    /// Takes note of what happened.
    pub fn on(&mut self, event: Event, now: Duration) {
        match event {
            Event::MailboxOpen => {
                self.busy = false;
                self.shut = None;
                self.phase = Phase::Preparing;
            }
            Event::MailboxShut { cause, again } => self.on_shut(cause, again, now),
            Event::Prepared(preparation) => {
                self.busy = false;
                self.warnings.extend(preparation.warnings);
                self.warnings.extend(preparation.lifted);
                self.blocked = preparation.blocked;
                self.phase = Phase::Sending;
            }
            Event::AttemptBegun => {
                self.first_attempt.get_or_insert(now);
                self.burst_started.get_or_insert(now);
                self.attempt_started = Some(now);
            }
            Event::AttemptEnded(Ok(acceptance)) => self.on_acceptance(acceptance, now),
            Event::AttemptEnded(Err(failure)) => self.on_failure(failure, now),
            Event::Seen(sighting) => {
                let earlier = self
                    .seen
                    .as_ref()
                    .is_some_and(|seen| seen.at <= sighting.at);
                if !earlier {
                    self.seen = Some(sighting);
                }
            }
            Event::Quoted(sentence) => self.quotes.push(sentence),
            Event::FolderLost { folder, cause } => self.on_folder_lost(folder, cause, now),
            Event::FolderBack { folder } => {
                self.lost.remove(&folder);
                let open = self
                    .gaps
                    .iter_mut()
                    .find(|gap| gap.folder == folder && gap.to.is_none());
                if let Some(gap) = open {
                    gap.to = Some(now);
                }
            }
            Event::LastLook { folder, trouble } => {
                // What was said when the folder was lost tells more than that it still is.
                let known = trouble
                    .as_ref()
                    .and_then(|_| self.lost.get(&folder).cloned());
                self.looked.insert(folder, known.or(trouble));
            }
            Event::ProviderSaid(word) => self.on_word(word),
            Event::OverdueReported => self.overdue_reported = true,
            Event::Interrupted => self.interrupted = true,
        }
    }

    fn on_folder_lost(&mut self, folder: String, cause: Cause, now: Duration) {
        let is_known = self
            .gaps
            .iter()
            .any(|gap| gap.folder == folder && gap.to.is_none());
        if !is_known && self.gaps.len() < MOST_GAPS {
            self.gaps.push(Gap {
                folder: folder.clone(),
                from: now,
                to: None,
                why: cause.summary.clone(),
            });
        }
        let cause = match self.lost.remove(&folder) {
            Some(loss) => still_lost(loss, cause),
            None => cause,
        };
        self.lost.insert(folder, cause);
    }

    fn on_word(&mut self, word: Word) {
        self.busy = false;
        self.asked_last |= self.last_look_begun;
        // What was known stays true when a later question fails.
        let is_worse = matches!(
            (&self.provider, &word),
            (Word::Events(_), Word::Unavailable(_))
        );
        if !is_worse {
            self.provider = word;
        }
    }

    fn on_shut(&mut self, cause: Cause, again: Again, now: Duration) {
        self.busy = false;
        self.shut = Some(cause);
        let pause = FIRST_OPEN_PAUSE * 2_u32.saturating_pow(self.opens.saturating_sub(1).min(10));
        self.not_before = now + pause.min(LONGEST_OPEN_PAUSE);
        self.slow_opens += u32::from(again == Again::Once);
        if again == Again::No || self.slow_opens > 1 {
            self.phase = Phase::Over;
        }
    }

    fn on_acceptance(&mut self, acceptance: Acceptance, now: Duration) {
        self.busy = false;
        self.sender_status = Some(acceptance.status);
        self.send_started = self.send_started.or(self.attempt_started);
        self.accepted = Some((now, acceptance));
        self.phase = Phase::Waiting;
        if let Some(failure) = self.last_failure.take() {
            self.warnings.push(failure.cause.into_warning());
        }
    }

    fn on_failure(&mut self, failure: Failure, now: Duration) {
        self.busy = false;
        self.sender_status = failure.status.or(self.sender_status);
        if failure.taken == Taken::Unknown {
            self.send_started = self.send_started.or(self.attempt_started);
            self.unknown.get_or_insert_with(|| failure.clone());
        }
        self.phase = match self.pause_after(&failure, now) {
            Some(pause) => {
                self.not_before = now + pause;
                Phase::Sending
            }
            // The mailbox decides.
            None if self.unknown.is_some() => Phase::Waiting,
            None => Phase::Over,
        };
        self.last_failure = Some(failure);
    }

    /// How long to wait before the next attempt; none where there is to be none.
    fn pause_after(&mut self, failure: &Failure, now: Duration) -> Option<Duration> {
        let pause = match failure.retry {
            Retry::Never => return None,
            Retry::Later => self.defer(now),
            Retry::After(_) | Retry::Soon if self.attempts >= MOST_ATTEMPTS => return None,
            Retry::After(wait) => {
                self.asked_to_wait = self.asked_to_wait.saturating_add(wait);
                wait
            }
            Retry::Soon => {
                let index = usize::try_from(self.attempts.saturating_sub(1)).unwrap_or(0);
                let pause = ATTEMPT_PAUSES.get(index).copied().unwrap_or_default();
                if self.spent(now) + pause >= self.attempts_limit() {
                    return None;
                }
                pause
            }
        };
        (now.saturating_add(pause) < self.limits.timeout).then_some(pause)
    }

    /// Minutes, after which attempts begin to count anew.
    fn defer(&mut self, now: Duration) -> Duration {
        let index = usize::try_from(self.deferrals).unwrap_or(usize::MAX);
        self.deferrals += 1;
        let since = now.saturating_sub(self.first_attempt.unwrap_or(now));
        self.deferral = Some(format!(
            "put off {} time(s) in {:.0} s, as greylisting does",
            self.deferrals,
            since.as_secs_f64()
        ));
        self.attempts = 0;
        self.burst_started = None;
        self.asked_to_wait = Duration::ZERO;
        DEFERRAL_PAUSES
            .get(index)
            .copied()
            .unwrap_or(LONGEST_DEFERRAL_PAUSE)
    }

    /// Time that attempts have taken, waits that the sender asked for not counted.
    fn spent(&self, now: Duration) -> Duration {
        now.saturating_sub(self.burst_started.unwrap_or(now))
            .saturating_sub(self.asked_to_wait)
    }

    /// [`ATTEMPTS_LIMIT`], or one attempt that may take longer.
    fn attempts_limit(&self) -> Duration {
        ATTEMPTS_LIMIT.max(self.attempt_limit)
    }

    fn next_while_sending(&mut self, now: Duration) -> Action {
        if self.busy {
            return Action::WaitUntil(self.limits.timeout);
        }
        // Nothing is under way, and the message is there already.
        if self.seen.is_some() {
            return self.finish();
        }
        if now < self.not_before {
            return Action::WaitUntil(self.not_before);
        }
        let left = self.attempts_limit().saturating_sub(self.spent(now));
        self.busy = true;
        self.attempts += 1;
        Action::Attempt(
            self.attempt_limit
                .min(left)
                .min(self.limits.timeout.saturating_sub(now)),
        )
    }

    fn next_while_waiting(&mut self, now: Duration) -> Action {
        // A message that was given up on is waited for no longer.
        if now >= self.limits.timeout || (self.seen.is_none() && self.provider.is_given_up()) {
            self.phase = Phase::LastLook { since: now };
            self.last_look_begun = true;
            return Action::LastLook;
        }
        if self.seen.is_some() || self.busy {
            return Action::WaitUntil(self.limits.timeout);
        }
        let ask = self
            .asks
            .last()
            .map(|after| self.send_started.unwrap_or_default() + *after);
        if ask.is_some_and(|at| now >= at) {
            let begun = self.send_started.unwrap_or_default();
            self.asks.retain(|after| begun + *after > now);
            self.busy = true;
            return Action::AskProvider(ASK_LIMIT);
        }
        let late = self.late_at();
        if !self.overdue_reported && now >= late {
            return Action::ReportOverdue;
        }
        let late = Some(late).filter(|_| !self.overdue_reported);
        let next = ask.into_iter().chain(late).min();
        Action::WaitUntil(next.unwrap_or(self.limits.timeout).min(self.limits.timeout))
    }

    fn late_at(&self) -> Duration {
        self.send_started.unwrap_or_default() + self.limits.late_after
    }

    /// The last look and the last question, side by side.
    fn next_at_the_end(&mut self, since: Duration, now: Duration) -> Action {
        let end = since + LAST_LOOK_LIMIT;
        if now >= end || (self.looked.len() >= self.folders && self.is_answered()) {
            return self.finish();
        }
        if !self.busy && !self.is_answered() {
            self.busy = true;
            return Action::AskProvider(LAST_ASK_LIMIT);
        }
        Action::WaitUntil(end)
    }

    /// Whether there is nothing more to ask the provider.
    fn is_answered(&self) -> bool {
        !self.has_provider || self.asked_last || self.provider.is_given_up()
    }

    fn finish(&mut self) -> Action {
        self.phase = Phase::Over;
        Action::Finish
    }

    /// Seen, and the sender's answer is in, or was given time to come in.
    fn is_seen_and_settled(&self, now: Duration) -> bool {
        let Some(seen) = &self.seen else {
            return false;
        };
        !(self.phase == Phase::Sending && self.busy) || now >= seen.at + ANSWER_GRACE
    }

    /// Whether an attempt that has ended may have left the message with the sender: then the wait began with it.
    #[must_use]
    pub fn may_be_taken(&self) -> bool {
        self.accepted.is_some() || self.unknown.is_some()
    }

    /// When to wake up at the latest because of what [`Run::next`] cannot know: the grace for the sender's answer.
    #[must_use]
    pub fn settles_at(&self) -> Option<Duration> {
        self.seen.as_ref().map(|seen| seen.at + ANSWER_GRACE)
    }

    /// What is known, for the diagnosis. What only the runner knows is left empty.
    #[must_use]
    pub fn evidence(&self, now: Duration) -> Evidence {
        let mut evidence = Evidence::new(self.limits, now);
        evidence.handover = self.handover();
        evidence.send_started = self.send_began();
        evidence.deferral.clone_from(&self.deferral);
        evidence.blocked.clone_from(&self.blocked);
        evidence.provider = self.provider.clone();
        evidence.seen.clone_from(&self.seen);
        let looked = self.looked.iter().filter(|(_, trouble)| trouble.is_none());
        evidence.mailbox = Mailbox {
            shut: self.shut.clone(),
            looked: looked.map(|(name, _)| name.clone()).collect(),
            unreadable: self.last_look_begun.then(|| self.unreadable()).flatten(),
            gaps: self.gaps.clone(),
            quota: Vec::new(),
        };
        evidence.quotes.clone_from(&self.quotes);
        evidence.interrupted = self.interrupted;
        evidence
    }

    /// What the sender calls the message.
    #[must_use]
    pub fn message_id(&self) -> Option<String> {
        self.accepted.as_ref()?.1.message_id.clone()
    }

    fn handover(&self) -> Handover {
        match (&self.accepted, &self.unknown, &self.last_failure) {
            (Some((_, acceptance)), _, _) => Handover::Taken(acceptance.clone()),
            (None, Some(failure), _) => Handover::Unknown(failure.clone()),
            (None, None, Some(failure)) => Handover::Refused(failure.clone()),
            (None, None, None) if self.first_attempt.is_some() => Handover::UnderWay,
            (None, None, None) => Handover::NotBegun,
        }
    }

    fn send_began(&self) -> Option<Duration> {
        self.send_started
            .or_else(|| self.attempt_started.filter(|_| self.seen.is_some()))
            .or(self.first_attempt)
    }

    /// How the run ended. `add` adds to the evidence what only the runner knows.
    #[must_use]
    pub fn conclude(mut self, now: Duration, add: impl FnOnce(&mut Evidence)) -> Outcome {
        let mut evidence = self.evidence(now);
        add(&mut evidence);
        let diagnosis = diagnosis::diagnose(&evidence);
        let mut causes = diagnosis.causes.into_iter();
        let cause = match diagnosis.verdict {
            Verdict::Delivered => None,
            _ => causes.next(),
        };
        self.warnings.extend(causes.map(Cause::into_warning));
        if self.seen.is_some() && self.accepted.is_none() {
            self.warnings.push(self.answer_missing());
        }
        Outcome {
            verdict: diagnosis.verdict,
            cause,
            warnings: self.warnings,
            send_started: evidence.send_started,
            accepted: self.accepted,
            seen: self.seen,
            sender_status: self.sender_status,
        }
    }

    /// Why the mailbox could not be read at the end, if it could not.
    fn unreadable(&self) -> Option<Cause> {
        let troubled = self.looked.values().find_map(Clone::clone);
        let silent = || {
            (self.looked.len() < self.folders).then(|| {
                self.lost.values().next().cloned().unwrap_or_else(|| {
                    Cause::new(
                        CauseCode::MailboxConnectionLost,
                        Stage::Await,
                        "the mailbox did not answer at the end of the wait",
                        "is the IMAP server overloaded? this says nothing about mail delivery",
                    )
                })
            })
        };
        troubled.or_else(silent)
    }

    fn answer_missing(&self) -> Warning {
        match &self.unknown {
            Some(failure) => failure.cause.clone().into_warning(),
            None => Warning {
                code: CauseCode::SenderFailed,
                summary: "the message arrived before the sender had answered".to_owned(),
                hint: "nothing to do; the delivery time counts from the start of the send"
                    .to_owned(),
                evidence: Vec::new(),
            },
        }
    }
}

/// What came of trying to get a lost folder back: out of reach is what the loss is about, anything else is news.
fn still_lost(mut loss: Cause, now: Cause) -> Cause {
    let is_same = loss.code == CauseCode::MailboxConnectionLost
        && [
            CauseCode::MailboxConnectionLost,
            CauseCode::MailboxUnreachable,
        ]
        .contains(&now.code);
    if !is_same {
        return now;
    }
    loss.evidence.retain(|one| !one.starts_with(AGAIN));
    loss.evidence.push(format!("{AGAIN}{}", now.summary));
    loss
}

fn never_opened() -> Cause {
    Cause::new(
        CauseCode::MailboxUnreachable,
        Stage::MailboxConnect,
        "the mailbox did not answer in the time that there was",
        "is the IMAP server overloaded? this says nothing about mail delivery",
    )
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
