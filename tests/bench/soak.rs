//! Many runs in a row while the servers around the scheduler come and go. `tests/bench/soak` builds the release binary
//! and runs this; it ends with an error where something does not hold.

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

use common::kills::kills;
use common::soak::{Settings, soak};
use std::process::ExitCode;

/// Parts after the warm-up, which is one more: memory of the first is held against that of the last.
const PARTS: usize = 4;
/// So much memory may grow between them.
const FLAT: f64 = 0.05;

fn main() -> ExitCode {
    let number = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let (runs, rounds) = (
        number("MAILPROBE_BENCH_SOAK", 20_000),
        number("MAILPROBE_BENCH_KILLS", 50),
    );
    let seed = number("MAILPROBE_BENCH_SEED", 1) as u64;
    println!(
        "{} processors, load {}; seed {seed}",
        std::thread::available_parallelism().unwrap(),
        std::fs::read_to_string("/proc/loadavg").unwrap().trim()
    );
    let mut holds = true;
    if rounds > 0 {
        let kills = kills(rounds, seed);
        println!("{}", kills.summary());
        holds &= kills.faults.is_empty();
    }
    if runs > 0 {
        holds &= soaked(runs, seed);
    }
    ExitCode::from(u8::from(!holds))
}

/// So many runs; whether all that has to hold does.
fn soaked(runs: usize, seed: u64) -> bool {
    let part = runs / (PARTS + 1);
    let soak = soak(&Settings {
        probes: 100,
        mailboxes: 20,
        warm_up: runs - PARTS * part,
        part,
        parts: PARTS,
        every: 60,
        seed,
    });
    print!("{}", soak.summary());
    let (busy, rest) = soak.growth();
    soak.faults.is_empty() && busy <= FLAT && rest <= FLAT
}
