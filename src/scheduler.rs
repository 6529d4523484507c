//! The long-running loop: fire each probe at its time, never one beside itself, and end in good order.

pub mod logbook;
pub mod stage;

use crate::config::plan::ProbePlan;
use crate::metrics::Counters;
use crate::probe::report::Report;
use crate::probe::timetable::Timetable;
use crate::runner;
use chrono::{DateTime, TimeDelta, Utc};
use logbook::Logbook;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

/// However far away the next run is, the clocks are looked at this often: one of them may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long runs may take to end once they are told to.
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// One run that is to begin.
#[derive(Debug)]
pub struct Start {
    /// The probe's number in the cast.
    pub index: usize,
    /// The probe.
    pub probe: Arc<ProbePlan>,
    /// When it was to begin.
    pub planned: DateTime<Utc>,
    /// Becomes true when the run waits beyond `late_after`.
    pub overdue: Arc<AtomicBool>,
}

/// A run under way.
pub type Performance = Pin<Box<dyn Future<Output = Report> + Send>>;
/// Begins a run; the receiver becomes true when the run is to end.
pub type Launch = Box<dyn Fn(&Start, watch::Receiver<bool>) -> Option<Performance> + Send + Sync>;

/// The probes of a config, and how to run one.
pub struct Cast {
    /// In the order of the config.
    pub probes: Vec<Arc<ProbePlan>>,
    /// How to run one.
    pub launch: Launch,
    /// Runs of a probe that somebody asks for lie this far apart.
    pub min_interval: Duration,
}

/// Reads the config again: the new cast, or why there is none. Files may hang: probes go on meanwhile.
pub type Reload = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send>;
/// What comes of that.
pub type Outcome = Result<Cast, String>;
/// The time of day.
pub type Clock = Box<dyn Fn() -> DateTime<Utc> + Send>;

/// What a client asks for.
#[derive(Debug)]
pub enum Command {
    /// Run a probe now.
    Run {
        /// Its name.
        probe: String,
        /// Hears whether it is.
        reply: oneshot::Sender<Asked>,
    },
    /// Read the config again.
    Reload {
        /// Hears why not, if not.
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// What becomes of a run that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It has begun.
    Begun,
    /// There is no such probe, or no way to run it.
    Unknown,
    /// A run is under way.
    Running,
    /// The last one was too short a time ago: this long is to be waited.
    TooSoon(Duration),
    /// The process is about to end.
    Ending,
}

/// A reload under way, and who hears of it.
struct Reloading {
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    reply: oneshot::Sender<Result<(), String>>,
}

/// The scheduler.
pub struct Scheduler {
    cast: Cast,
    table: Timetable,
    reload: Reload,
    clock: Clock,
    epoch: Instant,
    logbook: Arc<Logbook>,
    counters: Arc<Counters>,
    runs: JoinSet<Report>,
    /// The probe and the planned start of each run under way.
    running: HashMap<Id, (String, DateTime<Utc>)>,
    /// When each probe was run at somebody's wish last.
    asked: HashMap<String, Instant>,
    stop: watch::Sender<bool>,
}

impl Scheduler {
    /// A scheduler that has not begun.
    #[must_use]
    pub fn new(
        cast: Cast,
        reload: Reload,
        clock: Clock,
        logbook: Arc<Logbook>,
        counters: Arc<Counters>,
    ) -> Self {
        let epoch = Instant::now();
        let now = clock();
        let table = timetable(&cast.probes, now, Duration::ZERO);
        logbook.set_probes(&cast.probes);
        counters.reload(Some(now));
        let scheduler = Self {
            cast,
            table,
            reload,
            clock,
            epoch,
            logbook,
            counters,
            runs: JoinSet::new(),
            running: HashMap::new(),
            asked: HashMap::new(),
            stop: watch::channel(false).0,
        };
        scheduler.tell_plans();
        scheduler
    }

    /// Fires probes until `stopped` turns true, then ends what is under way. `heartbeat` is called every second or more
    /// often while all is well.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut stopped: watch::Receiver<bool>,
        mut heartbeat: impl FnMut(),
    ) {
        let mut reloading = None;
        while !*stopped.borrow_and_update() {
            self.fire_due();
            self.logbook.tick();
            heartbeat();
            let wait = self.until_next();
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                Some(ended) = self.runs.join_next_with_id() => self.on_end(ended),
                outcome = end_of(&mut reloading) => {
                    let outcome = self.take_over(outcome);
                    if let Some(Reloading { reply, .. }) = reloading.take() {
                        let _ = reply.send(outcome);
                    }
                }
                // What is asked for meanwhile is for the new config.
                Some(command) = commands.recv(), if reloading.is_none() => {
                    reloading = self.on_command(command);
                }
                () = sleep(wait) => {}
            }
        }
        commands.close();
        self.end().await;
    }

    fn monotonic(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn until_next(&self) -> Duration {
        let now = (self.clock)();
        let next = self.table.next().map(|next| (next - now).to_std());
        match next {
            Some(Ok(wait)) => wait.min(LONGEST_SLEEP),
            // It has passed since.
            Some(Err(_)) => Duration::ZERO,
            None => LONGEST_SLEEP,
        }
    }

    fn fire_due(&mut self) {
        for due in self.table.due((self.clock)(), self.monotonic()) {
            let Some(probe) = self.cast.probes.get(due.index).map(Arc::clone) else {
                continue;
            };
            self.logbook
                .plan(&probe.name, self.table.next_of(due.index));
            if self.is_running(&probe.name) {
                tracing::warn!(
                    probe = probe.name,
                    "a run was due while the one before is still going: skipped"
                );
                self.logbook.skip(&probe.name);
                self.counters.skip(&probe.name);
            } else {
                self.fire(due.index, &probe, due.planned);
            }
        }
    }

    fn is_running(&self, probe: &str) -> bool {
        self.running.values().any(|(running, _)| running == probe)
    }

    /// Begins a run; whether there is a way to.
    fn fire(&mut self, index: usize, probe: &Arc<ProbePlan>, planned: DateTime<Utc>) -> bool {
        let start = Start {
            index,
            probe: Arc::clone(probe),
            planned,
            overdue: Arc::default(),
        };
        let Some(performance) = (self.cast.launch)(&start, self.stop.subscribe()) else {
            tracing::error!(
                probe = probe.name,
                "the probe cannot be run, which is a fault of mailprobe"
            );
            return false;
        };
        self.counters.begin(&probe.name);
        self.logbook
            .begin(&probe.name, (self.clock)(), Arc::clone(&start.overdue));
        let run = self.runs.spawn(performance);
        self.running.insert(run.id(), (probe.name.clone(), planned));
        true
    }

    fn on_end(&mut self, ended: Result<(Id, Report), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some((probe, planned)) = self.running.remove(&id) else {
            return;
        };
        match ended {
            Ok((_, report)) => {
                // One that a reload took away in the meantime has no series any more.
                if self.logbook.has(&probe) {
                    self.counters.end(&report);
                }
                // What the log tells of is on its way to the history: a process that is killed now may have kept it.
                let report = Arc::new(report);
                self.logbook.end(&report);
                log(&report, planned);
            }
            Err(error) => {
                tracing::error!(
                    probe,
                    "the run broke off, which is a fault of mailprobe: {error}"
                );
                self.logbook.abandon(&probe);
            }
        }
    }

    fn on_command(&mut self, command: Command) -> Option<Reloading> {
        match command {
            Command::Run { probe, reply } => {
                // Whoever asked and went away has no need of the answer.
                let _ = reply.send(self.run_now(&probe));
                None
            }
            Command::Reload { reply } => {
                let outcome = (self.reload)();
                Some(Reloading { outcome, reply })
            }
        }
    }

    fn run_now(&mut self, name: &str) -> Asked {
        let found = self.cast.probes.iter().position(|probe| probe.name == name);
        let Some((index, probe)) = found.and_then(|index| {
            let probe = self.cast.probes.get(index)?;
            Some((index, Arc::clone(probe)))
        }) else {
            return Asked::Unknown;
        };
        if self.is_running(name) {
            return Asked::Running;
        }
        let apart = self.cast.min_interval;
        if let Some(last) = self.asked.get(name)
            && last.elapsed() < apart
        {
            return Asked::TooSoon(apart.saturating_sub(last.elapsed()));
        }
        let now = (self.clock)();
        if !self.fire(index, &probe, now) {
            return Asked::Unknown;
        }
        self.asked.insert(name.to_owned(), Instant::now());
        Asked::Begun
    }

    /// Takes a new config into use; a bad one changes nothing.
    fn take_over(&mut self, outcome: Outcome) -> Result<(), String> {
        match outcome {
            Ok(cast) => {
                let now = (self.clock)();
                let mut table = timetable(&cast.probes, now, self.monotonic());
                table.take_over(&self.table);
                self.table = table;
                self.cast = cast;
                for gone in self.logbook.set_probes(&self.cast.probes) {
                    self.counters.forget(&gone);
                    self.asked.remove(&gone);
                }
                self.counters.reload(Some(now));
                self.tell_plans();
                tracing::info!(probes = self.cast.probes.len(), "the config was read again");
                Ok(())
            }
            Err(error) => {
                self.counters.reload(None);
                tracing::error!("the config was not taken, the old one stays in use:\n{error}");
                Err(error)
            }
        }
    }

    fn tell_plans(&self) {
        for (index, probe) in self.cast.probes.iter().enumerate() {
            self.logbook.plan(&probe.name, self.table.next_of(index));
        }
    }

    /// Ends the runs under way: each is told to, cleans up and reports.
    async fn end(&mut self) {
        self.stop.send_replace(true);
        let end = Instant::now() + STOP_LIMIT;
        while let Ok(Some(ended)) = timeout_at(end, self.runs.join_next_with_id()).await {
            self.on_end(ended);
        }
        for (probe, _) in self.running.values() {
            tracing::warn!(probe, "the run did not end in time and is cut off");
        }
        self.runs.shutdown().await;
    }
}

/// The end of a reload; never, where none is under way.
async fn end_of(reloading: &mut Option<Reloading>) -> Outcome {
    match reloading {
        Some(reloading) => (&mut reloading.outcome).await,
        None => std::future::pending().await,
    }
}

fn timetable(probes: &[Arc<ProbePlan>], now: DateTime<Utc>, monotonic: Duration) -> Timetable {
    let probes = probes
        .iter()
        .map(|probe| (probe.name.as_str(), &probe.schedule, probe.jitter));
    Timetable::new(probes, now, monotonic)
}

/// What the log says of a run: one line, and one more for each thing that is not as it should be.
fn log(report: &Report, planned: DateTime<Utc>) {
    let late: TimeDelta = report.started_at - planned;
    runner::log(report, Some(late.as_seconds_f64()));
    for warning in &report.warnings {
        tracing::warn!(
            probe = report.probe,
            token = report.run,
            code = warning.code.name(),
            hint = warning.hint,
            "{}",
            warning.summary
        );
    }
}

#[cfg(test)]
#[path = "scheduler/tests.rs"]
mod tests;
