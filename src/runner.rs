//! Carries out one run: asks [`probe::run`](crate::probe::run) what to do, does it, and says what happened.
//!
//! The one place where core, senders, mailboxes and sinks meet.

mod board;
mod edges;
mod finish;
pub mod surroundings;

pub use board::Board;
pub use edges::{EdgeError, Edges};

use crate::config::plan::{DnsPlan, ProbePlan};
use crate::log::About;
use crate::mailboxes::imap::Joined;
use crate::mailboxes::{Mailbox, Observation, OpenFailure, Phase, Wanted, Watch};
use crate::probe::compose::{self, Message};
use crate::probe::diagnosis::{self, Quota, Standing, Way};
use crate::probe::path::PathPlan;
use crate::probe::provider::Word;
use crate::probe::report::{Report, rfc3339};
use crate::probe::run::{Action, Asking, Event, Limits, Run, Sighting};
use crate::probe::send::{Acceptance, Failure, Preparation};
use crate::probe::token::{Identity, Keyring};
use crate::probe::verdict::Stage;
use crate::senders::{Inquiry, Sender};
use crate::sinks::Sink;
use crate::sinks::queue::Queue;
use chrono::{DateTime, TimeDelta, Utc};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// How full the mailbox is, is asked for so long.
const FULLNESS_LIMIT: Duration = Duration::from_secs(5);

/// How to run, beyond what the config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Leave the message in the mailbox.
    pub keep: bool,
    /// Tell the sinks.
    pub push: bool,
    /// Somebody waits for the outcome: the provider may be asked early.
    pub eager: bool,
}

/// One line of a run's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Since the start of the run.
    pub at: Duration,
    /// What it is about.
    pub stage: Stage,
    /// For people. Lower case, no full stop.
    pub text: String,
    /// What is being waited for from now on, until the next line.
    pub waiting_for: Option<String>,
}

/// Everything that one run works with.
#[derive(Clone)]
pub struct Job {
    /// What to probe.
    pub probe: Arc<ProbePlan>,
    /// What its tokens are signed with.
    pub identity: Identity,
    /// Which tokens are ours.
    pub keyring: Arc<Keyring>,
    /// Who is who on the way.
    pub path: Arc<PathPlan>,
    /// Who takes the message.
    pub sender: Arc<Sender>,
    /// Where it should arrive.
    pub mailbox: Arc<Mailbox>,
    /// Who is told of it before the run is over.
    pub sinks: Vec<Arc<Sink>>,
    /// How the other runs of this process stand.
    pub board: Arc<Board>,
    /// Whom to ask for the keys that the message was signed with.
    pub dns: Option<DnsPlan>,
    /// Who is told of it whenever they can hear it: the scheduler's sinks.
    pub queues: Vec<Arc<Queue>>,
    /// Becomes true when the run waits beyond `late_after`.
    pub overdue: Arc<AtomicBool>,
    /// When the scheduler was to start it; none where cron, a timer or a person starts the process.
    pub planned: Option<DateTime<Utc>>,
    /// How long after the schedule's times the scheduler starts this probe's runs.
    pub offset: TimeDelta,
    /// How to run.
    pub options: Options,
    /// Who watches the run.
    pub observer: Arc<dyn Fn(&Progress) + Send + Sync>,
}

/// What a job that was started comes back with.
enum Done {
    Opened(Result<Joined, OpenFailure>),
    Prepared(Preparation),
    Attempted(Result<Acceptance, Failure>),
    Asked(Word),
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// One run at work.
struct Running {
    job: Job,
    run: Run,
    started: Instant,
    started_at: DateTime<Utc>,
    work: Option<Work>,
    folders: Option<Joined>,
    watch: Option<Watch>,
    message: Option<Message>,
    seen: Option<crate::mailboxes::Seen>,
    recipient_unblocked: bool,
    mailbox_ready: Option<Duration>,
    attempt_begun: Option<Duration>,
    attempt_ended: Option<Duration>,
    quota: Option<JoinHandle<Option<f64>>>,
    /// How full the mailbox is, asked beside the last look.
    fullness: Option<JoinHandle<Vec<Quota>>>,
    mailbox_quota: Vec<Quota>,
    folder_names: Vec<String>,
    overdue: JoinSet<()>,
}

/// One run of one probe, from connecting to the last push. `stop` turning true ends the wait.
pub async fn run(job: Job, stop: watch::Receiver<bool>) -> Report {
    let about = Arc::new(About::run_of(&job.probe.name));
    let running = async {
        let mut running = Running::new(job);
        running.go(stop.clone()).await;
        running.finish(stop).await
    };
    about.scope(running).await
}

/// The one line of a run at `info`; `start_delay` is how long after its time it began, in seconds.
pub fn log(report: &Report, start_delay: Option<f64>) {
    tracing::info!(
        probe = report.probe,
        token = report.run,
        verdict = report.verdict.name(),
        success = report.success,
        cause = report.cause.as_ref().map(|cause| cause.code.name()),
        seen_at = report.seen_at.map(rfc3339),
        duration_seconds = report.duration_seconds,
        delivery_seconds = report.delivery_seconds,
        delivery_error_seconds = report.delivery_error_seconds,
        start_delay_seconds = start_delay,
        folder = report.folder,
        message_id = report.sender.message_id,
        late_arrivals = report.late_arrivals.len(),
        warnings = report.warnings.len(),
        "{}",
        report.sentence()
    );
}

impl Running {
    fn new(job: Job) -> Self {
        let limits = Limits {
            late_after: job.probe.late_after,
            timeout: job.probe.timeout,
        };
        let mut run = Run::new(limits);
        run.set_attempt_limit(job.sender.attempt_limit());
        run.set_asking(match (job.sender.has_event_log(), job.options.eager) {
            (false, _) => Asking::Never,
            (true, false) => Asking::WhenOverdue,
            (true, true) => Asking::Eagerly,
        });
        Self {
            job,
            run,
            started: Instant::now(),
            started_at: Utc::now(),
            work: None,
            folders: None,
            watch: None,
            message: None,
            seen: None,
            recipient_unblocked: false,
            mailbox_ready: None,
            attempt_begun: None,
            attempt_ended: None,
            quota: None,
            fullness: None,
            mailbox_quota: Vec::new(),
            folder_names: Vec::new(),
            overdue: JoinSet::new(),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn go(&mut self, mut stop: watch::Receiver<bool>) {
        self.post(Standing::UnderWay, false);
        self.wait_line(Stage::MailboxConnect, "connecting", "the mailbox");
        loop {
            let until = match self.run.next(self.now()) {
                Action::Finish => return,
                Action::WaitUntil(until) => until,
                action => {
                    self.start(action);
                    continue;
                }
            };
            let until = self.run.settles_at().map_or(until, |at| at.min(until));
            tokio::select! {
                done = wait_for(&mut self.work) => self.on_done(done),
                observation = next(&mut self.watch) => self.on_observation(observation),
                _ = stop.wait_for(|stop| *stop) => self.on(Event::Interrupted),
                () = sleep_until(self.started + until) => {}
            }
        }
    }

    fn on(&mut self, event: Event) {
        let now = self.now();
        self.run.on(event, now);
    }

    /// Begins what the machine asks for.
    fn start(&mut self, action: Action) {
        match action {
            Action::Open(limit) => {
                let mailbox = Arc::clone(&self.job.mailbox);
                self.work = Some(Box::pin(
                    async move { Done::Opened(mailbox.join(limit).await) },
                ));
            }
            Action::Prepare(limit) => {
                let sender = Arc::clone(&self.job.sender);
                let to = self.job.probe.to.clone();
                self.work = Some(Box::pin(async move {
                    Done::Prepared(sender.prepare(&to, limit).await)
                }));
            }
            Action::Attempt(limit) => self.attempt(limit),
            Action::LastLook => {
                self.wait_line(Stage::Await, "time is over", "a last look");
                self.set(Phase::LastLook);
                let mailbox = Arc::clone(&self.job.mailbox);
                let asking = async move { mailbox.quota(FULLNESS_LIMIT).await };
                self.fullness = Some(tokio::spawn(About::current().scope(asking)));
            }
            Action::AskProvider(limit) => self.ask(limit),
            Action::ReportOverdue => self.report_overdue(),
            Action::WaitUntil(_) | Action::Finish => {}
        }
    }

    fn attempt(&mut self, limit: Duration) {
        let message = self.message().clone();
        self.begin_watching(&message.token);
        let sender = Arc::clone(&self.job.sender);
        let endpoint = sender.endpoint();
        self.wait_line(
            Stage::Send,
            &format!("handing {} to {endpoint}", message.token),
            "its answer",
        );
        self.attempt_begun.get_or_insert(self.started.elapsed());
        self.on(Event::AttemptBegun);
        // Where an earlier attempt may have succeeded, looks go on as rarely as they have become since.
        if !self.run.may_be_taken() {
            self.set(Phase::Look(Instant::now()));
        }
        self.work = Some(Box::pin(async move {
            Done::Attempted(sender.attempt(&message, limit).await)
        }));
    }

    /// The message, composed when it is needed first: every attempt hands over the same one.
    fn message(&mut self) -> &Message {
        let elapsed = self.started.elapsed();
        let job = &self.job;
        let sent_at = self.started_at + elapsed;
        self.message.get_or_insert_with(|| {
            let message = finish::compose(job, sent_at, elapsed);
            About::current().set_token(&message.token);
            message
        })
    }

    fn begin_watching(&mut self, token: &str) {
        if let Some(folders) = self.folders.take() {
            let wanted = Wanted {
                token: token.to_owned(),
                keyring: Arc::clone(&self.job.keyring),
                deadline: self.started + self.job.probe.timeout,
            };
            self.watch = Some(self.job.mailbox.watch(folders, wanted));
        }
    }

    fn set(&self, phase: Phase) {
        if let Some(watch) = &self.watch {
            watch.set(phase);
        }
    }

    fn on_done(&mut self, done: Done) {
        self.work = None;
        match done {
            Done::Opened(Ok(folders)) => self.on_open(folders),
            Done::Opened(Err(failure)) => {
                self.post(Standing::Blind, false);
                self.wait_line(Stage::MailboxConnect, &failure.cause.summary, "the mailbox");
                let OpenFailure { cause, again } = failure;
                self.on(Event::MailboxShut { cause, again });
            }
            Done::Prepared(preparation) => {
                self.recipient_unblocked = preparation.lifted.is_some();
                for warning in preparation.warnings.iter().chain(&preparation.lifted) {
                    self.line(Stage::Send, &warning.summary);
                }
                if let Some(cause) = &preparation.blocked {
                    self.line(Stage::Send, &cause.summary);
                }
                self.on(Event::Prepared(preparation));
            }
            Done::Asked(word) => self.on_word(word),
            Done::Attempted(Ok(acceptance)) => self.on_acceptance(acceptance),
            Done::Attempted(Err(failure)) => {
                self.attempt_ended = Some(self.now());
                self.wait_line(Stage::Send, &failure.cause.summary, "another attempt");
                self.on(Event::AttemptEnded(Err(failure)));
                // Nothing is under way: a wait that the sender asked for must not use up the looks.
                if !self.run.may_be_taken() {
                    self.set(Phase::Rest);
                }
            }
        }
    }

    fn on_open(&mut self, folders: Joined) {
        let names = folders.names();
        let junk = folders.junk().map_or("; no junk folder", |_| "");
        self.mailbox_ready = Some(self.now());
        self.line(
            Stage::MailboxConnect,
            &format!("logged in, watching {}{junk}", names.join(", ")),
        );
        self.run.set_folders(names.len());
        self.folder_names = names;
        self.folders = Some(folders);
        self.on(Event::MailboxOpen);
    }

    fn on_acceptance(&mut self, acceptance: Acceptance) {
        self.attempt_ended = Some(self.now());
        let id = acceptance.message_id.as_deref().unwrap_or("an unknown id");
        let queue_id = acceptance.queue_id.as_deref();
        let queued = queue_id.map_or_else(String::new, |id| format!(", queued as {id}"));
        let text = format!("accepted as {id}{queued}");
        self.wait_line(Stage::Send, &text, "the message");
        // How much is left is asked beside the wait, so that it costs the run nothing.
        let sender = Arc::clone(&self.job.sender);
        let asking = async move { sender.quota(Duration::from_secs(10)).await };
        self.quota = Some(tokio::spawn(About::current().scope(asking)));
        self.on(Event::AttemptEnded(Ok(acceptance)));
    }

    fn on_observation(&mut self, observation: Observation) {
        match observation {
            Observation::Seen(seen) => {
                let since = |at: Instant| at.saturating_duration_since(self.started);
                let sighting = Sighting {
                    at: since(seen.at),
                    not_before: seen.not_before.map(since),
                    folder: seen.folder.clone(),
                    is_junk: seen.is_junk,
                };
                self.wait_line(
                    Stage::Await,
                    &format!("seen in {}", seen.folder),
                    "clean-up",
                );
                self.seen.get_or_insert(seen);
                self.post(Standing::Arrived, false);
                self.on(Event::Seen(sighting));
            }
            Observation::Quoted { folder, reason } => {
                let sentence =
                    format!("a message in `{folder}` carries the token and is not ours: {reason}");
                self.line(Stage::Await, &sentence);
                self.on(Event::Quoted(sentence));
            }
            Observation::Lost { folder, cause } => {
                self.wait_line(Stage::Await, &cause.summary, "the mailbox");
                self.on(Event::FolderLost { folder, cause });
            }
            Observation::Back { folder } => {
                let text = format!("`{folder}` can be read again");
                self.wait_line(Stage::Await, &text, "the message");
                self.on(Event::FolderBack { folder });
            }
            Observation::LastLook { folder, trouble } => {
                self.on(Event::LastLook { folder, trouble });
            }
        }
    }

    /// Asks the provider what became of the message: by its id, or by the token where the answer was lost.
    fn ask(&mut self, limit: Duration) {
        let inquiry = Inquiry {
            message_id: self.run.message_id(),
            to: self.job.probe.to.clone(),
            token: self.message().token.clone(),
        };
        let sender = Arc::clone(&self.job.sender);
        self.work = Some(Box::pin(async move {
            Done::Asked(sender.word(&inquiry, limit).await)
        }));
    }

    fn on_word(&mut self, word: Word) {
        let said = match &word {
            Word::None => None,
            Word::Unavailable(why) => Some(why.summary.clone()),
            Word::Events(_) => Some(word.decisive().map_or_else(
                || "the provider does not know the message, or not yet".to_owned(),
                |event| format!("the provider says {}", event.quote()),
            )),
        };
        if let Some(said) = said {
            self.wait_line(Stage::Await, &said, "the message");
        }
        self.on(Event::ProviderSaid(word));
    }

    /// Tells the other runs of this process how this one stands.
    fn post(&self, standing: Standing, is_over: bool) {
        self.job.board.post(self.place(), standing, is_over);
    }

    fn way(&self) -> Way {
        let host = &self.job.probe.mailbox.host;
        self.job.sender.way(host, &self.job.path)
    }

    fn place(&self) -> board::Place<'_> {
        board::Place {
            probe: &self.job.probe.name,
            way: self.way(),
            mailbox: &self.job.probe.mailbox.name,
        }
    }

    fn report_overdue(&mut self) {
        self.post(Standing::Overdue, false);
        let mut evidence = self.run.evidence(self.now());
        self.complete(&mut evidence);
        let known = diagnosis::so_far(&evidence);
        let waited = self.job.probe.late_after;
        let text = format!(
            "not there after {} s: {}",
            waited.as_secs_f64(),
            known.summary
        );
        self.wait_line(Stage::Await, &format!("overdue: {text}"), "the message");
        self.job.overdue.store(true, Ordering::Relaxed);
        if self.job.options.push {
            let probe = self.job.probe.name.clone();
            let token = self.message().token.clone();
            for queue in &self.job.queues {
                queue.put_overdue(&probe, &token, &text);
            }
            for sink in &self.job.sinks {
                let sink = Arc::clone(sink);
                let (probe, token, text) = (probe.clone(), token.clone(), text.clone());
                let telling = async move {
                    let push = sink.push_overdue(&probe, &text, finish::PUSH_LIMIT).await;
                    if let Some(error) = push.and_then(|push| push.error) {
                        tracing::warn!(
                            probe,
                            token,
                            sink = sink.name(),
                            error,
                            "the interim report was not taken"
                        );
                    }
                };
                self.overdue.spawn(About::current().scope(telling));
            }
        }
        self.on(Event::OverdueReported);
    }

    fn line(&self, stage: Stage, text: &str) {
        self.tell(stage, text, None);
    }

    fn wait_line(&self, stage: Stage, text: &str, waiting_for: &str) {
        self.tell(stage, text, Some(waiting_for.to_owned()));
    }

    fn tell(&self, stage: Stage, text: &str, waiting_for: Option<String>) {
        let token = self.message.as_ref().map(|message| message.token.as_str());
        tracing::debug!(
            probe = self.job.probe.name,
            token,
            stage = stage.name(),
            "{text}"
        );
        (self.job.observer)(&Progress {
            at: self.now(),
            stage,
            text: text.to_owned(),
            waiting_for,
        });
    }
}

/// The end of the work under way; never, where there is none.
async fn wait_for(work: &mut Option<Work>) -> Done {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// The next observation; never, where nothing watches.
async fn next(watch: &mut Option<Watch>) -> Observation {
    if let Some(watch) = watch
        && let Some(observation) = watch.observation().await
    {
        return observation;
    }
    std::future::pending().await
}
