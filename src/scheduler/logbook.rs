//! What the scheduler knows of each probe, for whoever asks: `/metrics`, the status page, the API.

use crate::config::plan::ProbePlan;
use crate::history::{History, Kept, Opening, Stored};
use crate::metrics::{Gauges, ProbeMetrics};
use crate::probe::report::{Report, rfc3339};
use crate::probe::surroundings::Surroundings;
use crate::probe::verdict::Verdict;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Runs of one probe that the status page draws.
pub const DRAWN: usize = 40;
/// Reports of all probes together that are kept in memory.
const RECENT: usize = 500;
/// The scheduler looks at the clock every second: after so long it hangs.
const HUNG_AFTER: Duration = Duration::from_secs(15);

/// One run as the status page draws it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// How it ended.
    pub verdict: Verdict,
    /// Whether that counts as success.
    pub success: bool,
    /// How long the message took.
    pub delivery_seconds: Option<f64>,
}

/// What is known of one probe.
#[derive(Debug, Clone)]
pub struct Row {
    /// The probe.
    pub probe: Arc<ProbePlan>,
    /// When its next run is due.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Since when a run is under way.
    pub running_since: Option<DateTime<Utc>>,
    /// Whether that one waits beyond `late_after`.
    overdue: Option<Arc<AtomicBool>>,
    /// Times at which a run was due while the one before was still going.
    pub skipped: u64,
    last: Option<Arc<Gauges>>,
    last_arrival: Option<Arc<Gauges>>,
    last_success_at: Option<DateTime<Utc>>,
    /// The report of the last run, as JSON.
    pub last_run: Option<Arc<str>>,
    /// That of the last one that was no success, whatever came after it.
    pub last_failure: Option<Arc<str>>,
    /// The last runs, oldest first.
    pub marks: VecDeque<Mark>,
}

/// What the scheduler knows.
#[derive(Debug)]
pub struct Logbook {
    state: Mutex<State>,
    history: Option<History>,
}

#[derive(Debug)]
struct State {
    rows: BTreeMap<String, Row>,
    recent: VecDeque<(String, Arc<str>)>,
    surroundings: Arc<Surroundings>,
    ticked: Instant,
    /// What an earlier process left of probes that the config may bring back.
    kept: BTreeMap<String, Vec<Kept>>,
    /// Tells when a history that did not open at the start has opened.
    opening: Option<Opening>,
}

impl Logbook {
    /// An empty one, with what an earlier process left.
    #[must_use]
    pub fn new(history: Option<History>, kept: Vec<Kept>) -> Self {
        let by_probe = by_probe(kept);
        Self {
            state: Mutex::new(State {
                rows: BTreeMap::new(),
                recent: VecDeque::new(),
                surroundings: Arc::default(),
                ticked: Instant::now(),
                kept: by_probe,
                opening: None,
            }),
            history,
        }
    }

    /// The same where the history has not opened yet: what it holds is taken in when it has.
    #[must_use]
    pub fn awaiting(history: History, opening: Opening) -> Self {
        let logbook = Self::new(Some(history), Vec::new());
        logbook.state().opening = Some(opening);
        logbook
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are the probes from now on; those that were there keep what is known of them. The names of those that are gone.
    pub fn set_probes(&self, probes: &[Arc<ProbePlan>]) -> Vec<String> {
        let mut state = self.state();
        let mut old = std::mem::take(&mut state.rows);
        for probe in probes {
            let row = match old.remove(&probe.name) {
                Some(row) => Row {
                    probe: Arc::clone(probe),
                    ..row
                },
                None => {
                    let kept = state.kept.remove(&probe.name).unwrap_or_default();
                    Row::new(Arc::clone(probe), kept)
                }
            };
            state.rows.insert(probe.name.clone(), row);
        }
        old.into_keys().collect()
    }

    /// When the next run of a probe is due.
    pub fn plan(&self, probe: &str, next_run_at: Option<DateTime<Utc>>) {
        if let Some(row) = self.state().rows.get_mut(probe) {
            row.next_run_at = next_run_at;
        }
    }

    /// A run has begun; `overdue` becomes true when it waits beyond `late_after`.
    pub fn begin(&self, probe: &str, at: DateTime<Utc>, overdue: Arc<AtomicBool>) {
        if let Some(row) = self.state().rows.get_mut(probe) {
            row.running_since = Some(at);
            row.overdue = Some(overdue);
        }
    }

    /// A run was due while the one before was still going.
    pub fn skip(&self, probe: &str) {
        if let Some(row) = self.state().rows.get_mut(probe) {
            row.skipped += 1;
        }
    }

    /// A run has ended without a report, by a fault of ours.
    pub fn abandon(&self, probe: &str) {
        if let Some(row) = self.state().rows.get_mut(probe) {
            row.running_since = None;
            row.overdue = None;
        }
    }

    /// A run has ended.
    pub fn end(&self, report: &Arc<Report>) {
        let text: Arc<str> = serde_json::to_string(report.as_ref())
            .unwrap_or_default()
            .into();
        let mark = Mark {
            ended_at: report.ended_at,
            verdict: report.verdict,
            success: report.success,
            delivery_seconds: report.delivery_seconds,
        };
        let gauges = Arc::new(Gauges::of(report));
        if let Some(history) = &self.history {
            history.add(Stored {
                token: report.run.clone(),
                probe: report.probe.clone(),
                mark: mark.clone(),
                report: Arc::clone(&text),
                gauges: Arc::clone(&gauges),
            });
        }
        let mut state = self.state();
        state
            .recent
            .push_back((report.run.clone(), Arc::clone(&text)));
        if state.recent.len() > RECENT {
            state.recent.pop_front();
        }
        if let Some(row) = state.rows.get_mut(&report.probe) {
            row.running_since = None;
            row.overdue = None;
            // A run that a signal ended says nothing about the mail path.
            if report.is_interrupted() {
                return;
            }
            row.note(mark, Some(text), Some(gauges));
        }
    }

    /// What was found beside the runs.
    pub fn set_surroundings(&self, found: Arc<Surroundings>) {
        self.state().surroundings = found;
    }

    /// What was found beside the runs last.
    #[must_use]
    pub fn surroundings(&self) -> Arc<Surroundings> {
        Arc::clone(&self.state().surroundings)
    }

    /// The scheduler is alive.
    pub fn tick(&self) {
        let mut state = self.state();
        state.ticked = Instant::now();
        // A failure of the opening was told at the start.
        let heard = state.opening.as_ref().and_then(|one| one.try_recv().ok());
        if let Some(Ok(found)) = heard {
            state.opening = None;
            state.take_in(found.kept);
            drop(state);
            if let Some(warning) = found.warning {
                tracing::warn!("{warning}");
            }
            tracing::info!("the history is open now, and runs are kept in it");
        }
    }

    /// Whether it was lately.
    #[must_use]
    pub fn is_ticking(&self) -> bool {
        self.state().ticked.elapsed() < HUNG_AFTER
    }

    /// Every probe, by name.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.state().rows.values().cloned().collect()
    }

    /// Every probe for `/metrics`, by name.
    #[must_use]
    pub fn metrics(&self) -> Vec<ProbeMetrics> {
        self.state().rows.values().map(Row::metrics).collect()
    }

    /// One probe.
    #[must_use]
    pub fn row(&self, probe: &str) -> Option<Row> {
        self.state().rows.get(probe).cloned()
    }

    /// Whether there is such a probe.
    #[must_use]
    pub fn has(&self, probe: &str) -> bool {
        self.state().rows.contains_key(probe)
    }

    /// The report of a run, as JSON.
    pub async fn report(&self, token: &str) -> Option<Arc<str>> {
        let recent = {
            let state = self.state();
            let found = state.recent.iter().find(|(run, _)| run == token);
            found.map(|(_, report)| Arc::clone(report))
        };
        match (recent, &self.history) {
            (Some(report), _) => Some(report),
            (None, Some(history)) => history.get(token).await,
            (None, None) => None,
        }
    }

    /// Waits until the history is written, for the end of the process.
    pub async fn close(&self) {
        if let Some(history) = &self.history {
            history.close().await;
        }
    }
}

impl State {
    /// Takes in what the history held before this process began.
    fn take_in(&mut self, kept: Vec<Kept>) {
        for (probe, kept) in by_probe(kept) {
            match self.rows.get_mut(&probe) {
                Some(row) => {
                    let earlier = Row::new(Arc::clone(&row.probe), kept);
                    row.come_after(earlier);
                }
                None => {
                    self.kept.insert(probe, kept);
                }
            }
        }
    }
}

fn by_probe(kept: Vec<Kept>) -> BTreeMap<String, Vec<Kept>> {
    let mut by_probe: BTreeMap<String, Vec<Kept>> = BTreeMap::new();
    for one in kept {
        by_probe.entry(one.probe.clone()).or_default().push(one);
    }
    by_probe
}

impl Row {
    fn new(probe: Arc<ProbePlan>, kept: Vec<Kept>) -> Self {
        let mut row = Self {
            probe,
            next_run_at: None,
            running_since: None,
            overdue: None,
            skipped: 0,
            last: None,
            last_arrival: None,
            last_success_at: None,
            last_run: None,
            last_failure: None,
            marks: VecDeque::new(),
        };
        for one in kept {
            row.note(one.mark, one.report, one.gauges.map(Arc::new));
        }
        row
    }

    /// Takes in the next run. Of older ones in the history the report or the gauges may not have been read.
    fn note(&mut self, mark: Mark, report: Option<Arc<str>>, gauges: Option<Arc<Gauges>>) {
        if mark.success {
            self.last_success_at = Some(mark.ended_at);
        } else if report.is_some() {
            self.last_failure.clone_from(&report);
        }
        self.last_run = report;
        if gauges.as_ref().is_some_and(|run| run.has_arrival()) {
            self.last_arrival.clone_from(&gauges);
        }
        self.last = gauges;
        self.marks.push_back(mark);
        if self.marks.len() > DRAWN {
            self.marks.pop_front();
        }
    }

    /// Puts what was known earlier before what is known.
    fn come_after(&mut self, earlier: Self) {
        // Where a run of this process was noted, that one is the last.
        if self.marks.is_empty() {
            self.last = earlier.last;
            self.last_run = earlier.last_run;
        }
        self.last_arrival = self.last_arrival.take().or(earlier.last_arrival);
        self.last_success_at = self.last_success_at.or(earlier.last_success_at);
        self.last_failure = self.last_failure.take().or(earlier.last_failure);
        let room = DRAWN.saturating_sub(self.marks.len());
        for mark in earlier.marks.into_iter().rev().take(room) {
            self.marks.push_front(mark);
        }
    }

    /// Whether a run is under way that waits beyond `late_after`.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.overdue
            .as_ref()
            .is_some_and(|overdue| overdue.load(Ordering::Relaxed))
    }

    /// Whether the last run was no success.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.marks.back().is_some_and(|mark| !mark.success)
    }

    /// For `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> ProbeMetrics {
        ProbeMetrics {
            probe: self.probe.name.clone(),
            last: self.last.clone(),
            last_arrival: self.last_arrival.clone(),
            last_success_at: self.last_success_at,
            next_run_at: self.next_run_at,
            is_overdue: self.is_overdue(),
        }
    }

    /// For `/api/probes`.
    #[must_use]
    pub fn json(&self) -> Value {
        let report = |text: &Option<Arc<str>>| {
            let text = text.as_deref()?;
            serde_json::from_str::<Value>(text).ok()
        };
        json!({
            "probe": self.probe.name,
            "sender": self.probe.sender.name(),
            "mailbox": self.probe.mailbox.name,
            "schedule": self.probe.schedule.to_string(),
            "next_run_at": self.next_run_at.map(rfc3339),
            "running_since": self.running_since.map(rfc3339),
            "overdue": self.is_overdue(),
            "ticks_skipped": self.skipped,
            "last_success_at": self.last_success_at.map(rfc3339),
            "last_run": report(&self.last_run),
            "last_failure": report(&self.last_failure),
        })
    }
}
