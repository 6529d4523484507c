//! Five-field crontab schedules.

use chrono::{DateTime, Utc};

/// A crontab schedule in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {}

impl Schedule {
    /// The first fire time strictly after `now`; none where the schedule never fires.
    #[must_use]
    pub fn next_after(&self, _now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        None
    }
}
