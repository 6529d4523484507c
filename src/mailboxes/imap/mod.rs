//! IMAP mailboxes, over async-imap behind commands that are checked.

mod cleanup;
mod connect;
mod fetch;
mod folders;
#[cfg(test)]
mod script;
mod session;
mod trouble;
mod watcher;
mod wire;

pub use trouble::Repeat;

use super::{CleanUp, Cleaned, Observation, OpenFailure, Phase, Seen, Wanted};
use crate::config::plan::{JunkFolder, MailboxPlan, TlsMode};
use crate::net::tls::{Tls, TlsError};
use chrono::{DateTime, Utc};
use connect::remaining;
use session::{COMMAND_LIMIT, Session};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use trouble::{Step, Trouble};
use watcher::{Folder, Watcher};

/// How long a server may take to answer LOGOUT.
const LOGOUT_LIMIT: Duration = Duration::from_secs(2);
/// How long watchers may take to hand their folders back.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// An account on an IMAP server.
#[derive(Debug)]
pub struct ImapMailbox {
    account: Arc<Account>,
    /// One clean-up at a time, so that what earlier runs left is counted once.
    cleaning: Arc<Mutex<()>>,
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

/// Folders being watched.
#[derive(Debug)]
pub struct Watch {
    account: Arc<Account>,
    cleaning: Arc<Mutex<()>>,
    trash: Option<String>,
    phase: watch::Sender<Phase>,
    observations: mpsc::UnboundedReceiver<Observation>,
    watchers: Vec<JoinHandle<Folder>>,
    folders: Vec<Folder>,
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
            cleaning: Arc::default(),
        })
    }

    /// See [`super::Mailbox::open`].
    ///
    /// # Errors
    /// Whatever keeps a folder from being read.
    pub async fn open(&self, limit: Duration) -> Result<Folders, OpenFailure> {
        let end = Instant::now() + limit;
        self.account.open(end).await.map_err(|trouble| OpenFailure {
            cause: trouble.cause(&self.account.plan),
            repeat: trouble.repeat(),
        })
    }

    /// See [`super::Mailbox::watch`].
    #[must_use]
    pub fn watch(&self, folders: Folders, wanted: Wanted) -> Watch {
        let (phase, phases) = watch::channel(Phase::Rest);
        let (sender, observations) = mpsc::unbounded_channel();
        let watchers = folders
            .folders
            .into_iter()
            .map(|folder| {
                let watcher = Watcher::new(
                    Arc::clone(&self.account),
                    folder,
                    folders.gentle,
                    wanted.clone(),
                    phases.clone(),
                    sender.clone(),
                );
                tokio::spawn(watcher.run())
            })
            .collect();
        Watch {
            account: Arc::clone(&self.account),
            cleaning: Arc::clone(&self.cleaning),
            trash: folders.trash,
            phase,
            observations,
            watchers,
            folders: Vec::new(),
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

impl Watch {
    /// The next thing that a watcher has to tell; none once all have ended.
    pub async fn observation(&mut self) -> Option<Observation> {
        self.observations.recv().await
    }

    /// Tells the watchers what to do.
    pub fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Ends the watching and takes the folders back. A watcher that hangs is dropped with its connection.
    pub async fn stop(&mut self) {
        self.set(Phase::Stop);
        let end = Instant::now() + STOP_LIMIT;
        for mut watcher in self.watchers.drain(..) {
            let limit = end.saturating_duration_since(Instant::now());
            match timeout(limit, &mut watcher).await {
                Ok(Ok(folder)) => self.folders.push(folder),
                _ => watcher.abort(),
            }
        }
    }

    /// Reads the message that was seen, up to 64 KiB. After [`Watch::stop`].
    pub async fn read(&mut self, seen: &Seen, limit: Duration) -> Option<Vec<u8>> {
        let folder = self
            .folders
            .iter_mut()
            .find(|one| one.name == seen.folder)?;
        let session = folder.session.as_mut()?;
        fetch::message(session, seen.uid, limit).await.ok()?
    }

    /// Deletes the run's message and what earlier runs left, in all folders at the same time. After [`Watch::stop`].
    pub async fn clean_up(&mut self, task: &CleanUp, limit: Duration) -> Cleaned {
        let end = Instant::now() + limit;
        let Ok(_guard) = timeout(limit, self.cleaning.lock()).await else {
            return cleanup::not_cleaned("another run in this process holds the mailbox");
        };
        let cleaning = self
            .folders
            .iter_mut()
            .map(|folder| cleanup::clean(&self.account, folder, task, self.trash.as_deref(), end));
        let mut whole = Cleaned::default();
        for part in futures_util::future::join_all(cleaning).await {
            whole.own += part.own;
            whole.left_over += part.left_over;
            whole.late.extend(part.late);
            whole.warnings.extend(part.warnings);
        }
        whole
    }

    /// Says goodbye on every connection, so that the server's count of our sessions goes down at once.
    pub async fn close(self) {
        let sessions = self.folders.into_iter().filter_map(|folder| folder.session);
        futures_util::future::join_all(sessions.map(|session| session.logout(LOGOUT_LIMIT))).await;
    }
}
