//! Pieces of what `tests/bench/soak` does at length.

use crate::common::kills::kills;
use crate::common::soak::{Settings, soak};

#[test]
#[ignore = "needs servers: run tests/run"]
fn three_hundred_runs_through_restarts_of_every_server_are_each_counted_once() {
    let soak = soak(&Settings {
        probes: 40,
        mailboxes: 5,
        warm_up: 100,
        part: 200,
        parts: 1,
        every: 14,
        seed: 300,
    });
    assert_eq!(soak.faults, Vec::<String>::new(), "{}", soak.summary());
    assert_eq!(soak.events.len(), 7, "{}", soak.summary());
    // Lists of the last runs still fill up.
    let (_, rest) = (&soak.parts[0], &soak.parts[1]);
    assert!(rest.rest < soak.parts[0].rest + 4.0, "{}", soak.summary());
}

#[test]
#[ignore = "needs servers: run tests/run"]
fn killed_ten_times_it_loses_the_runs_in_flight_at_the_most_and_their_messages_are_deleted_later() {
    let kills = kills(10, 10);
    assert_eq!(kills.faults, Vec::<String>::new(), "{kills:#?}");
}
