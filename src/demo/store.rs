//! The mailbox of the demo world: folders of messages, as an IMAP server shows them.

use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// One message in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its UID.
    pub uid: u32,
    /// INTERNALDATE.
    pub stored_at: DateTime<Utc>,
    /// Such as `\Seen`.
    pub flags: BTreeSet<String>,
    /// The message itself.
    pub raw: Vec<u8>,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its messages, UIDs rising.
    pub messages: Vec<Stored>,
    /// The next UID.
    pub next_uid: u32,
}

/// All folders of the one account.
#[derive(Debug)]
pub struct Store {
    folders: Mutex<BTreeMap<String, Folder>>,
    changed: watch::Sender<()>,
}

impl Default for Store {
    /// INBOX and Junk, empty.
    fn default() -> Self {
        let empty = Folder {
            messages: Vec::new(),
            next_uid: 1,
        };
        let names = ["INBOX", "Junk"];
        Self {
            folders: Mutex::new(names.map(|name| (name.to_owned(), empty.clone())).into()),
            changed: watch::channel(()).0,
        }
    }
}

impl Store {
    /// Stores a message, now; its UID, if there is such a folder.
    pub fn deliver(&self, folder: &str, raw: Vec<u8>, flags: &[&str]) -> Option<u32> {
        let uid = self.with(folder, |folder| {
            let uid = folder.next_uid;
            folder.messages.push(Stored {
                uid,
                stored_at: Utc::now(),
                flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
                raw,
            });
            folder.next_uid += 1;
            uid
        });
        self.changed.send_replace(());
        uid
    }

    /// A folder as it is now.
    #[must_use]
    pub fn folder(&self, name: &str) -> Option<Folder> {
        self.lock().get(name).cloned()
    }

    /// Looks at a folder without copying it.
    pub(super) fn with<T>(&self, name: &str, look: impl FnOnce(&mut Folder) -> T) -> Option<T> {
        self.lock().get_mut(name).map(look)
    }

    /// Tells when something has changed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
