//! IMAP mailboxes, over async-imap behind commands that are checked.

mod cleanup;
mod clock;
mod connect;
mod crew;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod fake_tests;
mod fetch;
mod find;
mod folders;
#[cfg(test)]
mod lies_tests;
mod quota;
#[cfg(test)]
mod script;
mod session;
mod shared;
mod trouble;
mod watcher;
mod wire;

pub use clock::Clock;

use super::{CleanUp, Cleaned, Observation, OpenFailure, Phase, Seen, Wanted};
use crate::config::plan::{JunkFolder, MailboxPlan, TlsMode};
use crate::net::tls::{Tls, TlsError};
use crate::probe::verdict::CauseCode;
use chrono::{DateTime, Utc};
use connect::remaining;
use crew::Crew;
use futures_util::future::join_all;
use session::{COMMAND_LIMIT, Session};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use trouble::{Step, Trouble};
use watcher::{Errand, Folder};

/// How long a server may take to answer LOGOUT.
const LOGOUT_LIMIT: Duration = Duration::from_secs(2);

/// In a process that goes on, what earlier runs left is searched for this often at the most.
const SEARCH_EVERY: Duration = Duration::from_secs(60);

/// An account on an IMAP server.
#[derive(Debug)]
pub struct ImapMailbox {
    account: Arc<Account>,
    /// Those who watch it, while somebody waits.
    crew: Mutex<Option<Arc<Crew>>>,
    /// When the last attempt to open it failed, and why.
    shut: std::sync::Mutex<Option<(Instant, OpenFailure)>>,
    /// The connections are kept between runs.
    lingers: AtomicBool,
}

/// How to get into an account.
#[derive(Debug)]
struct Account {
    plan: Arc<MailboxPlan>,
    tls: Tls,
}

/// The folders to be watched, opened, each with a connection of its own: IMAP shows one folder a connection.
#[derive(Debug)]
pub struct Folders {
    folders: Vec<Folder>,
    /// Where deleted messages go, on servers that cannot delete single ones.
    trash: Option<String>,
    gentle: bool,
}

/// A place among those for whom the mailbox is watched: while one is held, its connections are kept.
#[derive(Debug)]
pub struct Joined {
    crew: Arc<Crew>,
}

/// A run that waits in the mailbox.
#[derive(Debug)]
pub struct Watch {
    joined: Joined,
    token: String,
    observations: mpsc::UnboundedReceiver<Observation>,
}

impl ImapMailbox {
    /// Not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: Arc<MailboxPlan>) -> Result<Self, TlsError> {
        let tls = Tls::new(plan.ca_file.as_deref())?;
        Ok(Self {
            account: Arc::new(Account { plan, tls }),
            crew: Mutex::default(),
            shut: std::sync::Mutex::default(),
            lingers: AtomicBool::new(false),
        })
    }

    /// See [`super::Mailbox::linger`].
    pub fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    /// See [`super::Mailbox::open`].
    ///
    /// # Errors
    /// Whatever keeps a folder from being read.
    pub async fn open(&self, limit: Duration) -> Result<Folders, OpenFailure> {
        let opened = self.account.open(Instant::now() + limit).await;
        opened.map_err(|trouble| self.account.failure(&trouble))
    }

    /// See [`super::Mailbox::join`].
    ///
    /// # Errors
    /// Whatever keeps a folder from being read.
    pub async fn join(&self, limit: Duration) -> Result<Joined, OpenFailure> {
        let begun = Instant::now();
        let end = begun + limit;
        let Ok(mut slot) = timeout(limit, self.crew.lock()).await else {
            let trouble = Trouble::hangs(Step::Connect, limit);
            return Err(self.account.failure(&trouble));
        };
        // Whoever waited in line hears what became of the attempt, instead of each making one more.
        let shut = self.shut().clone();
        if let Some((at, failure)) = shut
            && at >= begun
        {
            return Err(failure);
        }
        let outcome = self.join_alone(&mut slot, end).await;
        *self.shut() = outcome
            .as_ref()
            .err()
            .map(|failure| (Instant::now(), failure.clone()));
        outcome
    }

    async fn join_alone(
        &self,
        slot: &mut Option<Arc<Crew>>,
        end: Instant,
    ) -> Result<Joined, OpenFailure> {
        if let Some(crew) = slot.take_if(|crew| crew.is_over()) {
            crew.end().await;
        }
        if let Some(crew) = slot.as_ref() {
            let joined = Joined::new(crew);
            match crew.verify(end).await {
                Ok(()) => return Ok(joined),
                // Which folders there are is asked anew.
                Err(failure)
                    if failure.cause.code == CauseCode::MailboxFolderMissing
                        && crew.shared.waiting() == 0 => {}
                Err(failure) => return Err(failure),
            }
            drop(joined);
        }
        if let Some(crew) = slot.take() {
            crew.end().await;
        }
        let lingers = self.lingers.load(Ordering::Relaxed);
        let opened = self.account.open(end).await;
        let folders = opened.map_err(|trouble| self.account.failure(&trouble))?;
        let crew = Crew::begin(&self.account, folders, lingers);
        *slot = Some(Arc::clone(&crew));
        Ok(Joined::new(&crew))
    }

    fn shut(&self) -> std::sync::MutexGuard<'_, Option<(Instant, OpenFailure)>> {
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`super::Mailbox::watch`].
    #[must_use]
    pub fn watch(joined: Joined, wanted: Wanted) -> Watch {
        let token = wanted.token.clone();
        let observations = joined.crew.shared.add(wanted);
        joined.crew.shared.tell_losses(&token, &joined.crew.names);
        Watch {
            joined,
            token,
            observations,
        }
    }

    /// See [`super::Mailbox::close`].
    pub async fn close(&self) {
        if let Some(crew) = self.crew.lock().await.take() {
            crew.end().await;
        }
    }

    /// See [`super::Mailbox::is_tls`].
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.account.plan.tls != TlsMode::None
    }

    /// See [`super::Mailbox::certificate_expiry`].
    #[must_use]
    pub fn certificate_expiry(&self) -> Option<DateTime<Utc>> {
        self.account.tls.certificate().map(|one| one.not_after)
    }
}

impl Account {
    fn failure(&self, trouble: &Trouble) -> OpenFailure {
        OpenFailure {
            cause: trouble.cause(&self.plan),
            again: trouble.again(),
        }
    }

    async fn log_in(&self, end: Instant) -> Result<Session, Trouble> {
        connect::connect(&self.plan, &self.tls, end).await
    }

    async fn open(&self, end: Instant) -> Result<Folders, Trouble> {
        // The first connection alone: where the password is wrong, one refusal is enough.
        let mut first = self.log_in(end).await?;
        let existing = folders::list(&mut first, remaining(end, COMMAND_LIMIT)).await?;
        let wanted = self.wanted(&existing);
        let mut sessions = vec![first];
        let more = wanted.len().saturating_sub(1);
        let others = futures_util::future::try_join_all((0..more).map(|_| self.log_in(end)));
        sessions.extend(others.await?);
        let gentle = sessions
            .iter()
            .any(|session| self.wants_few_commands(session));
        let opening = wanted
            .into_iter()
            .zip(sessions)
            .map(|((name, is_junk), session)| self.folder(name, is_junk, session, &existing, end));
        Ok(Folders {
            folders: futures_util::future::try_join_all(opening).await?,
            trash: folders::trash(&existing),
            gentle,
        })
    }

    /// The folders to watch, as on the wire, and whether each is the junk folder.
    fn wanted(&self, existing: &[folders::Listed]) -> Vec<(String, bool)> {
        let mut wanted: Vec<_> = self
            .plan
            .folders
            .iter()
            .map(|name| (folders::encoded(name), false))
            .collect();
        let junk = match &self.plan.junk {
            JunkFolder::Auto => folders::junk(existing),
            JunkFolder::Named(name) => Some(folders::encoded(name)),
            JunkFolder::None => None,
        };
        // Somebody may expect the message in the junk folder.
        if let Some(junk) = junk
            && !wanted.iter().any(|(name, _)| *name == junk)
        {
            wanted.push((junk, true));
        }
        wanted
    }

    async fn folder(
        &self,
        name: String,
        is_junk: bool,
        mut session: Session,
        existing: &[folders::Listed],
        end: Instant,
    ) -> Result<Folder, Trouble> {
        let limit = remaining(end, COMMAND_LIMIT);
        let opened = match folders::examine(&mut session, &name, limit).await {
            Ok(opened) => opened,
            Err(fault) => {
                let names: Vec<_> = existing.iter().map(|one| one.name.clone()).collect();
                let is_known = names.iter().any(|one| one.eq_ignore_ascii_case(&name));
                session.logout(LOGOUT_LIMIT).await;
                return Err(if fault.leaves_session_usable() && !is_known {
                    Trouble::folder_missing(&name, &names)
                } else {
                    Trouble::of_command(Step::Open(name), &fault)
                });
            }
        };
        Ok(Folder {
            name,
            is_junk,
            uid_validity: opened.uid_validity,
            next: opened.uid_next,
            known_next: opened.uid_next,
            session: Some(session),
            session_number: 0,
        })
    }

    /// Gmail and Microsoft count what a client asks, and lock out one that asks too much.
    fn wants_few_commands(&self, session: &Session) -> bool {
        let host = self.plan.host.to_ascii_lowercase();
        session.can("X-GM-EXT-1")
            || [
                "gmail.com",
                "googlemail.com",
                "office365.com",
                "outlook.com",
                "hotmail.com",
            ]
            .iter()
            .any(|domain| host == *domain || host.ends_with(&format!(".{domain}")))
    }
}

impl Folders {
    /// Their names, the junk folder last.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.folders.iter().map(|one| one.name.clone()).collect()
    }

    /// The junk folder, if one is watched.
    #[must_use]
    pub fn junk(&self) -> Option<&str> {
        let junk = self.folders.iter().find(|folder| folder.is_junk);
        junk.map(|folder| folder.name.as_str())
    }

    /// How single messages can be deleted on this server, if at all.
    #[must_use]
    pub fn deletion(&self) -> Option<&'static str> {
        let session = self.folders.first()?.session.as_ref()?;
        cleanup::Way::of(session, self.trash.as_deref()).map(|way| way.name())
    }

    /// Ends every session.
    pub async fn close(self) {
        let sessions = self.folders.into_iter().filter_map(|folder| folder.session);
        futures_util::future::join_all(sessions.map(|session| session.logout(LOGOUT_LIMIT))).await;
    }
}

impl Drop for ImapMailbox {
    /// Whoever kept the connections between runs is gone, and so are they once the last run is.
    fn drop(&mut self) {
        if let Some(crew) = self.crew.get_mut() {
            crew.lingers.store(false, Ordering::Relaxed);
            if crew.members.load(Ordering::Relaxed) == 0 {
                crew.shared.end();
            }
        }
    }
}

impl Joined {
    fn new(crew: &Arc<Crew>) -> Self {
        crew.members.fetch_add(1, Ordering::Relaxed);
        Self {
            crew: Arc::clone(crew),
        }
    }

    /// The folders that are watched, the junk folder last.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.crew.names.clone()
    }

    /// The junk folder, if one is watched.
    #[must_use]
    pub fn junk(&self) -> Option<&str> {
        self.crew.junk.as_deref()
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let others = self.crew.members.fetch_sub(1, Ordering::Relaxed) - 1;
        if others == 0 && !self.crew.lingers.load(Ordering::Relaxed) {
            self.crew.shared.end();
        }
    }
}

impl Watch {
    /// The next thing that a watcher has to tell.
    pub async fn observation(&mut self) -> Option<Observation> {
        self.observations.recv().await
    }

    /// Tells the watchers what to do.
    pub fn set(&self, phase: Phase) {
        self.joined.crew.shared.set(&self.token, phase);
    }

    /// Reads the message that was seen, up to 64 KiB. After [`Phase::Stop`].
    pub async fn read(&mut self, seen: &Seen, limit: Duration) -> Option<Vec<u8>> {
        let crew = &self.joined.crew;
        let index = crew.names.iter().position(|name| *name == seen.folder)?;
        let (reply, answer) = oneshot::channel();
        crew.ask(
            index,
            Errand::Read {
                token: self.token.clone(),
                limit,
                reply,
            },
        );
        timeout(limit, answer).await.ok()?.ok()?
    }

    /// Deletes the run's message and what earlier runs left, in all folders at the same time. After [`Phase::Stop`].
    pub async fn clean_up(&mut self, task: &CleanUp, limit: Duration) -> Cleaned {
        let crew = &self.joined.crew;
        let end = Instant::now() + limit;
        let answers = (0..crew.names.len()).map(|index| {
            let (reply, answer) = oneshot::channel();
            let task = task.clone();
            crew.ask(index, Errand::Clean { task, end, reply });
            // The watcher keeps the limit itself, and answers right after it.
            timeout(limit + Duration::from_millis(100), answer)
        });
        let mut whole = Cleaned {
            is_thorough: true,
            ..Cleaned::default()
        };
        for (name, part) in crew.names.iter().zip(join_all(answers).await) {
            let was_here = task.seen.as_ref().is_some_and(|seen| seen.folder == *name);
            let part = match part {
                Ok(Ok(part)) => part,
                // What lies in a folder without this run's message the next run cleans up as well.
                _ if was_here => cleanup::not_cleaned(&format!("`{name}` is not answering")),
                _ => Cleaned::default(),
            };
            whole.is_thorough &= part.is_thorough;
            whole.own += part.own;
            whole.left_over += part.left_over;
            whole.late.extend(part.late);
            whole.warnings.extend(part.warnings);
        }
        whole
    }

    /// The run is done with the mailbox: the last one out says goodbye on every connection, unless they are kept.
    pub async fn close(self) {
        let crew = Arc::clone(&self.joined.crew);
        drop(self);
        if crew.is_over() {
            crew.end().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.set(Phase::Stop);
    }
}
