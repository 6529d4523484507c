//! How well the times of a report are known. `tests/run` runs these alone; `tests/bench/run` has the whole tables.

use crate::common::Site;
use crate::common::detection::{Detection, median};
use crate::common::stored::Stored;
use std::time::Duration;

fn site() -> (Site, Stored) {
    let site = Site::start();
    // The first delivery makes the Maildir.
    site.run().assert("delivered", None, 0);
    let stored = Stored::watch(&[site.dovecot.maildir()]);
    (site, stored)
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn ten_messages_are_seen_within_milliseconds_of_being_stored() {
    let (site, stored) = site();
    let runs: Vec<_> = (0..10)
        .map(|_| Detection::of_run(&site, &stored, Duration::ZERO))
        .collect();
    assert!(runs.iter().all(Detection::is_inside_its_bound), "{runs:#?}");
    // A build without optimisation, on whatever machine this is: the real figures are the benchmark's.
    assert!(
        median(runs.iter().map(|run| run.error)) <= 0.025,
        "{runs:#?}"
    );
    assert!(
        median(runs.iter().map(|run| run.bound)) <= 0.060,
        "{runs:#?}"
    );
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn messages_that_are_held_back_are_seen_within_the_bound_that_the_report_states() {
    let (site, stored) = site();
    let runs: Vec<_> = [700, 1500, 3100, 6300]
        .map(|hold| Detection::of_run(&site, &stored, Duration::from_millis(hold)))
        .into();
    assert!(runs.iter().all(Detection::is_inside_its_bound), "{runs:#?}");
    for run in &runs {
        // Two hundredths of the wait, and what IDLE adds where it fills the gap.
        let most = 0.025_f64.max(0.02 * run.stored_after) + 0.06 + 0.6;
        assert!(run.bound <= most, "{run:?} of {runs:#?}");
    }
}
