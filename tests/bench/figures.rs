//! The figures of the round trip, measured on real servers and printed as tables. `tests/bench/run` builds the release
//! binary and runs this; it ends with an error where a figure misses its target.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_precision_loss,
    reason = "a benchmark may fail"
)]

#[path = "../common/mod.rs"]
mod common;
mod footprint;
mod listeners;

use common::Site;
use common::crowd::gather;
use common::detection::{Detection, median};
use common::stored::Stored;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

const HELD_BACK: [u64; 8] = [1, 2, 3, 5, 8, 13, 20, 30];

/// What was measured against what it may be at most.
struct Table {
    missed: bool,
}

impl Table {
    fn title(text: &str) {
        println!("\n{text}");
    }

    /// One figure, in this unit.
    fn at_most(&mut self, what: &str, value: f64, target: f64, unit: &str) {
        let is_missed = value > target;
        self.missed |= is_missed;
        let verdict = if is_missed { "MISSED" } else { "ok" };
        println!("  {what:<52} {value:>9.1} {unit:<5} target {target:>7.1}  {verdict}");
    }

    fn has_to_hold(&mut self, what: &str, holds: bool) {
        self.missed |= !holds;
        println!("  {what:<52} {}", if holds { "yes" } else { "NO" });
    }
}

fn main() -> ExitCode {
    let runs = std::env::var("MAILPROBE_BENCH_RUNS").map_or(50, |text| text.parse().unwrap());
    let mut table = Table { missed: false };
    println!(
        "{} processors, load {}, {}",
        std::thread::available_parallelism().unwrap(),
        std::fs::read_to_string("/proc/loadavg")
            .unwrap()
            .split(' ')
            .next()
            .unwrap(),
        common::binary().display()
    );
    immediate(&mut table, runs);
    held_back(&mut table);
    crowded(&mut table, runs);
    side_by_side(&mut table, runs);
    listeners::measure(&mut table);
    footprint::measure(&mut table);
    if table.missed {
        println!("\nsome figures miss their targets");
        return ExitCode::FAILURE;
    }
    println!("\nevery figure meets its target");
    ExitCode::SUCCESS
}

fn site() -> (Site, Stored) {
    let mut site = Site::start();
    site.with(|settings| {
        settings.late_after = "60s".to_owned();
        settings.timeout = "90s".to_owned();
    });
    // The first delivery makes the Maildir.
    site.run().assert("delivered", None, 0);
    let stored = Stored::watch(&[site.dovecot.maildir()]);
    (site, stored)
}

/// The share of the values, sorted, that 48 of 50 stand for.
fn almost_all(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() * 48).div_ceil(50) - 1]
}

fn immediate(table: &mut Table, runs: usize) {
    Table::title(&format!(
        "Detection: `seen_at` against the time that Dovecot stored the message, {runs} runs"
    ));
    let (site, stored) = site();
    let found: Vec<_> = (0..runs)
        .map(|_| Detection::of_run(&site, &stored, Duration::ZERO))
        .collect();
    let errors = || found.iter().map(|one| one.error * 1000.0);
    table.at_most("error, median", median(errors()), 10.0, "ms");
    table.at_most("error, 48 of 50", almost_all(errors()), 50.0, "ms");
    let bound = median(found.iter().map(|one| one.bound * 1000.0));
    table.at_most("bound in the report, median", bound, 25.0, "ms");
    let inside = found.iter().all(Detection::is_inside_its_bound);
    table.has_to_hold("every error inside its bound + 5 ms", inside);
    let stored_after = median(found.iter().map(|one| one.stored_after * 1000.0));
    println!("  stored after the start of the send, median {stored_after:>19.1} ms");
}

fn held_back(table: &mut Table) {
    Table::title("Deliveries held back");
    println!(
        "  {:>8}  {:>9}  {:>9}  {:>12}",
        "stored", "error", "bound", "bound may be"
    );
    let (site, stored) = site();
    let mut inside = true;
    let mut small = true;
    for seconds in HELD_BACK {
        let one = Detection::of_run(&site, &stored, Duration::from_secs(seconds));
        // Two round trips are far below a millisecond here, and longer gaps are filled with IDLE.
        let most = 0.025_f64.max(0.02 * one.stored_after) + 0.6;
        inside &= one.is_inside_its_bound();
        small &= one.bound <= most;
        println!(
            "  {:>6.2} s  {:>6.1} ms  {:>6.1} ms  {:>9.1} ms",
            one.stored_after,
            one.error * 1000.0,
            one.bound * 1000.0,
            most * 1000.0
        );
    }
    table.has_to_hold("every error inside its bound + 5 ms", inside);
    table.has_to_hold("every bound as small as it has to be", small);
}

fn crowded(table: &mut Table, runs: usize) {
    Table::title(&format!(
        "A mailbox with 10,000 messages of others, {runs} runs"
    ));
    let site = Site::start();
    gather(&site.dovecot, 10_000);
    let messages = || -> BTreeSet<String> { site.dovecot.messages("INBOX").into_iter().collect() };
    let before = messages();
    let mut bounds = Vec::new();
    for _ in 0..runs {
        let report = site.run().assert("delivered", None, 0);
        bounds.push(report["delivery_error_seconds"].as_f64().unwrap() * 1000.0);
    }
    table.at_most("bound in the report, median", median(bounds), 25.0, "ms");
    table.has_to_hold("exactly as before, flags included", messages() == before);
}

fn side_by_side(table: &mut Table, runs: usize) {
    Table::title(&format!(
        "Two probes at once in one mailbox, {runs} runs each"
    ));
    let mut site = Site::start();
    site.with(|settings| settings.second_probe = true);
    let mut delivered = 0;
    for _ in 0..runs {
        let reports = site.run().reports();
        let fine = reports.iter().filter(|report| {
            report["verdict"] == "delivered" && report["warnings"] == serde_json::json!([])
        });
        delivered += fine.count();
    }
    table.has_to_hold("all delivered, without a warning", delivered == 2 * runs);
    let left = site.dovecot.messages("INBOX");
    table.has_to_hold("nothing left behind", left.is_empty());
}
