//! Where the runs of one process tell each other how they stand, so that each can say what the others see.

use crate::probe::diagnosis::{Neighbour, Standing, Way};
use crate::probe::dns_posture::Finding;
use crate::probe::surroundings::Surroundings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// How the runs of one process stand, the latest of each probe.
#[derive(Debug, Default)]
pub struct Board {
    runs: Mutex<BTreeMap<String, Entry>>,
    surroundings: Mutex<Arc<Surroundings>>,
    keys: Mutex<BTreeMap<String, SeenKeys>>,
}

/// The DKIM keys that the latest message of a probe was signed with.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenKeys {
    /// Their names.
    pub(super) names: BTreeSet<String>,
    /// What was found out about them then.
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug, Clone)]
struct Entry {
    way: Way,
    mailbox: String,
    standing: Standing,
    at: Instant,
    is_over: bool,
}

/// The place of one run on the board.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    pub(super) probe: &'p str,
    pub(super) way: Way,
    pub(super) mailbox: &'p str,
}

impl Board {
    /// Tells how a run stands; `is_over` where nothing more will be heard of it.
    pub(super) fn post(&self, place: Place<'_>, standing: Standing, is_over: bool) {
        let entry = Entry {
            way: place.way,
            mailbox: place.mailbox.to_owned(),
            standing,
            at: Instant::now(),
            is_over,
        };
        self.entries().insert(place.probe.to_owned(), entry);
    }

    /// How the runs of other probes stand that were at work since this time.
    pub(super) fn neighbours(&self, place: Place<'_>, since: Instant) -> Vec<Neighbour> {
        self.entries()
            .iter()
            .filter(|(probe, entry)| {
                // What ended before says nothing about now.
                probe.as_str() != place.probe && (!entry.is_over || entry.at >= since)
            })
            .map(|(probe, entry)| Neighbour {
                probe: probe.clone(),
                way: entry.way,
                same_mailbox: entry.mailbox == place.mailbox,
                standing: entry.standing,
            })
            .collect()
    }

    /// Tells what was found beside the runs.
    pub(super) fn set_surroundings(&self, found: Arc<Surroundings>) {
        *self
            .surroundings
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// What was found beside the runs last; nothing before the first round.
    pub(super) fn surroundings(&self) -> Arc<Surroundings> {
        let found = self
            .surroundings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&found)
    }

    /// Tells which keys a message showed, in place of what this probe's message before it showed.
    pub(super) fn set_keys(&self, probe: &str, keys: SeenKeys) {
        let mut all = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(probe.to_owned(), keys);
    }

    /// The keys that the latest message of this probe showed.
    pub(super) fn keys(&self, probe: &str) -> SeenKeys {
        let all = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(probe).cloned().unwrap_or_default()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::verdict::Verdict;
    use std::time::Duration;

    fn place(probe: &str) -> Place<'_> {
        Place {
            probe,
            way: Way::Outside,
            mailbox: "spam",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_hears_of_others_that_are_at_work_or_ended_since_it_began() {
        let board = Board::default();
        board.post(place("ended before"), Standing::Arrived, true);
        board.post(place("at work"), Standing::Overdue, false);
        tokio::time::advance(Duration::from_secs(1)).await;
        let begun = Instant::now();
        board.post(place("ours"), Standing::Overdue, false);
        let elsewhere = Place {
            mailbox: "other",
            ..place("ended since")
        };
        board.post(elsewhere, Standing::Failed(Verdict::Missing), true);
        let heard = board.neighbours(place("ours"), begun);
        let heard: Vec<_> = heard
            .iter()
            .map(|one| (one.probe.as_str(), one.same_mailbox, one.standing))
            .collect();
        assert_eq!(
            heard,
            [
                ("at work", true, Standing::Overdue),
                ("ended since", false, Standing::Failed(Verdict::Missing)),
            ]
        );
    }
}
