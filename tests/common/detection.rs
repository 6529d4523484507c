//! How well a run knows when its message arrived: `seen_at` against the moment at which Dovecot stored it.

use super::Site;
use super::stored::Stored;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Detection {
    /// From the start of the send to the storing, in seconds.
    pub stored_after: f64,
    /// From the storing to `seen_at`, in seconds.
    pub error: f64,
    /// `delivery_error_seconds`: what the report says the error is at most.
    pub bound: f64,
}

impl Detection {
    /// Carries out a run whose message the provider holds back for so long.
    #[track_caller]
    pub fn of_run(site: &Site, stored: &Stored, hold: Duration) -> Self {
        site.brevo.state().hold = hold;
        let report = site.run().assert("delivered", None, 0);
        let seen_at: DateTime<Utc> = report["seen_at"].as_str().unwrap().parse().unwrap();
        let stored_at = stored.at(report["run"].as_str().unwrap());
        let seconds = |span: TimeDelta| span.num_microseconds().unwrap() as f64 / 1e6;
        let error = seconds(seen_at - stored_at);
        Self {
            stored_after: report["duration_seconds"].as_f64().unwrap() - error,
            error,
            bound: report["delivery_error_seconds"].as_f64().unwrap(),
        }
    }

    /// Whether the report's own bound holds. Clocks of two processes, and times in whole milliseconds: 5 ms are forgiven.
    pub fn is_inside_its_bound(&self) -> bool {
        self.error <= self.bound + 0.005 && self.error >= -0.005
    }
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
