//! Where messages arrive: open the folders, watch them side by side, read what came, delete what is ours.
//!
//! A mailbox is watched once, for all runs that wait in it.

pub mod imap;

use crate::config::plan::MailboxPlan;
use crate::net::tls::TlsError;
use crate::probe::diagnosis::Quota;
use crate::probe::report::LateArrival;
use crate::probe::run::Again;
use crate::probe::token::Keyring;
use crate::probe::verdict::{Cause, Warning};
use crate::probe::whereabouts::Searched;
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A configured mailbox.
#[derive(Debug)]
pub enum Mailbox {
    /// Over IMAP.
    Imap(imap::ImapMailbox),
}

/// A run that waits in a mailbox.
#[derive(Debug)]
pub enum Watch {
    /// Over IMAP.
    Imap(imap::Watch),
}

/// A mailbox that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFailure {
    /// Why.
    pub cause: Cause,
    /// Whether trying again can help.
    pub again: Again,
}

/// What a run wants of the watchers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Nothing is under way: keep the connection.
    Rest,
    /// A message was handed over at this time: look for it.
    Look(Instant),
    /// The time is over: look once more, and say how it went.
    LastLook,
    /// The run waits no more.
    Stop,
}

/// What a run's watchers look for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The run's token.
    pub token: String,
    /// Which tokens are ours.
    pub keyring: Arc<Keyring>,
    /// When the run gives up.
    pub deadline: Instant,
}

/// What watchers tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The run's message is there.
    Seen(Seen),
    /// A message that carries the run's token and is not it.
    Quoted {
        /// Where.
        folder: String,
        /// Why it is not ours.
        reason: &'static str,
    },
    /// A folder can no longer be read; the watcher tries to get it back.
    Lost {
        /// Which.
        folder: String,
        /// Why.
        cause: Cause,
    },
    /// A lost folder can be read again.
    Back {
        /// Which.
        folder: String,
    },
    /// The answer to [`Phase::LastLook`]: nothing there, or why that could not be seen.
    LastLook {
        /// Which.
        folder: String,
        /// Why the folder could not be read.
        trouble: Option<Cause>,
    },
}

/// The run's message, as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When the first answer that shows it was received.
    pub at: Instant,
    /// When the last look that did not show it was sent.
    pub not_before: Option<Instant>,
    /// Where.
    pub folder: String,
    /// Whether that is the junk folder.
    pub is_junk: bool,
    /// INTERNALDATE: when the server stored it, to the second.
    pub stored_at: Option<DateTime<Utc>>,
}

/// What deciding on deletion needs to know.
#[derive(Debug, Clone)]
pub struct CleanUp {
    /// The run's token.
    pub token: String,
    /// Leave the run's message where it is.
    pub keep: bool,
    /// Which tokens are ours.
    pub keyring: Arc<Keyring>,
    /// The time of day.
    pub now: DateTime<Utc>,
    /// When the run before this one was to start: the earliest time that a late arrival which cannot be deleted counts from.
    pub previous_fire: Option<DateTime<Utc>>,
    /// The run's message, if it was seen.
    pub seen: Option<Seen>,
}

/// What clean-up did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cleaned {
    /// Messages of this run that were deleted: one, or more where it was delivered twice.
    pub own: usize,
    /// Messages that interrupted runs had left, deleted now.
    pub left_over: usize,
    /// Messages of earlier runs that were stored after their deadline.
    pub late: Vec<LateArrival>,
    /// What could not be done.
    pub warnings: Vec<Warning>,
    /// Whether every watched folder was searched for what earlier runs left.
    pub is_thorough: bool,
}

impl Mailbox {
    /// A mailbox that is not connected yet.
    ///
    /// # Errors
    /// A `ca_file` that cannot be read.
    pub fn new(plan: Arc<MailboxPlan>) -> Result<Self, TlsError> {
        imap::ImapMailbox::new(plan).map(Self::Imap)
    }

    /// Connects, logs in, and opens every folder to be watched, within `limit`, for a look around.
    ///
    /// # Errors
    /// Whatever keeps one of them from being read.
    pub async fn open(&self, limit: Duration) -> Result<imap::Folders, OpenFailure> {
        match self {
            Self::Imap(mailbox) => mailbox.open(limit).await,
        }
    }

    /// Makes sure that the mailbox is watched and can be read, within `limit`. However many join, each folder has one
    /// connection.
    ///
    /// # Errors
    /// Whatever keeps one of the folders from being read.
    pub async fn join(&self, limit: Duration) -> Result<imap::Joined, OpenFailure> {
        match self {
            Self::Imap(mailbox) => mailbox.join(limit).await,
        }
    }

    /// Begins to wait for a run's message, at rest.
    #[must_use]
    pub fn watch(&self, joined: imap::Joined, wanted: Wanted) -> Watch {
        match self {
            Self::Imap(_) => Watch::Imap(imap::ImapMailbox::watch(joined, wanted)),
        }
    }

    /// Keeps the connections between runs from now on, until [`Mailbox::close`].
    pub fn linger(&self) {
        match self {
            Self::Imap(mailbox) => mailbox.linger(),
        }
    }

    /// Ends every connection that was kept.
    pub async fn close(&self) {
        match self {
            Self::Imap(mailbox) => mailbox.close().await,
        }
    }

    /// Where a message is: every watched folder, junk and trash, searched read-only.
    ///
    /// # Errors
    /// Whatever keeps the account from being read.
    pub async fn find(
        &self,
        token: &str,
        keyring: &Keyring,
        limit: Duration,
    ) -> Result<Searched, OpenFailure> {
        match self {
            Self::Imap(mailbox) => mailbox.find(token, keyring, limit).await,
        }
    }

    /// How full it is, within `limit`; nothing where the server does not tell.
    pub async fn quota(&self, limit: Duration) -> Vec<Quota> {
        match self {
            Self::Imap(mailbox) => mailbox.quota(limit).await,
        }
    }

    /// How far the server's clock is off, measured with a message that is stored and deleted.
    ///
    /// # Errors
    /// What could not be done.
    pub async fn clock(&self, limit: Duration) -> Result<imap::Clock, Cause> {
        match self {
            Self::Imap(mailbox) => mailbox.clock(limit).await,
        }
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Imap(mailbox) => mailbox.is_tls(),
        }
    }

    /// The end of validity of the certificate that the server showed last.
    #[must_use]
    pub fn certificate_expiry(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Imap(mailbox) => mailbox.certificate_expiry(),
        }
    }
}

impl Watch {
    /// The next thing that a watcher has to tell; none once all have ended.
    pub async fn observation(&mut self) -> Option<Observation> {
        match self {
            Self::Imap(watch) => watch.observation().await,
        }
    }

    /// Tells the watchers what to do.
    pub fn set(&self, phase: Phase) {
        match self {
            Self::Imap(watch) => watch.set(phase),
        }
    }

    /// Reads the message that was seen, up to 64 KiB. After [`Phase::Stop`].
    pub async fn read(&mut self, seen: &Seen, limit: Duration) -> Option<Vec<u8>> {
        match self {
            Self::Imap(watch) => watch.read(seen, limit).await,
        }
    }

    /// Deletes the run's message and what earlier runs left. After [`Phase::Stop`].
    pub async fn clean_up(&mut self, task: &CleanUp, limit: Duration) -> Cleaned {
        match self {
            Self::Imap(watch) => watch.clean_up(task, limit).await,
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        match self {
            Self::Imap(watch) => watch.close().await,
        }
    }
}
