//! Five-field crontab schedules: crontab's weekday numbers, its OR rule for the two day fields, and what it does in
//! the nights in which clocks change (as in Vixie cron, whose rules Debian's `crontab(5)` documents).
//!
//! The `cron` crate counts Sunday as 1, ANDs the day fields and loses the repeated hour of autumn; here it only walks
//! wall-clock times, after a translation.

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// No clock change is larger, not even one that takes an island across the date line; and no two are so close together.
const LARGEST_SHIFT: TimeDelta = TimeDelta::hours(26);

/// A crontab schedule in a time zone. Cheap to clone: thousands of probes may share one.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    crontab: String,
    zone: Tz,
    robfig: Option<String>,
    /// Two where both day fields are restricted: crontab fires when either matches.
    walks: Arc<[cron::Schedule]>,
    /// Minute or hour begins with `*`: such a schedule follows elapsed time through a clock change, others the clock.
    is_interval: bool,
}

/// The shortest and the longest time between two fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gaps {
    /// The shortest.
    pub shortest: TimeDelta,
    /// The longest.
    pub longest: TimeDelta,
}

struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// Names of the values, from `first` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        first: 0,
        last: 59,
        names: &[],
    },
    Field {
        name: "hour",
        first: 0,
        last: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        first: 1,
        last: 31,
        names: &[],
    },
    Field {
        name: "month",
        first: 1,
        last: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        name: "weekday",
        first: 0,
        last: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"],
    },
];

impl Schedule {
    /// Reads `minute hour day month weekday`, fields apart by white space.
    ///
    /// # Errors
    /// What is wrong with it, to be read behind the quoted schedule: ``has 4 fields, expected 5 (…)``.
    pub fn parse(crontab: &str, zone: Tz) -> Result<Self, String> {
        let words: Vec<&str> = crontab.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = words.as_slice() else {
            return Err(format!(
                "has {} fields, expected 5 (minute hour day month weekday)",
                words.len()
            ));
        };
        let mut sets = Vec::new();
        for (field, text) in FIELDS.iter().zip([minute, hour, day, month, weekday]) {
            sets.push(field.parse(text)?);
        }
        let [minutes, hours, days, months, weekdays] = sets.as_slice() else {
            return Err("has too few fields".to_owned());
        };
        // A field that begins with a star restricts together with the other one; two that do not, either of them.
        let either = !day.starts_with('*') && !weekday.starts_with('*');
        let robfig = robfig([minute, hour, day, month, weekday], days, weekdays, either);
        let weekdays: BTreeSet<u32> = weekdays.iter().map(|day| day % 7).collect();
        let any = "*".to_owned();
        let days = if day == "*" {
            any.clone()
        } else {
            listed(days)
        };
        let weekdays = if weekday == "*" {
            any.clone()
        } else {
            quartz(&weekdays)
        };
        let pairs = if either {
            vec![(days, any.clone()), (any, weekdays)]
        } else {
            vec![(days, weekdays)]
        };
        let walks = pairs
            .into_iter()
            .map(|(days, weekdays)| {
                let text = format!(
                    "0 {} {} {days} {} {weekdays}",
                    listed(minutes),
                    listed(hours),
                    listed(months)
                );
                cron::Schedule::from_str(&text)
                    .map_err(|error| format!("is not a schedule: {error}"))
            })
            .collect::<Result<Arc<[_]>, _>>()?;
        let schedule = Self {
            crontab: words.join(" "),
            zone,
            robfig,
            walks,
            is_interval: minute.starts_with('*') || hour.starts_with('*'),
        };
        if schedule
            .wall_times_after(DateTime::UNIX_EPOCH.naive_utc())
            .next()
            .is_none()
        {
            return Err("never fires: there is no such day".to_owned());
        }
        Ok(schedule)
    }

    /// The five fields as they were written, one space between them.
    #[must_use]
    pub fn crontab(&self) -> &str {
        &self.crontab
    }

    /// The zone in which they are meant.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The five fields as robfig/cron reads the same days in them, which Kubernetes and others in Go use; none where it
    /// has no words for these days.
    #[must_use]
    pub fn robfig(&self) -> Option<&str> {
        self.robfig.as_deref()
    }

    /// Whether it follows elapsed time through clock changes, as schedules do whose minute or hour begins with `*`.
    #[must_use]
    pub fn is_interval(&self) -> bool {
        self.is_interval
    }

    /// The first fire time strictly after `now`; none beyond the year 2100.
    #[must_use]
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let first_beyond = |wall| {
            self.wall_times_after(wall).find_map(|wall| {
                let fires = self.instants(wall).into_iter().flatten();
                fires.filter(|fire| *fire > now).min()
            })
        };
        let wall = now.with_timezone(&self.zone).naive_local();
        let next = first_beyond(wall);
        let set_back = self.about_to_be_set_back(now);
        if set_back.is_zero() {
            return next;
        }
        // What stands earlier on the clock comes again, and may come before what stands later on it.
        let again = first_beyond(wall.checked_sub_signed(set_back)?);
        again.into_iter().chain(next).min()
    }

    /// The last fire time strictly before `now`; none before 1970.
    #[must_use]
    pub fn previous_before(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Only `next_after` says when it fires. Back in growing steps, until something fires before `now` ...
        let fire_after = |at| self.next_after(at).filter(|fire| *fire < now);
        let (mut silent, mut back) = (now, TimeDelta::minutes(1));
        let mut last = loop {
            let from = DateTime::UNIX_EPOCH.max(now.checked_sub_signed(back)?);
            if let Some(fire) = fire_after(from) {
                break fire;
            }
            if from == DateTime::UNIX_EPOCH {
                return None;
            }
            silent = from;
            back = back * 4;
        };
        // ... then forward by halves, to where nothing more does.
        while silent - last > TimeDelta::seconds(1) {
            let middle = last + (silent - last) / 2;
            match fire_after(middle) {
                Some(fire) => last = fire,
                None => silent = middle,
            }
        }
        Some(last)
    }

    /// The times between the fires of the ten days after `now`, or of the next three fires where those are farther apart.
    #[must_use]
    pub fn gaps(&self, now: DateTime<Utc>) -> Option<Gaps> {
        let mut gaps: Option<Gaps> = None;
        let mut at = self.next_after(now)?;
        let end = at + TimeDelta::days(10);
        let mut count = 0;
        while (at < end || count < 3)
            && let Some(next) = self.next_after(at)
        {
            let gap = next - at;
            gaps = Some(gaps.map_or(
                Gaps {
                    shortest: gap,
                    longest: gap,
                },
                |gaps| Gaps {
                    shortest: gaps.shortest.min(gap),
                    longest: gaps.longest.max(gap),
                },
            ));
            at = next;
            count += 1;
        }
        gaps
    }

    /// By how much the clock is set back next, where the stretch that it then shows a second time has begun; else zero.
    fn about_to_be_set_back(&self, now: DateTime<Utc>) -> TimeDelta {
        let offset = |at: DateTime<Utc>| {
            let offset = self.zone.offset_from_utc_datetime(&at.naive_utc()).fix();
            TimeDelta::seconds(offset.local_minus_utc().into())
        };
        let by = offset(now) - offset(now + LARGEST_SHIFT);
        if by > TimeDelta::zero() && offset(now + by) < offset(now) {
            by
        } else {
            TimeDelta::zero()
        }
    }

    /// Times on the clock that match, in order, without regard to clock changes.
    fn wall_times_after(&self, wall: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        let mut walks: Vec<_> = self
            .walks
            .iter()
            .map(|walk| walk.after_owned(wall.and_utc()).peekable())
            .collect();
        std::iter::from_fn(move || {
            #[cfg(test)]
            tests::STEPS.set(tests::STEPS.get() + 1);
            let next = walks
                .iter_mut()
                .filter_map(|walk| walk.peek().copied())
                .min()?;
            for walk in &mut walks {
                walk.next_if_eq(&next);
            }
            Some(next.naive_utc())
        })
    }

    /// When a time on the clock comes: never, once or twice.
    fn instants(&self, wall: NaiveDateTime) -> [Option<DateTime<Utc>>; 2] {
        let local = self.zone.from_local_datetime(&wall);
        let (first, second) = (local.earliest(), local.latest());
        let [first, second] = match (first, second) {
            (Some(first), Some(second)) if first != second && self.is_interval => {
                [Some(first), Some(second)]
            }
            (Some(first), _) => [Some(first), None],
            // The clock jumps over it: at the moment of the jump, so that a daily run is not lost.
            (None, _) if !self.is_interval => [self.end_of_jump(wall), None],
            (None, _) => [None, None],
        };
        [first, second].map(|at| at.map(|at| at.with_timezone(&Utc)))
    }

    fn end_of_jump(&self, wall: NaiveDateTime) -> Option<DateTime<Tz>> {
        let shown = |minutes| {
            let later = wall.checked_add_signed(TimeDelta::minutes(minutes))?;
            self.zone.from_local_datetime(&later).earliest()
        };
        let (mut skipped, mut beyond) = (0, LARGEST_SHIFT.num_minutes());
        while beyond - skipped > 1 {
            let middle = i64::midpoint(skipped, beyond);
            match shown(middle) {
                Some(_) => beyond = middle,
                None => skipped = middle,
            }
        }
        shown(beyond)
    }
}

impl fmt::Display for Schedule {
    /// `*/20 * * * * (Europe/Berlin)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.crontab, self.zone)
    }
}

impl Field {
    fn parse(&self, text: &str) -> Result<BTreeSet<u32>, String> {
        let mut set = BTreeSet::new();
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (item, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.first, self.last),
                Some((first, last)) => (self.value(first, item)?, self.value(last, item)?),
                None if step.is_some() => {
                    return Err(format!(
                        "has `{item}` as {}: a step follows `*` or a range, such as `{range}-{}/{}`",
                        self.name,
                        self.last,
                        step.unwrap_or_default()
                    ));
                }
                None => {
                    let value = self.value(range, item)?;
                    (value, value)
                }
            };
            if first > last {
                return Err(format!(
                    "has `{item}` as {}: the range runs backwards",
                    self.name
                ));
            }
            let step = match step.map(str::parse::<usize>) {
                None => 1,
                Some(Ok(step)) if step > 0 => step,
                Some(_) => {
                    return Err(format!(
                        "has `{item}` as {}: the step is not a number from 1 on",
                        self.name
                    ));
                }
            };
            set.extend((first..=last).step_by(step));
        }
        Ok(set)
    }

    fn value(&self, text: &str, item: &str) -> Result<u32, String> {
        let name = text.to_ascii_lowercase();
        let named = self
            .names
            .iter()
            .zip(self.first..)
            .find(|(one, _)| **one == name);
        if let Some((_, value)) = named {
            return Ok(value);
        }
        match text.parse::<u32>() {
            Ok(value)
                if text.bytes().all(|byte| byte.is_ascii_digit())
                    && (self.first..=self.last).contains(&value) =>
            {
                Ok(value)
            }
            _ => Err(format!(
                "has `{item}` as {}, expected {} to {}",
                self.name, self.first, self.last
            )),
        }
    }
}

/// See [`Schedule::robfig`]. There Sunday is 0 and never 7, and both day fields have to match only where one is `*`: a star
/// with a step is a restriction like any other, and one of two restrictions is enough.
fn robfig(
    [minute, hour, day, month, weekday]: [&str; 5],
    days: &BTreeSet<u32>,
    weekdays: &BTreeSet<u32>,
    either: bool,
) -> Option<String> {
    let weekdays: BTreeSet<u32> = weekdays.iter().map(|day| day % 7).collect();
    let (all_days, all_weekdays) = (days.len() == 31, weekdays.len() == 7);
    let (day, weekday) = match (all_days, all_weekdays) {
        (true, true) => ("*", "*".to_owned()),
        (true, _) | (_, true) if either => ("*", "*".to_owned()),
        (_, true) => (day, "*".to_owned()),
        (false, false) if !either => return None,
        (_, false) => {
            let weekday = if weekday.contains('7') {
                listed(&weekdays)
            } else {
                weekday.to_owned()
            };
            (if all_days { "*" } else { day }, weekday)
        }
    };
    Some(format!("{minute} {hour} {day} {month} {weekday}"))
}

fn listed(set: &BTreeSet<u32>) -> String {
    let numbers: Vec<String> = set.iter().map(u32::to_string).collect();
    numbers.join(",")
}

/// Weekdays as the `cron` crate numbers them, Sunday being 1.
fn quartz(weekdays: &BTreeSet<u32>) -> String {
    listed(&weekdays.iter().map(|day| day + 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        /// How many times on the clock were looked at.
        pub(super) static STEPS: Cell<u32> = const { Cell::new(0) };
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn fires(crontab: &str, zone: Tz, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(crontab, zone).unwrap();
        let mut now = at(from);
        (0..count)
            .map(|_| {
                now = schedule.next_after(now).unwrap();
                now.with_timezone(&zone).format("%d %H:%M%:z").to_string()
            })
            .collect()
    }

    #[test]
    fn weekdays_are_numbered_as_in_crontab() {
        // 2026-11-23 is a Monday.
        for (weekday, day) in [
            ("1", 23),
            ("mon", 23),
            ("0", 29),
            ("7", 29),
            ("SUN", 29),
            ("6-7", 28),
            ("2-4", 24),
        ] {
            let schedule = Schedule::parse(&format!("0 12 * * {weekday}"), Tz::UTC).unwrap();
            let next = schedule.next_after(at("2026-11-23T00:00:00Z")).unwrap();
            assert_eq!(next, at(&format!("2026-11-{day}T12:00:00Z")), "{weekday}");
        }
    }

    #[test]
    fn two_restricted_day_fields_fire_on_either() {
        let from = "2026-11-01T00:00:00Z";
        assert_eq!(
            fires("0 0 13 * 5", Tz::UTC, from, 5),
            [
                "06 00:00+00:00",
                "13 00:00+00:00",
                "20 00:00+00:00",
                "27 00:00+00:00",
                "04 00:00+00:00"
            ]
        );
        // A field that begins with a star counts as not restricted, even with a step (Vixie cron's DOM_STAR).
        assert_eq!(
            fires("0 0 */2 * 5", Tz::UTC, from, 3),
            ["13 00:00+00:00", "27 00:00+00:00", "11 00:00+00:00"]
        );
    }

    #[test]
    fn robfig_is_given_fields_that_it_reads_in_the_same_way_or_none() {
        for (crontab, expected) in [
            ("*/20  * * * *", Some("*/20 * * * *")),
            (
                "0 8-18/2 * jan,6-12 mon-fri",
                Some("0 8-18/2 * jan,6-12 mon-fri"),
            ),
            ("0 0 * * 7", Some("0 0 * * 0")),
            ("0 0 * * 5-7", Some("0 0 * * 0,5,6")),
            ("0 0 * * 2-7/2", Some("0 0 * * 2,4,6")),
            ("0 0 * * */2", Some("0 0 * * */2")),
            ("0 0 */2 * *", Some("0 0 */2 * *")),
            // Either is enough, for both.
            ("0 0 13 * 5", Some("0 0 13 * 5")),
            ("0 0 13,*/2 * 7", Some("0 0 13,*/2 * 0")),
            // One is no restriction: a star, which is none in robfig's eyes either.
            ("0 0 */1 * 5", Some("0 0 * * 5")),
            ("0 0 *,3 * 5", Some("0 0 * * 5")),
            ("0 0 13 * */1", Some("0 0 13 * *")),
            // Either is enough, and one is every day.
            ("0 0 1-31 * 5", Some("0 0 * * *")),
            ("0 0 13 * 1-7", Some("0 0 * * *")),
            ("0 0 3,* * 5", Some("0 0 * * *")),
            // Both have to match.
            ("0 0 */2 * 5", None),
            ("0 0 1-7 * */2", None),
        ] {
            let schedule = Schedule::parse(crontab, Tz::UTC).unwrap();
            assert_eq!(schedule.robfig(), expected, "{crontab}");
        }
    }

    #[test]
    fn every_twenty_minutes_goes_on_through_both_clock_changes() {
        let zone = chrono_tz::Europe::Berlin;
        assert_eq!(
            fires("*/20 * * * *", zone, "2026-10-25T00:25:00Z", 6),
            [
                "25 02:40+02:00",
                "25 02:00+01:00",
                "25 02:20+01:00",
                "25 02:40+01:00",
                "25 03:00+01:00",
                "25 03:20+01:00"
            ]
        );
        assert_eq!(
            fires("*/20 * * * *", zone, "2026-03-29T00:35:00Z", 3),
            ["29 01:40+01:00", "29 03:00+02:00", "29 03:20+02:00"]
        );
    }

    #[test]
    fn a_daily_run_is_neither_lost_nor_doubled_when_the_clock_changes() {
        let zone = chrono_tz::Europe::Berlin;
        assert_eq!(
            fires("30 2 * * *", zone, "2026-03-28T02:00:00Z", 3),
            ["29 03:00+02:00", "30 02:30+02:00", "31 02:30+02:00"]
        );
        assert_eq!(
            fires("30 2 * * *", zone, "2026-10-24T02:00:00Z", 3),
            ["25 02:30+02:00", "26 02:30+01:00", "27 02:30+01:00"]
        );
    }

    #[test]
    fn a_zone_off_by_half_an_hour_keeps_its_own_minutes() {
        assert_eq!(
            fires(
                "0 * * * *",
                chrono_tz::Asia::Kolkata,
                "2026-11-23T00:00:00Z",
                2
            ),
            ["23 06:00+05:30", "23 07:00+05:30"]
        );
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (crontab, expected) in [
            (
                "*/5 * * *",
                "has 4 fields, expected 5 (minute hour day month weekday)",
            ),
            (
                "",
                "has 0 fields, expected 5 (minute hour day month weekday)",
            ),
            ("60 * * * *", "has `60` as minute, expected 0 to 59"),
            ("* 24 * * *", "has `24` as hour, expected 0 to 23"),
            ("* * 0 * *", "has `0` as day of month, expected 1 to 31"),
            ("* * * foo *", "has `foo` as month, expected 1 to 12"),
            ("* * * * 8", "has `8` as weekday, expected 0 to 7"),
            (
                "*/0 * * * *",
                "has `*/0` as minute: the step is not a number from 1 on",
            ),
            (
                "7/20 * * * *",
                "has `7/20` as minute: a step follows `*` or a range, such as `7-59/20`",
            ),
            (
                "5-1 * * * *",
                "has `5-1` as minute: the range runs backwards",
            ),
            ("1,,2 * * * *", "has `` as minute, expected 0 to 59"),
            ("+5 * * * *", "has `+5` as minute, expected 0 to 59"),
            ("0 0 31 2 *", "never fires: there is no such day"),
        ] {
            assert_eq!(
                Schedule::parse(crontab, Tz::UTC),
                Err(expected.to_owned()),
                "{crontab}"
            );
        }
    }

    #[test]
    fn the_previous_fire_is_the_one_that_the_next_is_counted_from() {
        let schedule = Schedule::parse("0 3 1 1 *", Tz::UTC).unwrap();
        assert_eq!(
            schedule.previous_before(at("2026-11-23T00:00:00Z")),
            Some(at("2026-01-01T03:00:00Z"))
        );
        let schedule = Schedule::parse("*/20 * * * *", Tz::UTC).unwrap();
        assert_eq!(
            schedule.previous_before(at("2026-11-23T00:20:00Z")),
            Some(at("2026-11-23T00:00:00Z"))
        );
    }

    #[test]
    fn gaps_are_those_of_a_week() {
        let gaps = |crontab| {
            Schedule::parse(crontab, Tz::UTC)
                .unwrap()
                .gaps(at("2026-11-23T00:00:00Z"))
                .unwrap()
        };
        assert_eq!(gaps("*/20 * * * *").longest, TimeDelta::minutes(20));
        assert_eq!(gaps("0 8-18 * * 1-5").shortest, TimeDelta::hours(1));
        assert_eq!(gaps("0 8-18 * * 1-5").longest, TimeDelta::hours(62));
        assert_eq!(gaps("0 0 29 2 *").shortest, TimeDelta::days(1461));
    }

    #[test]
    fn a_clock_change_costs_no_more_than_the_hour_that_it_moves() {
        let zone = chrono_tz::Europe::Berlin;
        for crontab in ["* * * * *", "*/20 * * * *", "0-59 0-23 * * *", "30 2 * * *"] {
            let schedule = Schedule::parse(crontab, zone).unwrap();
            for change in ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"] {
                for minute in (-1600..1600).step_by(7) {
                    let now = at(change) + TimeDelta::minutes(minute);
                    STEPS.set(0);
                    let _ = schedule.next_after(now);
                    let next = STEPS.replace(0);
                    let _ = schedule.previous_before(now);
                    let previous = STEPS.get();
                    let told = format!("{crontab} {now}: {next} and {previous} steps");
                    assert!(next <= 130 && previous <= 1300, "{told}");
                }
            }
        }
    }

    /// The minutes of two days in which this fires, told from what the clock shows in each of them.
    fn shown(schedule: &Schedule, from: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let minute = TimeDelta::minutes(1);
        let wall = |at: DateTime<Utc>| at.with_timezone(&schedule.zone).naive_local();
        let is_due = |from: NaiveDateTime, to: NaiveDateTime| {
            let first = schedule
                .wall_times_after(from - TimeDelta::seconds(1))
                .next();
            first.is_some_and(|first| first <= to)
        };
        let minutes = (0..2 * 24 * 60).map(|count| from + minute * count);
        minutes
            .filter(|&at| {
                let (before, now) = (wall(at - minute), wall(at));
                if schedule.is_interval {
                    return is_due(now, now);
                }
                let is_first = schedule.zone.from_local_datetime(&now).earliest();
                let is_first = is_first.is_some_and(|first| first == at);
                is_first && is_due((before + minute).min(now), now)
            })
            .collect()
    }

    /// A field of values from `first` to `last`.
    fn field(first: u32, last: u32) -> impl Strategy<Value = String> {
        prop_oneof![
            Just("*".to_owned()),
            (first..=last).prop_map(|value| value.to_string()),
            (first..=last, first..=last).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            (2..=last).prop_map(|step| format!("*/{step}")),
            prop::collection::vec(first..=last, 2..4).prop_map(|values| values
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",")),
        ]
    }

    /// Fields on which Vixie cron and croner agree: croner takes a list of hours for an interval, Vixie for fixed times.
    fn crontab() -> impl Strategy<Value = String> {
        (
            field(0, 59),
            field(0, 23),
            field(1, 28),
            field(1, 12),
            field(0, 7),
        )
            .prop_map(|(minute, hour, day, month, weekday)| {
                // croner reads a stepped day of month as restricted, Vixie as not.
                let day = if day.starts_with("*/") {
                    "*".to_owned()
                } else {
                    day
                };
                let weekday = if weekday.starts_with("*/") {
                    "*".to_owned()
                } else {
                    weekday
                };
                format!("{minute} {hour} {day} {month} {weekday}")
            })
    }

    /// Every form that a day field has, stars in the middle of a list among them.
    fn day_field(first: u32, last: u32) -> impl Strategy<Value = String> {
        let item = prop_oneof![
            Just("*".to_owned()),
            (1..=last).prop_map(|step| format!("*/{step}")),
            (first..=last).prop_map(|value| value.to_string()),
            (first..=last, first..=last, 1_u32..4).prop_map(|(a, b, step)| format!(
                "{}-{}/{step}",
                a.min(b),
                a.max(b)
            )),
        ];
        prop::collection::vec(item, 1..3).prop_map(|items| items.join(","))
    }

    proptest! {
        #[test]
        fn fires_when_croner_does(crontab in crontab(), start in 1_760_000_000_i64..1_860_000_000) {
            let start = DateTime::from_timestamp(start, 0).unwrap();
            let ours = Schedule::parse(&crontab, Tz::UTC).unwrap();
            let oracle: croner::Cron = crontab.parse().unwrap();
            let mut now = start;
            for _ in 0..5 {
                let expected = oracle.find_next_occurrence(&now, false).unwrap();
                prop_assert_eq!(ours.next_after(now), Some(expected), "{} after {}", crontab, now);
                prop_assert_eq!(ours.previous_before(expected + TimeDelta::seconds(1)), Some(expected));
                now = expected;
            }
        }

        // Of day fields croner thinks as robfig does, but for the 7 that it knows as well.
        #[test]
        fn what_robfig_is_given_fires_when_we_do(
            day in day_field(1, 31), weekday in day_field(0, 7), start in 1_760_000_000_i64..1_860_000_000,
        ) {
            let crontab = format!("0 0 {day} * {weekday}");
            let ours = Schedule::parse(&crontab, Tz::UTC).unwrap();
            if let Some(text) = ours.robfig() {
                let weekday = text.rsplit(' ').next().unwrap();
                prop_assert!(!weekday.contains('7'), "{}", text);
                let oracle: croner::Cron = text.parse().unwrap();
                let mut now = DateTime::from_timestamp(start, 0).unwrap();
                for _ in 0..20 {
                    let expected = oracle.find_next_occurrence(&now, false).unwrap();
                    prop_assert_eq!(ours.next_after(now), Some(expected), "{} as {}", crontab, text);
                    now = expected;
                }
            }
        }

        #[test]
        fn intervals_fire_when_croner_does_in_every_zone(
            step in 1_u32..59, start in 1_760_000_000_i64..1_860_000_000,
            zone in prop::sample::select(vec![Tz::Europe__Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::Asia__Kolkata]),
        ) {
            let crontab = format!("*/{step} * * * *");
            let start = DateTime::from_timestamp(start, 0).unwrap();
            let ours = Schedule::parse(&crontab, zone).unwrap();
            let oracle: croner::Cron = crontab.parse().unwrap();
            let expected = oracle.find_next_occurrence(&start.with_timezone(&zone), false).unwrap();
            prop_assert_eq!(ours.next_after(start), Some(expected.to_utc()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-*/,0-9a-z ]{0,40}") {
            if let Ok(schedule) = Schedule::parse(&text, Tz::Europe__Berlin) {
                prop_assert!(schedule.next_after(DateTime::UNIX_EPOCH).is_some());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn around_a_clock_change_it_fires_when_the_clock_shows_its_times(
            minute in field(0, 59), hour in field(0, 23), ahead in 0_i64..36 * 60,
            (zone, change) in prop::sample::select(vec![
                (Tz::Europe__Berlin, "2026-03-29T01:00:00Z"),
                (Tz::Europe__Berlin, "2026-10-25T01:00:00Z"),
                // Half an hour, two hours, and the days that two islands skipped.
                (Tz::Australia__Lord_Howe, "2026-04-04T15:00:00Z"),
                (Tz::Australia__Lord_Howe, "2026-10-03T15:30:00Z"),
                (Tz::Antarctica__Troll, "2026-10-25T01:00:00Z"),
                (Tz::Pacific__Apia, "2011-12-30T10:00:00Z"),
                (Tz::Pacific__Kwajalein, "1993-08-21T12:00:00Z"),
            ]),
        ) {
            let crontab = format!("{minute} {hour} * * *");
            let ours = Schedule::parse(&crontab, zone).unwrap();
            let from = at(change) - TimeDelta::minutes(ahead);
            let mut previous = from - TimeDelta::seconds(1);
            for expected in shown(&ours, from) {
                prop_assert_eq!(ours.next_after(previous), Some(expected), "{} in {}", crontab, zone);
                if previous > from {
                    prop_assert_eq!(ours.previous_before(expected), Some(previous), "{} in {}", crontab, zone);
                }
                previous = expected;
            }
            prop_assert!(ours.next_after(previous) >= Some(from + TimeDelta::days(2)), "{} in {}", crontab, zone);
        }
    }
}
