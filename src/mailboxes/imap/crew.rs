//! The watchers of one mailbox, one a folder, whoever they watch for.

use super::cleanup::Cleaner;
use super::shared::Shared;
use super::watcher::{Errand, Watcher};
use super::{Account, Folders, LOGOUT_LIMIT, SEARCH_EVERY};
use crate::mailboxes::OpenFailure;
use futures_util::future::join_all;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long watchers may take to let go of what they do.
const END_LIMIT: Duration = Duration::from_secs(2);

/// The watchers of a mailbox.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) shared: Arc<Shared>,
    /// The folders, the junk folder last.
    pub(super) names: Vec<String>,
    pub(super) junk: Option<String>,
    /// How many runs are there, waiting or not.
    pub(super) members: AtomicUsize,
    /// The connections are kept when the last run has gone.
    pub(super) lingers: AtomicBool,
    errands: Vec<mpsc::UnboundedSender<Errand>>,
    watchers: Mutex<Vec<JoinHandle<()>>>,
}

impl Crew {
    /// Begins to watch.
    pub(super) fn begin(account: &Arc<Account>, folders: Folders, lingers: bool) -> Arc<Self> {
        let names = folders.names();
        let junk = folders.junk().map(str::to_owned);
        let shared = Arc::new(Shared::new(names.len()));
        let search_every = if lingers {
            SEARCH_EVERY
        } else {
            Duration::ZERO
        };
        let mut errands = Vec::new();
        let mut watchers = Vec::new();
        for (index, folder) in folders.folders.into_iter().enumerate() {
            let (sender, receiver) = mpsc::unbounded_channel();
            let watcher = Watcher::new(
                Arc::clone(account),
                Arc::clone(&shared),
                index,
                folder,
                folders.gentle,
                Cleaner::new(folders.trash.clone(), search_every),
                receiver,
            );
            errands.push(sender);
            watchers.push(tokio::spawn(watcher.run()));
        }
        Arc::new(Self {
            shared,
            names,
            junk,
            members: AtomicUsize::new(0),
            lingers: AtomicBool::new(lingers),
            errands,
            watchers: Mutex::new(watchers),
        })
    }

    /// Whether nobody can join any more.
    pub(super) fn is_over(&self) -> bool {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.is_ended() || watchers.iter().any(JoinHandle::is_finished)
    }

    /// Asks something of a folder's watcher. Where that is gone the reply never comes.
    pub(super) fn ask(&self, index: usize, errand: Errand) {
        if let Some(errands) = self.errands.get(index) {
            let _ = errands.send(errand);
            self.shared.ring();
        }
    }

    /// Makes sure that every folder can be read.
    ///
    /// # Errors
    /// Why one cannot.
    pub(super) async fn verify(&self, end: Instant) -> Result<(), OpenFailure> {
        // The first alone: where the password is wrong, one refusal is enough.
        self.verify_one(0, end).await?;
        let others = (1..self.names.len()).map(|index| self.verify_one(index, end));
        join_all(others).await.into_iter().collect()
    }

    async fn verify_one(&self, index: usize, end: Instant) -> Result<(), OpenFailure> {
        let (reply, answer) = oneshot::channel();
        self.ask(index, Errand::Verify { end, reply });
        match timeout_at(end, answer).await {
            Ok(Ok(outcome)) => outcome,
            // Still busy with what it does for others, or gone: the look to come says what is wrong.
            _ => Ok(()),
        }
    }

    /// Says goodbye on every connection, so that the server's count of our sessions goes down at once. A watcher that
    /// hangs is dropped with its connection.
    pub(super) async fn end(&self) {
        self.shared.end();
        let watchers = {
            let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *watchers)
        };
        let end = Instant::now() + END_LIMIT + LOGOUT_LIMIT;
        for mut watcher in watchers {
            if timeout_at(end, &mut watcher).await.is_err() {
                watcher.abort();
            }
        }
    }
}

#[cfg(test)]
#[path = "crew_tests.rs"]
mod tests;
