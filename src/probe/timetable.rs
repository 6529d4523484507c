//! When each probe is due: many schedules as one question, and an answer that holds when clocks step and machines sleep.
//!
//! Schedules speak of the time of day. So each call brings the wall clock and the monotonic clock, and where the two
//! have moved apart, the wall clock was set or the machine slept. A probe that became due in the meantime is due once,
//! however often that was.

use super::schedule::Schedule;
use chrono::{DateTime, TimeDelta, Utc};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// The clocks are read one after the other, and are slewed: so far apart they may move.
const TOLERANCE: TimeDelta = TimeDelta::seconds(2);
/// As in crontab, a clock that is set back by no more than this does not repeat the fixed times of day that it shows
/// again. Set back by more, it was wrong before: what was served then lies too far ahead to wait for it.
const SMALL_STEP: TimeDelta = TimeDelta::hours(3);
/// So long after a time of the schedule cron, a timer or a CronJob may begin the run for it; ours begins none later.
const LATEST_START: TimeDelta = TimeDelta::minutes(2);

/// What a timetable knows of a probe.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    schedule: Schedule,
    /// Each start is so much after the schedule's time.
    offset: TimeDelta,
    /// The schedule's time that is waited for.
    next: Option<DateTime<Utc>>,
    /// The schedule's time that was served last.
    served: Option<DateTime<Utc>>,
}

/// A probe that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its number in the list that the timetable was made of.
    pub index: usize,
    /// When it was to start.
    pub planned: DateTime<Utc>,
}

/// When each of many probes is due.
#[derive(Debug)]
pub struct Timetable {
    entries: Vec<Entry>,
    /// The next start of each probe, earliest first. A start that is no longer the entry's own is passed over.
    queue: BinaryHeap<Reverse<(DateTime<Utc>, usize)>>,
    clocks: (DateTime<Utc>, Duration),
}

impl Timetable {
    /// A timetable of probes (name, schedule, jitter) that counts from now: `wall` is the time of day, `monotonic` the
    /// time since any fixed moment by a clock that nobody sets.
    #[must_use]
    pub fn new<'s>(
        probes: impl Iterator<Item = (&'s str, &'s Schedule, Duration)>,
        wall: DateTime<Utc>,
        monotonic: Duration,
    ) -> Self {
        let entries = probes
            .map(|(name, schedule, jitter)| Entry {
                name: name.to_owned(),
                schedule: schedule.clone(),
                offset: offset(name, jitter),
                next: None,
                served: None,
            })
            .collect();
        let mut table = Self {
            entries,
            queue: BinaryHeap::new(),
            clocks: (wall, monotonic),
        };
        table.plan_all(wall);
        table
    }

    /// Takes over from the timetable before a reload what was waited for, for each probe that is as it was: its next
    /// start is neither lost nor repeated.
    pub fn take_over(&mut self, old: &Self) {
        let known: HashMap<&str, &Entry> = old
            .entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry))
            .collect();
        for entry in &mut self.entries {
            if let Some(old) = known.get(entry.name.as_str())
                && old.schedule == entry.schedule
                && old.offset == entry.offset
            {
                entry.next = old.next;
                entry.served = old.served;
            }
        }
        self.fill_queue();
    }

    /// When the next probe is due; none where nothing is, ever.
    #[must_use]
    pub fn next(&self) -> Option<DateTime<Utc>> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// When this probe starts next.
    #[must_use]
    pub fn next_of(&self, index: usize) -> Option<DateTime<Utc>> {
        self.entries.get(index)?.start()
    }

    /// What is due by now, in the order of the planned starts, each probe once. The next start of each is after now.
    pub fn due(&mut self, wall: DateTime<Utc>, monotonic: Duration) -> Vec<Due> {
        self.heed_step(wall, monotonic);
        let mut due = Vec::new();
        while let Some(&Reverse((at, index))) = self.queue.peek()
            && at <= wall
        {
            self.queue.pop();
            let Some(entry) = self.entries.get_mut(index) else {
                continue;
            };
            if entry.start() != Some(at) {
                continue;
            }
            due.push(Due { index, planned: at });
            entry.serve(wall);
            if let Some(next) = entry.start() {
                self.queue.push(Reverse((next, index)));
            }
        }
        due
    }

    /// Whether the wall clock was set, or the machine slept, since the last call; and plans anew if it was set back.
    fn heed_step(&mut self, wall: DateTime<Utc>, monotonic: Duration) {
        let (last_wall, last_monotonic) = self.clocks;
        self.clocks = (wall, monotonic);
        let passed = TimeDelta::from_std(monotonic.saturating_sub(last_monotonic));
        let expected = last_wall + passed.unwrap_or_default();
        // A step ahead needs nothing: what it jumped over is due, once.
        if expected - wall > TOLERANCE {
            self.plan_all(wall);
        }
    }

    fn plan_all(&mut self, wall: DateTime<Utc>) {
        for entry in &mut self.entries {
            entry.plan(wall);
        }
        self.fill_queue();
    }

    fn fill_queue(&mut self) {
        self.queue = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| Some(Reverse((entry.start()?, index))))
            .collect();
    }
}

impl Entry {
    fn start(&self) -> Option<DateTime<Utc>> {
        self.next?.checked_add_signed(self.offset)
    }

    /// The last of the times that have passed counts as served: the backlog is not made up for.
    fn serve(&mut self, wall: DateTime<Utc>) {
        let from = self.from(wall);
        self.served = self.next.take();
        self.next = self
            .served
            .and_then(|served| self.schedule.next_after(served));
        if self.next.is_some_and(|next| next <= from) {
            self.next = self.schedule.next_after(from);
            let last = self
                .next
                .and_then(|next| self.schedule.previous_before(next));
            self.served = last.or(self.served);
        }
    }

    /// The first time of the schedule whose start is still to come and that was not served before the clock was set back.
    fn plan(&mut self, wall: DateTime<Utc>) {
        let from = self.from(wall);
        if let Some(served) = self.served.take_if(|served| *served > from)
            && let Some(following) = self.schedule.next_after(served)
        {
            // An interval follows elapsed time: it is not silent for more than one period beyond its own.
            let longest = if self.schedule.is_interval() {
                following - served
            } else {
                SMALL_STEP
            };
            if served - from <= longest {
                self.served = Some(served);
                self.next = Some(following);
                return;
            }
        }
        self.next = self.schedule.next_after(from);
    }

    /// The schedule's time that would start now.
    fn from(&self, wall: DateTime<Utc>) -> DateTime<Utc> {
        wall.checked_sub_signed(self.offset).unwrap_or(wall)
    }
}

/// The first start after `now` of a probe whose runs begin by this offset after its schedule's times.
#[must_use]
pub fn next_start(
    schedule: &Schedule,
    offset: TimeDelta,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let from = now.checked_sub_signed(offset)?;
    schedule.next_after(from)?.checked_add_signed(offset)
}

/// When the run before this one was to start, whose clean-up saw what was stored until then.
///
/// `planned` is when the scheduler was to start this run, which begins a little after that, or long after where the
/// machine slept. Where none planned it, a run that begins within two minutes of a time of the schedule is the one for
/// that time, and any other one is by hand. So no time goes by that no run looks at, unless a run was left out or began
/// later than that. What is stored while a run is at work, or is seen by a run by hand, the next one by schedule tells
/// again, where neither a deletion nor the memory of `serve` prevents it.
#[must_use]
pub fn previous_start(
    schedule: &Schedule,
    offset: TimeDelta,
    planned: Option<DateTime<Utc>>,
    begun: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let start = planned.or_else(|| {
        let last =
            schedule.previous_before(begun.checked_add_signed(TimeDelta::nanoseconds(1))?)?;
        (begun - last <= LATEST_START).then_some(last)
    });
    let from = start.unwrap_or(begun).checked_sub_signed(offset)?;
    schedule.previous_before(from)?.checked_add_signed(offset)
}

/// Where in the time of `jitter` a probe starts: the same each time, so that its runs stay as far apart as the schedule
/// says, and different from probe to probe.
#[must_use]
pub fn offset(name: &str, jitter: Duration) -> TimeDelta {
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let first = hash.as_ref().first_chunk::<4>().copied();
    let share = f64::from(u32::from_be_bytes(first.unwrap_or_default())) / f64::from(u32::MAX);
    TimeDelta::from_std(jitter.mul_f64(share)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;

    fn schedule(crontab: &str, zone: Tz) -> Schedule {
        Schedule::parse(crontab, zone).unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// A timetable of one probe, and a way to let time pass.
    struct Clock {
        table: Timetable,
        wall: DateTime<Utc>,
        monotonic: Duration,
    }

    impl Clock {
        fn new(crontab: &str, zone: Tz, start: &str) -> Self {
            let schedule = schedule(crontab, zone);
            let wall = at(start);
            let probes = [("external", &schedule, Duration::ZERO)];
            Self {
                table: Timetable::new(probes.into_iter(), wall, Duration::ZERO),
                wall,
                monotonic: Duration::ZERO,
            }
        }

        fn due(&mut self) -> Vec<String> {
            let due = self.table.due(self.wall, self.monotonic);
            due.iter()
                .map(|due| due.planned.format("%dT%H:%M").to_string())
                .collect()
        }

        /// Both clocks run on, in steps of 30 seconds.
        fn run(&mut self, time: TimeDelta) -> Vec<String> {
            let end = self.wall + time;
            let mut due = Vec::new();
            while self.wall < end {
                self.wall += TimeDelta::seconds(30);
                self.monotonic += Duration::from_secs(30);
                due.extend(self.due());
            }
            due
        }
    }

    #[test]
    fn each_time_of_the_schedule_is_served_once() {
        let mut clock = Clock::new("*/20 * * * *", Tz::UTC, "2026-11-25T10:00:00Z");
        let due = clock.run(TimeDelta::hours(1));
        assert_eq!(due, ["25T10:20", "25T10:40", "25T11:00"]);
    }

    #[test]
    fn after_a_night_asleep_a_probe_is_due_once_and_then_in_time_again() {
        let mut clock = Clock::new("*/20 * * * *", Tz::UTC, "2026-11-25T22:05:00Z");
        // Linux stops the monotonic clock while it sleeps.
        clock.wall = at("2026-11-26T07:05:00Z");
        assert_eq!(clock.due(), ["25T22:20"]);
        assert_eq!(clock.run(TimeDelta::minutes(30)), ["26T07:20"]);
    }

    #[test]
    fn a_process_that_was_held_up_makes_one_run_of_what_it_missed() {
        let mut clock = Clock::new("* * * * *", Tz::UTC, "2026-11-25T10:00:30Z");
        clock.wall += TimeDelta::minutes(5);
        clock.monotonic += Duration::from_secs(300);
        assert_eq!(clock.due(), ["25T10:01"]);
        assert_eq!(clock.due(), Vec::<String>::new());
        assert_eq!(clock.run(TimeDelta::minutes(1)), ["25T10:06"]);
    }

    #[test]
    fn a_clock_set_back_by_an_hour_does_not_silence_a_probe_for_an_hour() {
        let mut clock = Clock::new("*/20 * * * *", Tz::UTC, "2026-11-25T10:59:00Z");
        assert_eq!(clock.run(TimeDelta::minutes(2)), ["25T11:00"]);
        clock.wall = at("2026-11-25T10:01:00Z");
        assert_eq!(clock.run(TimeDelta::minutes(40)), ["25T10:20", "25T10:40"]);
    }

    #[test]
    fn a_clock_set_back_by_seconds_does_not_fire_the_same_minute_twice() {
        let mut clock = Clock::new("*/20 * * * *", Tz::UTC, "2026-11-25T10:59:30Z");
        assert_eq!(clock.run(TimeDelta::seconds(30)), ["25T11:00"]);
        clock.wall = at("2026-11-25T10:59:40Z");
        assert_eq!(clock.run(TimeDelta::minutes(25)), ["25T11:20"]);
    }

    #[test]
    fn a_clock_set_back_after_a_pause_does_not_fire_what_the_one_run_was_for() {
        let mut clock = Clock::new("* * * * *", Tz::UTC, "2026-11-25T09:59:50Z");
        assert_eq!(clock.run(TimeDelta::seconds(30)), ["25T10:00"]);
        clock.wall = at("2026-11-25T10:05:10Z");
        assert_eq!(clock.due(), ["25T10:01"]);
        clock.wall = at("2026-11-25T10:04:50Z");
        assert_eq!(clock.due(), Vec::<String>::new());
        assert_eq!(clock.run(TimeDelta::minutes(2)), ["25T10:06"]);
    }

    #[test]
    fn a_clock_set_back_repeats_what_it_shows_again_no_more_than_crontab_does() {
        for (crontab, before, after, next) in [
            // Fixed times: up to three hours, and not where the clock was wrong by more.
            ("0 3 * * *", "25T03:02", "25T02:57", "26T03:00"),
            ("0 3 * * *", "25T03:02", "25T00:05", "26T03:00"),
            ("0 3 * * *", "25T03:02", "24T23:02", "25T03:00"),
            ("0 3 * * *", "25T03:02", "21T12:00", "22T03:00"),
            // Intervals: up to one period.
            ("*/20 * * * *", "25T03:02", "25T02:57", "25T03:20"),
            ("*/20 * * * *", "25T03:02", "25T02:05", "25T02:20"),
            ("0 * * * *", "25T03:02", "25T02:05", "25T04:00"),
            ("0 * * * *", "25T03:02", "21T12:01", "21T13:00"),
        ] {
            let time = |text| format!("2026-11-{text}:00Z");
            let mut clock = Clock::new(crontab, Tz::UTC, &time("25T02:59"));
            clock.wall = at(&time(before));
            assert_eq!(clock.due(), ["25T03:00"], "{crontab}");
            clock.wall = at(&time(after));
            // A second, smaller step changes nothing about that.
            for step in [0, 3] {
                clock.wall -= TimeDelta::seconds(step);
                assert_eq!(clock.due(), Vec::<String>::new(), "{crontab} {after}");
                let planned = clock.table.next().unwrap().format("%dT%H:%M");
                assert_eq!(planned.to_string(), next, "{crontab} {after}");
            }
        }
    }

    #[test]
    fn a_clock_set_forward_by_an_hour_makes_one_run_of_the_jump() {
        let mut clock = Clock::new("*/20 * * * *", Tz::UTC, "2026-11-25T10:01:00Z");
        clock.wall = at("2026-11-25T11:02:00Z");
        assert_eq!(clock.due(), ["25T10:20"]);
        assert_eq!(clock.run(TimeDelta::minutes(20)), ["25T11:20"]);
    }

    #[test]
    fn a_slow_clock_that_is_slewed_changes_nothing() {
        let mut clock = Clock::new("*/20 * * * *", Tz::UTC, "2026-11-25T10:00:00Z");
        for _ in 0..8 {
            clock.wall -= TimeDelta::milliseconds(1900);
            assert_eq!(clock.due(), Vec::<String>::new());
        }
        assert_eq!(clock.table.next(), Some(at("2026-11-25T10:20:00Z")));
    }

    #[test]
    fn in_the_nights_of_clock_changes_a_probe_fires_as_crontab_does() {
        // Autumn in Berlin: 03:00 becomes 02:00 at 01:00 UTC. A daily probe fires once, an interval keeps its pace.
        let mut daily = Clock::new("30 2 * * *", Tz::Europe__Berlin, "2026-10-24T22:00:00Z");
        assert_eq!(daily.run(TimeDelta::hours(6)), ["25T00:30"]);
        let mut often = Clock::new("*/30 * * * *", Tz::Europe__Berlin, "2026-10-25T00:10:00Z");
        let due = often.run(TimeDelta::hours(2));
        assert_eq!(due, ["25T00:30", "25T01:00", "25T01:30", "25T02:00"]);
        // Spring: 02:00 becomes 03:00 at 01:00 UTC. The daily probe whose time is skipped fires right after.
        let mut daily = Clock::new("30 2 * * *", Tz::Europe__Berlin, "2026-03-28T22:00:00Z");
        assert_eq!(daily.run(TimeDelta::hours(6)).len(), 1);
    }

    #[test]
    fn jitter_spreads_probes_and_keeps_each_at_its_distance() {
        let schedule = schedule("* * * * *", Tz::UTC);
        let names: Vec<String> = (0..300).map(|number| format!("probe-{number}")).collect();
        let jitter = Duration::from_secs(60);
        let probes = names.iter().map(|name| (name.as_str(), &schedule, jitter));
        let start = at("2026-11-25T10:00:00Z");
        let mut table = Timetable::new(probes, start, Duration::ZERO);
        let mut planned: Vec<Vec<DateTime<Utc>>> = vec![Vec::new(); names.len()];
        for second in 1..=240 {
            let wall = start + TimeDelta::seconds(second);
            for due in table.due(wall, Duration::from_secs(second.unsigned_abs())) {
                planned[due.index].push(due.planned);
            }
        }
        let mut seconds: Vec<i64> = Vec::new();
        for starts in &planned {
            assert!(starts.len() >= 3, "{starts:?}");
            for pair in starts.windows(2) {
                assert_eq!(pair[1] - pair[0], TimeDelta::minutes(1));
            }
            seconds.push(starts[0].timestamp() % 60);
        }
        for quarter in 0..4 {
            let there = seconds.iter().filter(|at| **at / 15 == quarter).count();
            assert!((45..=105).contains(&there), "{there} in quarter {quarter}");
        }
    }

    #[test]
    fn the_run_before_is_the_one_before_this_runs_own_time() {
        for (crontab, minutes, planned, begun, expected) in [
            // By the scheduler: a moment later, late after a night asleep, with jitter, and at somebody's wish.
            (
                "*/20 * * * *",
                0,
                Some("25T11:00:00"),
                "25T11:00:00.007",
                Some("25T10:40:00"),
            ),
            (
                "*/20 * * * *",
                0,
                Some("25T11:00:00"),
                "25T18:05:00",
                Some("25T10:40:00"),
            ),
            (
                "*/20 * * * *",
                8,
                Some("25T11:08:00"),
                "25T11:08:00.007",
                Some("25T10:48:00"),
            ),
            (
                "*/20 * * * *",
                8,
                Some("25T11:05:00"),
                "25T11:05:00.007",
                Some("25T10:48:00"),
            ),
            // By cron or a CronJob: on time, a little late, a little early by another clock.
            ("*/20 * * * *", 0, None, "25T11:00:00", Some("25T10:40:00")),
            ("*/20 * * * *", 0, None, "25T11:01:50", Some("25T10:40:00")),
            (
                "*/20 * * * *",
                0,
                None,
                "25T10:59:59.9",
                Some("25T10:40:00"),
            ),
            ("* * * * *", 0, None, "25T11:00:20", Some("25T10:59:00")),
            // By hand, at any time.
            ("*/20 * * * *", 0, None, "25T11:12:00", Some("25T11:00:00")),
            ("0 3 * * *", 0, None, "25T11:12:00", Some("25T03:00:00")),
        ] {
            let time = |text: &str| at(&format!("2026-11-{text}Z"));
            let schedule = schedule(crontab, Tz::UTC);
            let offset = TimeDelta::minutes(minutes);
            let found = previous_start(&schedule, offset, planned.map(time), time(begun));
            assert_eq!(found, expected.map(time), "{crontab} {planned:?} {begun}");
        }
    }

    #[test]
    fn the_next_start_is_the_one_that_the_timetable_waits_for() {
        let schedule = schedule("*/20 * * * *", Tz::UTC);
        let jitter = Duration::from_secs(600);
        let offset = offset("external", jitter);
        assert!(offset > TimeDelta::minutes(1), "{offset}");
        let start = at("2026-11-25T10:00:00Z");
        for minute in 0..60 {
            let now = start + TimeDelta::minutes(minute);
            let probes = [("external", &schedule, jitter)];
            let table = Timetable::new(probes.into_iter(), now, Duration::ZERO);
            assert_eq!(next_start(&schedule, offset, now), table.next(), "{now}");
        }
    }

    #[test]
    fn a_reload_leaves_the_next_start_of_an_unchanged_probe_as_it_was() {
        let (hourly, often) = (
            schedule("0 * * * *", Tz::UTC),
            schedule("*/5 * * * *", Tz::UTC),
        );
        let start = at("2026-11-25T10:00:00Z");
        let probes = [
            ("a", &hourly, Duration::ZERO),
            ("b", &hourly, Duration::ZERO),
        ];
        let mut old = Timetable::new(probes.into_iter(), start, Duration::ZERO);
        assert!(old.due(start, Duration::ZERO).is_empty());
        // The reload comes a moment after the hour, before anybody asked what is due.
        let later = at("2026-11-25T11:00:00.010Z");
        let probes = [
            ("b", &often, Duration::ZERO),
            ("a", &hourly, Duration::ZERO),
        ];
        let mut new = Timetable::new(probes.into_iter(), later, Duration::from_secs(3600));
        new.take_over(&old);
        let due = new.due(later, Duration::from_secs(3600));
        let expected = Due {
            index: 1,
            planned: at("2026-11-25T11:00:00Z"),
        };
        assert_eq!(due, [expected]);
        assert_eq!(new.next(), Some(at("2026-11-25T11:05:00Z")));
        assert!(new.due(later, Duration::from_secs(3600)).is_empty());
    }

    #[test]
    fn ten_thousand_probes_are_planned_in_a_moment() {
        let schedules: Vec<Schedule> = (0..60)
            .map(|minute| schedule(&format!("{minute} 3 * * *"), Tz::UTC))
            .collect();
        let names: Vec<String> = (0..10_000)
            .map(|number| format!("probe-{number}"))
            .collect();
        let probes = names
            .iter()
            .zip(schedules.iter().cycle())
            .map(|(name, schedule)| (name.as_str(), schedule, Duration::ZERO));
        let start = at("2026-11-25T10:00:00Z");
        let mut table = Timetable::new(probes, start, Duration::ZERO);
        let mut count = 0;
        for minute in 0..=1440 {
            let wall = start + TimeDelta::minutes(minute);
            count += table
                .due(wall, Duration::from_secs(60 * minute.unsigned_abs()))
                .len();
        }
        assert_eq!(count, 10_000);
    }
}
