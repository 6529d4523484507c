//! What the schedules ask for, held against what accounts and monitors allow.

use super::schedule::Schedule;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// A week has every kind of day that a schedule can name.
const DAYS: usize = 7;
/// A minute's schedule fires so often in them, and nothing fires more often.
const MOST_FIRES: usize = 7 * 24 * 60;
/// What a monitor waits beyond a period and a timeout: connecting, clean-up, and pushing.
const MARGIN: Duration = Duration::from_secs(60);

/// How a day's messages fit into an account's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// With something to spare.
    Fits,
    /// With less than a tenth to spare, which all other mail of the account has to share.
    Tight,
    /// Not at all: the last runs of the day are refused.
    Exceeds,
}

/// The most messages that these schedules send on any of the seven days (UTC) after the one of `now`.
#[must_use]
pub fn messages_a_day<'s>(
    schedules: impl IntoIterator<Item = &'s Schedule>,
    now: DateTime<Utc>,
) -> u32 {
    let mut days = [0_u32; DAYS];
    let Some(midnight) = now
        .date_naive()
        .succ_opt()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
    else {
        return 0;
    };
    let midnight = midnight.and_utc();
    for schedule in schedules {
        // A fire at midnight belongs to the day.
        let first = schedule.next_after(midnight - TimeDelta::seconds(1));
        let fires = std::iter::successors(first, |at| schedule.next_after(*at));
        for fire in fires.take(MOST_FIRES) {
            let day = usize::try_from((fire - midnight).num_days()).ok();
            let Some(count) = day.and_then(|day| days.get_mut(day)) else {
                break;
            };
            *count += 1;
        }
    }
    days.into_iter().max().unwrap_or_default()
}

/// Holds a day's messages against what the account may send a day.
#[must_use]
pub fn fit(messages: u32, daily_limit: u32) -> Fit {
    if messages > daily_limit {
        Fit::Exceeds
    } else if messages > daily_limit - daily_limit / 10 {
        Fit::Tight
    } else {
        Fit::Fits
    }
}

/// What a push monitor's heartbeat interval has to be at least: a run may begin a longest period after the last one, and
/// push only when its timeout is over. None for a schedule that fires once.
#[must_use]
pub fn heartbeat_interval(
    schedule: &Schedule,
    timeout: Duration,
    from: DateTime<Utc>,
) -> Option<Duration> {
    let period = schedule.gaps(from)?.longest.to_std().ok()?;
    Some(period + timeout + MARGIN)
}

/// The shortest time between two runs where it is shorter than the timeout: then runs can overlap.
#[must_use]
pub fn overlap(schedule: &Schedule, timeout: Duration, from: DateTime<Utc>) -> Option<TimeDelta> {
    let shortest = schedule.gaps(from)?.shortest;
    shortest
        .to_std()
        .is_ok_and(|period| timeout > period)
        .then_some(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text, Tz::UTC).unwrap()
    }

    fn wednesday() -> DateTime<Utc> {
        "2026-11-25T03:30:00Z".parse().unwrap()
    }

    #[test]
    fn the_fullest_day_of_the_week_counts() {
        for (texts, expected) in [
            (vec!["*/20 * * * *"], 72),
            (vec!["*/5 * * * *"], 288),
            (vec!["* * * * *"], 1440),
            (vec!["*/20 * * * *", "5 8-18 * * mon-fri"], 83),
            // On Wednesdays nothing, and 288 on the Sunday to come.
            (vec!["*/5 * * * sun"], 288),
            (vec!["0 4 1 1 *"], 0),
        ] {
            let schedules: Vec<Schedule> = texts.iter().map(|text| schedule(text)).collect();
            assert_eq!(
                messages_a_day(&schedules, wednesday()),
                expected,
                "{texts:?}"
            );
        }
    }

    #[test]
    fn a_limit_that_leaves_a_tenth_fits_and_one_that_leaves_nothing_does_not() {
        assert_eq!(fit(72, 300), Fit::Fits);
        assert_eq!(fit(270, 300), Fit::Fits);
        assert_eq!(fit(288, 300), Fit::Tight);
        assert_eq!(fit(300, 300), Fit::Tight);
        assert_eq!(fit(301, 300), Fit::Exceeds);
        assert_eq!(fit(1, 1), Fit::Fits);
    }

    #[test]
    fn a_heartbeat_interval_covers_period_timeout_and_a_minute() {
        let timeout = Duration::from_secs(15 * 60);
        let interval = heartbeat_interval(&schedule("*/20 * * * *"), timeout, wednesday());
        assert_eq!(interval, Some(Duration::from_secs(36 * 60)));
        // The night between two runs of a working day is the longest, and the weekend longer.
        let office = schedule("0 8-18 * * mon-fri");
        let interval = heartbeat_interval(&office, timeout, wednesday());
        assert_eq!(interval, Some(Duration::from_secs(62 * 3600 + 16 * 60)));
    }

    #[test]
    fn a_timeout_beyond_the_shortest_period_overlaps() {
        let every = schedule("*/20 * * * *");
        let minutes = |count: u64| Duration::from_secs(count * 60);
        assert_eq!(overlap(&every, minutes(20), wednesday()), None);
        assert_eq!(
            overlap(&every, minutes(21), wednesday()),
            Some(TimeDelta::minutes(20))
        );
    }
}
