//! What the schedules ask for, held against what accounts and monitors allow.

use super::schedule::Schedule;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use std::fmt;
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
fn messages_a_day<'s>(
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

/// The messages of a sender's schedules beside what its account may send. As text, the sentence that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most messages of a day.
    pub messages: u32,
    /// What the account may send a day.
    pub daily_limit: u32,
}

impl Budget {
    /// The budget of each sender with a limit, of (sender, its limit, schedule) for each probe.
    #[must_use]
    pub fn of_each<'p>(
        probes: impl Iterator<Item = (&'p str, u32, &'p Schedule)>,
        now: DateTime<Utc>,
    ) -> BTreeMap<&'p str, Self> {
        let mut senders: BTreeMap<_, (u32, Vec<&Schedule>)> = BTreeMap::new();
        for (sender, daily_limit, schedule) in probes {
            let (limit, schedules) = senders.entry(sender).or_default();
            *limit = daily_limit;
            schedules.push(schedule);
        }
        let budget = |(daily_limit, schedules)| Self {
            messages: messages_a_day(schedules, now),
            daily_limit,
        };
        senders
            .into_iter()
            .map(|(sender, asked)| (sender, budget(asked)))
            .collect()
    }

    /// How the messages fit into the limit.
    #[must_use]
    pub fn fit(self) -> Fit {
        if self.messages > self.daily_limit {
            Fit::Exceeds
        } else if self.messages > self.daily_limit - self.daily_limit / 10 {
            Fit::Tight
        } else {
            Fit::Fits
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let follows = match self.fit() {
            Fit::Fits => "",
            Fit::Tight => ": little is left for other mail of the account",
            Fit::Exceeds => ": the last runs of the day will be refused",
        };
        let Self {
            messages,
            daily_limit,
        } = self;
        write!(
            f,
            "the schedules send {messages} of `daily_limit` {daily_limit} messages a day{follows}"
        )
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
        for (messages, daily_limit, expected) in [
            (72, 300, Fit::Fits),
            (270, 300, Fit::Fits),
            (288, 300, Fit::Tight),
            (300, 300, Fit::Tight),
            (301, 300, Fit::Exceeds),
            (1, 1, Fit::Fits),
        ] {
            let budget = Budget {
                messages,
                daily_limit,
            };
            assert_eq!(budget.fit(), expected, "{budget}");
        }
    }

    #[test]
    fn the_probes_of_a_sender_share_its_budget() {
        let (often, rarely) = (schedule("*/5 * * * *"), schedule("0 * * * *"));
        let probes = [
            ("b", 300, &often),
            ("a", 300, &often),
            ("b", 300, &rarely),
            ("c", 24, &rarely),
            ("d", 100, &rarely),
        ];
        let told: Vec<String> = Budget::of_each(probes.into_iter(), wednesday())
            .iter()
            .map(|(sender, budget)| format!("{sender}: {budget}"))
            .collect();
        assert_eq!(
            told,
            [
                "a: the schedules send 288 of `daily_limit` 300 messages a day: little is left for other mail of the account",
                "b: the schedules send 312 of `daily_limit` 300 messages a day: the last runs of the day will be refused",
                "c: the schedules send 24 of `daily_limit` 24 messages a day: little is left for other mail of the account",
                "d: the schedules send 24 of `daily_limit` 100 messages a day",
            ]
        );
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
