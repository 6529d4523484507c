//! What the scheduler knows of each probe, for whoever asks: `/metrics`, the status page, the API.

use crate::config::plan::ProbePlan;
use crate::history::{History, Kept, NoAnswer, Opening, Stored, Text};
use crate::metrics::{Gauges, ProbeMetrics};
use crate::probe::report::{Report, rfc3339};
use crate::probe::surroundings::Surroundings;
use crate::probe::verdict::Verdict;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
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
    /// The report of the last run.
    pub last_run: Option<Arc<Text>>,
    /// That of the last one that was no success, whatever came after it.
    pub last_failure: Option<Arc<Text>>,
    /// The last runs, oldest first.
    pub marks: VecDeque<Mark>,
}

/// One probe and the reports of it, as JSON.
#[derive(Debug)]
pub struct Entry {
    /// What is known of the probe.
    pub row: Row,
    /// The report of the last run, where it can be read.
    pub last_run: Option<Arc<str>>,
    /// That of the last one that was no success.
    pub last_failure: Option<Arc<str>>,
}

/// Some of the probes.
#[derive(Debug)]
pub struct Page {
    /// They.
    pub rows: Vec<Row>,
    /// Which page it is, from 1 on.
    pub number: usize,
    /// Of so many.
    pub pages: usize,
    /// How many probes there are on all of them.
    pub probes: usize,
    /// And how many of these fail, or wait beyond `late_after`.
    pub failing: usize,
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
    recent: VecDeque<Arc<Text>>,
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
        let text = serde_json::to_string(report.as_ref()).unwrap_or_default();
        let text = Arc::new(Text::new(report.run.clone(), text.into()));
        let mark = Mark {
            ended_at: report.ended_at,
            verdict: report.verdict,
            success: report.success,
            delivery_seconds: report.delivery_seconds,
        };
        let gauges = Arc::new(Gauges::of(report));
        if let Some(history) = &self.history {
            history.add(Stored {
                probe: report.probe.clone(),
                mark: mark.clone(),
                report: Arc::clone(&text),
                gauges: Arc::clone(&gauges),
            });
        }
        let mut state = self.state();
        state.recent.push_back(Arc::clone(&text));
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

    /// How many probes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().rows.len()
    }

    /// So many of the probes: those that fail first, all of them by name.
    #[must_use]
    pub fn page(&self, number: usize, size: usize) -> Page {
        let state = self.state();
        let mut rows: Vec<&Row> = state.rows.values().collect();
        let is_sound = |row: &&Row| !(row.is_failing() || row.is_overdue());
        rows.sort_by_cached_key(is_sound);
        let pages = rows.len().div_ceil(size).max(1);
        let number = number.clamp(1, pages);
        let shown = rows.iter().skip((number - 1) * size).take(size);
        Page {
            rows: shown.copied().cloned().collect(),
            number,
            pages,
            probes: rows.len(),
            failing: rows.iter().filter(|row| !is_sound(row)).count(),
        }
    }

    /// The first probe by name after this one, or the first of all.
    #[must_use]
    pub fn after(&self, probe: Option<&str>) -> Option<Row> {
        let state = self.state();
        let start = probe.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = state.rows.range::<str, _>((start, Bound::Unbounded));
        rows.next().map(|(_, row)| row.clone())
    }

    /// A probe with its reports.
    ///
    /// # Errors
    /// The disk of the history does not answer; what is in memory is there all the same.
    pub async fn entry(&self, row: Row) -> (Entry, Result<(), NoAnswer>) {
        let read = async |text: &Option<Arc<Text>>| match text {
            Some(text) => self.read(text).await,
            None => Ok(None),
        };
        let (last_run, last_failure) = tokio::join!(read(&row.last_run), read(&row.last_failure));
        let answered = last_run.as_ref().and(last_failure.as_ref()).map(|_| ());
        let answered = answered.map_err(|error| *error);
        let entry = Entry {
            row,
            last_run: last_run.ok().flatten(),
            last_failure: last_failure.ok().flatten(),
        };
        (entry, answered)
    }

    async fn read(&self, text: &Text) -> Result<Option<Arc<str>>, NoAnswer> {
        match (text.held(), &self.history) {
            (Some(text), _) => Ok(Some(text)),
            (None, Some(history)) => history.get(text.token()).await,
            (None, None) => Ok(None),
        }
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
    ///
    /// # Errors
    /// The disk of the history does not answer.
    pub async fn report(&self, token: &str) -> Result<Option<Arc<str>>, NoAnswer> {
        let recent = {
            let state = self.state();
            let found = state.recent.iter().find(|text| text.token() == token);
            found.map(Arc::clone)
        };
        match (recent, &self.history) {
            (Some(text), _) => self.read(&text).await,
            (None, Some(history)) => history.get(token).await,
            (None, None) => Ok(None),
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
            let report = one.token.map(|token| Arc::new(Text::kept(token)));
            row.note(one.mark, report, one.gauges.map(Arc::new));
        }
        row
    }

    /// Takes in the next run. Of older ones in the history the report or the gauges may not have been read.
    fn note(&mut self, mark: Mark, report: Option<Arc<Text>>, gauges: Option<Arc<Gauges>>) {
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
}

impl Entry {
    /// For `/api/probes`.
    #[must_use]
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Shown<'r> {
            probe: &'r str,
            sender: &'r str,
            mailbox: &'r str,
            schedule: String,
            next_run_at: Option<String>,
            running_since: Option<String>,
            overdue: bool,
            ticks_skipped: u64,
            last_success_at: Option<String>,
            last_run: Option<&'r RawValue>,
            last_failure: Option<&'r RawValue>,
        }
        // As it was written, if it is JSON still.
        fn report(text: &Option<Arc<str>>) -> Option<&RawValue> {
            serde_json::from_str(text.as_deref()?).ok()
        }
        let row = &self.row;
        let shown = Shown {
            probe: &row.probe.name,
            sender: row.probe.sender.name(),
            mailbox: &row.probe.mailbox.name,
            schedule: row.probe.schedule.to_string(),
            next_run_at: row.next_run_at.map(rfc3339),
            running_since: row.running_since.map(rfc3339),
            overdue: row.is_overdue(),
            ticks_skipped: row.skipped,
            last_success_at: row.last_success_at.map(rfc3339),
            last_run: report(&self.last_run),
            last_failure: report(&self.last_failure),
        };
        serde_json::to_string(&shown).unwrap_or_default()
    }
}
