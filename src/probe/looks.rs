//! How long to wait between two looks into a folder.
//!
//! Latency is what a probe is for, and the gap between looks is its error. So the gap grows with the time that has
//! passed, in proportion: a message that took a second is measured to twenty milliseconds, one that took ten minutes to
//! twelve seconds, and a run of fifteen minutes takes some 430 looks.

use std::time::Duration;

/// Looks into one folder in one run at the most.
pub const MOST_LOOKS: u32 = 500;

const SHORTEST: Duration = Duration::from_millis(10);
/// However little is at stake, a folder that somebody waits in is looked at this often.
pub const LONGEST: Duration = Duration::from_secs(30);
/// Providers that count commands, and servers that ask for fewer, are asked no more often than this.
pub const GENTLE: Duration = Duration::from_secs(5);
/// The gap is the time since the send divided by this: two per cent.
const PROPORTION: u32 = 50;
/// So many looks are left over for the time that remains, however long it is.
const RATIONED: u32 = 50;
/// Looks that IDLE may ask for before the gap is over. More would use up, in a crowd of foreign mail, what is kept for
/// the rest of the wait.
const MOST_EARLY: u32 = 40;
/// Between such looks.
const SHORTEST_EARLY: Duration = Duration::from_millis(100);
const SHORTEST_EARLY_GENTLE: Duration = Duration::from_secs(1);
/// Networks forget a connection on which nothing is said for longer.
pub const LONGEST_IDLE: Duration = Duration::from_secs(240);
/// Below this, starting and ending IDLE costs more than it tells: Dovecot speaks half a second late.
const IDLE_FROM: Duration = Duration::from_secs(2);

/// What the next gap depends on.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// Since the start of the send; none while nothing is under way.
    pub since_send: Option<Duration>,
    /// How long the server takes to answer.
    pub round_trip: Duration,
    /// Looks made so far.
    pub looks: u32,
    /// Until the run gives up.
    pub time_left: Duration,
    /// The server counts commands, or asked for fewer.
    pub gentle: bool,
}

/// The time from the sending of one look to the sending of the next.
#[must_use]
pub fn gap(at: &Circumstances) -> Duration {
    let Some(since) = at.since_send else {
        return LONGEST;
    };
    let mut gap = SHORTEST
        .max(since / PROPORTION)
        .max(at.round_trip * 2)
        .min(LONGEST);
    if at.gentle {
        gap = gap.max(GENTLE);
    }
    let left = MOST_LOOKS.saturating_sub(at.looks);
    if left <= RATIONED {
        gap = gap.max(at.time_left / left.max(1));
    }
    gap
}

/// The time from the sending of one look to the sending of the next, where IDLE announces mail before the gap is over;
/// `early` looks were made so until now.
#[must_use]
pub fn gap_when_woken(at: &Circumstances, early: u32) -> Duration {
    let shortest = if at.gentle {
        SHORTEST_EARLY_GENTLE
    } else {
        SHORTEST_EARLY
    };
    let gap = gap(at);
    if at.since_send.is_some() && early < MOST_EARLY && at.looks + 1 < MOST_LOOKS {
        return shortest.min(gap);
    }
    gap
}

/// Whether to spend a gap in IDLE, so that the server can end it early.
#[must_use]
pub fn is_worth_idling(gap: Duration) -> bool {
    gap >= IDLE_FROM
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(since: f64) -> Circumstances {
        Circumstances {
            since_send: Some(Duration::from_secs_f64(since)),
            round_trip: Duration::from_millis(1),
            looks: 0,
            time_left: Duration::from_secs(900),
            gentle: false,
        }
    }

    #[test]
    fn the_gap_is_two_per_cent_of_the_time_between_ten_milliseconds_and_thirty_seconds() {
        for (since, milliseconds) in [
            (0.0, 10),
            (0.4, 10),
            (1.0, 20),
            (60.0, 1200),
            (900.0, 18_000),
            (7200.0, 30_000),
        ] {
            assert_eq!(
                gap(&at(since)),
                Duration::from_millis(milliseconds),
                "after {since} s"
            );
        }
    }

    #[test]
    fn a_slow_server_is_asked_every_second_round_trip_at_the_most() {
        let slow = Circumstances {
            round_trip: Duration::from_millis(300),
            ..at(1.0)
        };
        assert_eq!(gap(&slow), Duration::from_millis(600));
    }

    #[test]
    fn a_server_that_counts_commands_is_asked_every_five_seconds_at_the_most() {
        let gentle = Circumstances {
            gentle: true,
            ..at(1.0)
        };
        assert_eq!(gap(&gentle), Duration::from_secs(5));
    }

    #[test]
    fn nothing_under_way_means_the_longest_gap() {
        let idle = Circumstances {
            since_send: None,
            ..at(0.0)
        };
        assert_eq!(gap(&idle), LONGEST);
    }

    #[test]
    fn no_wait_takes_more_than_five_hundred_looks() {
        for timeout in [1.0, 60.0, 900.0, 3600.0, 86_400.0] {
            let mut since = 0.0;
            let mut looks = 0;
            while since < timeout {
                let gap = gap(&Circumstances {
                    looks,
                    time_left: Duration::from_secs_f64(timeout - since),
                    ..at(since)
                });
                assert!(gap >= SHORTEST);
                since += gap.as_secs_f64();
                looks += 1;
            }
            // The one beyond is the last look, at the timeout itself.
            assert!(looks <= MOST_LOOKS + 1, "{looks} looks in {timeout} s");
        }
    }

    #[test]
    fn a_crowd_that_wakes_idle_all_the_time_costs_neither_the_gap_nor_the_limit() {
        for timeout in [900.0, 3600.0, 86_400.0] {
            let (mut since, mut looks, mut early) = (0.0, 0, 0);
            while since < timeout {
                let here = Circumstances {
                    looks,
                    time_left: Duration::from_secs_f64(timeout - since),
                    ..at(since)
                };
                let whole = gap(&here);
                let next = if is_worth_idling(whole) {
                    gap_when_woken(&here, early)
                } else {
                    whole
                };
                early += u32::from(next < whole);
                since += next.as_secs_f64();
                looks += 1;
                if timeout <= 900.0 {
                    assert!(
                        whole.as_secs_f64() <= (since / 50.0).max(0.01),
                        "{whole:?} at {since}"
                    );
                }
            }
            assert!(looks <= MOST_LOOKS + 1, "{looks} looks in {timeout} s");
            assert_eq!(early, MOST_EARLY);
        }
    }

    #[test]
    fn a_server_that_counts_commands_is_asked_again_after_a_second_at_the_soonest() {
        let gentle = Circumstances {
            gentle: true,
            ..at(200.0)
        };
        assert_eq!(gap_when_woken(&gentle, 0), Duration::from_secs(1));
        assert_eq!(gap_when_woken(&at(200.0), 0), Duration::from_millis(100));
        assert_eq!(
            gap_when_woken(&at(200.0), MOST_EARLY),
            Duration::from_secs(4)
        );
    }

    #[test]
    fn a_quarter_of_an_hour_is_watched_to_the_full_without_rationing() {
        let mut since: f64 = 0.0;
        let mut looks = 0;
        while since < 900.0 {
            since += gap(&at(since)).as_secs_f64();
            looks += 1;
        }
        assert!((380..=450).contains(&looks), "{looks} looks");
    }
}
