//! What the scheduler costs, by the number of probes. `tests/bench/serve` builds the release binary and runs
//! this; it ends with an error where a figure misses its target.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark may fail"
)]

#[path = "../common/mod.rs"]
mod common;

use chrono::{DateTime, Utc};
use common::fleet::Fleet;
use common::wait_until;
use mailprobe::demo::brevo::{self, Behaviour};
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// As the issue of a probe in a crowd: each once a minute, spread over it.
const EVERY_MINUTE: &str =
    "schedule = \"* * * * *\"\njitter = \"60s\"\nlate_after = \"20s\"\ntimeout = \"40s\"";

/// A part of the values is at or below this.
fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

fn of(runs: &[Value], field: &str) -> Vec<f64> {
    runs.iter().filter_map(|run| run[field].as_f64()).collect()
}

fn main() -> ExitCode {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let minutes = number("MAILPROBE_BENCH_MINUTES", 10);
    let rows =
        std::env::var("MAILPROBE_BENCH_PROBES").unwrap_or_else(|_| "1 10 100 1000".to_owned());
    println!(
        "{} processors, load {}",
        std::thread::available_parallelism().unwrap(),
        std::fs::read_to_string("/proc/loadavg").unwrap().trim()
    );
    let mut missed = false;
    let mut costs: Vec<Cost> = Vec::new();
    println!(
        "\nEach probe once a minute for {minutes} min, over up to 50 mailboxes of one Dovecot; start, error and bound at \
         the 99th percentile"
    );
    println!(
        "{:>6} {:>6} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8}",
        "probes",
        "runs",
        "delivered",
        "CPU/run",
        "memory",
        "IMAP/run",
        "sessions",
        "start",
        "error",
        "bound",
        "skipped"
    );
    for probes in rows.split_whitespace() {
        let probes = probes.parse().unwrap();
        let (meets, cost) = crowd(probes, minutes);
        missed |= !meets;
        // What the process costs by itself is shared by too few runs below.
        if probes >= 10 {
            costs.push(cost);
        }
    }
    missed |= !are_flat(&costs);
    missed |= !idle();
    ExitCode::from(u8::from(missed))
}

/// What a run costs where there are so many probes.
struct Cost {
    processor: f64,
    commands: f64,
}

/// Whether a run costs no more among many probes than among few.
fn are_flat(costs: &[Cost]) -> bool {
    let Some(few) = costs.first() else {
        return true;
    };
    // What another measurement of the same would differ by.
    let is_flat = |of: fn(&Cost) -> f64| costs.iter().all(|cost| of(cost) <= of(few) * 1.2);
    let flat = (
        is_flat(|cost| cost.processor),
        is_flat(|cost| cost.commands),
    );
    let word = |flat| if flat { "flat" } else { "NOT FLAT" };
    println!(
        "\nA run's processor time from 10 probes on: {}; IMAP commands: {}",
        word(flat.0),
        word(flat.1)
    );
    flat == (true, true)
}

/// One row of the table; whether every target is met, and what a run cost.
fn crowd(probes: usize, minutes: u64) -> (bool, Cost) {
    let mut fleet = Fleet::start(probes.min(50));
    fleet.write_config(probes, |_| EVERY_MINUTE.to_owned(), &fleet.pushgateway());
    fleet.serve();
    // The first minute opens the connections.
    std::thread::sleep(Duration::from_secs(60));
    let stored = fleet.watch_stored();
    let (commands, processor, before) =
        (fleet.imap_commands(), fleet.processor(), fleet.runs().len());
    let mut sessions = 0;
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_secs(10));
        sessions = sessions.max(fleet.most_sessions());
        fleet.get("/metrics").unwrap();
    }
    let runs = fleet.runs().split_off(before);
    let count = runs.len() as f64;
    let commands = (fleet.imap_commands() - commands) as f64 / count;
    let processor = (fleet.processor() - processor) * 1000.0 / count;
    let (_, memory) = fleet.memory();
    let delivered = runs
        .iter()
        .filter(|run| run["verdict"] == "delivered")
        .count();
    let start = percentile(of(&runs, "start_delay_seconds"), 0.99) * 1000.0;
    let bound = percentile(of(&runs, "delivery_error_seconds"), 0.99) * 1000.0;
    let errors = runs.iter().filter_map(|run| {
        let seen_at: DateTime<Utc> = run["seen_at"].as_str()?.parse().unwrap();
        // Of the first ones the storing was before the watch.
        let stored_at = stored.known(run["token"].as_str()?)?;
        Some((seen_at - stored_at).num_microseconds()? as f64 / 1000.0)
    });
    let errors: Vec<f64> = errors.collect();
    let watched = errors.len();
    let error = percentile(errors, 0.99);
    let skipped = fleet.sum("mailprobe_ticks_skipped_total{");
    println!(
        "{probes:>6} {:>6} {delivered:>10} {processor:>6.1} ms {memory:>5.1} MiB {commands:>9.1} {sessions:>9} {start:>6.1} ms {error:>6.1} ms {bound:>6.1} ms {skipped:>8}",
        runs.len()
    );
    let meets = fleet.stop() == Some(0)
        && delivered == runs.len()
        && !runs.is_empty()
        && sessions <= 2
        && start <= 100.0
        && error <= 150.0
        && watched * 10 >= runs.len() * 9
        && memory <= 64.0;
    let cost = Cost {
        processor,
        commands,
    };
    (meets, cost)
}

/// Ten thousand probes that have nothing to do, each with a success and a failure in the history.
fn idle() -> bool {
    const PROBES: usize = 10_000;
    let mut fleet = Fleet::start(50);
    let state_dir = fleet.path().join("state");
    let state = format!("state_dir = \"{}\"\n", state_dir.display());
    let keys = |number| {
        let (minute, hour, day) = (number % 60, 3 + number % 20, number % 7);
        format!("schedule = \"{minute} {hour} * * {day}\"\nlate_after = \"20s\"\ntimeout = \"40s\"")
    };
    fleet.write_config(PROBES, keys, &state);
    fleet.serve();
    let run = |fleet: &Fleet| {
        let ended = fleet.ended();
        wait_until("a run begins", || fleet.begins(0).then_some(()));
        wait_until("it ends", || (fleet.ended() > ended).then_some(()));
    };
    run(&fleet);
    let refusal = brevo::error(401, "unauthorized", "Key not found");
    fleet.brevo.state().then = Some(Behaviour::Answer(refusal));
    run(&fleet);
    fleet.stop();
    let length = multiply(&state_dir.join("history.db"), PROBES);

    let begun = Instant::now();
    fleet.serve();
    let start = begun.elapsed().as_secs_f64();
    let (page, _) = (fleet.get("/metrics").unwrap(), fleet.get("/").unwrap());
    for (series, count) in [("success", PROBES), ("last_success_timestamp", PROBES)] {
        let series = format!("\nemail_roundtrip_{series}{{probe=");
        assert_eq!(page.matches(&series).count(), count, "{series}");
    }
    std::thread::sleep(Duration::from_secs(5));
    let (before, time) = (fleet.processor(), Duration::from_secs(30));
    std::thread::sleep(time);
    let share = (fleet.processor() - before) / time.as_secs_f64() * 100.0;
    let (now, memory) = fleet.memory();
    println!(
        "\n10,000 idle probes, each with a success and a failure in the history (reports of {length:.0} bytes): ready after \
         {start:.2} s (target 1), {memory:.1} MiB at the highest (80), {now:.1} MiB now, {share:.2} % of a processor (1); \
         /metrics is {:.1} MiB",
        page.len() as f64 / 1024.0 / 1024.0
    );
    fleet.stop() == Some(0) && start <= 1.0 && memory <= 80.0 && share <= 1.0
}

/// Gives every probe the runs of the first one; the mean length of a report.
fn multiply(history: &Path, probes: usize) -> f64 {
    let file = rusqlite::Connection::open(history).unwrap();
    let changed = file
        .execute(
            "WITH RECURSIVE more(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM more WHERE number + 1 < ?1)
            INSERT INTO runs (token, probe, ended_at, verdict, success, delivery_seconds, report, gauges, interrupted, seen)
            SELECT token || '-' || number, 'p' || number, ended_at, verdict, success, delivery_seconds,
                replace(report, '\"probe\":\"p0\"', '\"probe\":\"p' || number || '\"'), gauges, interrupted, seen
            FROM runs, more",
            [u32::try_from(probes).unwrap()],
        )
        .unwrap();
    assert_eq!(changed, 2 * (probes - 1), "a success and a failure each");
    file.query_row("SELECT avg(length(report)) FROM runs", [], |row| row.get(0))
        .unwrap()
}
