//! The scheduler killed at random moments, and what its history and the mailboxes hold afterwards.

use super::fleet::{Fleet, begins, is_run};
use super::soak::{history, messages, until_ended};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Each has a mailbox of its own, by which its messages are told from those of others.
const PROBES: usize = 4;
const KEYS: &str = "schedule = \"0 3 1 1 *\"\nlate_after = \"4s\"\ntimeout = \"5s\"";
/// What a message stays at the stand-in: many a moment falls into a run.
const HOLD: Duration = Duration::from_millis(400);
/// The scheduler lives for less than this, its start included.
const LONGEST_LIFE: u64 = 3000;
/// Messages are left to other runs until a minute after their deadline.
const LEFT_OVER: Duration = Duration::from_secs(67);
/// Runs go to the history before they are logged, and are written there in that order, beside everything else: what was
/// logged may be missing where the kill came right after, and where all that was logged later is missing as well.
const LONGEST_UNWRITTEN: Duration = Duration::from_secs(1);

/// Everything that was counted.
#[derive(Debug, Default)]
pub struct Kills {
    pub kills: usize,
    /// Messages that the stand-in took.
    pub taken: usize,
    /// Of them, those whose run is in the history.
    pub kept: usize,
    /// Runs that the kill cut off on their way, by the number of them in one kill.
    pub cut_off: BTreeMap<usize, usize>,
    /// Runs that had ended and were logged, and that the kill kept out of the history.
    pub unwritten: usize,
    /// The longest time between that line of the log and the kill.
    pub longest_unwritten: Duration,
    /// Messages in the mailboxes before the last runs, and after them.
    pub left_before: usize,
    pub left: usize,
    /// What does not hold.
    pub faults: Vec<String>,
}

/// Kills it so many times, and counts.
pub fn kills(rounds: usize, seed: u64) -> Kills {
    let mut fleet = Fleet::start(PROBES);
    let state = format!("state_dir = \"{}/state\"\n", fleet.path().display());
    fleet.write_config(PROBES, |_| KEYS.to_owned(), &state);
    fleet.brevo.state().hold = HOLD;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills = Kills::default();
    for round in 0..rounds {
        let known = fleet.brevo.state().events.len();
        let life = Duration::from_millis(random.u64(..LONGEST_LIFE));
        let lived = live(&mut fleet, life);
        kills.kills += 1;
        fleet.serve();
        kills.compare(&fleet, round, known, &lived);
        // So that the next one begins with a start, too.
        assert_eq!(fleet.stop(), Some(0));
    }
    fleet.serve();
    kills.left_before = messages(&fleet);
    std::thread::sleep(LEFT_OVER);
    for probe in 0..PROBES {
        assert!(fleet.begins(probe), "p{probe} does not begin");
    }
    until_ended(&fleet, PROBES);
    kills.left = messages(&fleet);
    assert_eq!(fleet.stop(), Some(0));
    if kills.left > 0 {
        kills.faults.push(format!("{} messages left", kills.left));
    }
    if kills.cut_off.keys().all(|runs| *runs == 0) {
        kills.faults.push("no kill met a run".to_owned());
    }
    kills
}

/// What the scheduler logged of its runs, until when.
struct Lived {
    /// Each token, and when; in the order of the log.
    logged: Vec<(String, DateTime<Utc>)>,
    killed: DateTime<Utc>,
}

/// Has it run all probes again and again from its start on, and kills it after so long.
fn live(fleet: &mut Fleet, life: Duration) -> Lived {
    let is_over = AtomicBool::new(false);
    let port = fleet.http_port;
    let (lines, killed) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for probe in 0..PROBES {
                    begins(port, probe);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        fleet.begin_to_serve();
        std::thread::sleep(life);
        let killed = Utc::now();
        let lines = fleet.kill();
        is_over.store(true, Ordering::Relaxed);
        (lines, killed)
    });
    // What was on its way to the stand-in is taken or not before anything is compared.
    super::wait_until("the stand-in has heard that the process is gone", || {
        fleet.brevo_is_alone().then_some(())
    });
    let runs = lines.iter().filter(|line| is_run(line));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let logged = runs.map(|run| {
        (
            text(&run["token"]),
            text(&run["timestamp"]).parse().unwrap(),
        )
    });
    Lived {
        logged: logged.collect(),
        killed,
    }
}

impl Kills {
    /// Holds the history against what the stand-in took in this round, and against what was logged.
    fn compare(&mut self, fleet: &Fleet, round: usize, known: usize, lived: &Lived) {
        let broken = |line: &Value| line.to_string().contains("history was broken");
        if fleet.log().iter().any(broken) {
            self.faults.push(format!("kill {round}: the history broke"));
        }
        let history: BTreeSet<String> = history(fleet)
            .into_iter()
            .map(|(token, ..)| token)
            .collect();
        let mut by_probe: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in fleet.brevo.state().events.iter().skip(known) {
            if event.event == "requests" {
                let token = event.subject.rsplit(' ').next().unwrap().to_owned();
                by_probe.entry(event.email.clone()).or_default().push(token);
            }
        }
        let is_logged = |token: &String| lived.logged.iter().any(|(logged, _)| logged == token);
        let mut cut_off = 0;
        for (recipient, tokens) in by_probe {
            self.taken += tokens.len();
            for (place, token) in tokens.iter().enumerate() {
                if history.contains(token) {
                    self.kept += 1;
                } else if is_logged(token) {
                    // See below.
                } else if place + 1 == tokens.len() {
                    cut_off += 1;
                } else {
                    self.faults.push(format!(
                        "kill {round}: {token} to {recipient} is missing, and was not the last"
                    ));
                }
            }
        }
        *self.cut_off.entry(cut_off).or_default() += 1;
        let logged = lived.logged.iter();
        for (token, at) in logged.skip_while(|(token, _)| history.contains(token)) {
            let before = (lived.killed - at).to_std().unwrap_or_default();
            if history.contains(token) {
                self.faults.push(format!(
                    "kill {round}: {token} is there, and what was logged before it is missing"
                ));
            } else if before > LONGEST_UNWRITTEN {
                self.faults.push(format!(
                    "kill {round}: {token} was logged {before:?} before, and is missing"
                ));
            } else {
                self.unwritten += 1;
                self.longest_unwritten = self.longest_unwritten.max(before);
            }
        }
    }

    /// In words.
    pub fn summary(&self) -> String {
        let missing: usize = self.cut_off.iter().map(|(runs, times)| runs * times).sum();
        let mut text = format!(
            "{} kills: the history opened again each time; of {} messages that the stand-in took, the runs of {} are in \
             the history and {missing} were cut off on their way ({:?}: kills by the number of runs that each cut off, of {PROBES} at the \
             most); {} runs had ended and were logged, {:?} before the kill at the most, and were not written yet; {} messages in the mailboxes before the last runs, {} after them\n",
            self.kills,
            self.taken,
            self.kept,
            self.cut_off,
            self.unwritten,
            self.longest_unwritten,
            self.left_before,
            self.left
        );
        for fault in self.faults.iter().take(20) {
            text += &format!("FAULT: {fault}\n");
        }
        text
    }
}
