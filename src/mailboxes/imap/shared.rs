//! Who waits in a mailbox, and for what: the table between the runs and the watchers of the folders.
//!
//! However many runs wait, each folder has one watcher and one session. A watcher asks here what to do next, and tells
//! here what it found; a run is told through its own channel. No lock is held across an await.

use crate::mailboxes::{Observation, Phase, Seen, Wanted};
use crate::probe::looks::{self, Circumstances};
use crate::probe::message::{Ours, Recognition, recognise};
use crate::probe::run::Again;
use crate::probe::token::Keyring;
use crate::probe::verdict::Cause;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How many messages that quote the token a run is told of.
const MOST_QUOTES: u32 = 3;

/// The runs that wait in one mailbox, and how its folders are.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Counts up whenever a watcher has to think again.
    bell: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<String, Waiting>,
    /// Of each folder, why it cannot be read; none while it can.
    lost: Vec<Option<Loss>>,
    /// Of the newest run: what earlier runs left is recognised by it.
    keyring: Arc<Keyring>,
    ended: bool,
}

/// Why a folder cannot be read, and whether that can pass.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) cause: Cause,
    pub(super) again: Again,
}

/// One run that waits.
#[derive(Debug)]
struct Waiting {
    wanted: Wanted,
    /// The name of its probe, for the log.
    probe: String,
    /// The start of the send that is under way or was last.
    since: Option<Instant>,
    /// The start of the first send: nothing of this run can be there before.
    first_since: Option<Instant>,
    tell: mpsc::UnboundedSender<Observation>,
    seen: bool,
    quotes: u32,
    /// Looks that were made for this run's sake, by folder.
    looks: Vec<u32>,
    /// Of these, those that IDLE asked for.
    early: Vec<u32>,
    /// Which folders still owe the last look.
    asked: Vec<bool>,
}

/// What a watcher is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agenda {
    /// Say goodbye.
    End,
    /// Somebody's time is over: look once more.
    LastLook,
    /// Somebody waits: look.
    Watch,
    /// Nobody waits.
    Rest,
}

/// When the next look is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pace {
    /// From the start of the last look.
    pub(super) gap: Duration,
    /// The same where IDLE announces mail before.
    pub(super) woken: Duration,
    /// The run that asks for it; none where no message is under way.
    pub(super) eager: Option<String>,
}

/// A look as far as it matters for what is made of its result.
#[derive(Debug, Clone)]
pub(super) struct Look<'l> {
    pub(super) folder: &'l str,
    pub(super) is_junk: bool,
    /// When the last look that found nothing new was sent.
    pub(super) last_clear: Option<Instant>,
}

impl Shared {
    pub(super) fn new(folders: usize) -> Self {
        Self {
            state: Mutex::new(State {
                lost: vec![None; folders],
                ..State::default()
            }),
            bell: watch::channel(0).0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever a watcher has to think again.
    pub(super) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    pub(super) fn ring(&self) {
        self.bell
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A run begins to wait, at rest. What is lost already it hears first.
    pub(super) fn add(&self, wanted: Wanted) -> mpsc::UnboundedReceiver<Observation> {
        let (tell, observations) = mpsc::unbounded_channel();
        let mut state = self.state();
        state.keyring = Arc::clone(&wanted.keyring);
        let folders = state.lost.len();
        let probe = probe_of(&wanted.keyring, &wanted.token);
        let waiting = Waiting {
            wanted,
            probe,
            since: None,
            first_since: None,
            tell,
            seen: false,
            quotes: 0,
            looks: vec![0; folders],
            early: vec![0; folders],
            asked: vec![false; folders],
        };
        state.runs.insert(waiting.wanted.token.clone(), waiting);
        observations
    }

    /// Tells the run of folders that were lost before it began to wait.
    pub(super) fn tell_losses(&self, token: &str, names: &[String]) {
        let state = self.state();
        if let Some(run) = state.runs.get(token) {
            for (name, loss) in names.iter().zip(&state.lost) {
                if let Some(loss) = loss {
                    run.tell(Observation::Lost {
                        folder: name.clone(),
                        cause: loss.cause.clone(),
                    });
                }
            }
        }
    }

    /// What a run wants from now on.
    pub(super) fn set(&self, token: &str, phase: Phase) {
        let mut state = self.state();
        let ring = match phase {
            Phase::Stop => {
                // The others go on as they are; watchers of nobody break off what they do.
                state.runs.remove(token).is_some() && state.runs.is_empty()
            }
            _ => state.runs.get_mut(token).is_some_and(|run| run.set(phase)),
        };
        drop(state);
        if ring {
            self.ring();
        }
    }

    /// No watcher is needed any more.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.ring();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// What the watcher of this folder is to do next.
    pub(super) fn agenda(&self, index: usize) -> Agenda {
        let state = self.state();
        if state.ended {
            Agenda::End
        } else if state.runs.is_empty() {
            Agenda::Rest
        } else if state.runs.values().any(|run| run.has_asked(index)) {
            Agenda::LastLook
        } else {
            Agenda::Watch
        }
    }

    /// Returns once this folder is watched for nobody, owes a last look, or is to be let go.
    pub(super) async fn until_urgent(&self, index: usize) {
        let mut bell = self.bell();
        while self.agenda(index) == Agenda::Watch {
            if bell.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns once nobody waits.
    pub(super) async fn until_nobody_waits(&self) {
        let mut bell = self.bell();
        while !self.state().runs.is_empty() {
            if bell.changed().await.is_err() {
                return;
            }
        }
    }

    /// When the next look into this folder is due: as soon as the most eager of the runs wants it.
    pub(super) fn pace(&self, index: usize, round_trip: Duration, gentle: bool) -> Pace {
        let now = Instant::now();
        let state = self.state();
        let paces = state.runs.values().filter(|run| !run.seen).map(|run| {
            let counted = |counts: &[u32]| counts.get(index).copied().unwrap_or_default();
            let here = Circumstances {
                since_send: run.since.map(|since| now.saturating_duration_since(since)),
                round_trip,
                looks: counted(&run.looks),
                time_left: run.wanted.deadline.saturating_duration_since(now),
                gentle,
            };
            Pace {
                gap: looks::gap(&here),
                woken: looks::gap_when_woken(&here, counted(&run.early)),
                eager: run.since.map(|_| run.wanted.token.clone()),
            }
        });
        paces.min_by_key(|pace| pace.gap).unwrap_or(Pace {
            gap: looks::LONGEST,
            woken: looks::LONGEST,
            eager: None,
        })
    }

    /// IDLE asked for a look before it was due.
    pub(super) fn count_early(&self, index: usize, pace: &Pace) {
        if pace.woken < pace.gap
            && let Some(token) = &pace.eager
            && let Some(run) = self.state().runs.get_mut(token)
            && let Some(early) = run.early.get_mut(index)
        {
            *early = early.saturating_add(1);
        }
    }

    /// A look was made for this run's sake.
    pub(super) fn count_look(&self, index: usize, token: &str) {
        if let Some(run) = self.state().runs.get_mut(token)
            && let Some(looks) = run.looks.get_mut(index)
        {
            *looks = looks.saturating_add(1);
        }
    }

    /// Tells the run whose message this is, if it waits, or that it quotes. What is ours, waited for or not, comes back.
    pub(super) fn consider(
        &self,
        look: &Look<'_>,
        at: Instant,
        message: &super::fetch::Fetched,
    ) -> Option<Ours> {
        let mut state = self.state();
        let recognition = state.recognise(&message.fields);
        match recognition {
            Recognition::Ours(ours) => {
                // The first sight counts. A server that shows the message without end must not fill the run's channel.
                if let Some(run) = state.runs.get_mut(&ours.claims.token)
                    && !std::mem::replace(&mut run.seen, true)
                {
                    // A look from before the send says nothing about this message.
                    let not_before = look
                        .last_clear
                        .filter(|clear| run.first_since.is_none_or(|since| *clear >= since));
                    run.tell(Observation::Seen(Seen {
                        at,
                        not_before,
                        folder: look.folder.to_owned(),
                        is_junk: look.is_junk,
                        stored_at: message.stored_at,
                    }));
                }
                Some(ours)
            }
            Recognition::Quoted { token, reason } => {
                if let Some(run) = state.runs.get_mut(&token) {
                    run.quotes = run.quotes.saturating_add(1);
                    if run.quotes <= MOST_QUOTES {
                        run.tell(Observation::Quoted {
                            folder: look.folder.to_owned(),
                            reason,
                        });
                    }
                }
                None
            }
            Recognition::Foreign => None,
        }
    }

    /// Answers every run that asked for the last look.
    pub(super) fn answer_last_look(&self, index: usize, folder: &str, trouble: Option<&Cause>) {
        for run in self.state().runs.values_mut() {
            if let Some(asked) = run.asked.get_mut(index)
                && std::mem::take(asked)
            {
                run.tell(Observation::LastLook {
                    folder: folder.to_owned(),
                    trouble: trouble.cloned(),
                });
            }
        }
    }

    /// The folder cannot be read: everybody hears it.
    pub(super) fn lost(&self, index: usize, folder: &str, loss: Loss) {
        let mut state = self.state();
        state.tell_all(&Observation::Lost {
            folder: folder.to_owned(),
            cause: loss.cause.clone(),
        });
        if let Some(slot) = state.lost.get_mut(index) {
            *slot = Some(loss);
        }
    }

    /// The folder can be read again: everybody hears it.
    pub(super) fn back(&self, index: usize, folder: &str) {
        let mut state = self.state();
        if let Some(slot) = state.lost.get_mut(index)
            && slot.take().is_some()
        {
            state.tell_all(&Observation::Back {
                folder: folder.to_owned(),
            });
        }
    }

    /// Why the folder cannot be read.
    pub(super) fn loss(&self, index: usize) -> Option<Loss> {
        self.state().lost.get(index).cloned().flatten()
    }

    /// Probe and token of runs that wait, so many at the most, and how many more there are.
    pub(super) fn some_waiting(&self, most: usize) -> (Vec<(String, String)>, usize) {
        let state = self.state();
        let runs = state.runs.values().take(most);
        let named = runs.map(|run| (run.probe.clone(), run.wanted.token.clone()));
        (named.collect(), state.runs.len().saturating_sub(most))
    }

    /// Probe and token of a run that has stopped waiting.
    pub(super) fn named(&self, token: &str) -> (String, String) {
        let probe = probe_of(&self.state().keyring, token);
        (probe, token.to_owned())
    }

    /// How many runs wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().runs.len()
    }
}

fn probe_of(keyring: &Keyring, token: &str) -> String {
    let claims = keyring.verify(token);
    claims.map(|claims| claims.probe).unwrap_or_default()
}

impl State {
    /// By the newest keys; where those do not know the message, by those that runs from before a reload wait with.
    fn recognise(&self, fields: &[u8]) -> Recognition {
        let first = recognise(fields, &self.keyring);
        if first != Recognition::Foreign {
            return first;
        }
        let mut tried = vec![&self.keyring];
        for run in self.runs.values() {
            let keyring = &run.wanted.keyring;
            if tried.iter().any(|one| Arc::ptr_eq(one, keyring)) {
                continue;
            }
            let recognition = recognise(fields, keyring);
            if recognition != Recognition::Foreign {
                return recognition;
            }
            tried.push(keyring);
        }
        Recognition::Foreign
    }

    fn tell_all(&self, observation: &Observation) {
        for run in self.runs.values() {
            run.tell(observation.clone());
        }
    }
}

impl Waiting {
    /// Whether watchers have to think again.
    fn set(&mut self, phase: Phase) -> bool {
        match phase {
            Phase::Rest | Phase::Stop => {
                self.since = None;
                false
            }
            Phase::Look(since) => {
                self.since = Some(since);
                self.first_since.get_or_insert(since);
                true
            }
            Phase::LastLook => {
                self.asked.fill(true);
                true
            }
        }
    }

    fn has_asked(&self, index: usize) -> bool {
        self.asked.get(index).copied().unwrap_or_default()
    }

    fn tell(&self, observation: Observation) {
        // A run that is gone does not listen.
        let _ = self.tell.send(observation);
    }
}
