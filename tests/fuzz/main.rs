//! Readers of what strangers wrote, given what nobody would write: messages of the corpus and single fields, mutated.
//!
//! Every execution has a number, and all chance in it comes from that: a failing one is run again alone by
//! `MAILPROBE_FUZZ_SEED=<number> MAILPROBE_FUZZ_EXECUTIONS=1 cargo test --test fuzz`. Ten million of them, with the
//! coverage that they reach: `tests/fuzz/run`.

// A test that fails panics; clippy allows that in test functions by itself, in their helpers by this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod inputs;
mod readings;

use inputs::{Chance, Corpus, Input};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// In a plain `cargo test`.
const EXECUTIONS: u64 = 200_000;
/// The number of the first one.
const SEED: u64 = 0;
/// None may take longer; the largest inputs are the whole header that is read at the most.
const LONGEST: Duration = if cfg!(debug_assertions) {
    Duration::from_secs(2)
} else {
    Duration::from_millis(200)
};
/// What a header block of 64 KiB may take, where the optimiser was at work.
const LONGEST_BLOCK: Duration = if cfg!(debug_assertions) {
    Duration::from_millis(200)
} else {
    Duration::from_millis(2)
};
/// Of a failing input, so much is printed.
const PRINTED: usize = 8 * 1024;

fn variable(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => otherwise,
    }
}

/// How long the reading takes; a panic in it names the execution and what it read.
fn execute(number: u64, corpus: &Corpus) -> Duration {
    let input = Input::of(&mut Chance::new(number), corpus);
    let once = || {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| readings::check(&input, corpus)));
        (begun.elapsed(), outcome)
    };
    let (mut took, mut outcome) = once();
    // The machine may have been busy with something else: what is slow is slow again.
    for _ in 0..4 {
        if outcome.is_ok() && took > LONGEST {
            let again = once();
            took = took.min(again.0);
            outcome = again.1;
        }
    }
    if outcome.is_err() || took > LONGEST {
        let bytes = &input.bytes[..input.bytes.len().min(PRINTED)];
        panic!(
            "execution {number} ({:?}, {} bytes, {took:?}) fails; \
             MAILPROBE_FUZZ_SEED={number} MAILPROBE_FUZZ_EXECUTIONS=1 runs it alone. It begins:\n{}",
            input.kind,
            input.bytes.len(),
            bytes.escape_ascii()
        );
    }
    took
}

#[test]
fn no_reader_panics_or_leaves_its_bounds_whatever_it_reads() {
    let corpus = Corpus::load();
    let seed = variable("MAILPROBE_FUZZ_SEED", SEED);
    let executions = variable("MAILPROBE_FUZZ_EXECUTIONS", EXECUTIONS);
    let threads = variable("MAILPROBE_FUZZ_THREADS", 2);
    let begun = Instant::now();
    let run = |thread: u64| {
        let numbers = (seed..seed + executions).skip(usize::try_from(thread).unwrap());
        numbers
            .step_by(usize::try_from(threads).unwrap())
            .map(|number| (execute(number, &corpus), number))
            .max()
    };
    let slowest = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        let done = running
            .into_iter()
            .map(|thread| thread.join().expect("the execution is named above"));
        done.max().flatten()
    });
    let (took, number) = slowest.expect("at least one execution");
    println!(
        "{executions} executions from {seed} on in {:.1} s, the slowest {:.2} ms (execution {number})",
        begun.elapsed().as_secs_f64(),
        took.as_secs_f64() * 1000.0
    );
}

#[test]
fn a_header_block_of_64_kib_is_read_within_two_milliseconds() {
    let corpus = Corpus::load();
    for (what, block) in readings::blocks() {
        let mut took: Vec<Duration> = (0..if cfg!(debug_assertions) { 5 } else { 501 })
            .map(|_| {
                let begun = Instant::now();
                readings::arrival(&block, &corpus);
                begun.elapsed()
            })
            .collect();
        took.sort();
        let median = took[took.len() / 2];
        println!(
            "{} bytes of {what}: median of {} readings {:.3} ms",
            block.len(),
            took.len(),
            median.as_secs_f64() * 1000.0
        );
        // The fastest: what else the machine does is not measured, and what grows with the square is slow each time.
        let fastest = took[0];
        assert!(fastest <= LONGEST_BLOCK, "{what}: {fastest:?}");
    }
}
