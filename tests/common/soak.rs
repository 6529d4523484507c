//! Many runs in a row while the servers around the scheduler come and go, and what must hold of them afterwards.

use super::fleet::{Fleet, begins};
use super::weather::{Event, Weather};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Due once a year: every run is asked for.
const KEYS: &str = "schedule = \"0 3 1 1 *\"\nlate_after = \"20s\"\ntimeout = \"30s\"";
/// What a message stays at the stand-in before it goes out: time for something to befall a waiting run.
const HOLD: Duration = Duration::from_millis(100);
/// A run is over by its `timeout` and a minute.
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// Idle connections of HTTP clients are closed before; the API's own last so long at the most.
const REST_LIMIT: Duration = Duration::from_secs(120);
/// Messages are left to other runs until a minute after their deadline.
const LEFT_OVER: Duration = Duration::from_secs(95);

pub struct Settings {
    pub probes: usize,
    pub mailboxes: usize,
    /// Runs after which every connection is open and every list of the last runs is full.
    pub warm_up: usize,
    /// Runs in each part after that.
    pub part: usize,
    pub parts: usize,
    /// Something happens after so many runs, on average.
    pub every: usize,
    pub seed: u64,
}

/// What the process had, in one part of the soak.
#[derive(Debug, Clone, Default)]
pub struct Part {
    pub runs: usize,
    /// MiB in memory while runs went on: every sample.
    pub busy: Vec<f64>,
    /// The same at rest after them.
    pub rest: f64,
    /// Descriptors while runs went on, at the most.
    pub most_descriptors: usize,
    /// At rest, by what they lead to.
    pub descriptors: BTreeMap<&'static str, usize>,
    pub seconds: f64,
}

impl Part {
    /// Half of the samples are at or below this.
    pub fn median(&self) -> f64 {
        let mut busy = self.busy.clone();
        busy.sort_by(f64::total_cmp);
        busy.get(busy.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Everything that was counted.
#[derive(Debug, Default)]
pub struct Soak {
    pub mailboxes: usize,
    pub asked: usize,
    /// Lines of the log.
    pub ended: usize,
    /// Lines of the log, by verdict.
    pub verdicts: BTreeMap<String, usize>,
    /// `mailprobe_runs_total`, by verdict.
    pub counted: BTreeMap<String, usize>,
    /// Runs in the history, by verdict.
    pub kept: BTreeMap<String, usize>,
    /// Messages that the stand-in took, by its own count.
    pub taken: usize,
    /// Runs that say that theirs was taken.
    pub said_taken: usize,
    pub events: BTreeMap<Event, usize>,
    /// The first one is the warm-up.
    pub parts: Vec<Part>,
    /// The causes of runs that were not delivered: how many had each, and what the first of them said.
    pub causes: BTreeMap<String, (usize, String)>,
    /// Messages in any folder at the end.
    pub left: usize,
    pub code: Option<i32>,
    /// What does not hold.
    pub faults: Vec<String>,
}

/// Runs, and counts.
pub fn soak(settings: &Settings) -> Soak {
    let mut fleet = Fleet::start(settings.mailboxes);
    let state = format!("state_dir = \"{}/state\"\n", fleet.path().display());
    let sections = state + &fleet.pushgateway();
    fleet.write_config(settings.probes, |_| KEYS.to_owned(), &sections);
    fleet.brevo.state().hold = HOLD;
    fleet.serve();
    let mut weather = Weather::new(settings.seed);
    let mut soak = Soak {
        mailboxes: settings.mailboxes,
        ..Soak::default()
    };
    for part in 0..=settings.parts {
        let runs = if part == 0 {
            settings.warm_up
        } else {
            settings.part
        };
        let part = run_part(&mut fleet, settings, &mut weather, soak.asked, runs);
        soak.asked += runs;
        println!("{}", part.line(soak.asked));
        soak.parts.push(part);
    }
    soak.events = weather.happened;
    soak.count(&fleet);
    soak.left = sweep(&mut fleet, settings);
    soak.code = fleet.stop();
    soak.judge();
    soak
}

/// So many runs, until all have ended and the process is at rest.
fn run_part(
    fleet: &mut Fleet,
    settings: &Settings,
    weather: &mut Weather,
    before: usize,
    runs: usize,
) -> Part {
    let begun = Instant::now();
    let asked = AtomicUsize::new(0);
    let mut part = Part {
        runs,
        ..Part::default()
    };
    let (port, probes) = (fleet.http_port, settings.probes);
    std::thread::scope(|scope| {
        scope.spawn(|| ask(port, probes, runs, &asked));
        let mut next = weather.below(2 * settings.every);
        while asked.load(Ordering::Relaxed) < runs {
            part.sample(fleet);
            let now = asked.load(Ordering::Relaxed);
            if now >= next {
                weather.strike(fleet);
                next = asked.load(Ordering::Relaxed) + 1 + weather.below(2 * settings.every);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    });
    let end = Instant::now() + RUN_LIMIT;
    while fleet.ended() < before + runs && Instant::now() < end {
        part.sample(fleet);
        std::thread::sleep(Duration::from_millis(50));
    }
    part.seconds = begun.elapsed().as_secs_f64();
    let end = Instant::now() + REST_LIMIT;
    loop {
        part.descriptors = fleet.descriptors_by_kind();
        let is_kept_alive = |kind| part.descriptors.contains_key(kind);
        if !["brevo", "gateway", "http"].into_iter().any(is_kept_alive) || Instant::now() > end {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    part.rest = fleet.memory().0;
    part
}

/// Asks for runs of all probes in turn, until so many have begun.
fn ask(port: u16, probes: usize, runs: usize, asked: &AtomicUsize) {
    // Far longer than any downtime.
    let mut patience = Instant::now() + RUN_LIMIT;
    while asked.load(Ordering::Relaxed) < runs {
        let before = asked.load(Ordering::Relaxed);
        for probe in 0..probes {
            if asked.load(Ordering::Relaxed) < runs && begins(port, probe) {
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
        if asked.load(Ordering::Relaxed) > before {
            patience = Instant::now() + RUN_LIMIT;
        }
        assert!(Instant::now() < patience, "no run begins any more");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Has every mailbox cleaned up by one more run; the messages that are left.
fn sweep(fleet: &mut Fleet, settings: &Settings) -> usize {
    if messages(fleet) == 0 {
        return 0;
    }
    std::thread::sleep(LEFT_OVER);
    let ended = fleet.ended();
    for probe in 0..settings.mailboxes {
        assert!(fleet.begins(probe), "p{probe} does not begin");
    }
    until_ended(fleet, ended + settings.mailboxes);
    messages(fleet)
}

/// Messages in any folder of any mailbox.
pub fn messages(fleet: &Fleet) -> usize {
    let folders = ["INBOX", "Junk", "Trash"].into_iter();
    folders.map(|folder| fleet.messages(folder)).sum()
}

/// Waits until so many runs have ended, as long as a run may take.
pub fn until_ended(fleet: &Fleet, count: usize) {
    let end = Instant::now() + RUN_LIMIT;
    while fleet.ended() < count && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Part {
    fn sample(&mut self, fleet: &Fleet) {
        self.busy.push(fleet.memory().0);
        self.most_descriptors = self.most_descriptors.max(fleet.descriptors());
    }

    /// One row of the table.
    fn line(&self, runs: usize) -> String {
        let most = self.busy.iter().copied().fold(0.0, f64::max);
        let kinds: Vec<String> = self
            .descriptors
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        format!(
            "{runs:>6} runs ({:.1} a second): memory {:.2} MiB at work (median; most {most:.2}), {:.2} at rest; descriptors {} at the most, {} at rest ({})",
            self.runs as f64 / self.seconds,
            self.median(),
            self.rest,
            self.most_descriptors,
            self.descriptors.values().sum::<usize>(),
            kinds.join(", ")
        )
    }
}

impl Soak {
    /// Holds the log, the metrics, the history and the stand-in against each other, run by run.
    fn count(&mut self, fleet: &Fleet) {
        let runs = fleet.runs();
        self.ended = runs.len();
        let mut logged = BTreeMap::new();
        for run in &runs {
            let (token, verdict) = (run["token"].as_str(), run["verdict"].as_str());
            let verdict = verdict.unwrap().to_owned();
            *self.verdicts.entry(verdict.clone()).or_default() += 1;
            if verdict != "delivered" {
                let cause = run["cause"].as_str().unwrap_or("none").to_owned();
                let sentence = run["message"].as_str().unwrap_or_default().to_owned();
                self.causes.entry(cause).or_insert((0, sentence)).0 += 1;
            }
            if logged.insert(token.unwrap().to_owned(), verdict).is_some() {
                self.faults.push(format!("{} ended twice", token.unwrap()));
            }
        }
        for verdict in mailprobe::probe::verdict::Verdict::ALL {
            let series = fleet.sum_of("mailprobe_runs_total{", verdict.name());
            if series > 0.0 {
                let name = verdict.name().to_owned();
                self.counted.insert(name, series as usize);
            }
        }
        let taken = taken(fleet);
        self.taken = taken.len();
        let unique: BTreeSet<&String> = taken.iter().collect();
        if unique.len() < taken.len() {
            self.faults.push("a message was taken twice".to_owned());
        }
        let history = history(fleet);
        for (token, verdict, is_taken) in &history {
            *self.kept.entry(verdict.clone()).or_default() += 1;
            self.said_taken += usize::from(*is_taken);
            if logged.remove(token).as_ref() != Some(verdict) {
                self.faults
                    .push(format!("{token}: {verdict} is not what the log says"));
            }
            if *is_taken != unique.contains(token) {
                self.faults.push(format!(
                    "{token} ({verdict}): taken by the report {is_taken}, by the stand-in {}",
                    !is_taken
                ));
            }
        }
        for (token, verdict) in logged {
            self.faults
                .push(format!("{token} ({verdict}) is not in the history"));
        }
        let known: BTreeSet<&String> = history.iter().map(|(token, ..)| token).collect();
        for token in unique.difference(&known) {
            self.faults
                .push(format!("{token} was taken, and never ended"));
        }
    }

    fn judge(&mut self) {
        let mut must = |holds: bool, what: String| {
            if !holds {
                self.faults.push(what);
            }
        };
        let sum = |counts: &BTreeMap<String, usize>| counts.values().sum::<usize>();
        must(
            self.ended == self.asked,
            format!("{} asked for, {} ended", self.asked, self.ended),
        );
        must(
            sum(&self.counted) == self.asked,
            "counted otherwise".to_owned(),
        );
        must(
            self.counted == self.verdicts,
            "counted other verdicts".to_owned(),
        );
        must(self.kept == self.verdicts, "kept other verdicts".to_owned());
        must(self.taken == self.said_taken, "taken otherwise".to_owned());
        must(self.left == 0, format!("{} messages are left", self.left));
        must(self.code == Some(0), format!("exit code {:?}", self.code));
        for (number, part) in self.parts.iter().enumerate() {
            let of = |part: &Part, kind| part.descriptors.get(kind).copied().unwrap_or(0);
            // A session that was lost is opened again for the next run, not before.
            must(
                of(part, "imap") <= 2 * self.mailboxes,
                format!("part {number}: {} IMAP sessions", of(part, "imap")),
            );
            for kind in ["brevo", "gateway", "http", "elsewhere"] {
                must(
                    of(part, kind) == 0,
                    format!("part {number}: {} of {kind} at rest", of(part, kind)),
                );
            }
            for kind in ["history", "listening", "own", "unconnected"] {
                must(
                    of(part, kind) == of(&self.parts[0], kind),
                    format!("part {number}: {} of {kind} at rest", of(part, kind)),
                );
            }
        }
    }

    /// By how much memory grew from the first part after the warm-up to the last one: at work (median), and at rest.
    pub fn growth(&self) -> (f64, f64) {
        let (first, last) = (&self.parts[1], self.parts.last().unwrap());
        let grown = |before: f64, after: f64| after / before - 1.0;
        (
            grown(first.median(), last.median()),
            grown(first.rest, last.rest),
        )
    }

    /// In words.
    pub fn summary(&self) -> String {
        let (busy, rest) = self.growth();
        let mut text = format!(
            "{} runs asked for, {} ended: {:?}\ncounted by mailprobe_runs_total: {:?}; in the history: {:?}\n\
             messages taken by the stand-in: {}, by the reports: {}\nevents: {:?}\nmessages left: {}; exit code {:?}\n\
             memory from the first part after the warm-up to the last: {:+.1} % at work, {:+.1} % at rest\n",
            self.asked,
            self.ended,
            self.verdicts,
            self.counted,
            self.kept,
            self.taken,
            self.said_taken,
            self.events,
            self.left,
            self.code,
            busy * 100.0,
            rest * 100.0
        );
        for (cause, (count, sentence)) in &self.causes {
            let _ = writeln!(text, "{count} times {cause}, first: {sentence}");
        }
        for fault in self.faults.iter().take(20) {
            let _ = writeln!(text, "FAULT: {fault}");
        }
        text
    }
}

/// The tokens of the messages that the stand-in took, as often as it did.
pub fn taken(fleet: &Fleet) -> Vec<String> {
    let state = fleet.brevo.state();
    let taken = state.events.iter().filter(|one| one.event == "requests");
    taken
        .map(|one| one.subject.rsplit(' ').next().unwrap().to_owned())
        .collect()
}

/// Token and verdict of every run in the history, and whether its report says that the message was taken.
pub fn history(fleet: &Fleet) -> Vec<(String, String, bool)> {
    let file = Connection::open(fleet.path().join("state/history.db")).unwrap();
    let mut query = file
        .prepare(
            "SELECT token, verdict, json_extract(report, '$.accepted_at') IS NOT NULL
                OR json_extract(report, '$.seen_at') IS NOT NULL FROM runs ORDER BY ended_at",
        )
        .unwrap();
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}
