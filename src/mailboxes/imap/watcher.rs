//! One folder of one run: look often at first and ever more rarely, get a lost connection back, say what is seen.

use super::connect::remaining;
use super::session::{COMMAND_LIMIT, Fault, Session, Woken};
use super::trouble::{Repeat, Step, Trouble};
use super::{Account, fetch, folders};
use crate::mailboxes::{Observation, Phase, Seen, Wanted};
use crate::probe::looks::{self, Circumstances};
use crate::probe::message::{Recognition, recognise};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Even where nothing was announced, new mail is asked for this often: some servers announce late, or never.
const FETCH_AT_LEAST: Duration = Duration::from_secs(5);
/// New messages asked for at once.
const BATCH: u32 = 500;
/// How long a look that is under way may go on once its run has ended.
const GRACE: Duration = Duration::from_millis(500);
/// Pauses between attempts to get a lost connection back.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// The last look has to be short: the run is over.
const LAST_LOOK_LIMIT: Duration = Duration::from_secs(6);
/// How many messages that quote the token are told of.
const MOST_QUOTES: u32 = 3;

/// A folder that a run reads.
#[derive(Debug)]
pub struct Folder {
    /// As on the wire.
    pub(super) name: String,
    pub(super) is_junk: bool,
    pub(super) uid_validity: u32,
    /// The first UID that this run has not looked at.
    pub(super) next: u32,
    /// UIDNEXT when the folder was opened last.
    pub(super) known_next: u32,
    pub(super) session: Option<Session>,
}

/// The task that watches one folder.
pub(super) struct Watcher {
    account: Arc<Account>,
    folder: Folder,
    wanted: Wanted,
    phase: watch::Receiver<Phase>,
    observations: mpsc::UnboundedSender<Observation>,
    looks: u32,
    round_trip: Duration,
    gentle: bool,
    idles: bool,
    last_clear: Option<Instant>,
    last_fetch: Option<Instant>,
    quotes: u32,
    seen: bool,
}

impl Watcher {
    pub(super) fn new(
        account: Arc<Account>,
        folder: Folder,
        gentle: bool,
        wanted: Wanted,
        phase: watch::Receiver<Phase>,
        observations: mpsc::UnboundedSender<Observation>,
    ) -> Self {
        let idles = folder
            .session
            .as_ref()
            .is_some_and(|session| session.can("IDLE"));
        Self {
            account,
            folder,
            wanted,
            phase,
            observations,
            looks: 0,
            round_trip: Duration::ZERO,
            gentle,
            idles,
            last_clear: None,
            last_fetch: None,
            quotes: 0,
            seen: false,
        }
    }

    /// Watches until [`Phase::Stop`], and hands the folder back.
    pub(super) async fn run(mut self) -> Folder {
        loop {
            let phase = *self.phase.borrow_and_update();
            match phase {
                Phase::Stop => break,
                Phase::LastLook => {
                    self.last_look().await;
                    self.other_phase().await;
                }
                _ if self.seen => self.other_phase().await,
                Phase::Rest | Phase::Look(_) => {
                    let begun = Instant::now();
                    let outcome = match self.look_unless_stopped().await {
                        Ok(()) if self.seen => continue,
                        Ok(()) => self.pause(phase, begun).await,
                        failed => failed,
                    };
                    if let Err(fault) = outcome {
                        self.recover(&fault).await;
                    }
                }
            }
        }
        self.folder
    }

    /// A look, broken off if the run ends and the server does not answer.
    async fn look_unless_stopped(&mut self) -> Result<(), Fault> {
        let mut phase = self.phase.clone();
        let stopped = async {
            // An error means that the run is gone.
            let _ = phase.wait_for(|phase| *phase == Phase::Stop).await;
            sleep(GRACE).await;
        };
        tokio::select! {
            outcome = self.look(false, COMMAND_LIMIT) => outcome,
            () = stopped => Ok(()),
        }
    }

    /// Asks whether there is new mail, and reads what there is.
    async fn look(&mut self, thoroughly: bool, limit: Duration) -> Result<(), Fault> {
        let begun = Instant::now();
        let session = session(&mut self.folder)?;
        session.command("NOOP", limit, |_| ()).await?;
        self.round_trip = begun.elapsed();
        self.looks = self.looks.saturating_add(1);
        let due = self
            .last_fetch
            .is_none_or(|last| last.elapsed() >= FETCH_AT_LEAST);
        if session.take_news() || due || thoroughly {
            self.last_fetch = Some(begun);
            self.read_new(limit).await?;
        }
        if !self.seen {
            self.last_clear = Some(begun);
        }
        Ok(())
    }

    async fn read_new(&mut self, limit: Duration) -> Result<(), Fault> {
        loop {
            let from = self.folder.next;
            // Without an upper end that is known, `*`: which always matches the last message, however low its UID.
            let last = from.saturating_add(BATCH);
            let whole = self.folder.known_next <= last;
            let set = if whole {
                format!("{from}:*")
            } else {
                format!("{from}:{}", last - 1)
            };
            let mut fetched = Vec::new();
            let session = session(&mut self.folder)?;
            let outcome = fetch::fields(session, &set, limit, |message| {
                if message.uid >= from {
                    fetched.push((Instant::now(), message));
                }
            })
            .await;
            // What came before a fault came all the same.
            for (at, message) in fetched {
                self.consider(at, &message);
            }
            outcome?;
            if whole || self.seen {
                return Ok(());
            }
            self.folder.next = self.folder.next.max(last);
        }
    }

    fn consider(&mut self, at: Instant, message: &fetch::Fetched) {
        self.folder.next = self.folder.next.max(message.uid.saturating_add(1));
        match recognise(&message.fields, &self.wanted.keyring) {
            // Of a message that was delivered twice the first counts; clean-up finds the other.
            Recognition::Ours(ours) if ours.claims.token == self.wanted.token && !self.seen => {
                self.seen = true;
                self.tell(Observation::Seen(Seen {
                    at,
                    not_before: self.last_clear,
                    folder: self.folder.name.clone(),
                    is_junk: self.folder.is_junk,
                    uid: message.uid,
                    stored_at: message.stored_at,
                }));
            }
            Recognition::Quoted { token, reason } if token == self.wanted.token => {
                self.quotes += 1;
                if self.quotes <= MOST_QUOTES {
                    self.tell(Observation::Quoted {
                        folder: self.folder.name.clone(),
                        reason,
                    });
                }
            }
            _ => {}
        }
    }

    /// Waits until the next look is due, in IDLE if that is worth it, or until the run wants something else.
    async fn pause(&mut self, phase: Phase, begun: Instant) -> Result<(), Fault> {
        let now = Instant::now();
        let gap = looks::gap(&Circumstances {
            since_send: match phase {
                Phase::Look(since) => Some(now.saturating_duration_since(since)),
                _ => None,
            },
            round_trip: self.round_trip,
            looks: self.looks,
            time_left: self.wanted.deadline.saturating_duration_since(now),
            gentle: self.gentle,
        });
        let next = begun + gap;
        if self.idles && looks::is_worth_idling(gap) {
            let session = session(&mut self.folder)?;
            match session.idle(next, &mut self.phase).await {
                // Not every server that announces IDLE allows it.
                Err(fault) if fault.leaves_session_usable() => self.idles = false,
                // A crowd of foreign mail wakes IDLE all the time: looks stay apart all the same.
                Ok(Woken::NewMail) => self.wait_until(begun + self.shortest_gap()).await,
                Ok(Woken::Wanted | Woken::Time) => {}
                Err(fault) => return Err(fault),
            }
        }
        if !self.idles || !looks::is_worth_idling(gap) {
            self.wait_until(next).await;
        }
        Ok(())
    }

    /// Between looks that IDLE asks for.
    fn shortest_gap(&self) -> Duration {
        if self.gentle {
            Duration::from_secs(1)
        } else {
            Duration::from_millis(100)
        }
    }

    /// Until the given time, or until the phase changes.
    async fn wait_until(&mut self, end: Instant) {
        tokio::select! {
            () = sleep_until(end) => {}
            _ = self.phase.changed() => {}
        }
    }

    /// Until the phase changes; a run that is gone has stopped.
    async fn other_phase(&mut self) {
        if self.phase.changed().await.is_err() {
            self.phase = watch::channel(Phase::Stop).1;
        }
    }

    async fn last_look(&mut self) {
        let outcome = timeout(LAST_LOOK_LIMIT, self.look(true, LAST_LOOK_LIMIT)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Fault::Deadline {
                command: "the last look".to_owned(),
                limit: LAST_LOOK_LIMIT,
            })
        });
        let trouble = outcome
            .err()
            .map(|fault| self.trouble(&fault).cause(&self.account.plan));
        self.tell(Observation::LastLook {
            folder: self.folder.name.clone(),
            trouble,
        });
    }

    /// Says that the folder is lost, and tries to get it back until that succeeds, cannot succeed, or the run wants
    /// something else.
    async fn recover(&mut self, fault: &Fault) {
        let trouble = self.trouble(fault);
        self.gentle |= trouble.is_throttling();
        if fault.leaves_session_usable() && trouble.is_throttling() {
            // It asked for fewer questions, and is still there.
            let pause = Instant::now() + looks::GENTLE;
            return self.wait_until(pause).await;
        }
        self.folder.session = None;
        self.tell_lost(&trouble);
        let mut backoff = FIRST_BACKOFF;
        let mut hung = 0;
        loop {
            self.wait_until(Instant::now() + backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
            if self.run_is_ending() {
                return;
            }
            match self.reopen().await {
                Ok(()) => {
                    return self.tell(Observation::Back {
                        folder: self.folder.name.clone(),
                    });
                }
                Err(trouble) => {
                    hung += u32::from(trouble.repeat() == Repeat::Once);
                    self.tell_lost(&trouble);
                    if trouble.repeat() == Repeat::Never || hung > 1 {
                        return self.until_ending().await;
                    }
                }
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), Trouble> {
        let mut phase = self.phase.clone();
        let ending = async {
            let _ = phase.wait_for(|phase| is_end(*phase)).await;
        };
        let end = Instant::now() + COMMAND_LIMIT;
        let opening = async {
            let mut session = self.account.log_in(end).await?;
            let limit = remaining(end, COMMAND_LIMIT);
            let opened = folders::examine(&mut session, &self.folder.name, limit)
                .await
                .map_err(|fault| {
                    Trouble::of_command(Step::Open(self.folder.name.clone()), &fault)
                })?;
            Ok((session, opened))
        };
        let (session, opened) = tokio::select! {
            opened = opening => opened?,
            () = ending => return Err(Trouble::unreachable(
                Step::Look(self.folder.name.clone()),
                "the run ended before the connection was back",
            )),
        };
        if opened.uid_validity != self.folder.uid_validity {
            // The folder was made anew: every number that we know is void (RFC 3501 section 2.3.1.1).
            self.folder.uid_validity = opened.uid_validity;
            self.folder.next = 1;
        }
        self.folder.known_next = opened.uid_next;
        self.folder.session = Some(session);
        self.last_fetch = None;
        Ok(())
    }

    /// Until the run is over or asks for the last look.
    async fn until_ending(&mut self) {
        if self.phase.wait_for(|phase| is_end(*phase)).await.is_err() {
            self.phase = watch::channel(Phase::Stop).1;
        }
    }

    fn run_is_ending(&self) -> bool {
        is_end(*self.phase.borrow())
    }

    fn trouble(&self, fault: &Fault) -> Trouble {
        Trouble::of_command(Step::Look(self.folder.name.clone()), fault)
    }

    fn tell_lost(&self, trouble: &Trouble) {
        self.tell(Observation::Lost {
            folder: self.folder.name.clone(),
            cause: trouble.cause(&self.account.plan),
        });
    }

    fn tell(&self, observation: Observation) {
        // A run that is gone does not listen.
        let _ = self.observations.send(observation);
    }
}

fn is_end(phase: Phase) -> bool {
    matches!(phase, Phase::LastLook | Phase::Stop)
}

/// The session of a folder, while it has one.
fn session(folder: &mut Folder) -> Result<&mut Session, Fault> {
    folder.session.as_mut().ok_or_else(|| Fault::Lost {
        reason: "the connection is lost".to_owned(),
    })
}
