//! What was so several times in a row, told from the times at which it was.

use super::AHEAD;

/// A state of a probe or a port, as times: each of their values is one run, one arrival, or one check.
///
/// Counting the distinct ones over a subquery tells "twice in a row" from "the same push scraped twice", whatever the
/// scrape interval and the gaps of the schedule.
pub(super) struct Streak {
    /// The time of the newest one, while it is so.
    pub(super) failed: String,
    /// The time of the newest one, while it is not.
    pub(super) good: String,
    /// 0 at the end of the window, for each series of the two.
    pub(super) zero: String,
    /// How far back to look, and how far apart the moments are: `WINDOW:STEP`.
    pub(super) window: String,
}

impl Streak {
    /// Those that are so and later than the last one that was not, as known now, over the window.
    ///
    /// That one is looked for in Prometheus' own history: the gateway may have lost it. One in the future, of a clock
    /// that was ahead, is none: it is later than all that fails until then. So each counts while it is the last one, by
    /// the clock of that time; where none is in the window, all in it count.
    pub(super) fn since_good(&self) -> String {
        let Self {
            failed,
            good,
            zero,
            window,
        } = self;
        format!(
            "(
    (
      {failed}
    ) > (
      max_over_time((
        {good}
          <= time() + {AHEAD}
      )[{window}] @ end())
        or {zero}
    )
  )[{window}]"
        )
    }

    /// There are at least so many of them.
    pub(super) fn in_a_row(&self, count: u32) -> String {
        let times = self.since_good();
        match count {
            1 => format!("present_over_time(\n  {times}\n)"),
            count => format!("changes(\n  {times}\n) >= {}", count - 1),
        }
    }
}
