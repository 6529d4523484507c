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
use serde_json::Value;
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
        missed |= !crowd(probes.parse().unwrap(), minutes);
    }
    missed |= !idle();
    ExitCode::from(u8::from(missed))
}

/// One row of the table; whether every target is met.
fn crowd(probes: usize, minutes: u64) -> bool {
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
    fleet.stop() == Some(0)
        && delivered == runs.len()
        && !runs.is_empty()
        && sessions <= 2
        && start <= 100.0
        && error <= 150.0
        && watched * 10 >= runs.len() * 9
        && memory <= 64.0
}

/// Ten thousand probes that have nothing to do.
fn idle() -> bool {
    let mut fleet = Fleet::start(50);
    fleet.write_config(
        10_000,
        |number| {
            format!(
                "schedule = \"{} {} * * {}\"",
                number % 60,
                3 + number % 20,
                number % 7
            )
        },
        "",
    );
    let begun = Instant::now();
    fleet.serve();
    let start = begun.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(5));
    let (before, time) = (fleet.processor(), Duration::from_secs(30));
    std::thread::sleep(time);
    let share = (fleet.processor() - before) / time.as_secs_f64() * 100.0;
    let (_, memory) = fleet.memory();
    println!(
        "\n10,000 idle probes: ready after {start:.2} s (target 1), {memory:.1} MiB (80), {share:.2} % of a processor (1)"
    );
    fleet.stop() == Some(0) && start <= 1.0 && memory <= 80.0 && share <= 1.0
}
