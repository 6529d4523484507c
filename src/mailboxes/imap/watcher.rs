//! One folder, for all runs that wait in it: look as often as the most eager of them wants, get a lost connection back,
//! say what is seen, and between looks read and delete messages.

use super::cleanup::{self, Cleaner, Known};
use super::connect::remaining;
use super::session::{COMMAND_LIMIT, Fault, Heed, Session, Woken};
use super::shared::{Agenda, Look, Loss, Shared};
use super::trouble::{Step, Trouble};
use super::{Account, LOGOUT_LIMIT, fetch, folders};
use crate::log::About;
use crate::mailboxes::{CleanUp, Cleaned, OpenFailure};
use crate::probe::looks;
use crate::probe::run::Again;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Even where nothing was announced, new mail is asked for this often: some servers announce late, or never.
const FETCH_AT_LEAST: Duration = Duration::from_secs(5);
/// Runs that a log line names at the most, where it is about many.
const MOST_NAMED: usize = 10;
/// New messages asked for at once.
const BATCH: u32 = 500;
/// How long a look that is under way may go on once nobody waits for it.
const GRACE: Duration = Duration::from_millis(500);
/// Pauses between attempts to get a lost connection back.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// Where only a person can help, or repeated log-ins get an address banned: no attempt more often than this.
const RELUCTANT_BACKOFF: Duration = Duration::from_secs(60);
/// The last look has to be short: the run is over.
const LAST_LOOK_LIMIT: Duration = Duration::from_secs(6);
/// A session that has said something so lately is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// How long a session at rest may take to show that it is alive.
const VERIFY_LIMIT: Duration = Duration::from_secs(5);
/// What follows the end of a wait follows at once: IDLE is not begun before.
const SETTLE: Duration = Duration::from_millis(200);
/// A session at rest is used this often: NATs forget connections after five minutes.
const KEEPALIVE: Duration = Duration::from_secs(4 * 60);

/// A folder that is watched.
#[derive(Debug)]
pub struct Folder {
    /// As on the wire.
    pub(super) name: String,
    pub(super) is_junk: bool,
    pub(super) uid_validity: u32,
    /// The first UID that was not looked at.
    pub(super) next: u32,
    /// UIDNEXT when the folder was opened last.
    pub(super) known_next: u32,
    pub(super) session: Option<Session>,
    /// Counts up with every session: what was read in another is read again before anything is deleted by it.
    pub(super) session_number: u32,
}

/// What a run asks of a folder beside watching.
#[derive(Debug)]
pub(super) enum Errand {
    /// Make sure that the folder can be read, by this time.
    Verify {
        end: Instant,
        reply: oneshot::Sender<Result<(), OpenFailure>>,
    },
    /// Read the run's message, up to 64 KiB.
    Read {
        token: String,
        limit: Duration,
        reply: oneshot::Sender<Option<Vec<u8>>>,
    },
    /// Delete what is the run's, and what earlier runs left, by this time.
    Clean {
        task: CleanUp,
        end: Instant,
        reply: oneshot::Sender<Cleaned>,
    },
}

impl Errand {
    /// The run that asks, if it has a token already.
    fn token(&self) -> Option<&str> {
        match self {
            Self::Verify { .. } => None,
            Self::Read { token, .. } => Some(token),
            Self::Clean { task, .. } => Some(&task.token),
        }
    }
}

/// The attempts to get a lost connection back.
#[derive(Debug)]
struct Recovery {
    at: Instant,
    backoff: Duration,
    hung: u32,
}

/// The task that watches one folder.
pub(super) struct Watcher {
    account: Arc<Account>,
    shared: Arc<Shared>,
    index: usize,
    folder: Folder,
    errands: mpsc::UnboundedReceiver<Errand>,
    pending: VecDeque<Errand>,
    bell: watch::Receiver<u64>,
    known: Known,
    cleaner: Cleaner,
    recovery: Option<Recovery>,
    round_trip: Duration,
    gentle: bool,
    idles: bool,
    last_clear: Option<Instant>,
    last_fetch: Option<Instant>,
    last_answer: Instant,
}

impl Watcher {
    pub(super) fn new(
        account: Arc<Account>,
        shared: Arc<Shared>,
        index: usize,
        folder: Folder,
        gentle: bool,
        cleaner: Cleaner,
        errands: mpsc::UnboundedReceiver<Errand>,
    ) -> Self {
        let idles = folder
            .session
            .as_ref()
            .is_some_and(|session| session.can("IDLE"));
        Self {
            account,
            bell: shared.bell(),
            shared,
            index,
            folder,
            errands,
            pending: VecDeque::new(),
            known: Known::default(),
            cleaner,
            recovery: None,
            round_trip: Duration::ZERO,
            gentle,
            idles,
            last_clear: None,
            last_fetch: None,
            last_answer: Instant::now(),
        }
    }

    /// Watches until the mailbox is let go, and says goodbye.
    pub(super) async fn run(mut self) {
        loop {
            self.bell.borrow_and_update();
            while let Ok(errand) = self.errands.try_recv() {
                self.pending.push_back(errand);
            }
            let agenda = self.shared.agenda(self.index);
            let about = Arc::new(self.about(agenda));
            if agenda == Agenda::End {
                if let Some(session) = self.folder.session.take() {
                    about.scope(session.logout(LOGOUT_LIMIT)).await;
                }
                return;
            }
            about.scope(self.follow(agenda)).await;
        }
    }

    /// One thing that is to be done.
    async fn follow(&mut self, agenda: Agenda) {
        let outcome = match agenda {
            Agenda::LastLook => {
                self.last_look().await;
                Ok(())
            }
            _ if !self.pending.is_empty() => {
                self.carry_out().await;
                Ok(())
            }
            Agenda::Watch if self.folder.session.is_none() => {
                self.try_again().await;
                Ok(())
            }
            Agenda::Watch => self.look_and_pause().await,
            Agenda::Rest | Agenda::End => self.rest().await,
        };
        if let Err(fault) = outcome {
            self.give_up(&fault).await;
        }
    }

    /// For the log: the folder, and for whose sake something is done in it.
    fn about(&self, agenda: Agenda) -> About {
        let mut about = About::folder_of(&self.account.plan.name, &self.folder.name);
        // Nobody reads it: it is made anew for every look.
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return about;
        }
        let errands = self.pending.iter().filter_map(Errand::token);
        let (named, more) = if agenda == Agenda::LastLook || errands.clone().next().is_none() {
            self.shared.some_waiting(MOST_NAMED)
        } else {
            let more = errands.clone().count().saturating_sub(MOST_NAMED);
            let named = errands.take(MOST_NAMED);
            (named.map(|token| self.shared.named(token)).collect(), more)
        };
        if named.is_empty() {
            return about;
        }
        let (mut probes, mut tokens): (Vec<String>, Vec<String>) = named.into_iter().unzip();
        if more > 0 {
            probes.push(format!("and {more} more"));
            tokens.push(format!("and {more} more"));
        }
        about.probe = Some(probes.join(", "));
        about.with_token(tokens.join(", "))
    }

    /// A look and the pause behind it; the look is broken off if everybody has gone and the server does not answer.
    async fn look_and_pause(&mut self) -> Result<(), Fault> {
        let begun = Instant::now();
        let shared = Arc::clone(&self.shared);
        let deserted = async {
            shared.until_nobody_waits().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            outcome = self.look(false, COMMAND_LIMIT) => outcome?,
            () = deserted => return Ok(()),
        }
        self.pause(begun).await
    }

    /// Asks whether there is new mail, and reads what there is.
    async fn look(&mut self, thoroughly: bool, limit: Duration) -> Result<(), Fault> {
        let begun = Instant::now();
        let session = session(&mut self.folder)?;
        session.command("NOOP", limit, |_| ()).await?;
        self.last_answer = Instant::now();
        self.round_trip = begun.elapsed();
        let news = session.take_news();
        self.same_folder()?;
        let due = self
            .last_fetch
            .is_none_or(|last| last.elapsed() >= FETCH_AT_LEAST);
        if news || due || thoroughly {
            self.last_fetch = Some(begun);
            self.read_new(limit).await?;
        }
        self.last_clear = Some(begun);
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
            let mut next = from;
            let mut told = HashSet::new();
            let name = self.folder.name.clone();
            let look = Look {
                folder: &name,
                is_junk: self.folder.is_junk,
                last_clear: self.last_clear,
            };
            let (shared, known) = (&self.shared, &mut self.known);
            let number = self.folder.session_number;
            let session = session(&mut self.folder)?;
            // Judged as they come: a backlog of other people's mail takes no room, and what came before a fault counts.
            let outcome = fetch::fields(session, &set, limit, |message| {
                if message.uid >= from && (whole || message.uid < last) {
                    next = next.max(message.uid.saturating_add(1));
                    let is_first = told.insert(message.uid);
                    match shared.consider(&look, Instant::now(), &message) {
                        Some(ours) if is_first => {
                            known.add(message.uid, message.stored_at, ours, number);
                        }
                        // Told in two ways, a number is nothing to delete by.
                        _ => known.forget(message.uid),
                    }
                }
            })
            .await;
            self.folder.next = self.folder.next.max(next);
            outcome?;
            self.same_folder()?;
            if whole {
                return Ok(());
            }
            self.folder.next = self.folder.next.max(last);
        }
    }

    /// Whether the folder is still the one whose messages we know by number: the server may say at any time that it is not.
    fn same_folder(&self) -> Result<(), Fault> {
        let Some(session) = &self.folder.session else {
            return Ok(());
        };
        let (was, is) = (self.folder.uid_validity, session.uid_validity());
        if was == is {
            return Ok(());
        }
        Err(Fault::Lost {
            reason: format!("the folder was made anew (UIDVALIDITY was {was} and is {is})"),
        })
    }

    /// Waits until the next look is due, in IDLE if that is worth it, or until there is something else to do.
    async fn pause(&mut self, begun: Instant) -> Result<(), Fault> {
        let pace = self.shared.pace(self.index, self.round_trip, self.gentle);
        let next = begun + pace.gap;
        match &pace.eager {
            Some(token) => self.shared.count_look(self.index, token),
            // Nobody's message is under way: the next thing is somebody's send, or somebody's end.
            None if self.wait_until(Instant::now() + SETTLE).await => return Ok(()),
            None => {}
        }
        while self.idles && looks::is_worth_idling(pace.gap) {
            let session = session(&mut self.folder)?;
            let end = next.min(Instant::now() + looks::LONGEST_IDLE);
            match session.idle(end, &mut self.bell, Heed::NewMail).await {
                // Not every server that announces IDLE allows it.
                Err(fault) if fault.leaves_session_usable() => self.idles = false,
                // A crowd of foreign mail wakes IDLE all the time: looks stay apart all the same.
                Ok(Woken::NewMail) => {
                    self.shared.count_early(self.index, &pace);
                    self.wait_until(begun + pace.woken).await;
                    return Ok(());
                }
                Ok(Woken::Time) if Instant::now() < next => {}
                Ok(Woken::Wanted | Woken::Time) => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
        self.wait_until(next).await;
        Ok(())
    }

    /// Until the given time, or until the bell rings; whether it rang.
    async fn wait_until(&mut self, end: Instant) -> bool {
        tokio::select! {
            () = sleep_until(end) => false,
            _ = self.bell.changed() => true,
        }
    }

    /// Nobody waits: the session is kept, and foreign mail is not looked at.
    async fn rest(&mut self) -> Result<(), Fault> {
        if self.wait_until(Instant::now() + SETTLE).await {
            return Ok(());
        }
        let end = Instant::now() + KEEPALIVE;
        let Some(session) = &mut self.folder.session else {
            // Whoever comes next gets it back.
            let _ = self.bell.changed().await;
            return Ok(());
        };
        if self.idles {
            match session.idle(end, &mut self.bell, Heed::Nothing).await {
                Err(fault) if fault.leaves_session_usable() => self.idles = false,
                outcome => return outcome.map(|_| ()),
            }
        }
        if self.wait_until(end).await {
            return Ok(());
        }
        session_command(&mut self.folder, "NOOP").await
    }

    async fn last_look(&mut self) {
        let outcome = timeout(LAST_LOOK_LIMIT, self.look(true, LAST_LOOK_LIMIT)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Fault::Deadline {
                command: "the last look".to_owned(),
                limit: LAST_LOOK_LIMIT,
            })
        });
        let trouble = outcome.err().map(|fault| self.trouble(&fault));
        let cause = trouble.as_ref().map(|one| one.cause(&self.account.plan));
        self.shared
            .answer_last_look(self.index, &self.folder.name, cause.as_ref());
        if let Some(trouble) = trouble {
            self.lose_if_broken(&trouble);
        }
    }

    /// A command failed: whoever waits is told that the folder is lost, unless the server only asked for fewer questions.
    async fn give_up(&mut self, fault: &Fault) {
        let trouble = self.trouble(fault);
        self.gentle |= trouble.is_throttling();
        if fault.leaves_session_usable() && trouble.is_throttling() {
            // It asked for fewer questions, and is still there.
            self.wait_until(Instant::now() + looks::GENTLE).await;
            return;
        }
        self.lose(&trouble);
    }

    /// Takes leave of a session that a failed command made unusable.
    fn lose_if_broken(&mut self, trouble: &Trouble) {
        if self.folder.session.as_ref().is_some_and(Session::is_broken) {
            self.lose(trouble);
        }
    }

    fn lose(&mut self, trouble: &Trouble) {
        self.folder.session = None;
        self.recovery.get_or_insert(Recovery {
            at: Instant::now() + FIRST_BACKOFF,
            backoff: FIRST_BACKOFF,
            hung: 0,
        });
        let loss = Loss {
            cause: trouble.cause(&self.account.plan),
            again: trouble.again(),
        };
        // Whoever waits tells of it in lines of its own.
        if self.shared.waiting() == 0 {
            tracing::debug!(
                mailbox = self.account.plan.name,
                folder = self.folder.name,
                "{}",
                loss.cause.summary
            );
        }
        self.shared.lost(self.index, &self.folder.name, loss);
    }

    /// Gets the lost connection back once the next attempt is due, or returns because there is something else to do.
    async fn try_again(&mut self) {
        let due = self
            .recovery
            .as_ref()
            .map_or_else(Instant::now, |one| one.at);
        if self.wait_until(due).await {
            return;
        }
        let end = Instant::now() + COMMAND_LIMIT;
        let (shared, index) = (Arc::clone(&self.shared), self.index);
        tokio::select! {
            // Whoever waits is told in there how it went.
            _ = self.reopen(end) => {}
            () = shared.until_urgent(index) => {}
        }
    }

    /// One attempt to get a lost connection back, and what to do if it fails.
    async fn reopen(&mut self, end: Instant) -> Result<(), Trouble> {
        match self.connect(end).await {
            Ok(()) => {
                self.recovery = None;
                self.shared.back(self.index, &self.folder.name);
                Ok(())
            }
            Err(trouble) => {
                self.lose(&trouble);
                let Some(recovery) = &mut self.recovery else {
                    return Err(trouble);
                };
                recovery.hung += u32::from(trouble.again() == Again::Once);
                recovery.backoff = (recovery.backoff * 2).min(LONGEST_BACKOFF);
                if trouble.again() == Again::No || recovery.hung > 1 {
                    recovery.backoff = RELUCTANT_BACKOFF;
                }
                recovery.at = Instant::now() + recovery.backoff;
                Err(trouble)
            }
        }
    }

    async fn connect(&mut self, end: Instant) -> Result<(), Trouble> {
        self.folder.session = None;
        let mut session = self.account.log_in(end).await?;
        let limit = remaining(end, COMMAND_LIMIT);
        let opened = folders::examine(&mut session, &self.folder.name, limit)
            .await
            .map_err(|fault| Trouble::of_command(Step::Open(self.folder.name.clone()), &fault))?;
        if opened.uid_validity != self.folder.uid_validity {
            // The folder was made anew: every number that we know is void (RFC 3501 section 2.3.1.1).
            self.folder.uid_validity = opened.uid_validity;
            self.folder.next = 1;
            self.known = Known::default();
        }
        self.folder.known_next = opened.uid_next;
        self.folder.session = Some(session);
        self.folder.session_number = self.folder.session_number.wrapping_add(1);
        self.last_fetch = None;
        self.last_answer = Instant::now();
        Ok(())
    }

    /// What runs asked for, one thing; clean-ups together.
    async fn carry_out(&mut self) {
        match self.pending.pop_front() {
            Some(Errand::Verify { end, reply }) => {
                let outcome = self.verify(end).await;
                let _ = reply.send(outcome);
            }
            Some(Errand::Read {
                token,
                limit,
                reply,
            }) => {
                let raw = self.read(&token, limit).await;
                let _ = reply.send(raw);
            }
            Some(Errand::Clean { task, end, reply }) => {
                let mut tasks = vec![task];
                let mut replies = vec![reply];
                let mut end = end;
                for errand in std::mem::take(&mut self.pending) {
                    match errand {
                        Errand::Clean {
                            task,
                            end: other,
                            reply,
                        } => {
                            tasks.push(task);
                            replies.push(reply);
                            end = end.min(other);
                        }
                        other => self.pending.push_back(other),
                    }
                }
                let cleaned = self.clean(&tasks, end).await;
                for (reply, cleaned) in replies.into_iter().zip(cleaned) {
                    let _ = reply.send(cleaned);
                }
            }
            None => {}
        }
    }

    /// Makes sure that the folder can be read before a run relies on it.
    async fn verify(&mut self, end: Instant) -> Result<(), OpenFailure> {
        let usable = self
            .folder
            .session
            .as_ref()
            .is_some_and(|session| !session.is_broken());
        if usable && (self.last_answer.elapsed() < ALIVE || self.is_alive(end).await) {
            return Ok(());
        }
        if let Some(loss) = self.shared.loss(self.index)
            && loss.again != Again::Yes
            && self
                .recovery
                .as_ref()
                .is_some_and(|one| one.at > Instant::now())
        {
            return Err(OpenFailure {
                cause: loss.cause,
                again: loss.again,
            });
        }
        self.reopen(end).await.map_err(|trouble| OpenFailure {
            cause: trouble.cause(&self.account.plan),
            again: trouble.again(),
        })
    }

    /// Whether a session that was at rest answers still. What came in the meantime is passed over: nobody waited.
    async fn is_alive(&mut self, end: Instant) -> bool {
        let limit = remaining(end, VERIFY_LIMIT);
        let Some(session) = &mut self.folder.session else {
            return false;
        };
        if session.command("NOOP", limit, |_| ()).await.is_err() {
            return false;
        }
        let (was, is) = (self.folder.uid_validity, session.uid_validity());
        if was != is {
            return false;
        }
        if session.has_news() && self.shared.waiting() == 0 {
            let limit = remaining(end, VERIFY_LIMIT);
            match folders::examine(session, &self.folder.name, limit).await {
                Ok(opened) if opened.uid_validity == self.folder.uid_validity => {
                    self.folder.next = self.folder.next.max(opened.uid_next);
                    self.folder.known_next = opened.uid_next;
                }
                _ => return false,
            }
        }
        self.last_answer = Instant::now();
        true
    }

    async fn read(&mut self, token: &str, limit: Duration) -> Option<Vec<u8>> {
        let uid = self.known.uid_of(token)?;
        let session = self.folder.session.as_mut()?;
        let message = fetch::message(session, uid, limit).await.ok()?;
        self.last_answer = Instant::now();
        message.map(|message| message.fields)
    }

    async fn clean(&mut self, tasks: &[CleanUp], end: Instant) -> Vec<Cleaned> {
        if self.folder.session.as_ref().is_none_or(Session::is_broken) {
            // No work here, and no connection for it.
            if !self.cleaner.has_work(&self.known, tasks, &self.folder.name) {
                return vec![Cleaned::default(); tasks.len()];
            }
            if let Err(trouble) = self.reopen(end).await {
                return cleanup::not_deleted(&self.account, &self.folder, tasks, &trouble);
            }
        }
        let outcome = self
            .cleaner
            .clean(&mut self.folder, &mut self.known, tasks, end)
            .await;
        match outcome {
            Ok(cleaned) => {
                self.last_answer = Instant::now();
                cleaned
            }
            Err(trouble) => {
                self.lose_if_broken(&trouble);
                cleanup::not_deleted(&self.account, &self.folder, tasks, &trouble)
            }
        }
    }

    fn trouble(&self, fault: &Fault) -> Trouble {
        Trouble::of_command(Step::Look(self.folder.name.clone()), fault)
    }
}

/// The session of a folder, while it has one.
fn session(folder: &mut Folder) -> Result<&mut Session, Fault> {
    folder.session.as_mut().ok_or_else(|| Fault::Lost {
        reason: "the connection is lost".to_owned(),
    })
}

async fn session_command(folder: &mut Folder, command: &str) -> Result<(), Fault> {
    session(folder)?
        .command(command, COMMAND_LIMIT, |_| ())
        .await
}
