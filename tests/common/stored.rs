//! When the server stored a message: the moment at which its file appears in the Maildir.

use chrono::{DateTime, Utc};
use inotify::{Inotify, WatchMask};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Watches a Maildir's `new`; the time by token.
#[derive(Clone)]
pub struct Stored(Arc<Mutex<BTreeMap<String, DateTime<Utc>>>>);

impl Stored {
    pub fn watch(maildir: &Path) -> Self {
        let stored = Self(Arc::default());
        let new: PathBuf = maildir.join("new");
        let mut inotify = Inotify::init().unwrap();
        inotify
            .watches()
            .add(&new, WatchMask::MOVED_TO | WatchMask::CREATE)
            .unwrap();
        let times = Arc::clone(&stored.0);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match inotify.read_events_blocking(&mut buffer) {
                    Ok(events) => {
                        let at = DateTime::<Utc>::from(SystemTime::now());
                        for event in events {
                            let Some(name) = event.name else { continue };
                            let raw = std::fs::read_to_string(new.join(name)).unwrap_or_default();
                            let token = raw
                                .lines()
                                .find_map(|line| line.strip_prefix("X-Mailprobe-Token: "));
                            if let Some(token) = token {
                                times
                                    .lock()
                                    .unwrap()
                                    .entry(token.trim().to_owned())
                                    .or_insert(at);
                            }
                        }
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        stored
    }

    /// When the message with this token was stored.
    pub fn at(&self, token: &str) -> DateTime<Utc> {
        super::wait_until("the message was stored", || {
            self.0.lock().unwrap().get(token).copied()
        })
    }
}
