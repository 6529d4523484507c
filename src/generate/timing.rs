//! What the alert rules, the manifests and the units take from a probe's schedule and limits, so that none of their
//! figures can drift from the config.

use crate::config::plan::{Plan, ProbePlan, SenderPlan, SinkPlan};
use chrono::{DateTime, TimeDelta};
use std::sync::Arc;
use std::time::Duration;

/// What a run may take beyond its `timeout`: clean-up and pushes.
pub(super) const OVERRUN: Duration = Duration::from_secs(60);
/// For scrapes and evaluations of rules a minute apart.
pub(super) const SLACK: Duration = Duration::from_secs(2 * 60);

/// Times of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timing {
    /// The shortest time from one run to the next; never less than a run may take.
    pub(super) shortest: Duration,
    /// The longest.
    pub(super) longest: Duration,
    /// From the start of a run until its report is in the gateway, at most.
    pub(super) run: Duration,
    /// How long after the time of a due run it is certain that it was lost, and the one behind it as well.
    pub(super) overdue: Duration,
    /// How old the last report gets, with one run lost.
    pub(super) oldest: Duration,
    /// Back to here a rule looks for runs in a row: three of them.
    pub(super) window: Duration,
    /// How far apart the moments are that it looks at.
    pub(super) step: Duration,
}

impl Timing {
    /// The same for every generation: schedules that are not regular are looked at all through a year.
    pub(super) fn new(probe: &ProbePlan) -> Self {
        let run = probe.timeout + OVERRUN + probe.jitter;
        let gaps: Vec<_> = (0..12)
            .filter_map(|month| {
                let from =
                    DateTime::from_timestamp(1_767_225_600, 0)? + TimeDelta::days(month * 30);
                probe.schedule.gaps(from)
            })
            .collect();
        let day = Duration::from_secs(24 * 60 * 60);
        let shortest = gaps
            .iter()
            .filter_map(|gaps| gaps.shortest.to_std().ok())
            .min();
        let longest = gaps
            .iter()
            .filter_map(|gaps| gaps.longest.to_std().ok())
            .max();
        let shortest = shortest.unwrap_or(day).max(run);
        let longest = longest.unwrap_or(day).max(run);
        let window = longest * 3 + run;
        // Between the end of a run and the next one's being overdue there have to be some: `overdue` hides the verdict.
        let step = (shortest / 20)
            .min(probe.late_after / 2)
            .clamp(Duration::from_secs(1), Duration::from_secs(60))
            .max(window / 2000);
        Self {
            shortest,
            longest,
            run,
            overdue: whole_minutes(shortest + run + SLACK),
            oldest: whole_minutes(longest * 2 + run + SLACK * 2),
            window: whole_minutes(window),
            step: Duration::from_secs(step.as_secs().max(1)),
        }
    }
}

/// The labels of every series of a plan besides `probe`: those of its gateway, where it has one only.
pub(super) fn site_labels(plan: &Plan) -> Vec<(String, String)> {
    let mut gateways = plan.sinks.iter().filter_map(|sink| match sink.as_ref() {
        SinkPlan::Pushgateway(gateway) => Some(&gateway.labels),
        SinkPlan::UptimeKuma(_) => None,
    });
    match (gateways.next(), gateways.next()) {
        (Some(labels), None) => labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        _ => Vec::new(),
    }
}

/// How many messages the probes of a sender send within six hours.
pub(super) fn sends_in_six_hours(plan: &Plan, sender: &Arc<SenderPlan>) -> u64 {
    plan.probes
        .iter()
        .filter(|probe| probe.sender.name() == sender.name())
        .map(|probe| {
            let shortest = Timing::new(probe).shortest.as_secs().max(1);
            (6 * 60 * 60u64).div_ceil(shortest)
        })
        .sum()
}

/// As Prometheus writes durations, such as `1h15m`.
pub(super) fn prometheus(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let text: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

fn whole_minutes(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs().div_ceil(60) * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_prometheus_reads_them() {
        let cases = [(0, "0s"), (90, "1m30s"), (4500, "1h15m"), (3600, "1h")];
        for (seconds, text) in cases {
            assert_eq!(prometheus(Duration::from_secs(seconds)), text);
        }
    }
}
