//! When the server stored a message: the moment at which its file appears in the Maildir.

use chrono::{DateTime, Utc};
use inotify::{Inotify, WatchMask};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Watches the `new` of Maildirs; the time by token.
#[derive(Clone)]
pub struct Stored(Arc<Mutex<BTreeMap<String, DateTime<Utc>>>>);

impl Stored {
    pub fn watch(maildirs: &[PathBuf]) -> Self {
        let stored = Self(Arc::default());
        let mut inotify = Inotify::init().unwrap();
        let mask = WatchMask::MOVED_TO | WatchMask::CREATE;
        let watched: HashMap<_, PathBuf> = maildirs
            .iter()
            .map(|maildir| maildir.join("new"))
            .map(|new| (inotify.watches().add(&new, mask).unwrap(), new))
            .collect();
        let times = Arc::clone(&stored.0);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match inotify.read_events_blocking(&mut buffer) {
                    Ok(events) => {
                        let at = DateTime::<Utc>::from(SystemTime::now());
                        for event in events {
                            let Some(name) = event.name else { continue };
                            let raw = std::fs::read_to_string(watched[&event.wd].join(name))
                                .unwrap_or_default();
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

    /// When the message with this token was stored, if that was seen.
    pub fn known(&self, token: &str) -> Option<DateTime<Utc>> {
        self.0.lock().unwrap().get(token).copied()
    }

    /// The same of a message that will be.
    pub fn at(&self, token: &str) -> DateTime<Utc> {
        super::wait_until("the message was stored", || self.known(token))
    }
}
