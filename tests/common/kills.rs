//! The scheduler killed at random moments, and what its history and the mailboxes hold afterwards.

use super::fleet::{Fleet, begins, is_run};
use super::soak::{history, messages, until_ended};
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

/// Everything that was counted.
#[derive(Debug, Default)]
pub struct Kills {
    pub kills: usize,
    /// Messages that the stand-in took.
    pub taken: usize,
    /// Of them, those whose run is in the history.
    pub kept: usize,
    /// Runs that the kill cut off, by the number of them in one kill.
    pub cut_off: BTreeMap<usize, usize>,
    /// Of them, those that the log had told of already.
    pub logged: usize,
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
        let logged = live(&mut fleet, life);
        kills.kills += 1;
        fleet.serve();
        kills.compare(&fleet, round, known, &logged);
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

/// Has it run all probes again and again from its start on, and kills it after so long; the tokens that it logged.
fn live(fleet: &mut Fleet, life: Duration) -> BTreeSet<String> {
    let is_over = AtomicBool::new(false);
    let port = fleet.http_port;
    let lines = std::thread::scope(|scope| {
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
        let lines = fleet.kill();
        is_over.store(true, Ordering::Relaxed);
        lines
    });
    // What was on its way to the stand-in is taken or not before anything is compared.
    super::wait_until("the stand-in has heard that the process is gone", || {
        fleet.brevo_is_alone().then_some(())
    });
    let runs = lines.iter().filter(|line| is_run(line));
    runs.map(|run| run["token"].as_str().unwrap().to_owned())
        .collect()
}

impl Kills {
    /// Holds the history against what the stand-in took in this round, and against what was logged.
    fn compare(&mut self, fleet: &Fleet, round: usize, known: usize, logged: &BTreeSet<String>) {
        let broken = |line: &serde_json::Value| line.to_string().contains("history was broken");
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
        let mut cut_off = BTreeSet::new();
        for (recipient, tokens) in by_probe {
            self.taken += tokens.len();
            for (place, token) in tokens.iter().enumerate() {
                if history.contains(token) {
                    self.kept += 1;
                } else if place + 1 == tokens.len() {
                    cut_off.insert(token.clone());
                } else {
                    self.faults.push(format!(
                        "kill {round}: {token} to {recipient} is missing, and was not the last"
                    ));
                }
            }
        }
        for token in logged {
            if cut_off.contains(token) {
                self.logged += 1;
            } else if !history.contains(token) {
                self.faults
                    .push(format!("kill {round}: {token} was logged, and is missing"));
            }
        }
        *self.cut_off.entry(cut_off.len()).or_default() += 1;
    }

    /// In words.
    pub fn summary(&self) -> String {
        let missing: usize = self.cut_off.iter().map(|(runs, times)| runs * times).sum();
        let mut text = format!(
            "{} kills: the history opened again each time; of {} messages that the stand-in took, the runs of {} are in \
             the history and {missing} were cut off ({:?}: kills by the number of runs that each cut off, of {PROBES} at the most), \
             {} of these told of in the log before; {} messages in the mailboxes before the last runs, {} after them\n",
            self.kills,
            self.taken,
            self.kept,
            self.cut_off,
            self.logged,
            self.left_before,
            self.left
        );
        for fault in self.faults.iter().take(20) {
            text += &format!("FAULT: {fault}\n");
        }
        text
    }
}
