//! The loop with paused time and runs that are only waited for; no sockets.

use super::*;
use crate::config;
use crate::config::plan::Plan;
use crate::history::{Found, History, Kept, Text};
use crate::probe::report::sample;
use crate::probe::verdict::{Cause, CauseCode, Stage, Verdict};
use logbook::Mark;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::advance;

/// A scheduler of probes whose runs take a given time.
struct Scene {
    logbook: Arc<Logbook>,
    counters: Arc<Counters>,
    commands: mpsc::Sender<Command>,
    stop: watch::Sender<bool>,
    /// Each run: its probe, when it began, whether it was told to end.
    runs: Runs,
    /// What the clock was set by, in seconds.
    step: Arc<AtomicI64>,
    /// The config that a reload reads.
    next: Arc<Mutex<Result<String, String>>>,
    task: tokio::task::JoinHandle<()>,
}

type Runs = Arc<Mutex<Vec<(String, DateTime<Utc>, bool)>>>;

fn start() -> DateTime<Utc> {
    "2026-11-25T10:00:30Z".parse().unwrap()
}

/// The wall clock of a test: it runs with tokio's, and can be set.
#[derive(Clone)]
struct Wall {
    epoch: Instant,
    step: Arc<AtomicI64>,
}

impl Wall {
    fn now(&self) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(self.epoch.elapsed()).unwrap();
        start() + passed + TimeDelta::seconds(self.step.load(Ordering::SeqCst))
    }
}

fn probe(name: &str, schedule: &str) -> String {
    format!(
        "[[probe]]\nname = \"{name}\"\nsender = \"b\"\nmailbox = \"m\"\nto = \"a@example.org\"\nschedule = \"{schedule}\"\n"
    )
}

fn plan(text: &str) -> Plan {
    let text = format!(
        "{text}[sender.b]\ntype = \"brevo\"\napi_key = \"xkeysib-for-tests\"\nfrom = \"b@example.org\"\n\
         [mailbox.m]\ntype = \"imap\"\nhost = \"mail.example.org\"\nusername = \"m\"\npassword = \"for tests\"\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    config::load(file.path(), &[], &|_| None).unwrap()
}

fn cast(text: &str, takes: Duration, runs: &Runs, wall: &Wall) -> Cast {
    let (runs, wall) = (Arc::clone(runs), wall.clone());
    let plan = plan(text);
    Cast {
        probes: plan.probes,
        min_interval: plan.serve.min_interval,
        launch: Box::new(move |start, mut stop| {
            let name = start.probe.name.clone();
            if name == "without-a-way" {
                return None;
            }
            let begun = wall.now();
            let number = {
                let mut runs = runs.lock().unwrap();
                runs.push((name.clone(), begun, false));
                runs.len() - 1
            };
            let (runs, wall) = (Arc::clone(&runs), wall.clone());
            Some(Box::pin(async move {
                assert_ne!(name, "broken", "a fault of ours");
                tokio::select! {
                    () = sleep(takes) => sample(&name, &format!("run-{number}"), wall.now()),
                    _ = stop.wait_for(|stop| *stop) => {
                        runs.lock().unwrap()[number].2 = true;
                        let cause = Cause::new(CauseCode::Interrupted, Stage::Await, "stopped", "");
                        Report {
                            verdict: Verdict::Undetermined,
                            success: false,
                            cause: Some(cause),
                            ..sample(&name, &format!("run-{number}"), wall.now())
                        }
                    }
                }
            }))
        }),
    }
}

impl Scene {
    fn new(text: &str, takes: Duration) -> Self {
        let step: Arc<AtomicI64> = Arc::default();
        let wall = Wall {
            epoch: Instant::now(),
            step: Arc::clone(&step),
        };
        let runs = Runs::default();
        let next = Arc::new(Mutex::new(Ok(text.to_owned())));
        let reload: Reload = {
            let (next, runs, wall) = (Arc::clone(&next), Arc::clone(&runs), wall.clone());
            Box::new(move || {
                let text = next.lock().unwrap().clone();
                let (runs, wall) = (Arc::clone(&runs), wall.clone());
                Box::pin(async move {
                    let text = text?;
                    if text == HANGS {
                        std::future::pending::<()>().await;
                    }
                    Ok(cast(&text, takes, &runs, &wall))
                })
            })
        };
        let logbook = Arc::new(Logbook::new(None, Vec::new()));
        let counters = Arc::new(Counters::new().unwrap());
        let clock = wall.clone();
        let scheduler = Scheduler::new(
            cast(text, takes, &runs, &wall),
            reload,
            Box::new(move || clock.now()),
            Arc::clone(&logbook),
            Arc::clone(&counters),
        );
        let (commands, receiver) = mpsc::channel(8);
        let (stop, stopped) = watch::channel(false);
        Self {
            logbook,
            counters,
            commands,
            stop,
            runs,
            step,
            next,
            task: tokio::spawn(scheduler.run(receiver, stopped, || ())),
        }
    }

    /// Lets time pass.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds * 2 {
            advance(Duration::from_millis(500)).await;
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The time of day at which each run of a probe began.
    fn begun(&self, probe: &str) -> Vec<String> {
        let runs = self.runs.lock().unwrap();
        let of_this = runs.iter().filter(|(name, ..)| name == probe);
        of_this
            .map(|(_, at, _)| at.format("%H:%M:%S").to_string())
            .collect()
    }

    async fn ask(&self, probe: &str) -> Asked {
        let (reply, answer) = oneshot::channel();
        let probe = probe.to_owned();
        let command = Command::Run { probe, reply };
        self.commands.send(command).await.unwrap();
        answer.await.unwrap()
    }

    async fn reload(&self, text: Result<String, String>) -> Result<(), String> {
        *self.next.lock().unwrap() = text;
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Reload { reply }).await.unwrap();
        answer.await.unwrap()
    }

    fn counts(&self, line: &str) -> bool {
        self.counters.encode().lines().any(|one| one == line)
    }
}

/// A config on a file system that does not answer.
const HANGS: &str = "hangs";

const SHORT: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn each_probe_runs_at_its_times_and_is_told_of() {
    let text = probe("often", "* * * * *") + &probe("rare", "*/2 * * * *");
    let scene = Scene::new(&text, SHORT);
    scene.pass(150).await;
    assert_eq!(scene.begun("often"), ["10:01:00", "10:02:00", "10:03:00"]);
    assert_eq!(scene.begun("rare"), ["10:02:00"]);
    let row = scene.logbook.row("rare").unwrap();
    assert_eq!(row.marks.len(), 1);
    assert_eq!(
        row.next_run_at.unwrap().to_rfc3339(),
        "2026-11-25T10:04:00+00:00"
    );
    assert!(scene.counts("mailprobe_runs_total{probe=\"rare\",verdict=\"delivered\"} 1"));
    assert!(scene.logbook.report("run-0").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_past_the_next_time_skips_that_and_counts_it() {
    let scene = Scene::new(&probe("slow", "* * * * *"), Duration::from_secs(90));
    scene.pass(200).await;
    assert_eq!(scene.begun("slow"), ["10:01:00", "10:03:00"]);
    assert_eq!(scene.logbook.row("slow").unwrap().skipped, 1);
    assert!(scene.counts("mailprobe_ticks_skipped_total{probe=\"slow\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_makes_one_run_of_what_it_passed_over() {
    let scene = Scene::new(&probe("often", "*/5 * * * *"), SHORT);
    scene.pass(5).await;
    scene.step.store(3600, Ordering::SeqCst);
    scene.pass(100).await;
    assert_eq!(scene.begun("often").len(), 1);
    scene.pass(200).await;
    assert_eq!(scene.begun("often")[1], "11:05:00");
}

#[tokio::test(start_paused = true)]
async fn sigterm_ends_the_runs_under_way_and_fires_no_more() {
    let mut scene = Scene::new(&probe("slow", "* * * * *"), Duration::from_secs(600));
    scene.pass(40).await;
    scene.stop.send_replace(true);
    (&mut scene.task).await.unwrap();
    let runs = scene.runs.lock().unwrap();
    assert_eq!(runs.len(), 1);
    assert!(runs[0].2, "it was told to end");
    assert!(scene.counts("mailprobe_runs_total{probe=\"slow\",verdict=\"undetermined\"} 1"));
    let row = scene.logbook.row("slow").unwrap();
    assert!(row.last_failure.is_none() && row.marks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_is_asked_for_when_none_is_under_way_and_not_too_often() {
    let scene = Scene::new(&probe("daily", "0 3 * * *"), SHORT);
    assert_eq!(scene.ask("nobody").await, Asked::Unknown);
    assert_eq!(scene.ask("daily").await, Asked::Begun);
    assert_eq!(scene.ask("daily").await, Asked::Running);
    scene.pass(5).await;
    assert!(matches!(scene.ask("daily").await, Asked::TooSoon(_)));
    scene.pass(60).await;
    assert_eq!(scene.ask("daily").await, Asked::Begun);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_run_is_not_said_to_have_begun() {
    let scene = Scene::new(&probe("without-a-way", "0 3 * * *"), SHORT);
    for _ in 0..2 {
        assert_eq!(scene.ask("without-a-way").await, Asked::Unknown);
    }
    let row = scene.logbook.row("without-a-way").unwrap();
    assert_eq!(row.running_since, None);
}

#[tokio::test(start_paused = true)]
async fn how_often_a_run_can_be_asked_for_is_what_the_last_config_says() {
    let daily = probe("daily", "0 3 * * *");
    let scene = Scene::new(&daily, SHORT);
    assert_eq!(scene.ask("daily").await, Asked::Begun);
    scene.pass(20).await;
    assert!(matches!(scene.ask("daily").await, Asked::TooSoon(_)));
    let sooner = format!("{daily}[serve]\nmin_interval = \"10s\"\n");
    assert_eq!(scene.reload(Ok(sooner)).await, Ok(()));
    assert_eq!(scene.ask("daily").await, Asked::Begun);
}

#[test]
fn what_a_history_tells_late_stands_before_what_was_learned_since() {
    let directory = tempfile::tempdir().unwrap();
    let (history, _) = History::begin(directory.path()).unwrap();
    let (tell, opening) = std::sync::mpsc::channel();
    let logbook = Logbook::awaiting(history, opening);
    let text = probe("a", "* * * * *") + &probe("b", "* * * * *");
    logbook.set_probes(&plan(&text).probes);
    tell.send(Err("the disk is full".to_owned())).unwrap();
    logbook.end(&Arc::new(sample("a", "run-1", start())));
    logbook.tick();
    let earlier = |probe: &str| Kept {
        probe: probe.to_owned(),
        mark: Mark {
            ended_at: start() - TimeDelta::hours(1),
            verdict: Verdict::Missing,
            success: false,
            delivery_seconds: None,
        },
        token: Some("run-0".to_owned()),
        gauges: None,
    };
    let kept = ["a", "b", "gone"].map(earlier).to_vec();
    let warning = None;
    tell.send(Ok(Found { kept, warning })).unwrap();
    logbook.tick();
    let verdicts = |row: &logbook::Row| -> Vec<Verdict> {
        row.marks.iter().map(|mark| mark.verdict).collect()
    };
    let run = |text: &Option<Arc<Text>>| text.as_ref().is_some_and(|text| text.token() == "run-0");
    let a = logbook.row("a").unwrap();
    assert_eq!(verdicts(&a), [Verdict::Missing, Verdict::Delivered]);
    assert_eq!((run(&a.last_run), run(&a.last_failure)), (false, true));
    let b = logbook.row("b").unwrap();
    assert_eq!(verdicts(&b), [Verdict::Missing]);
    assert_eq!((run(&b.last_run), run(&b.last_failure)), (true, true));
}

#[tokio::test]
async fn reports_that_the_history_has_are_in_memory_no_more_and_shown_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (history, opening) = History::begin(directory.path()).unwrap();
    opening.recv().unwrap().unwrap();
    let logbook = Logbook::new(Some(history), Vec::new());
    logbook.set_probes(&plan(&probe("a", "* * * * *")).probes);
    let failed = Report {
        success: false,
        ..sample("a", "run-1", start())
    };
    logbook.end(&Arc::new(failed));
    logbook.end(&Arc::new(sample("a", "run-2", start())));
    logbook.close().await;
    let row = logbook.row("a").unwrap();
    for text in [&row.last_run, &row.last_failure] {
        assert_eq!(text.as_ref().unwrap().held(), None);
    }
    let (entry, answered) = logbook.entry(row).await;
    assert_eq!(answered, Ok(()));
    let shows = |text: &Option<Arc<str>>, run: &str| {
        let run = format!("\"run\":\"{run}\"");
        text.as_ref().unwrap().contains(&run)
    };
    assert!(shows(&entry.last_run, "run-2") && shows(&entry.last_failure, "run-1"));
    assert!(logbook.report("run-1").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_bad_config_changes_nothing_and_says_why() {
    let scene = Scene::new(&probe("often", "* * * * *"), SHORT);
    let outcome = scene.reload(Err("error: line 3".to_owned())).await;
    assert_eq!(outcome, Err("error: line 3".to_owned()));
    assert!(scene.counts("mailprobe_config_last_reload_successful 0"));
    scene.pass(60).await;
    assert_eq!(scene.begun("often").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_disturbs_no_run_and_no_probe_that_is_as_it_was() {
    let old = probe("stays", "* * * * *") + &probe("goes", "* * * * *");
    let scene = Scene::new(&old, Duration::from_secs(45));
    scene.pass(35).await;
    let new = probe("comes", "*/2 * * * *") + &probe("stays", "* * * * *");
    assert_eq!(scene.reload(Ok(new)).await, Ok(()));
    assert!(scene.counts("mailprobe_config_last_reload_successful 1"));
    // Both were under way, and end as if nothing had been.
    scene.pass(45).await;
    let runs = scene.runs.lock().unwrap().clone();
    assert!(runs.iter().all(|(_, _, told_to_end)| !told_to_end));
    assert!(
        scene.logbook.report("run-1").await.unwrap().is_some(),
        "it was reported"
    );
    assert!(scene.logbook.row("goes").is_none());
    scene.pass(60).await;
    assert_eq!(scene.begun("stays"), ["10:01:00", "10:02:00"]);
    assert_eq!(scene.begun("goes"), ["10:01:00"]);
    assert_eq!(scene.begun("comes"), ["10:02:00"]);
    assert_eq!(scene.logbook.row("stays").unwrap().marks.len(), 2);
    assert!(
        !scene.counters.encode().contains("goes"),
        "its series are gone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_hangs_keeps_no_probe_from_firing_and_nobody_from_ending() {
    let mut scene = Scene::new(&probe("often", "* * * * *"), SHORT);
    *scene.next.lock().unwrap() = Ok(HANGS.to_owned());
    let (reply, answer) = oneshot::channel();
    let command = Command::Reload { reply };
    scene.commands.send(command).await.unwrap();
    scene.pass(100).await;
    assert_eq!(scene.begun("often"), ["10:01:00", "10:02:00"]);
    assert!(scene.logbook.is_ticking());
    scene.stop.send_replace(true);
    (&mut scene.task).await.unwrap();
    assert!(answer.await.is_err(), "nobody answers any more");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_breaks_off_by_a_fault_of_ours_ends_neither_the_loop_nor_its_probe() {
    let text = probe("broken", "* * * * *") + &probe("sound", "* * * * *");
    let scene = Scene::new(&text, SHORT);
    scene.pass(100).await;
    assert_eq!(scene.begun("broken").len(), 2);
    assert_eq!(scene.begun("sound").len(), 2);
    assert_eq!(scene.logbook.row("broken").unwrap().running_since, None);
    assert!(scene.logbook.is_ticking());
}
